"""`partner-center`: the command line. One module per command; `base` holds what they share."""

import gc

from partner_center_pipeline.cli.base import main

# Commands import some 200,000 objects that stay, and then make rows. Looking for cycles among them after each 700 new
# ones, as Python does by default, takes a fifth of a command's start.
gc.set_threshold(50_000, 20, 100)

__all__ = ["main"]
