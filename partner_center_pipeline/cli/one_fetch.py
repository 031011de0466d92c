"""One run fetches at a time: who fetches now, since when, and waiting for it. Used by `sync`, `demo` and `reconcile`.

It is asked before Dagster's run begins: a run that waits for its pool's slot inside Dagster says nothing and takes no
Ctrl-C.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from filelock import FileLock

from partner_center_pipeline.cli.base import notes
from partner_center_pipeline.settings import home
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import lease
from partner_center_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:
    import dagster as dg

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODE: Final = 3
"""The exit code of a command that did nothing because another run fetches."""

_TRIES: Final = 10
_LOOK_SECONDS: Final = 0.5
_LOOKS_PER_SEARCH_FOR_DEAD_RUNS: Final = 8
_SIGN_SECONDS: Final = lease.BEAT_SECONDS + 5
"""Seconds in which a run that lives gives a sign of life."""


class AnotherRunFetches(click.ClickException):
    """Another run fetches, and nobody asked to wait for it any longer."""

    exit_code = EXIT_CODE

    def show(self, file: Any = None) -> None:  # noqa: ARG002  click's signature
        notes.print("[bold red]busy[/] ", end="")
        notes.print(self.message, markup=False)


def wait_option(command: F) -> F:
    """Add `--wait [SECONDS]` to a command, as its parameter `wait`: seconds, infinity, or None without the option."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        is_flag=False,
        flag_value=float("inf"),
        metavar="[SECONDS]",
        help="Wait until no other run fetches, for so long at most. Without it, exit code 3 when one does.",
    )(command)


@contextmanager
def dagster_instance() -> Iterator["dg.DagsterInstance"]:
    """Open Dagster's instance. Two processes that make its SQLite files at the same moment fail, so they take turns."""
    import dagster as dg

    lock = home() / ".hunter/dagster.lock"
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        with FileLock(lock):
            instance = stack.enter_context(dg.DagsterInstance.get())
        yield instance


def report_observations(seen: "Sequence[dg.AssetObservation]") -> None:
    """Tell Dagster what a command did to the assets' tables, so that the catalog shows it as it shows a job's."""
    if seen:
        with dagster_instance() as instance:
            for observation in seen:
                instance.report_runless_asset_event(observation)


@dataclass(frozen=True, slots=True)
class _Fetching:
    """A run that fetches, or is about to: since when, and an instant that moves on while it lives (UTC)."""

    run_id: str
    since: datetime
    sign_of_life: datetime | None


def wait_for_turn(
    instance: "dg.DagsterInstance",
    warehouse: Warehouse,
    run_id: str,
    wait: float | None,
    *,
    with_slot: bool,
    show: Callable[[str], None] | None = None,
) -> None:
    """Return when no other run fetches. `with_slot`: the slot of Dagster's pool then belongs to the run `run_id`.

    Says at once who fetches. With `wait`, waits for so many seconds at most. Without, it ends as soon as that run has
    given a sign of life; a run that gives none is waited for until it is ended as dead, about a minute. `show` shows a
    line of progress; without it there is a line of its own. Raises AnotherRunFetches.
    """
    other = _take_turn(instance, warehouse, run_id, with_slot)
    if other is None:
        return
    notes.print(f"{_described(other)}; one run fetches at a time. Ctrl-C ends the wait.", markup=False)
    if show is not None:
        _wait(instance, warehouse, run_id, wait, with_slot, other, show)
        return
    with notes.status("waiting") as status:
        _wait(instance, warehouse, run_id, wait, with_slot, other, status.update)


