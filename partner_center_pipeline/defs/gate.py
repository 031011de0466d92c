"""The one switch of everything that talks to Microsoft: HUNTER_PARTNER_CENTER_ENABLED; and the room that a run needs.

Asked by the schedules, the sensor, the runs and the command line. Settings are read anew each time, so an edited `.env`
counts without a restart. Backfills and manual runs pass by schedules and sensors (dagster.md, trap 5).
"""

import shutil
from pathlib import Path
from typing import Final

from partner_center_pipeline.settings import Settings, SettingsError, home
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import WindowGrid

DISABLED: Final = (
    "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"
)

ROOM: Final = 50_000_000
"""Free bytes without which no run begins or goes on. A run takes a fraction of it; SQLite's log may take as much."""


class GateClosedError(Exception):
    """The pipeline may not talk to Microsoft now. The message says why, and what to set."""


class SwitchedOffError(GateClosedError):
    """The switch is off."""

    def __init__(self) -> None:
        super().__init__(DISABLED)


class NoRoomError(GateClosedError):
    """A disk is so full that a run would end in the middle of writing."""

    def __init__(self, place: Path, free: int) -> None:
        super().__init__(
            f"the disk of {place} has {free / 1e6:,.1f} MB free, and a run needs {ROOM / 1e6:,.0f} MB: free some "
            "space. The next run then goes on from where this one ended"
        )


def free_space(settings: Settings) -> list[tuple[Path, int]]:
    """Return the free bytes of each disk that the program writes to, with a folder on it."""
    file = Warehouse.of(settings).file
    places = {home()} | ({(home() / file).parent} if file is not None else set())
    free: dict[int, tuple[Path, int]] = {}
    for place in sorted(places):
        if place.is_dir():
            free[place.stat().st_dev] = (place, shutil.disk_usage(place).free)
    return list(free.values())


def refuse_without_room(settings: Settings) -> None:
    """Raise NoRoomError for a disk with less than ROOM bytes free."""
    for place, free in free_space(settings):
        if free < ROOM:
            raise NoRoomError(place, free)


def gate(loaded: WindowGrid | None = None) -> Settings:
    """Return the settings of this moment, when they let the pipeline talk to Microsoft.

    `loaded` is the grid that this code location was built with; None where none is fixed yet. Raises GateClosedError.
    """
    try:
        settings = Settings.load()
    except SettingsError as error:
        raise GateClosedError(str(error)) from None
    if not settings.partner_center_enabled:
        raise SwitchedOffError
    if settings.sync_start is None:
        raise GateClosedError("HUNTER_SYNC_START is not set: set it in .env, e.g. 2026-01-01T00:00:00Z, then restart")
    if loaded is not None and settings.grid != loaded:
        raise GateClosedError(
            "HUNTER_SYNC_START, HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS or "
            "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS changed since this code location was loaded: restart it, or "
            "press Reload on the Deployment page"
        )
    refuse_without_room(settings)
    return settings
