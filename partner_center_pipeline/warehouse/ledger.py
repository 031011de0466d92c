"""The ledger: which interval of the server's time is covered, how far each asset got, and every attempt.

Domain truth, kept apart from Dagster's event log, which people prune. `sync_windows` has a row per window that was
begun; `sync_attempts` one per try, whatever became of it. Coverage is a union of intervals of ticks, so windows of
another width, or from another HUNTER_SYNC_START, count all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Update, and_, bindparam, case, func, or_, select, true, update

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    raw_referrals,
    sync_attempts,
    sync_windows,
)
from partner_center_pipeline.windows import BEGINNING, SyncWindow

CHAIN: Final = tuple(Asset)
"""The assets in flow order; a window is done when the last one has it, and all before."""


class WindowNotReadyError(Exception):
    """An asset was asked for a window that the asset before it has not done."""


@dataclass(slots=True)
class Figures:
    """What an attempt at one window saw so far; the columns of the same names in `sync_attempts`."""

    pages: int = 0
    fetched: int = 0
    new_versions: int = 0
    unchanged: int = 0
    late: int = 0
    quarantined: int = 0
    seconds_waited: float = 0.0
    clock_skew: float | None = None
    distinct_ids: int = 0

    def add(self, other: "Figures") -> None:
        """Take another window's figures in; the clock's skew is the latest."""
        self.pages += other.pages
        self.fetched += other.fetched
        self.new_versions += other.new_versions
        self.unchanged += other.unchanged
        self.late += other.late
        self.quarantined += other.quarantined
        self.distinct_ids += other.distinct_ids
        self.seconds_waited += other.seconds_waited
        self.clock_skew = other.clock_skew

    def row(self) -> dict[str, Any]:
        """The figures as columns."""
        return {
            "pages": self.pages,
            "fetched": self.fetched,
            "new_versions": self.new_versions,
            "unchanged": self.unchanged,
            "late": self.late,
            "quarantined": self.quarantined,
            "distinct_ids": self.distinct_ids,
            "seconds_waited": round(self.seconds_waited, 3),
            "clock_skew": self.clock_skew,
        }


def _at(asset: Asset) -> Any:
    return sync_windows.c[f"{asset}_at"]


# These are made once: they run with each page, and making one takes longer than running it.
_WINDOW: Final = update(sync_windows).where(
    sync_windows.c.window_start == bindparam("the_start"), sync_windows.c.window_end == bindparam("the_end")
)
"""Sets what its parameters name in the window that `_the` names."""

_RUNNING: Final = update(sync_attempts).where(
    sync_attempts.c.window_start == bindparam("the_start"),
    sync_attempts.c.window_end == bindparam("the_end"),
    sync_attempts.c.run_id == bindparam("the_run"),
    sync_attempts.c.state == AttemptState.RUNNING,
)
"""Sets what its parameters name in the attempt under way of run `the_run` at the window that `_the` names."""


def _the(window: SyncWindow) -> dict[str, int]:
    return {"the_start": window.start, "the_end": window.end}


def _named(windows: Sequence[SyncWindow], table: Any = sync_windows) -> Any:
    """The rows of these windows. They are contiguous and of one width, so two comparisons name them."""
    width = windows[0].end - windows[0].start
    return and_(
        table.c.window_start >= windows[0].start,
        table.c.window_end <= windows[-1].end,
        table.c.window_end - table.c.window_start == width,
    )


# Coverage -------------------------------------------------------------------------------------------------------------


def covered(connection: Connection, assets: Iterable[Asset] = CHAIN) -> list[tuple[int, int]]:
    """The disjoint intervals of ticks, ascending, that every one of `assets` has done.

    The database merges them (gaps and islands), so the answer stays short however many windows there are.
    """
    done = (
        select(sync_windows.c.covers_from.label("low"), sync_windows.c.window_end.label("high"))
        .where(and_(true(), *(_at(asset).is_not(None) for asset in assets)))
        .distinct()
        .cte("done")
    )
    reached = func.max(done.c.high).over(order_by=(done.c.low, done.c.high), rows=(None, -1))
    steps = select(done.c.low, done.c.high, (func.coalesce(reached, done.c.low - 1) < done.c.low).label("opens")).cte(
        "steps"
    )
    numbered = select(
        steps.c.low,
        steps.c.high,
        func.count().filter(steps.c.opens).over(order_by=(steps.c.low, steps.c.high), rows=(None, 0)).label("island"),
    ).cte("numbered")
    islands = (
        select(func.min(numbered.c.low).label("low"), func.max(numbered.c.high).label("high"))
        .group_by(numbered.c.island)
        .order_by(func.min(numbered.c.low))
    )
    return [(row.low, row.high) for row in connection.execute(islands)]


def covered_from_the_beginning(connection: Connection) -> int:
    """How far the chain has everything, from the first instant on: `BEGINNING` while genesis is owed."""
    first = next(iter(covered(connection)), None)
    return first[1] if first is not None and first[0] == BEGINNING else BEGINNING


def resolve(connection: Connection, windows: Sequence[SyncWindow], first: int) -> list[SyncWindow]:
    """The windows with the interval each answers for.

    The installation's first window (`first`: its start in ticks) also answers for all that is not covered before it,
    which is everything while genesis is owed. A window that was begun before keeps the interval it had, or reaches
    back further when HUNTER_SYNC_START moved to it.
    """
    known = {
        (row.window_start, row.window_end): row.covers_from
        for row in connection.execute(select(sync_windows).where(_named(windows)))
    }
    resolved = []
    for window in windows:
        lower = known.get((window.start, window.end), window.start)
        if window.start == first:
            lower = min(lower, covered_from_the_beginning(connection))
        resolved.append(replace(window, covers_from=lower))
    return resolved


# Attempts -------------------------------------------------------------------------------------------------------------


def start_attempts(connection: Connection, windows: Sequence[SyncWindow], run_id: str, now: datetime) -> int | None:
    """Note that a run begins on these windows; the position (ticks) where an earlier attempt at them stopped, or None.

    A window that now reaches back further than when it was begun is open again, with nothing scanned. Attempts at the
    same windows that still say `running` were left by a process that died: they become `failed`.
    """
    connection.execute(
        update(sync_attempts)
        .where(_named(windows, sync_attempts), sync_attempts.c.state == AttemptState.RUNNING)
        .values(
            state=AttemptState.FAILED,
            finished_at=now,
            error="the run was killed or restarted before it ended",
        )
    )
    untouched = {"position": None, **{f"{asset}_at": None for asset in CHAIN}}
    upsert(
        connection,
        sync_windows,
        [
            {
                "window_start": window.start,
                "window_end": window.end,
                "covers_from": window.covers_from,
                **untouched,
            }
            for window in windows
        ],
        guard=lambda given: given.covers_from < sync_windows.c.covers_from,
    )
    _record(connection, windows, AttemptState.RUNNING, run_id, now)
    return _position(connection, windows)


def _position(connection: Connection, windows: Sequence[SyncWindow]) -> int | None:
    """Before which instant these windows hold everything, by an earlier scan that stopped inside them."""
    position: int | None = None
    table = sync_windows
    rows = connection.execute(select(table).where(_named(windows)).order_by(table.c.window_start))
    for row in rows:
        if row.position is not None:
            position = row.position
            if position < row.window_end:
                break
        elif row.raw_referrals_at is None:
            return None  # nothing of this window was scanned, the overlap before it neither
    return position


def record_disabled(connection: Connection, windows: Sequence[SyncWindow], run_id: str, now: datetime) -> None:
    """Note attempts that the gate turned away."""
    _record(connection, windows, AttemptState.DISABLED, run_id, now)


def record_failed(
    connection: Connection, windows: Sequence[SyncWindow], run_id: str, now: datetime, error: str
) -> None:
    """Note attempts that failed before they could begin."""
    _record(connection, windows, AttemptState.FAILED, run_id, now, error)


def _record(
    connection: Connection,
    windows: Sequence[SyncWindow],
    state: AttemptState,
    run_id: str,
    now: datetime,
    error: str | None = None,
) -> None:
    finished = None if state is AttemptState.RUNNING else now
    connection.execute(
        sync_attempts.insert(),
        [
            {
                "window_start": window.start,
                "window_end": window.end,
                "state": state,
                "run_id": run_id,
                "started_at": now,
                "finished_at": finished,
                "error": error and error[:2000],
                **Figures().row(),
            }
            for window in windows
        ],
    )


def save_position(
    connection: Connection,
    window: SyncWindow,
    run_id: str,
    figures: Figures,
    position: int | None,
    reopened: datetime | None,
) -> None:
    """Keep the scan's position in a window and what the attempt saw there, in the transaction of its page.

    Where the page put something new under the window, it is `reopened` as of now.
    """
    of_window = {**_the(window), "position": position, **({"the_now": reopened} if reopened is not None else {})}
    of_attempt = {**_the(window), "the_run": run_id, **figures.row()}
    if connection.dialect.name == "postgresql":
        both = {**of_window, **of_attempt}
        connection.execute(_progress(reopened is not None), {_given(name): value for name, value in both.items()})
    else:
        connection.execute(_WINDOW if reopened is None else _reopening(Asset.RAW_REFERRALS), of_window)
        connection.execute(_RUNNING, of_attempt)


@cache
def _progress(reopened: bool) -> Update:
    """Both updates in one statement, for a server that may be far away, as this runs with each page."""
    window = (_reopening(Asset.RAW_REFERRALS) if reopened else _WINDOW).values(position=bindparam(_given("position")))
    figures: dict[str, Any] = {name: bindparam(_given(name)) for name in Figures().row()}
    return _RUNNING.values(**figures).add_cte(window.cte("the_window"))


def _given(name: str) -> str:
    """The name of a parameter for a column: SQLAlchemy keeps the column's own name for itself."""
    return name if name.startswith("the_") else f"the_{name}"


