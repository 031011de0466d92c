"""Telling operators what stops the sync, from the command line: `alerts check`, and the end of `sync`.

Not here: what is told and how it is delivered (`alerts`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from partner_center_pipeline.cli.base import notes
from partner_center_pipeline.cli.health_check import (
    dagster_items,
    disk_items,
    sign_in_items,
    utc_now,
    warehouse_items,
)
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from partner_center_pipeline.alerts.operators import Checked

_SECONDS: Final = 20.0
"""Seconds that the warehouse may take, and the stored sign-in: a busy machine is no alarm."""


def check_now(settings: Settings, command: str, *, ignore_pause: bool = False) -> "Checked":
    """Find out and tell operators. Raises SenderBusyError while another process does, SettingsError."""
    from partner_center_pipeline.alerts import operators

    found = list(warehouse_items(settings, _SECONDS, utc_now()))
    for item in found:
        if item.subject == "warehouse" and item.grade is Grade.WRONG:  # it would be waited for again, and for longer
            return operators.tell_without_warehouse(settings, item.text, utc_now)
    return operators.check(
        settings,
        lambda: list(_find(settings)),
        holder=f"{command} {uuid4()}",
        clock=utc_now,
        sleep=time.sleep,
        ignore_pause=ignore_pause,
    )


def _find(settings: Settings) -> Iterator[Item]:
    now = utc_now()
    yield from warehouse_items(settings, _SECONDS, now)
    yield from dagster_items(settings, now)
    yield from sign_in_items(settings, _SECONDS)
    yield from disk_items(settings)


@contextmanager
def told_at_the_end() -> Iterator[None]:
    """Tell operators when the block ends, well or not; where none are to be told, do nothing.

    What hinders that is a line of warning, unless another process does it: it changes nothing of how the block ended.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        _tell()
        raise
    _tell()


def _tell() -> None:
    from partner_center_pipeline.alerts.delivery import SenderBusyError
    from partner_center_pipeline.alerts.operators import reason_not_to_check
    from partner_center_pipeline.warehouse.database import WarehouseError

    try:
        settings = Settings.load()
        if reason_not_to_check(settings) is not None:
            return
        failures = check_now(settings, "partner-center sync").failures
    except SenderBusyError:
        return
    except (SettingsError, WarehouseError, OSError) as error:
        failures = [str(error)]
    for failure in failures:
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(f"operators could not be told: {failure}", markup=False)
