"""`partner-center`: the command line. One module per command; `base` holds what they share."""

from partner_center_pipeline.cli.base import main

__all__ = ["main"]
