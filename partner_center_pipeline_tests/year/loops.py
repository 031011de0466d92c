"""One round of what Dagster's daemon does: schedules, sensors, and the runs that are queued.

The iterations are Dagster's own functions, the code that its daemons call in their loops. The code location and the
runs are in this process, one run after the other; in an installation each is a process.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._time import get_current_datetime
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import NullPool, create_engine

from partner_center_pipeline import definitions
from partner_center_pipeline.cli.base import enter_home
from partner_center_pipeline.defs.build import build_defs

_ROUNDS_OF_QUEUE: Final = 20
"""Rounds of the queue in one round of all: a run may be followed by others that waited for its slot."""

_LOGGER: Final = logging.getLogger("dagster")


@dataclass
class Loops:
    """The loops of the daemon, on one instance and one code location."""

    workspace: WorkspaceProcessContext
    queue: QueuedRunCoordinatorDaemon
    _iteration_times: dict[str, Any] = field(default_factory=dict)

    def work(self) -> dict[str, Any]:
        """Do one round; return its errors, a line each."""
        errors: list[str] = []
        self._do(errors, "schedules", self._schedules)
        self._do(errors, "sensors", lambda: execute_sensor_iteration(self.workspace, _LOGGER, None, None))
        for _ in range(_ROUNDS_OF_QUEUE):
            before = self._queued(errors)
            if not before:
                break
            self._do(errors, "queue", lambda: self.queue.run_iteration(self.workspace))
            if self._queued(errors) == before:
                break
        return {"errors": errors}

    def _schedules(self) -> Iterable[Any]:
        return launch_scheduled_runs(
            self.workspace,
            _LOGGER,
            end_datetime_utc=get_current_datetime(),
            iteration_times=self._iteration_times,
        )

    def _queued(self, errors: list[str]) -> list[str]:
        found: list[str] = []

        def look() -> Iterable[None]:
            queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
            found.extend(run.run_id for run in self.workspace.instance.get_runs(queued))
            return ()

        self._do(errors, "queue", look)
        return found

    @staticmethod
    def _do(errors: list[str], what: str, loop: Callable[[], Iterable[Any]]) -> None:
        """Do a loop to its end. What fails is noted, and the next round tries again, as a daemon does."""
        try:
            told = [one for one in loop() if isinstance(one, SerializableErrorInfo)]
            errors.extend(f"{what}: {one.message.strip()[:300]}" for one in told)
        except Exception as error:  # as the daemon's own loop does
            _LOGGER.exception("%s failed", what)
            errors.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")


def _save_time() -> None:
    """Keep what Dagster would make anew for each event and each run; it halves the time, and changes no answer.

    Its SQLite storages make an engine for each event, and compile each statement again. A run's process loads the code.
    """
    engine = lru_cache(maxsize=100)(lambda url: create_engine(url, poolclass=NullPool))
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = lambda url, **_: engine(url)  # type: ignore[attr-defined]
    vars(definitions)["build_defs"] = cache(build_defs)


@contextmanager
def running() -> Iterator[Loops]:
    """Load the code and open Dagster's storage in the home folder."""
    _save_time()
    os.environ["DAGSTER_HOME"] = str(enter_home())  # the course wrote a dagster.yaml there
    target = LoadableTargetOrigin(module_name="partner_center_pipeline.definitions")
    origin = InProcessCodeLocationOrigin(target, location_name="partner_center_pipeline")
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
    ):
        yield Loops(workspace, QueuedRunCoordinatorDaemon(interval_seconds=1))
