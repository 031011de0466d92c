"""The front door: loads everything under `defs/`. No logic here."""

import warnings
from pathlib import Path

import dagster as dg

# `backfill_policy` and `owners` are beta in Dagster 1.13; these two and no other warning are expected.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*(backfill_policy|owners).*")


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, jobs, schedules, sensors, checks and resources of the project."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
