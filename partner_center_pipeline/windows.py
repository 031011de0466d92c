"""The sync window: its ticks, its grid, its partitions definition, and all arithmetic on time (windows.md).

Not here: which windows are done (`warehouse.ledger`), and what time it is now: functions that need it take it.

A *tick* is 100 nanoseconds, counted from 1970-01-01T00:00:00Z. The Referrals API prints `updatedDateTime` with 0 to 7
fraction digits (partner_center_api.md, section 3.2), which a tick holds exactly; Python's datetime drops the seventh.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import dagster as dg

TICKS_PER_SECOND: Final = 10_000_000
"""100 ns ticks in a second."""

KEY_FORMAT: Final = "%Y-%m-%d-%H:%M"
"""A partition key: the window's start in UTC, to the minute (Dagster's own form for windows below a day)."""

ALLOWED_INTERVALS: Final = (60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600)
"""Widths of a window in seconds: whole minutes that divide an hour, because a cron has no finer grain."""

CLOCKS_AGREE_SECONDS: Final = 30.0
"""Seconds by which two clocks may differ before it is said: less than any window is wide."""

WINDOWS_WARNING: Final = 80_000
"""Dagster advises at most 100,000 partitions per asset; the pipeline warns before that."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]((?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d{1,7}))?(?:[Zz]|[+-]00:00)", re.ASCII
)


def parse_ticks(text: str) -> int:
    """Read an instant as the API prints it, `YYYY-MM-DDTHH:MM:SS[.f{1,7}]Z`, into ticks.

    Uses no float, and no datetime below a second. Raises ValueError for anything else, such as an offset from UTC.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(f"not an instant of the form 2026-01-31T09:30:00.1234567Z: {text[:40]!r}")
    day, time, fraction = found.groups()
    whole = datetime.fromisoformat(f"{day}T{time}+00:00") - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * TICKS_PER_SECOND + int((fraction or "").ljust(7, "0"))


def render_ticks(ticks: int) -> str:
    """Return the shortest text that `parse_ticks` reads back to the same ticks, e.g. `2026-01-31T09:30:00.5Z`."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{fraction:07d}".rstrip("0") + "Z" if fraction else f"{text}Z"


def ticks_of(moment: datetime) -> int:
    """Return the ticks of an aware datetime. Raises ValueError for a naive one, which names no instant."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without a zone names no instant")
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * TICKS_PER_SECOND + passed.microseconds * 10


def datetime_of(ticks: int) -> datetime:
    """Return the UTC datetime of ticks, cut (not rounded) to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks // 10)


BEGINNING: Final = parse_ticks("0001-01-01T00:00:00Z")
"""Before every referral: .NET's DateTime.MinValue, the lowest instant the API could print."""


LATENESS_PERIOD: Final = timedelta(days=7)
"""How long a late version widens the overlap."""

MAX_OVERLAP: Final = 14_400
"""Seconds up to which the overlap widens by itself: four hours, some pages more for each window. What comes later than
that is found by the daily comparison."""


def widened_overlap(overlap: int, latest_late: float | None) -> int:
    """Return the overlap (seconds) that scans use: `overlap`, doubled while late versions lie in its farther half.

    `latest_late` is how far before its window the latest of the late versions of the last LATENESS_PERIOD lay (seconds;
    None: there was none). The result is at most MAX_OVERLAP, but never less than `overlap`. An overlap of 0 is kept: it
    finds no late version.
    """
    most = max(overlap, MAX_OVERLAP)
    widened = overlap
    while 0 < widened < most and latest_late is not None and latest_late > widened / 2:
        widened = min(2 * widened, most)
    return widened


