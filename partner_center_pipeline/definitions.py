"""Where Dagster finds the project: its definitions for the windows that the settings describe."""

import gc
import os
from typing import Final

import dagster as dg

# Dagster and the project's modules stay for good. While they are read Python would look for garbage in them, again and
# again, which takes a third of a second in each run's process.
gc.freeze()
gc.disable()

from partner_center_pipeline.defs.build import build_defs  # noqa: E402
from partner_center_pipeline.settings import Settings  # noqa: E402

gc.enable()

_EVENTS_A_STATEMENT: Final = "100"
"""Materializations of a range that Dagster writes at once. On PostgreSQL, 720 take 6 s instead of 15; on SQLite it is
the same either way. Where the variable is set already, that counts."""


def batch_events() -> None:
    """Let Dagster write the materializations of a range in batches (dagster.md, "Batches of events")."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _EVENTS_A_STATEMENT)


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions. Raises SettingsError when the settings describe no grid."""
    os.umask(0o077)  # nobody else reads what a run writes: each of Dagster's processes with this code comes here
    batch_events()
    built = build_defs(Settings.load().grid)
    # What is loaded by now stays for good. Without this, each collection goes through all of it again, which costs a
    # load of referrals, whose payloads are many small objects, a fifth of its time.
    gc.freeze()
    return built