def _wait(
    instance: "dg.DagsterInstance",
    warehouse: Warehouse,
    run_id: str,
    wait: float | None,
    with_slot: bool,
    first: _Fetching,
    show: Callable[[str], None],
) -> None:
    from partner_center_pipeline.defs.recovery import end_dead_runs

    began, looks, said_silent = time.monotonic(), 0, False
    other: _Fetching | None = first
    while other is not None:
        waited = time.monotonic() - began
        lives = other.run_id != first.run_id or other.sign_of_life != first.sign_of_life
        if (waited >= wait) if wait is not None else lives:
            raise AnotherRunFetches(
                f"{_described(other)}. Nothing was done. Run the command again later, or with --wait."
            )
        if not lives and waited > _SIGN_SECONDS and not said_silent:
            said_silent = True
            notes.print(
                f"Run {other.run_id} gives no sign of life. If it died, it is ended within about a minute, and this "
                "goes on.",
                markup=False,
            )
        until = f" of {wait:.0f}" if wait is not None and wait != float("inf") else ""
        show(f"waiting for run {other.run_id} ({waited:.0f}{until} s)")
        if looks % _LOOKS_PER_SEARCH_FOR_DEAD_RUNS == 0:
            for dead in end_dead_runs(instance, warehouse, lambda: datetime.now(UTC)):
                notes.print(f"Run {dead} died earlier; it is ended, and its windows are free.", markup=False)
        looks += 1
        time.sleep(_LOOK_SECONDS)
        other = _take_turn(instance, warehouse, run_id, with_slot)


def _described(other: _Fetching) -> str:
    seconds = (datetime.now(UTC) - other.since).total_seconds()
    return (
        f"Run {other.run_id} is fetching from Partner Center since {other.since:%Y-%m-%d %H:%M:%S} UTC "
        f"({max(seconds, 0):.0f} s)"
    )


def _take_turn(instance: "dg.DagsterInstance", warehouse: Warehouse, run_id: str, with_slot: bool) -> _Fetching | None:
    """Take the slot for a run and return None, or return the run that fetches. A slot that is no use is given back."""
    from partner_center_pipeline.defs.partitions import POOL

    storage = instance.event_log_storage
    if with_slot and POOL not in {limit.name for limit in storage.get_pool_limits()}:
        storage.initialize_concurrency_limit_to_default(POOL)
    limited = with_slot and POOL in {limit.name for limit in storage.get_pool_limits()}
    for _ in range(_TRIES):
        has_slot = limited and storage.claim_concurrency_slot(POOL, run_id, str(Asset.RAW_REFERRALS)).is_claimed
        other = _holder(warehouse, run_id) or (None if has_slot else _first_in_the_pool(instance, warehouse, run_id))
        if other is None and (has_slot or not limited):
            return None
        storage.free_concurrency_slots_for_run(run_id)
        if other is not None:
            return other
        time.sleep(_LOOK_SECONDS)  # the slot went from one run to another just now
    return None


def _holder(warehouse: Warehouse, run_id: str) -> _Fetching | None:
    """Return the run other than `run_id` that holds the lease."""
    with warehouse.read() as connection:
        held = lease.held(connection, lambda: datetime.now(UTC))
        if held is None or held.holder == run_id:
            return None
        # `partner-center reconcile` is no run of Dagster's and has no heartbeat; it renews its lease.
        return _Fetching(held.holder, held.since, lease.last_seen(connection, held.holder) or held.until)


def _first_in_the_pool(instance: "dg.DagsterInstance", warehouse: Warehouse, run_id: str) -> _Fetching | None:
    """Return the run other than `run_id` that has the pool's slot, or else one that waits for it."""
    from partner_center_pipeline.defs.partitions import POOL

    steps = instance.event_log_storage.get_concurrency_info(POOL).pending_steps
    others = sorted((step for step in steps if step.run_id != run_id), key=lambda step: step.assigned_timestamp is None)
    if not others:
        return None
    first = others[0]
    record = instance.get_run_record_by_id(first.run_id)
    since = first.enqueued_timestamp if record is None else record.create_timestamp
    with warehouse.read() as connection:
        return _Fetching(first.run_id, since.astimezone(UTC), lease.last_seen(connection, first.run_id))