@dataclass(frozen=True, slots=True, order=True)
class SyncWindow:
    """One sync window `[start, end)` of the server's `updatedDateTime`.

    `start` and `end` are ticks and name the partition. `covers_from` (ticks, at most `start`) is where the interval
    that this window answers for begins: `start` itself, but earlier for the first window of an installation, which
    also answers for everything before it (`BEGINNING` when nothing was ever synced: the genesis window).
    """

    start: int
    end: int
    covers_from: int

    @property
    def key(self) -> str:
        """The window's partition key."""
        return datetime_of(self.start).strftime(KEY_FORMAT)

    @property
    def is_genesis(self) -> bool:
        """Whether the window has no lower bound."""
        return self.covers_from == BEGINNING

    def __str__(self) -> str:
        lower = "the beginning" if self.is_genesis else render_ticks(self.covers_from)
        return f"[{lower}, {render_ticks(self.end)})"


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Where windows begin and end: every `interval` seconds (UTC) from `first`.

    `first` is `HUNTER_SYNC_START` rounded up to the interval, in ticks; None while no start is set: then there is no
    window at all. `lag` is the safety lag in seconds.
    """

    first: int | None
    interval: int
    lag: int

    @classmethod
    def of(cls, start: datetime | None, interval: int, lag: int) -> "WindowGrid":
        """Make the grid from `start` (aware; rounded up to a multiple of `interval` seconds) on."""
        if start is None:
            return cls(None, interval, lag)
        width = interval * TICKS_PER_SECOND
        return cls(-(-ticks_of(start) // width) * width, interval, lag)

    @property
    def width(self) -> int:
        """A window's width in ticks."""
        return self.interval * TICKS_PER_SECOND

    @property
    def per_day(self) -> int:
        """Windows in a day, the most that one run takes."""
        return 86_400 // self.interval

    @property
    def lag_minutes(self) -> int:
        """The safety lag rounded up to minutes: a cron has no finer grain."""
        return -(-self.lag // 60)

    @property
    def cron(self) -> str:
        """When the schedule ticks: the safety lag after each window's end, e.g. `2-59/10 * * * *`."""
        minutes = self.interval // 60
        offset = self.lag_minutes % minutes
        if minutes == 60:
            return f"{offset} * * * *"
        return f"{offset}-59/{minutes} * * * *" if minutes > 1 else "* * * * *"

    def window(self, start: int) -> SyncWindow:
        """Return the window that begins at `start`, a tick on the grid."""
        return SyncWindow(start, start + self.width, start)

    def window_of_key(self, key: str) -> SyncWindow:
        """Return the window of a partition key.

        Raises ValueError when the key is no minute in UTC, is not on the grid, or lies before the first window.
        """
        try:
            start = ticks_of(datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC))
        except ValueError:
            start = None
        if start is None or self.window(start).key != key:  # strptime also takes 2026-1-31-9:30
            raise ValueError(f"{key!r} is not a sync window; a key looks like 2026-01-31-09:30 (UTC)")
        if self.first is None:
            raise ValueError("HUNTER_SYNC_START is not set, so there is no sync window yet")
        if start % self.width:
            raise ValueError(f"{key!r} is not the start of a window of {self.interval} s")
        if start < self.first:
            raise ValueError(f"{key!r} is before the first sync window, {self.window(self.first).key}")
        return self.window(start)

    def due_end(self, now: datetime) -> int:
        """Return the end (ticks) of the last window that is due at `now`: it ended at least the safety lag ago."""
        return (ticks_of(now) - self.lag * TICKS_PER_SECOND) // self.width * self.width

    def last_due(self, now: datetime) -> SyncWindow | None:
        """Return the last window that is due at `now`, or None."""
        start = self.due_end(now) - self.width
        return self.window(start) if self.first is not None and start >= self.first else None

    def tick_window(self, scheduled: datetime) -> SyncWindow | None:
        """Return the window for a schedule tick at `scheduled`: the last that ended `lag_minutes` before, or None."""
        return self.last_due(scheduled - timedelta(seconds=self.lag_minutes * 60 - self.lag))

    def between(self, start: int, end: int) -> Iterator[SyncWindow]:
        """Yield the windows of `[start, end)`; both are ticks on the grid."""
        return (self.window(at) for at in range(start, end, self.width))

    def partitions(self) -> "dg.TimeWindowPartitionsDefinition":
        """Return the grid as Dagster's partitions. Without a start there is none: it then begins in the far future."""
        import dagster as dg

        start = datetime(2200, 1, 1, tzinfo=UTC) if self.first is None else datetime_of(self.first)
        minutes = self.interval // 60
        return dg.TimeWindowPartitionsDefinition(
            start=start,
            cron_schedule="0 * * * *" if minutes == 60 else f"*/{minutes} * * * *",
            fmt=KEY_FORMAT,
            timezone="UTC",
        )


def counts_until(until: datetime, now: datetime, longest: timedelta) -> bool:
    """Say whether something that ends at `until` still holds at `now`, when it never lasts longer than `longest`.

    What ends further ahead than that was written by a clock that was wrong, and is void. All times are UTC.
    """
    return timedelta(0) < until - now <= longest


