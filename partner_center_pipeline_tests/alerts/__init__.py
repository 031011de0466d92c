"""Tests of what is told at once: cards, delivery to a real HTTPS receiver, and processes that are killed."""
