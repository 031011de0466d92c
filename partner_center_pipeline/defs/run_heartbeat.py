"""The heartbeat of a run's process: from before its first step until the run is finished, or until the process ends.

It is not a matter of a step. Dagster writes events between steps and after the last one, which took more than a minute
on a busy machine. Dagster has no hook for the end of a run's process, so a heartbeat goes on after the last step until
Dagster's storage says that the run is finished.

Not here: who reads heartbeats (`recovery`), how one is written (`warehouse.lease`).
"""

import atexit
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Final

import dagster as dg

from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import Repeated, beat
from partner_center_pipeline.warehouse.time_limits import TimeLimits

FINISHING_SECONDS: Final = 600.0
"""Seconds after the last step after which a heartbeat ends at the latest; the run is then as good as dead."""

_log = logging.getLogger(__name__)


@contextmanager
def run_heartbeat(run_id: str, instance: dg.DagsterInstance, clock: Callable[[], datetime]) -> Iterator[None]:
    """Write the run's heartbeats from now on, and after the block until the run is finished. `clock` gives UTC.

    Without usable settings and an open warehouse there is no heartbeat; the first step fails then, with the reason. A
    process works on one run at a time, so a run that begins ends the heartbeat of the one before.
    """
    end_finishing()
    try:
        settings = Settings.load()
        db = Warehouse.open(settings.database_url.get_secret_value(), TimeLimits.of(settings))
    except (SettingsError, WarehouseError) as error:
        _log.warning("no heartbeat of run %s: %s", run_id, error)
        yield
        return
    beating = Repeated(f"heartbeat of run {run_id}", lambda: beat(db, run_id, clock))
    beating.begin()
    try:
        yield
    finally:
        steps_ended = time.monotonic()
        beating.over = lambda: time.monotonic() - steps_ended > FINISHING_SECONDS or _is_finished(instance, run_id)
        with _lock:
            _finishing.append((beating, db))


def end_finishing() -> None:
    """End the heartbeats of runs whose steps have ended, and close their warehouse.

    For a process that goes on after a run, and for one that ends: a SQLite file whose last connection is not closed
    keeps the newest rows in its write-ahead log, where nobody who copies the file finds them.
    """
    with _lock:
        ended, _finishing[:] = _finishing[:], []
    for beating, db in ended:
        beating.end()
        db.close()


def _is_finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    try:
        run = instance.get_run_by_id(run_id)
    except Exception:  # noqa: BLE001  dagster-postgres has errors of its own; a heartbeat that ended would end the run
        return False  # the storage is busy, or away; the run may be alive
    return run is None or run.is_finished


_lock: Final = Lock()
_finishing: Final[list[tuple[Repeated, Warehouse]]] = []
atexit.register(end_finishing)
