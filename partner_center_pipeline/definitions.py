"""Where Dagster finds the project: its definitions for the windows that the settings describe."""

import gc
import os

import dagster as dg

from partner_center_pipeline.defs.build import build_defs
from partner_center_pipeline.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions. Raises SettingsError when the settings describe no grid."""
    os.umask(0o077)  # nobody else reads what a run writes: each of Dagster's processes with this code comes here
    built = build_defs(Settings.load().grid)
    # What is loaded by now stays for good. Without this, each collection goes through all of it again, which costs a
    # load of referrals, whose payloads are many small objects, a fifth of its time.
    gc.collect()
    gc.freeze()
    return built
