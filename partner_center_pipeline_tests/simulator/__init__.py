"""What the local Microsoft promises."""
