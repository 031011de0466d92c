"""Running the five assets through Dagster in this process, with a progress bar. Used by `sync` and `demo`."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from sqlalchemy.exc import DBAPIError

from partner_center_pipeline.cli.base import notes, stderr_held_back
from partner_center_pipeline.cli.one_fetch import dagster_instance, wait_for_turn
from partner_center_pipeline.cli.progress import Report, progress_bar, starting_dagster
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import ledger, pending
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import WindowGrid

if TYPE_CHECKING:
    import dagster as dg

_REPORT_SECONDS: Final = 0.25
_REPORTS_PER_SEARCH_FOR_DEAD_RUNS: Final = 20
_MORE: Final = "the run's log has more: partner-center ui"
_QUIET_LOG: Final[dict[str, Any]] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class ChainFailure:
    """A run that failed: its windows, the failed step and its message; `stops_all`: other windows would fail, too."""

    windows: str
    step: str
    message: str
    stops_all: bool = False

    def __str__(self) -> str:
        return f"{self.step} failed for {self.windows}: {self.message}"

    def shown(self) -> dict[str, str]:
        """Return the failure as JSON shows it."""
        return {"windows": self.windows, "step": self.step, "message": self.message}


@dataclass(frozen=True, slots=True)
class ChainOutcome:
    """What became of the runs: their ids, and those that failed."""

    run_ids: list[str]
    failures: list[ChainFailure]


def run_chain(
    warehouse: Warehouse,
    grid: WindowGrid,
    intervals: Sequence[tuple[int, int]],
    *,
    force: bool = False,
    wait: float | None = None,
) -> ChainOutcome:
    """Materialize all five assets for `intervals` of windows (ticks, each at most a day), one run each, in order.

    Then derive what is pending: what came late, and what runs stored that failed. `force` derives the rows of the
    windows again, changed or not. After a failure that `stops_all` no more windows are fetched. Call
    `enter_home` before. Ctrl-C ends the run, which records that in the ledger; then KeyboardInterrupt is raised here.
    While another run fetches, this waits or raises AnotherRunFetches, as `wait` says (see `one_fetch.wait_for_turn`).
    """
    with starting_dagster():
        from partner_center_pipeline.definitions import defs

        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        job = defs().resolve_job_def("partner_center_sync")
    total = sum(_step_count(grid, *interval) for interval in intervals)
    with ExitStack() as stack:
        instance = stack.enter_context(dagster_instance())
        run_ids = [str(uuid4()) for _ in intervals]
        if intervals:  # before the progress bar: a terminal shows one of both
            wait_for_turn(instance, warehouse, run_ids[0], wait, with_slot=True)
        report = stack.enter_context(progress_bar("starting", total))
        done = 0
        failures: list[ChainFailure] = []
        for (start, end), run_id in zip(intervals, run_ids, strict=True):
            show = partial(report, done)
            wait_for_turn(instance, warehouse, run_id, wait, with_slot=True, show=show)
            with _reporting_progress(report, done, instance, warehouse, start, end):
                failure = _run(job, instance, grid, start, end, _config(force), run_id)
            done += _step_count(grid, start, end)
            report(done, "done" if failure is None else "failed")
            if failure is not None:
                failures.append(failure)
                if failure.stops_all:
                    break
        try:
            pending_failure = _derive_what_is_pending(job, instance, warehouse, grid)
        except DBAPIError:  # of Dagster's storage
            if not failures:
                raise
            pending_failure = None  # the reason that is known says more
        return ChainOutcome(run_ids, failures if pending_failure is None else [*failures, pending_failure])


def _derive_what_is_pending(
    job: "dg.JobDefinition", instance: "dg.DagsterInstance", warehouse: Warehouse, grid: WindowGrid
) -> ChainFailure | None:
    """Run the later assets once where rows are pending: they came late, or their run failed after storing them."""
    from partner_center_pipeline.defs.automation import LATER_ASSETS

    with warehouse.read() as connection:
        window = ledger.newest_fetched(connection, grid) if pending.count(connection) else None
    if window is None:
        return None
    config = _config(force=False)
    return _run(job, instance, grid, window.start, window.end, config, str(uuid4()), asset_selection=LATER_ASSETS)


def _config(force: bool) -> dict[str, Any]:
    """Return the run configuration: a quiet log, and whether rows are derived again although nothing changed."""
    forced = (Asset.NORMALIZED_LEADS, Asset.COMPANIES, Asset.SCORED_SEGMENTS) if force else ()
    return _QUIET_LOG | {"ops": {str(asset): {"config": {"force": True}} for asset in forced}}


@contextmanager
def _reporting_progress(
    report: Report,
    done: int,
    instance: "dg.DagsterInstance",
    warehouse: Warehouse,
    start: int,
    end: int,
) -> Iterator[None]:
    """Report progress from a thread while the block runs a window in the main thread, which receives Ctrl-C.

    The thread also ends dead runs: one may hold the slot that this run waits for, and perhaps no daemon is running.
    """
    from partner_center_pipeline.defs.recovery import end_dead_runs

    since = datetime.now(UTC)
    finished = Event()

    def keep_reporting() -> None:
        reports = 0
        while not finished.wait(_REPORT_SECONDS):
            if reports % _REPORTS_PER_SEARCH_FOR_DEAD_RUNS == 0:
                for run_id in end_dead_runs(instance, warehouse, lambda: datetime.now(UTC)):
                    notes.print(f"Run {run_id} died earlier; it is ended, and its windows are free.")
            reports += 1
            with warehouse.read() as connection:
                progress = ledger.progress(connection, start, end, since)
            report(done + progress.steps, progress.described)

    def keep_on() -> None:
        while not finished.is_set():
            try:
                keep_reporting()
            except Exception:  # noqa: BLE001  of the warehouse or of Dagster's storage, which has errors of its own
                report(done, "no answer from the database")  # the run itself waits, or fails with the reason

    thread = Thread(target=keep_on, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _step_count(grid: WindowGrid, start: int, end: int) -> int:
    return (end - start) // grid.width * len(ledger.CHAIN)


def _run(
    job: "dg.JobDefinition",
    instance: "dg.DagsterInstance",
    grid: WindowGrid,
    start: int,
    end: int,
    config: dict[str, Any],
    run_id: str,
    **selected: Any,
) -> ChainFailure | None:
    import dagster as dg

    from partner_center_pipeline.defs.dagster_private import (
        ASSET_PARTITION_RANGE_END_TAG,
        ASSET_PARTITION_RANGE_START_TAG,
    )
    from partner_center_pipeline.defs.run_heartbeat import end_finishing
    from partner_center_pipeline.defs.told_failure import show_stacks

    first, last = grid.window(start).key, grid.window(end - grid.width).key
    partitions: dict[str, Any] = (
        {"partition_key": first}
        if first == last
        else {"tags": {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}}
    )
    caught: Exception | None = None
    with stderr_held_back() as printed:
        try:
            # Raising, as Dagster otherwise goes on to log an error for each step that cannot run any more.
            job.execute_in_process(
                instance=instance, raise_on_error=True, run_config=config, run_id=run_id, **partitions, **selected
            )
        except Exception as error:  # noqa: BLE001  the run's log has what happened, and in which step
            caught = error
        except BaseException:  # noqa: BLE001  Ctrl-C, which Dagster tells by an interruption of its own
            raise KeyboardInterrupt from None
        finally:
            show_stacks()
            end_finishing()
    failure = None if caught is None else _failure(instance, run_id, f"{first} to {last}", caught)
    if not isinstance(caught, dg.Failure):  # it says all; what Dagster printed is that it could not store that
        with suppress(OSError):
            os.write(2, printed())
    return failure


def _failure(instance: "dg.DagsterInstance", run_id: str, windows: str, caught: Exception) -> ChainFailure:
    """Return why a run failed, as its log says; where that could not be stored, as what was raised says.

    Raises DBAPIError where Dagster's storage is the reason.
    """
    import dagster as dg

    from partner_center_pipeline.defs.asset_run import STOPS_ALL

    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        description = data.user_failure_data.description if data.user_failure_data else None
        cause = (data.error.cause or data.error).message.strip() if data.error else "no reason given"
        stops_all = STOPS_ALL in data.user_failure_data.metadata if data.user_failure_data else False
        message = description or f"{cause} (a defect; {_MORE})"
        return ChainFailure(windows, event.step_key or "", message, stops_all)
    if isinstance(caught, DBAPIError):
        raise caught
    if isinstance(caught, dg.Failure):
        return ChainFailure(windows, "the run", str(caught.description), STOPS_ALL in caught.metadata)
    return ChainFailure(windows, "the run", _MORE)
