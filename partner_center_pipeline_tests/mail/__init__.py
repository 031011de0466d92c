"""What mail/ promises."""
