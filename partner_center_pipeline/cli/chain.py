"""Runs the chain through Dagster in this process, with a progress bar. Used by `sync` and `demo`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from partner_center_pipeline.cli.base import notes
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import WindowGrid

if TYPE_CHECKING:
    import dagster as dg

_LOOK_SECONDS: Final = 0.25
_LOOKS_BETWEEN_BURIALS: Final = 20
_MORE: Final = "the run's log has more: partner-center ui"
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class ChainFailure:
    """A run that failed: which windows, and the message of the step that did."""

    windows: str
    step: str
    message: str


def run_chain(warehouse: Warehouse, grid: WindowGrid, stretches: Sequence[tuple[int, int]]) -> ChainFailure | None:
    """Materialize all five assets for stretches of windows (ticks, each at most a day), one run each, in order.

    Stops at the first run that fails and says why. The home folder must be entered before. Ctrl-C ends the run, which
    says so in the ledger, before it raises KeyboardInterrupt here.
    """
    import dagster as dg

    from partner_center_pipeline.definitions import defs

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    job = defs().resolve_job_def("partner_center_sync")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
    )
    with dg.DagsterInstance.get() as instance, Progress(*columns, console=notes) as progress:
        bar = progress.add_task("starting", total=sum(_steps(grid, *stretch) for stretch in stretches))
        done = 0
        for start, end in stretches:
            with _moving(progress, bar, done, instance, warehouse, start, end):
                failure = _run(job, instance, grid, start, end)
            if failure is not None:
                return failure
            done += _steps(grid, start, end)
            progress.update(bar, completed=done, description="done")
    return None


@contextmanager
def _moving(
    progress: Progress,
    bar: TaskID,
    done: int,
    instance: "dg.DagsterInstance",
    warehouse: Warehouse,
    start: int,
    end: int,
) -> Iterator[None]:
    """Move the bar, from a thread of its own: the run has the main one, where Ctrl-C reaches it.

    Runs whose process died are ended meanwhile: one may hold the slot that this one waits for, and no daemon need run.
    """
    from partner_center_pipeline.defs.recovery import end_dead_runs

    since = datetime.now(UTC)
    over = Event()

    def look() -> None:
        looks = 0
        while not over.wait(_LOOK_SECONDS):
            if looks % _LOOKS_BETWEEN_BURIALS == 0:
                for run_id in end_dead_runs(instance, warehouse, lambda: datetime.now(UTC)):
                    notes.print(f"Run {run_id} died earlier; it is ended, and its windows are free.")
            looks += 1
            with warehouse.read() as connection:
                seen = ledger.progress(connection, start, end, since)
            progress.update(bar, completed=done + seen.steps, description=seen.described)

    thread = Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _steps(grid: WindowGrid, start: int, end: int) -> int:
    return (end - start) // grid.width * len(ledger.CHAIN)


def _run(
    job: "dg.JobDefinition", instance: "dg.DagsterInstance", grid: WindowGrid, start: int, end: int
) -> ChainFailure | None:
    from dagster._core.errors import DagsterExecutionInterruptedError
    from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

    first, last = grid.window(start).key, grid.window(end - grid.width).key
    which: dict[str, Any] = (
        {"partition_key": first}
        if first == last
        else {"tags": {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}}
    )
    result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET, **which)
    if result.success:
        return None
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        if data.error is not None and data.error.cls_name == DagsterExecutionInterruptedError.__name__:
            raise KeyboardInterrupt
        given = data.user_failure_data.description if data.user_failure_data else None
        cause = (data.error.cause or data.error).message.strip() if data.error else "no reason given"
        return ChainFailure(f"{first} to {last}", event.step_key or "", given or f"{cause} (a defect; {_MORE})")
    return ChainFailure(f"{first} to {last}", "the run", _MORE)
