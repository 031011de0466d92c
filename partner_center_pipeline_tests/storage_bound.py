"""The bound that operations.md states under "What it takes on disk", in bytes. Two suites hold it."""

from typing import Final

WINDOWS_A_YEAR: Final = 52_560
"""Windows of ten minutes."""

A_WINDOW: Final = 300
"""In the warehouse, for good: a window that brought nothing."""
AN_ATTEMPT: Final = 300
"""In the warehouse, for HUNTER_ATTEMPTS_KEPT_DAYS: an attempt at a window."""
A_VERSION: Final = 10_000
"""In the warehouse, for good: a version of a referral, with what is derived from it."""

A_RUN: Final = 350_000
"""In Dagster's storage, while it is kept: a run, of one window or of another job."""
A_WINDOW_OF_A_RANGE: Final = 100_000
"""In Dagster's storage, while it is kept: each window of a run of several."""
A_TICK: Final = 2_000
"""In Dagster's storage, for as long as `retention:` in dagster.yaml says: a tick of a schedule or a sensor."""
EMPTY: Final = 1_000_000
"""In Dagster's storage, before anything ran."""
