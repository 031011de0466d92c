"""Tests of `partner-center`: what a person types, and what it answers."""
