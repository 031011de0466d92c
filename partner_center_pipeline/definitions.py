"""The front door: loads everything under `defs/`. No logic here."""

import gc
import warnings
from pathlib import Path

import dagster as dg

# `backfill_policy` and `owners` are beta in Dagster 1.13; these two and no other warning are expected.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*(backfill_policy|owners).*")


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, jobs, schedules, sensors, checks and resources of the project."""
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    # What is loaded by now stays for good. Without this, each collection goes through all of it again, which costs a
    # load of referrals, whose payloads are many small objects, a fifth of its time.
    gc.collect()
    gc.freeze()
    return loaded