def complete_windows(connection: Connection, closed: Mapping[SyncWindow, Figures], run_id: str, now: datetime) -> None:
    """Close windows whose scan is proven complete: nothing of theirs is missing in raw_referrals.

    `distinct_ids` is counted here, in the database: a set of ids in memory would grow with the window.
    """
    counted = connection.execute(
        select(raw_referrals.c.window_start, func.count(raw_referrals.c.referral_id.distinct()).label("ids"))
        .where(
            raw_referrals.c.window_start >= min(window.start for window in closed),
            raw_referrals.c.window_start < max(window.end for window in closed),
        )
        .group_by(raw_referrals.c.window_start)
    )
    held = {row.window_start: row.ids for row in counted}
    for window, figures in closed.items():
        figures.distinct_ids = held.get(window.start, 0)
        the = _the(window)
        connection.execute(_WINDOW, {**the, "position": None, f"{Asset.RAW_REFERRALS}_at": now})
        state = AttemptState.COMPLETE if figures.fetched or figures.distinct_ids else AttemptState.EMPTY
        noted = {"state": state, "finished_at": now, **figures.row()}
        connection.execute(_RUNNING, {**the, "the_run": run_id, **noted})


def fail(connection: Connection, run_id: str, now: datetime, error: str, *, incomplete: bool = False) -> None:
    """End what this run left `running`: `failed`, or `incomplete` when the scan could not be proven."""
    connection.execute(
        update(sync_attempts)
        .where(sync_attempts.c.run_id == run_id, sync_attempts.c.state == AttemptState.RUNNING)
        .values(
            state=AttemptState.INCOMPLETE if incomplete else AttemptState.FAILED,
            finished_at=now,
            error=error[:2000],
        )
    )


