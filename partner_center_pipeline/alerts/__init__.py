"""What people are told at once: which events, as which cards, and how they are delivered (alerts.md)."""
