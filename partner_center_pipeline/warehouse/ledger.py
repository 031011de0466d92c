"""The ledger: which interval of the server's time is covered, how far each asset got, and every attempt.

It is not kept in Dagster's event log, because people prune that. `sync_windows` has a row for each window that was
begun, `sync_attempts` a row for each attempt, successful or not. Coverage is a union of intervals of ticks, so windows
of another width, or from another HUNTER_SYNC_START, count too (windows.md, "The ledger").
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, true, update

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import AttemptState, raw_referrals, sync_attempts, sync_windows
from partner_center_pipeline.windows import BEGINNING, SyncWindow, WindowGrid

CHAIN: Final = tuple(Asset)
"""The assets in flow order. A window is done when all of them have it."""


class WindowNotReadyError(Exception):
    """An asset is to run on a window that the asset before it has not done."""


@dataclass(slots=True)
class Figures:
    """The figures of an attempt at one window so far: the columns of the same names in `sync_attempts`."""

    pages: int = 0
    fetched: int = 0
    new_versions: int = 0
    unchanged: int = 0
    late: int = 0
    quarantined: int = 0
    seconds_waited: float = 0.0
    clock_skew: float | None = None
    distinct_ids: int = 0
    latest_late_seconds: float | None = None

    def add(self, other: "Figures") -> None:
        """Add another window's figures; `clock_skew` becomes the other's."""
        self.pages += other.pages
        self.fetched += other.fetched
        self.new_versions += other.new_versions
        self.unchanged += other.unchanged
        self.late += other.late
        self.quarantined += other.quarantined
        self.distinct_ids += other.distinct_ids
        self.seconds_waited += other.seconds_waited
        self.clock_skew = other.clock_skew
        self.note_late(other.latest_late_seconds)

    def note_late(self, seconds: float | None) -> None:
        """Take in how far before its window a late version lay."""
        if seconds is not None:
            self.latest_late_seconds = max(seconds, self.latest_late_seconds or 0.0)

    def row(self) -> dict[str, Any]:
        """Return the figures by column."""
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
            "latest_late_seconds": self.latest_late_seconds,
        }


def _done_at(asset: Asset) -> Any:
    return sync_windows.c[f"{asset}_at"]


# These are made once: they run with each page, and making one takes longer than running it. In an update, SQLAlchemy
# reserves bind names equal to a column's name for the values to be set, hence the prefix "param_".
_UPDATE_WINDOW: Final = update(sync_windows).where(
    sync_windows.c.window_start == bindparam("param_start"), sync_windows.c.window_end == bindparam("param_end")
)
"""Sets the columns that its parameters name in the window of `_window_key`."""

_UPDATE_ATTEMPT: Final = update(sync_attempts).where(
    sync_attempts.c.window_start == bindparam("param_start"),
    sync_attempts.c.window_end == bindparam("param_end"),
    sync_attempts.c.run_id == bindparam("param_run"),
    sync_attempts.c.state == AttemptState.RUNNING,
)
"""Sets the columns that its parameters name in the running attempt of `param_run` at the window of `_window_key`."""


def _window_key(window: SyncWindow) -> dict[str, int]:
    return {"param_start": window.start, "param_end": window.end}


def _rows_of(windows: Sequence[SyncWindow], table: Any = sync_windows) -> Any:
    """Return the condition for the rows of these windows, which are contiguous and of one width."""
    width = windows[0].end - windows[0].start
    return and_(
        table.c.window_start >= windows[0].start,
        table.c.window_end <= windows[-1].end,
        table.c.window_end - table.c.window_start == width,
    )


# Coverage -------------------------------------------------------------------------------------------------------------


def covered(connection: Connection, assets: Iterable[Asset] = CHAIN) -> list[tuple[int, int]]:
    """Return the disjoint intervals of ticks, ascending, that all of `assets` have done.

    The database merges them (SQL's "gaps and islands"), so the result stays short however many windows there are.
    """
    done = (
        select(sync_windows.c.covers_from.label("low"), sync_windows.c.window_end.label("high"))
        .where(and_(true(), *(_done_at(asset).is_not(None) for asset in assets)))
        .distinct()
        .cte("done")
    )
    high_before = func.max(done.c.high).over(order_by=(done.c.low, done.c.high), rows=(None, -1))
    after_gap = (func.coalesce(high_before, done.c.low - 1) < done.c.low).label("after_gap")
    marked = select(done.c.low, done.c.high, after_gap).cte("marked")
    gaps_before = func.count().filter(marked.c.after_gap).over(order_by=(marked.c.low, marked.c.high), rows=(None, 0))
    numbered = select(marked.c.low, marked.c.high, gaps_before.label("island")).cte("numbered")
    islands = (
        select(func.min(numbered.c.low).label("low"), func.max(numbered.c.high).label("high"))
        .group_by(numbered.c.island)
        .order_by(func.min(numbered.c.low))
    )
    return [(row.low, row.high) for row in connection.execute(islands)]


def covered_from_the_beginning(connection: Connection) -> int:
    """Return up to which tick the chain has everything; `BEGINNING` as long as the genesis window is not done."""
    first = next(iter(covered(connection)), None)
    return first[1] if first is not None and first[0] == BEGINNING else BEGINNING


def resolve(connection: Connection, windows: Sequence[SyncWindow], first: int) -> list[SyncWindow]:
    """Return the windows with the interval that each answers for (`covers_from`).

    The installation's first window (`first`: its start in ticks) also answers for everything before it that is not
    covered; on a new installation that is all of the past. A window that was begun before keeps its interval, or
    reaches back further when HUNTER_SYNC_START moved to it.
    """
    known = {
        (row.window_start, row.window_end): row.covers_from
        for row in connection.execute(select(sync_windows).where(_rows_of(windows)))
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
    """Record that a run begins on these windows. Return the position (ticks) where an earlier attempt stopped, or None.

    A window that now reaches back further than when it was begun is open again, with nothing scanned. Attempts at the
    same windows that are still `running` were left by a process that died: they become `failed`.
    """
    connection.execute(
        update(sync_attempts)
        .where(_rows_of(windows, sync_attempts), sync_attempts.c.state == AttemptState.RUNNING)
        .values(
            state=AttemptState.FAILED,
            finished_at=now,
            error="the run was killed or restarted before it ended",
        )
    )
    nothing_done = {"position": None, **{f"{asset}_at": None for asset in CHAIN}}
    upsert(
        connection,
        sync_windows,
        [
            {
                "window_start": window.start,
                "window_end": window.end,
                "covers_from": window.covers_from,
                **nothing_done,
            }
            for window in windows
        ],
        guard=_covers_more,
    )
    _record(connection, windows, AttemptState.RUNNING, run_id, now)
    return _position(connection, windows)


def _covers_more(new_row: Any) -> ColumnElement[bool]:
    covers_more: ColumnElement[bool] = new_row.covers_from < sync_windows.c.covers_from
    return covers_more


def _position(connection: Connection, windows: Sequence[SyncWindow]) -> int | None:
    """Return the tick up to which an earlier scan has stored everything of these windows, None without such a scan."""
    position: int | None = None
    table = sync_windows
    rows = connection.execute(select(table).where(_rows_of(windows)).order_by(table.c.window_start))
    for row in rows:
        if row.position is not None:
            position = row.position
            if position < row.window_end:
                break
        elif row.raw_referrals_at is None:
            return None  # neither this window nor the overlap before it was scanned
    return position


def record_disabled(connection: Connection, windows: Sequence[SyncWindow], run_id: str, now: datetime) -> None:
    """Record attempts that did not begin because the gate was closed."""
    _record(connection, windows, AttemptState.DISABLED, run_id, now)


def record_failed(
    connection: Connection, windows: Sequence[SyncWindow], run_id: str, now: datetime, error: str
) -> None:
    """Record attempts that failed before they could begin."""
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
    connection: Connection, window: SyncWindow, run_id: str, figures: Figures, position: int | None
) -> None:
    """Save the scan's position (ticks) in a window and the attempt's figures, in the transaction of the page."""
    of_attempt = {"param_run": run_id, **figures.row()}
    key = _window_key(window)
    if connection.dialect.name == "postgresql":
        both = {"position": position, **of_attempt}
        connection.execute(_SAVE, {**key, **{_param(name): both[name] for name in both}})
    else:
        connection.execute(_UPDATE_WINDOW, {**key, "position": position})
        connection.execute(_UPDATE_ATTEMPT, key | of_attempt)


def _param(name: str) -> str:
    return name if name.startswith("param_") else f"param_{name}"


_SAVE: Final = _UPDATE_ATTEMPT.values(**{name: bindparam(_param(name)) for name in Figures().row()}).add_cte(
    _UPDATE_WINDOW.values(position=bindparam(_param("position"))).cte("updated_window")
)
"""Both updates as one statement: it runs with each page, and the server may be far away."""


def complete_windows(connection: Connection, closed: Mapping[SyncWindow, Figures], run_id: str, now: datetime) -> None:
    """Close windows that are proven complete: raw_referrals has all of their versions.

    `distinct_ids` is counted in the database: a set of ids in memory would grow with the window.
    """
    counted = connection.execute(
        select(raw_referrals.c.window_start, func.count(raw_referrals.c.referral_id.distinct()).label("ids"))
        .where(
            raw_referrals.c.window_start >= min(window.start for window in closed),
            raw_referrals.c.window_start < max(window.end for window in closed),
        )
        .group_by(raw_referrals.c.window_start)
    )
    ids_by_start = {row.window_start: row.ids for row in counted}
    for window, figures in closed.items():
        figures.distinct_ids = ids_by_start.get(window.start, 0)
        key = _window_key(window)
        connection.execute(_UPDATE_WINDOW, {**key, "position": None, f"{Asset.RAW_REFERRALS}_at": now})
        state = AttemptState.COMPLETE if figures.fetched or figures.distinct_ids else AttemptState.EMPTY
        ended = {"state": state, "finished_at": now, **figures.row()}
        connection.execute(_UPDATE_ATTEMPT, {**key, "param_run": run_id, **ended})


def fail(
    connection: Connection,
    run_id: str,
    now: datetime,
    error: str,
    *,
    incomplete: bool = False,
    from_start: int = BEGINNING,
    clock_skew: float | None = None,
    disabled: bool = False,
    refused: bool = False,
) -> None:
    """End this run's `running` attempts.

    As `incomplete` when the scan was not proven complete, `disabled` when the switch was turned off, else as `failed`.
    `refused`: the same attempt would fail again, because of what its windows hold. `from_start` (ticks) leaves out the
    windows that begin before it. `clock_skew`: as far as it is known.
    """
    state = AttemptState.INCOMPLETE if incomplete else AttemptState.DISABLED if disabled else AttemptState.FAILED
    connection.execute(
        update(sync_attempts)
        .where(
            sync_attempts.c.run_id == run_id,
            sync_attempts.c.state == AttemptState.RUNNING,
            sync_attempts.c.window_start >= from_start,
        )
        .values(
            clock_skew=func.coalesce(clock_skew, sync_attempts.c.clock_skew),
            state=state,
            finished_at=now,
            error=error[:2000],
            refused=refused,
        )
    )


# The assets after raw_referrals ---------------------------------------------------------------------------------------


def require(connection: Connection, windows: Sequence[SyncWindow], before: Asset) -> list[SyncWindow]:
    """Return the windows with the interval that each answers for, after a check that `before` has done all of them.

    A window whose interval windows of another grid have done counts as done. Raises WindowNotReadyError with the first
    window that is not.
    """
    ready = {
        row.window_start: row.covers_from
        for row in connection.execute(
            select(sync_windows.c.window_start, sync_windows.c.covers_from).where(
                _rows_of(windows), _done_at(before).is_not(None)
            )
        )
    }
    if len(ready) < len(windows):
        done = covered(connection, [before])
        ready |= {
            window.start: window.start
            for window in windows
            if window.start not in ready and any(low <= window.start and window.end <= high for low, high in done)
        }
    for window in windows:
        if window.start not in ready:
            raise WindowNotReadyError(
                f"{before} has not done window {window.key} yet, so there is nothing to build on; materialize {before} "
                "for it first, or the whole chain"
            )
    return [replace(window, covers_from=ready[window.start]) for window in windows]


def mark(connection: Connection, windows: Sequence[SyncWindow], asset: Asset, now: datetime) -> None:
    """Record that an asset has all of these windows."""
    connection.execute(update(sync_windows).where(_rows_of(windows)).values(**{f"{asset}_at": now}))


# Reading --------------------------------------------------------------------------------------------------------------


def is_done(
    connection: Connection, windows: Sequence[SyncWindow], assets: Iterable[Asset] = (Asset.RAW_REFERRALS,)
) -> bool:
    """Say whether raw_referrals, or other assets, have all of these windows, in windows of whatever grid."""
    low, high = windows[0].start, windows[-1].end
    return any(start <= low and high <= end for start, end in covered(connection, assets))


def covering(connection: Connection, windows: Sequence[SyncWindow]) -> dict[SyncWindow, SyncWindow]:
    """Return for each of these windows, in order, a window that raw_referrals has and that answers for all of it.

    One that several windows cover together is left out.
    """
    if not windows:
        return {}
    table = sync_windows
    rows = connection.execute(
        select(table.c.window_start, table.c.window_end, table.c.covers_from)
        .where(
            _done_at(Asset.RAW_REFERRALS).is_not(None),
            table.c.window_end > windows[0].start,
            table.c.covers_from < windows[-1].end,
        )
        .order_by(table.c.window_start)
    )
    known = [SyncWindow(row.window_start, row.window_end, row.covers_from) for row in rows]
    found: dict[SyncWindow, SyncWindow] = {}
    for window in windows:
        by = next((one for one in known if one.covers_from <= window.start and window.end <= one.end), None)
        if by is not None:
            found[window] = by
    return found


def has_begun(connection: Connection) -> bool:
    """Say whether any window was begun."""
    return connection.execute(select(sync_windows.c.window_start).limit(1)).first() is not None


def newest_fetched(connection: Connection, grid: WindowGrid) -> SyncWindow | None:
    """Return the newest window of this grid whose interval raw_referrals has, None while there is none."""
    if grid.first is None:
        return None
    for low, high in reversed(covered(connection, [Asset.RAW_REFERRALS])):
        start = high // grid.width * grid.width - grid.width
        if start >= max(low, grid.first):
            return grid.window(start)
    return None


def fetched_between(connection: Connection, low: int, high: int) -> list[tuple[int, int]]:
    """Return the intervals (ticks) of closed windows that touch `[low, high]`."""
    table = sync_windows
    rows = connection.execute(
        select(table.c.covers_from, table.c.window_end).where(
            table.c.covers_from <= high, table.c.window_end > low, _done_at(Asset.RAW_REFERRALS).is_not(None)
        )
    )
    return [(row.covers_from, row.window_end) for row in rows]


def latest_late(connection: Connection, since: datetime) -> float | None:
    """Return how far before its window (seconds) the latest late version lay, of attempts since `since` (UTC).

    None without any.
    """
    query = select(func.max(sync_attempts.c.latest_late_seconds)).where(sync_attempts.c.started_at >= since)
    latest: float | None = connection.execute(query).scalar_one()
    return latest


@dataclass(frozen=True, slots=True)
class Tries:
    """Attempts at undone windows: the largest number at one window, and when the last began (UTC; None: never)."""

    count: int
    last: datetime | None


def clock_skew(connection: Connection, now: datetime) -> float | None:
    """Return the server's clock minus this machine's in seconds, as the last attempt of a day measured it, or None."""
    measured = (
        select(sync_attempts.c.clock_skew)
        .where(sync_attempts.c.clock_skew.is_not(None), sync_attempts.c.started_at > now - timedelta(days=1))
        .order_by(sync_attempts.c.id.desc())
        .limit(1)
    )
    return connection.execute(measured).scalar_one_or_none()


def tries(connection: Connection, start: int, end: int, now: datetime) -> Tries:
    """Return the attempts at those windows in `[start, end)` (ticks) that are not done; disabled ones do not count.

    One that began after `now` (UTC) was written by a clock that was ahead; it counts, but not as the last.
    """
    began = sync_attempts.c.started_at
    per_window = (
        select(func.count().label("count"), func.max(began).filter(began <= now).label("last"))
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
            or_(*(_done_at(asset).is_(None) for asset in CHAIN)),
            sync_attempts.c.state != AttemptState.DISABLED,
        )
        .group_by(sync_attempts.c.window_start, sync_attempts.c.window_end)
        .subquery()
    )
    count, last = connection.execute(select(func.max(per_window.c.count), func.max(per_window.c.last))).one()
    return Tries(count or 0, last)


def refused(connection: Connection, start: int, end: int) -> list[tuple[int, int]]:
    """Return for each run that was `refused` the interval (ticks) of its windows in `[start, end)` that failed so."""
    table = sync_attempts
    rows = connection.execute(
        select(func.min(table.c.window_start), func.max(table.c.window_end))
        .where(table.c.window_start >= start, table.c.window_end <= end, table.c.refused)
        .group_by(table.c.run_id)
    )
    return [(low, high) for low, high in rows]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run got: windows done, summed over the assets (`steps`), and the current asset as text."""

    steps: int
    described: str


def figures_of(connection: Connection, run_ids: Sequence[str]) -> Figures:
    """Return the figures of all attempts of these runs together: rows fetched, new, unchanged and in quarantine."""
    names = ("fetched", "new_versions", "unchanged", "quarantined")
    sums = (func.coalesce(func.sum(sync_attempts.c[name]), 0) for name in names)
    row = connection.execute(select(*sums).where(sync_attempts.c.run_id.in_(run_ids))).one()
    return Figures(**{name: int(count) for name, count in zip(names, row, strict=True)})


def progress(connection: Connection, start: int, end: int, since: datetime) -> Progress:
    """Return how far a run that began at `since` (UTC) got with the windows in `[start, end)` (ticks)."""
    inside = and_(sync_windows.c.window_start >= start, sync_windows.c.window_end <= end)
    counts = connection.execute(
        select(*(func.count().filter(_done_at(asset) >= since) for asset in CHAIN)).where(inside)
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
