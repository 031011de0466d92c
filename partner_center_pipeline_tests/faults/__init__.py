"""The fault table: every fault by name, what a person sees of it, and that no row is lost."""
