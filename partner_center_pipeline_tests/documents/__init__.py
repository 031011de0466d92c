"""The pages that are generated from the code, and the check that the others cite what exists."""