def over_by(windows: Sequence[SyncWindow], server_ticks: int, lag: int) -> int:
    """Return how many of these windows, in ascending order, ended at least `lag` seconds ago by the server's clock."""
    return sum(window.end + lag * TICKS_PER_SECOND <= server_ticks for window in windows)


def held_back(now: datetime, skew: float | None) -> datetime:
    """Return the time up to which windows are asked for: `now`, or the server's time when its clock is behind.

    `skew` is the server's clock minus this machine's in seconds, None while it is not known. The server refuses a
    window that is not over by its own clock.
    """
    return now + timedelta(seconds=min(skew or 0.0, 0.0))


def clocks_differ(skew: float | None) -> str:
    """Return a sentence for a person about clocks that differ (`skew` as in `held_back`); empty when they agree."""
    if skew is None or abs(skew) < CLOCKS_AGREE_SECONDS:
        return ""
    return (
        f"This machine's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} Partner Center's. Partner "
        "Center's is trusted, so nothing is lost, but windows wait; set this machine's clock."
    )


def merge(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the union of half-open intervals of ticks, as disjoint intervals in ascending order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged


def until_end(intervals: Iterable[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """Return what of these intervals of ticks lies before `end`."""
    return [(low, min(high, end)) for low, high in intervals if low < end]


def uncovered(start: int, end: int, covered: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of `[start, end)` that no interval of `covered` holds, in ascending order."""
    gaps: list[tuple[int, int]] = []
    at = start
    for low, high in merge(covered):
        if low >= end:
            break
        if low > at:
            gaps.append((at, low))
        at = max(at, high)
    if at < end:
        gaps.append((at, end))
    return gaps


def catch_up(
    grid: WindowGrid, now: datetime, done: Iterable[tuple[int, int]], busy: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the stretches of windows to run now: due at `now`, not `done`, not `busy`; the oldest first.

    `done` and `busy` are intervals of ticks: what the whole chain has, and what runs are working on. A stretch is
    contiguous, on the grid, and at most a day long. When something is missing before the grid's first window (all of it
    until the genesis window is done), that window is missing.
    """
    last = grid.last_due(now)
    if grid.first is None or last is None:
        return []
    width = grid.width
    missing = merge(
        (
            max(low, grid.first) // width * width,
            max(-(-high // width) * width, grid.first + width),
        )
        for low, high in uncovered(BEGINNING, last.end, done)
    )
    taken = [(low // width * width, -(-high // width) * width) for low, high in busy]
    day = grid.per_day * width
    return [
        (start, min(start + day, high))
        for stretch_low, stretch_high in missing
        for low, high in uncovered(stretch_low, stretch_high, taken)
        for start in range(low, high, day)
    ]


REFUSALS_BEFORE_HALVING: Final = 3
"""Refused runs of a stretch after which it is cut into halves, so that its healthy windows get done."""


def cut_refused(
    stretches: Iterable[tuple[int, int]], refused: Collection[tuple[int, int]], width: int
) -> list[tuple[int, int]]:
    """Return the same windows in the stretches to request, in the same order: halves of what was refused repeatedly.

    `refused` has the interval (ticks) of each run that failed with what would be refused again. A stretch that lay in
    REFUSALS_BEFORE_HALVING of them, and was refused as it is, is cut into halves, and these by the same rule, down to a
    window (`width`, ticks). A half is first tried as a whole.
    """
    cut: list[tuple[int, int]] = []
    for low, high in stretches:
        around = sum(start <= low and high <= end for start, end in refused)
        if high - low > width and around >= REFUSALS_BEFORE_HALVING and (low, high) in refused:
            middle = low + (high - low) // width // 2 * width
            cut += cut_refused([(low, middle), (middle, high)], refused, width)
        else:
            cut.append((low, high))
    return cut


def newest_first(stretches: Sequence[tuple[int, int]], newest: SyncWindow | None) -> list[tuple[int, int]]:
    """Return the same windows with the newest due one in a stretch of its own before all others, if it is among them.

    The others keep their order. A single stretch stays as it is: there is no backlog to wait for.
    """
    if newest is None or len(stretches) < 2 or stretches[-1][1] != newest.end:
        return list(stretches)
    *older, (low, high) = stretches
    rest = [(low, newest.start)] if low < newest.start else []
    return [(newest.start, high), *older, *rest]
