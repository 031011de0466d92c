"""`partner-center`: the command line. One module per command; `base` holds what they share."""

import gc
from typing import Final

from partner_center_pipeline.cli.base import main

COLLECTOR_THRESHOLDS: Final = (50_000, 20, 100)
"""How seldom a command looks for garbage. Commands import some 200,000 objects that stay, and then make rows. Looking
for cycles among them after each 700 new ones, as Python does by default, takes a fifth of a command's start."""

gc.set_threshold(*COLLECTOR_THRESHOLDS)

__all__ = ["COLLECTOR_THRESHOLDS", "main"]
