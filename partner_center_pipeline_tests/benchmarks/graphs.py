"""What `all` measures of windows: the chain's graph beside the same graph with empty bodies, in processes that stay.

So what Dagster costs is on both sides, and what is over is the product's. Both have storage of the same kind, each its
own. The sides take turns, run by run.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Final

import click
from sqlalchemy import func, select

from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.schema import raw_referrals
from partner_center_pipeline.windows import SyncWindow
from partner_center_pipeline_tests.benchmarks.ingest import Database
from partner_center_pipeline_tests.benchmarks.installation import (
    Installation,
    Servers,
    Template,
    make_templates,
    start_servers,
)
from partner_center_pipeline_tests.benchmarks.pages import CHANGED_WINDOWS, GRID
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures
from partner_center_pipeline_tests.benchmarks.runner import Runner

QUIET: Final = Goal(1.2)
CHANGED: Final = Goal(1.5)
DAY: Final = Goal(1.3)
YEAR: Final = Goal(1.3)

_AGAINST: Final = "the same graph with empty bodies"
_BY_WINDOW: Final = select(raw_referrals.c.window_start, func.count().label("changes")).group_by("window_start")
_FAR_BEHIND: Final = 9
"""Windows that are longer than the overlap."""
_A_DAY: Final = 144
_A_YEAR: Final = 365
_MONTH: Final = 30


def _windows(first: int, count: int) -> list[SyncWindow]:
    start = (GRID.first or 0) + first * GRID.width
    return list(GRID.between(start, start + count * GRID.width))


def in_turn(template: Template, runs: list[list[SyncWindow]]) -> tuple[list[float], list[float]]:
    """Run the windows of each run with both graphs in turn; return the seconds of ours, and of the empty one.

    One run of each, of a window far behind the last, is not counted: a first run loads what later ones have. So far
    that its overlap shows nothing of the others.
    """
    ours, theirs = [], []
    with ExitStack() as stack:
        installations = [stack.enter_context(template.installed()) for _ in range(2)]
        first, second = (
            stack.enter_context(Runner.started(kind, installation))
            for kind, installation in zip(("ours", "empty"), installations, strict=True)
        )
        end = (runs[-1][-1].end - (GRID.first or 0)) // GRID.width
        for runner in (first, second):
            runner.run(*_windows(end + _FAR_BEHIND, 1))
        for number, windows in enumerate(runs):
            ours.append(first.run(*windows).seconds)
            theirs.append(second.run(*windows).seconds)
            template.run.notes.print(f"  {number + 1} of {len(runs)}: {ours[-1]:.3f}, {theirs[-1]:.3f}")
        _refuse_other_work(installations[0], [window for windows in runs for window in windows], template.servers)
    return ours, theirs


def _refuse_other_work(installation: Installation, windows: list[SyncWindow], servers: Servers) -> None:
    """Raise ClickException unless the whole chain has done these windows, and stored what changed in each."""
    with installation.warehouse() as db, db.read() as connection:
        done = ledger.covered(connection)
        stored = {row.window_start: row.changes for row in connection.execute(_BY_WINDOW)}
    if not any(low <= windows[0].start and windows[-1].end <= high for low, high in done):
        raise click.ClickException("the chain has not done the windows that were measured")
    end_of_changes = (GRID.first or 0) + CHANGED_WINDOWS * GRID.width
    for window in windows:
        wanted = servers.changes if window.start < end_of_changes else 0
        if stored.get(window.start, 0) != wanted:
            raise click.ClickException(
                f"window {window.key} stored {stored.get(window.start, 0)} changes, not {wanted}"
            )


@measures("windows")
def windows(run: Measuring) -> Iterator[Row]:
    """Scheduled windows: one run each, with nothing changed, and with 100 changed referrals."""
    servers = start_servers(run, run.size(20_000, 2000))
    count = max(run.rounds, run.size(30, 3))
    for database in Database:
        _, template = make_templates(run, database, servers)
        kinds = (
            ("one scheduled window, 0 changes", CHANGED_WINDOWS + 10, QUIET),
            ("a window of 100 changed referrals, signals cached", 0, CHANGED),
        )
        for work, begin, goal in kinds:
            each, empty = in_turn(template, [[window] for window in _windows(begin, count)])
            ours, theirs = median(each), median(empty)
            # Of pairs, which ran one after the other: a machine is slower at times, and then for both.
            ratio = median(one / other for one, other in zip(each, empty, strict=True))
            yield Row(f"{work}: {database}", _AGAINST, ratio, goal, f"{ours:.3f} s, {theirs:.3f} s")


@measures("days")
def days(run: Measuring) -> Iterator[Row]:
    """Days of windows, a run each: with few changes, and a month of them as the measure of a year."""
    servers = start_servers(run, run.size(20_000, 2000), changes=1)
    month = run.size(_MONTH, 2)
    with_changes = max(1, min(CHANGED_WINDOWS // _A_DAY, month))
    for database in Database:
        _, template = make_templates(run, database, servers)
        each, empty = in_turn(template, [_windows(day * _A_DAY, _A_DAY) for day in range(month)])
        ours, theirs = median(each[:with_changes]), median(empty[:with_changes])
        yield Row(f"a day of windows in one range run, few changes: {database}", _AGAINST, ours / theirs, DAY,
                  f"{ours:.2f} s, {theirs:.2f} s")  # fmt: skip
        whole, whole_empty = (sum(side) / month * _A_YEAR / 3600 for side in (each, empty))
        yield Row(f"a year of windows backfilled (52,560), from {month} measured days: {database}", _AGAINST,
                  whole / whole_empty, YEAR, f"{whole:.2f} h, {whole_empty:.2f} h")  # fmt: skip
