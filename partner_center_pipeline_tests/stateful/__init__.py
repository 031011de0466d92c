"""A state machine against everything between Partner Center and the leads."""