# The assets after raw_referrals ---------------------------------------------------------------------------------------


def require(connection: Connection, windows: Sequence[SyncWindow], before: Asset) -> list[SyncWindow]:
    """The windows with the interval each answers for, once it is sure that `before` has done all of them.

    Raises WindowNotReadyError naming the first that it has not.
    """
    ready = {
        row.window_start: row.covers_from
        for row in connection.execute(
            select(sync_windows.c.window_start, sync_windows.c.covers_from).where(
                _named(windows), _at(before).is_not(None)
            )
        )
    }
    for window in windows:
        if window.start not in ready:
            raise WindowNotReadyError(
                f"{before} has not done window {window.key} yet, so there is nothing to build on; materialize {before} "
                "for it first, or the whole chain"
            )
    return [replace(window, covers_from=ready[window.start]) for window in windows]


def upstream_completed_at(connection: Connection, windows: Sequence[SyncWindow], before: Asset) -> dict[int, datetime]:
    """When `before` had each of these windows (by start): what an asset that begins now builds on."""
    rows = connection.execute(select(sync_windows.c.window_start, _at(before)).where(_named(windows)))
    return {start: at for start, at in rows if at is not None}


def mark(
    connection: Connection,
    windows: Sequence[SyncWindow],
    asset: Asset,
    now: datetime,
    *,
    changed: bool,
    seen: Mapping[int, datetime] | None = None,
) -> None:
    """Note that an asset has all of these windows; when it `changed` something, the later assets no longer do.

    `seen` is from `upstream_completed_at`, read before the asset read its rows. With it, a window that was reopened
    meanwhile is left open: another run stored something new under it, which this one cannot have read.
    """
    marks = {f"{asset}_at": now, **(_undone_after(asset) if changed else {})}
    if seen is None:
        connection.execute(update(sync_windows).where(_named(windows)).values(**marks))
        return
    before = CHAIN[CHAIN.index(asset) - 1]
    as_seen = _WINDOW.where(_at(before) == bindparam("seen_at", type_=sync_windows.c[f"{before}_at"].type))
    connection.execute(
        as_seen.values(**marks),
        [{**_the(window), "seen_at": seen[window.start]} for window in windows if window.start in seen],
    )


