"""The program as somebody installs and runs it: the wheel, and what `deploy/` holds."""
