"""The one switch of everything that talks to Microsoft: HUNTER_PARTNER_CENTER_ENABLED.

Asked by the schedules, the sensor, the runs and the command line. Settings are read anew each time, so an edited `.env`
counts without a restart. Backfills and manual runs pass by schedules and sensors (dagster.md, trap 5).
"""

from typing import Final

from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.windows import WindowGrid

DISABLED: Final = (
    "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"
)


class GateClosedError(Exception):
    """The pipeline may not talk to Microsoft now. The message says why, and what to set."""


class SwitchedOffError(GateClosedError):
    """The switch is off."""

    def __init__(self) -> None:
        super().__init__(DISABLED)


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
    return settings