def reopen(connection: Connection, window: SyncWindow, after: Asset, now: datetime) -> None:
    """Something new stands under `after`: what the later assets made of the window is no longer all of it.

    `after` itself has the window as of `now`, so that a later asset at work on it finds out (`mark`).
    """
    connection.execute(_reopening(after), {**_the(window), "the_now": now})


@cache
def _reopening(after: Asset) -> Update:
    done = _at(after)
    since = case((done.is_not(None), bindparam("the_now", type_=done.type)))
    return _WINDOW.values(**{f"{after}_at": since}, **_undone_after(after))


def _undone_after(asset: Asset) -> dict[str, None]:
    return {f"{later}_at": None for later in CHAIN[CHAIN.index(asset) + 1 :]}


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tries:
    """How often an undone stretch was tried, and when last (None: never)."""

    count: int
    last: datetime | None


def tries(connection: Connection, start: int, end: int) -> Tries:
    """The attempts at those windows of `[start, end)` that are not done: the most at one window, and the latest."""
    per_window = (
        select(func.count().label("count"), func.max(sync_attempts.c.started_at).label("last"))
        .join(
            sync_windows,
            and_(
                sync_windows.c.window_start == sync_attempts.c.window_start,
                sync_windows.c.window_end == sync_attempts.c.window_end,
            ),
        )
        .where(
            sync_attempts.c.window_start >= start,
            sync_attempts.c.window_end <= end,
            or_(*(_at(asset).is_(None) for asset in CHAIN)),
            sync_attempts.c.state != AttemptState.DISABLED,
        )
        .group_by(sync_attempts.c.window_start, sync_attempts.c.window_end)
        .subquery()
    )
    count, last = connection.execute(select(func.max(per_window.c.count), func.max(per_window.c.last))).one()
    return Tries(count or 0, last)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the chain got in a stretch: windows done, summed over the assets, and what is going on in words."""

    steps: int
    described: str


def progress(connection: Connection, start: int, end: int, since: datetime) -> Progress:
    """How far a run that began at `since` got with the windows in `[start, end)` (ticks)."""
    inside = and_(sync_windows.c.window_start >= start, sync_windows.c.window_end <= end)
    counts = connection.execute(
        select(*(func.count().filter(_at(asset) >= since) for asset in CHAIN)).where(inside)
    ).one()
    windows = max(counts)
    current = next((asset for asset, count in zip(CHAIN, counts, strict=True) if count < windows or not count), None)
    if current is not Asset.RAW_REFERRALS:
        return Progress(sum(counts), str(current or "finishing"))
    fetched = connection.execute(
        select(func.coalesce(func.sum(sync_attempts.c.fetched), 0)).where(
            sync_attempts.c.window_start >= start,
            sync_attempts.c.window_end <= end,
            sync_attempts.c.state == AttemptState.RUNNING,
        )
    ).scalar_one()
    return Progress(sum(counts), f"{current}: {fetched:,} rows")
