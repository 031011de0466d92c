"""All referrals at a moment: those of the year before the anchor, and everything created and changed since.

Not here: what one payload holds (`payloads`), HTTP (`referrals`), what time it is (`clock`; callers use `advance`).

The world at a moment depends only on (seed, anchor, size, moment) and on what tests change. Base referrals are computed
when needed. Their `updatedDateTime` grows with the index, so a filter on it is a binary search, and a million referrals
need no memory. A referral that was changed or created later is in the overlay.
"""

import heapq
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from threading import RLock
from typing import Any, Final

from partner_center_simulator.companies import Companies
from partner_center_simulator.instants import TICKS_PER_SECOND, parse_ticks, render_ticks, ticks_of, ticks_or_none
from partner_center_simulator.odata import EVERYTHING, Filter, Order
from partner_center_simulator.payloads import (
    DAY,
    RESPONSE_DAYS,
    Payload,
    Payloads,
    etag,
    midnight,
    shifted_samples,
)
from partner_center_simulator.seeded_random import Draw

Position = tuple[int, int, int]
"""A row's position in an order: (instant in ticks, 0 for base or 1 for overlay, index or sequence number)."""

LIVE_PERIOD: Final = timedelta(seconds=45)
"""The time between two events of a live world."""

_NO_INSTANT: Final = -(1 << 62)
"""Before every instant, in ticks: OData puts null first in an ascending order."""

_YEAR: Final = 365 * DAY
_RECENT_PERCENT: Final = 15
_REQUIRED_STATUS: Final = {"accept": "New", "decline": "New", "work": "Active", "close": "Active"}
"""The status that a referral must have for a live event (partner_center_api.md, section 6)."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Base indexes [first, first + count), spread evenly over [start, end) ticks."""

    first: int
    count: int
    start: int
    end: int

    def slot(self, index: int) -> tuple[int, int]:
        span = self.end - self.start
        offset = index - self.first
        return self.start + span * offset // self.count, self.start + span * (offset + 1) // self.count


class World:
    """Every referral of one simulated partner. Safe to use from any thread.

    `anchor` (aware) is the end of the base year, `referrals` the number of referrals at that time. With `recent_from`
    (aware) 15 % of them were last changed in [recent_from, anchor), so that the day's windows have rows. A `live` world
    has an event every `LIVE_PERIOD` after the anchor.
    """

    def __init__(
        self,
        seed: int,
        anchor: datetime,
        referrals: int,
        *,
        recent_from: datetime | None = None,
        live: bool = False,
    ) -> None:
        self.seed = seed
        self._anchor = ticks_of(anchor)
        self._live = live
        self.companies = Companies(seed)
        self._lock = RLock()
        year_start = self._anchor - _YEAR
        samples = shifted_samples(year_start, self._anchor, referrals)
        base = referrals - len(samples)
        self.payloads = Payloads(seed, self._anchor, self.companies, max(1, base // 4))
        self._base = base
        recent = base * _RECENT_PERCENT // 100 if recent_from is not None else 0
        old_end = self._anchor if recent_from is None else ticks_of(recent_from)
        self._old = _Segment(0, base - recent, year_start, old_end)
        self._recent = _Segment(base - recent, recent, old_end, self._anchor)
        self._by_created: array[int] | None = None
        self._samples = samples
        self.reset()

    def reset(self) -> None:
        """Undo every change and every event: the world as it was made."""
        with self._lock:
            self._replaced: set[int] = set()
            self._overlay: dict[str, tuple[int, Payload]] = {}
            self._orders: dict[Order, list[tuple[int, int, int, str]]] = {order: [] for order in Order}
            self._sequence = 0
            self._next_index = self._base
            self._next_event = 1
            self._next_midnight = midnight(self._anchor) + DAY
            self._expiring: list[tuple[int, str]] = []
            self._reached = self._anchor
            for row in self._samples:
                self.put(row)

    # Reading

    def count(self) -> int:
        """Return the number of referrals."""
        with self._lock:
            return self._base - len(self._replaced) + len(self._overlay)

    def get(self, referral_id: str) -> Payload | None:
        """Return a copy of the referral, or None."""
        with self._lock:
            return deepcopy(self._current(referral_id))

    def all(self) -> Iterator[Payload]:
        """Yield every referral by `updatedDateTime` ascending. The world must not change meanwhile."""
        return (row for _, row in self._walk(EVERYTHING, Order.UPDATED, descending=False, after=None))

    def select(
        self,
        condition: Filter = EVERYTHING,
        order: Order = Order.UPDATED,
        *,
        descending: bool = False,
        after: Position | None = None,
        skip: int = 0,
        limit: int | None = None,
    ) -> list[tuple[Position, Payload]]:
        """Return the matching rows in order, after the position `after`, without the first `skip`, at most `limit`.

        The payloads are the world's own: the caller must not change them.
        """
        with self._lock:
            rows = self._walk(condition, order, descending=descending, after=after)
            return list(islice(rows, skip, None if limit is None else skip + limit))

    def updated(self, index: int) -> int:
        """Return `updatedDateTime` (ticks) of a base referral.

        It never decreases with the index. Sometimes a few neighbours have the same instant, as after a bulk update.
        """
        segment = self._recent if index >= self._recent.first and self._recent.count else self._old
        if index // 4 * 4 >= segment.first and Draw(self.seed, "bulk", index // 4).chance(3):
            index = index // 4 * 4
        low, high = segment.slot(index)
        draw = Draw(self.seed, "updated", index)
        digits = draw.weighted(((60, 7), (10, 6), (6, 5), (4, 4), (10, 3), (3, 2), (2, 1), (5, 0)))
        exact = low + draw.below(max(1, high - low))
        step: int = 10 ** (7 - digits)
        cut = exact // step * step
        return cut if cut >= low else exact

    # Changing

    def put(self, payload: Payload) -> None:
        """Store a payload unchanged; it replaces a referral of the same id, and needs an `id`.

        Without a readable date in a field of `Order` it comes first in that order, as null does, and no comparison with
        the field finds it.
        """
        with self._lock:
            referral_id = payload["id"]
            self._remove(referral_id)
            self._sequence += 1
            self._overlay[referral_id] = self._sequence, payload
            for order in Order:
                insort(self._orders[order], (_instant(payload, order), 1, self._sequence, referral_id))

    def create(self, at: int, changes: Mapping[str, Any] | None = None) -> Payload:
        """Create a random referral at `at` (ticks), apply `changes` (see `change`), and return a copy."""
        with self._lock:
            return deepcopy(self._create(at, changes or {}))

    def change(self, referral_id: str, at: int, changes: Mapping[str, Any]) -> Payload:
        """Change a referral at `at` (ticks): `changes` maps a path such as `details/dealValue` to its new value.

        It also sets `updatedDateTime` and `eTag` unless `changes` does. Returns a copy. Raises KeyError for an unknown
        id.
        """
        with self._lock:
            return deepcopy(self._change(referral_id, at, changes))

    def server_fields(self, at: int) -> Payload:
        """Return the fields that the server sets in a referral created at `at` (ticks), with the next id."""
        with self._lock:
            self._next_index += 1
            return self.payloads.server_fields(self._next_index - 1, at)

    def _current(self, referral_id: str) -> Payload | None:
        """Return the world's own payload of the referral, or None."""
        stored = self._overlay.get(referral_id)
        if stored is not None:
            return stored[1]
        index = self._base_index(referral_id)
        return None if index is None else self.payloads.of(index, self.updated(index))

    def _create(self, at: int, changes: Mapping[str, Any]) -> Payload:
        row = _with_changes(self.payloads.new(self._next_index, at), changes)
        self._next_index += 1
        self.put(row)
        return row

    def _change(self, referral_id: str, at: int, changes: Mapping[str, Any]) -> Payload:
        row = self._current(referral_id)
        if row is None:
            raise KeyError(referral_id)
        stamps = {"updatedDateTime": render_ticks(at), "eTag": etag(referral_id, at)}
        row = _with_changes(row, {**stamps, **changes})
        self.put(row)
        return row

    # Time

    def advance(self, now: int) -> None:
        """Apply the live events and expirations that are due by `now` (ticks), in order of time.

        The world does not go back: an earlier `now` changes nothing.
        """
        with self._lock:
            while self._reached < now:
                event = self._anchor + self._next_event * (LIVE_PERIOD // timedelta(microseconds=1)) * 10
                due = [self._next_midnight]
                if self._expiring:
                    due.append(self._expiring[0][0])
                if self._live:
                    due.append(event)
                at = min(due)
                if at > now:
                    break
                if at == self._next_midnight:
                    self._queue_expirations(at)
                    self._next_midnight += DAY
                elif self._expiring and at == self._expiring[0][0]:
                    self._expire(*heapq.heappop(self._expiring))
                else:
                    self._apply_live_event(self._next_event, at)
                    self._next_event += 1
            self._reached = max(self._reached, now)

    def _queue_expirations(self, day: int) -> None:
        """Queue the unanswered referrals that expire on `day`. Each is closed minutes later, as by a nightly job."""
        first = self._first_base(day - RESPONSE_DAYS * DAY)
        last = self._first_base(day - (RESPONSE_DAYS - 2) * DAY)
        due = [
            self.payloads.ids.of(index)
            for index in range(first, last)
            if index not in self._replaced and self.payloads.plan(index, self.updated(index)).expires_at(day)
        ]
        deadline = render_ticks(day)
        due += [
            referral_id
            for referral_id, (_, row) in self._overlay.items()
            if row.get("status") == "New" and row.get("expirationDateTime") == deadline
        ]
        for referral_id in due:
            delay = TICKS_PER_SECOND * 60 + Draw(self.seed, "expiry", referral_id).below(600 * TICKS_PER_SECOND)
            heapq.heappush(self._expiring, (day + delay, referral_id))

    def _expire(self, at: int, referral_id: str) -> None:
        row = self._current(referral_id)
        if row is not None and row.get("status") == "New":
            changes = {"status": "Closed", "substatus": "Expired", "closedDateTime": render_ticks(at)}
            self._change(referral_id, at, changes)

    def _apply_live_event(self, number: int, at: int) -> None:
        """Apply the live event of a number, at `at` (ticks)."""
        draw = Draw(self.seed, "live", number)
        event = draw.weighted(((45, "create"), (20, "accept"), (20, "work"), (10, "close"), (5, "decline")))
        target = None if event == "create" else self._recent_referral(draw, _REQUIRED_STATUS[event])
        if target is None:
            self._create(at, {})
            return
        now = render_ticks(at)
        changes: dict[str, Any]
        match event:
            case "accept":
                changes = {"status": "Active", "substatus": "Accepted", "acceptedDateTime": now}
                changes["expirationDateTime"] = None
            case "close":
                won = draw.chance(60)
                changes = {"status": "Closed", "substatus": "Won" if won else "Lost", "closedDateTime": now}
            case "decline":
                changes = {"status": "Closed", "substatus": "Declined", "closedDateTime": now}
            case _:
                changes = {"details/dealValue": 250.0 * (1 + draw.below(400))}
                changes["salesStage"] = draw.pick(("20", "40", "60", "80"))
        self._change(target, at, changes)

    def _recent_referral(self, draw: Draw, status: str) -> str | None:
        """Return a recent referral in a status, or None if 30 draws find none."""
        recent = list(islice(reversed(self._overlay), 50))
        for _ in range(30):
            if recent and draw.chance(40):
                referral_id = draw.pick(recent)
                if self._overlay[referral_id][1].get("status") == status:
                    return referral_id
            elif self._base:
                index = self._base - 1 - draw.below(max(1, self._base // 5))
                if index not in self._replaced and self.payloads.plan(index, self.updated(index)).status == status:
                    return self.payloads.ids.of(index)
        return None

    # Searching

    def _base_index(self, referral_id: str) -> int | None:
        index = self.payloads.ids.index(referral_id)
        return index if index is not None and index < self._base and index not in self._replaced else None

    def _first_base(self, ticks: int) -> int:
        """Return the first base index with `updatedDateTime` at or after an instant (ticks)."""
        return bisect_left(range(self._base), ticks, key=self.updated)

    def _remove(self, referral_id: str) -> None:
        """Remove a referral from the base or the overlay."""
        old = self._overlay.pop(referral_id, None)
        if old is None:
            index = self._base_index(referral_id)
            if index is not None:
                self._replaced.add(index)
            return
        sequence, row = old
        for order, entries in self._orders.items():
            del entries[bisect_left(entries, (_instant(row, order), 1, sequence, referral_id))]

    def _walk(
        self, condition: Filter, order: Order, *, descending: bool, after: Position | None
    ) -> Iterator[tuple[Position, Payload]]:
        if condition.id is not None or condition.engagement_id is not None:
            rows: Iterator[tuple[Position, Payload]] = iter(
                sorted(self._rows_by_id(condition, order), key=lambda item: item[0], reverse=descending)
            )
            if after is not None:
                rows = (item for item in rows if (item[0] < after if descending else item[0] > after))
        else:
            rows = heapq.merge(
                self._walk_base(condition, order, descending=descending, after=after),
                self._walk_overlay(condition, order, descending=descending, after=after),
                key=lambda item: item[0],
                reverse=descending,
            )
        return (item for item in rows if condition.rest.matches(item[1]))

    def _rows_by_id(self, condition: Filter, order: Order) -> Iterator[tuple[Position, Payload]]:
        """Yield the few rows that have the condition's `id` and `engagement_id` and are in its bounds."""
        indexes: set[int] = set()
        if condition.id is not None and (index := self.payloads.ids.index(condition.id)) is not None:
            indexes.add(index)
        if condition.engagement_id is not None:
            root = self.payloads.engagements.index(condition.engagement_id)
            indexes |= {root, root + 1} if root is not None else set()
        base = (
            ((self._position(index, order), self.payloads.of(index, self.updated(index))))
            for index in indexes
            if index < self._base and index not in self._replaced
        )
        overlay = (((_instant(row, order), 1, sequence), row) for sequence, row in self._overlay.values())
        for source in (base, overlay):
            for position, row in source:
                ids_match = condition.id in (None, row["id"])
                if ids_match and condition.engagement_id in (None, row["engagementId"]) and _in_bounds(row, condition):
                    yield position, row

    def _position(self, index: int, order: Order) -> Position:
        updated = self.updated(index)
        return (updated if order is Order.UPDATED else self.payloads.plan(index, updated).created), 0, index

    def _walk_base(
        self, condition: Filter, order: Order, *, descending: bool, after: Position | None
    ) -> Iterator[tuple[Position, Payload]]:
        low = 0 if condition.lower is None else self._first_base(condition.lower)
        high = self._base if condition.upper is None else self._first_base(condition.upper)
        indexes: range | array[int] = range(self._base) if order is Order.UPDATED else self._created_order()
        start, stop = (low, high) if order is Order.UPDATED else (0, self._base)
        if after is not None:
            cut = bisect_left(indexes, after, key=lambda index: self._position(index, order))
            if descending:
                stop = min(stop, cut)
            else:
                at_cut = cut < self._base and self._position(indexes[cut], order) == after
                start = max(start, cut + at_cut)
        for at in range(stop - 1, start - 1, -1) if descending else range(start, stop):
            index = indexes[at]
            if low <= index < high and index not in self._replaced:
                updated = self.updated(index)
                row = self.payloads.of(index, updated)
                yield (updated if order is Order.UPDATED else parse_ticks(row[order]), 0, index), row

    def _walk_overlay(
        self, condition: Filter, order: Order, *, descending: bool, after: Position | None
    ) -> Iterator[tuple[Position, Payload]]:
        entries = self._orders[order]
        start, stop = 0, len(entries)
        if after is not None:
            cut = bisect_left(entries, after, key=lambda entry: entry[:3])
            if descending:
                stop = cut
            else:
                start = cut + (cut < len(entries) and entries[cut][:3] == after)
        for at in range(stop - 1, start - 1, -1) if descending else range(start, stop):
            ticks, source, sequence, referral_id = entries[at]
            row = self._overlay[referral_id][1]
            if _in_bounds(row, condition):
                yield (ticks, source, sequence), row

    def _created_order(self) -> "array[int]":
        """Sort the base indexes by `createdDateTime` at the first need. Each takes 8 bytes and some microseconds."""
        if self._by_created is None:
            created = array("q", (self._position(index, Order.CREATED)[0] for index in range(self._base)))
            self._by_created = array("q", sorted(range(self._base), key=created.__getitem__))
        return self._by_created


def _in_bounds(row: Payload, condition: Filter) -> bool:
    if condition.lower is None and condition.upper is None:
        return True
    updated = _instant(row, Order.UPDATED)
    return (
        updated != _NO_INSTANT
        and (condition.lower is None or updated >= condition.lower)
        and (condition.upper is None or updated < condition.upper)
    )


def _instant(row: Payload, field: Order) -> int:
    """Return a row's place in an order, in ticks: `_NO_INSTANT` where the field is null or holds no date."""
    ticks = ticks_or_none(row.get(field))
    return _NO_INSTANT if ticks is None else ticks


def _with_changes(row: Payload, changes: Mapping[str, Any]) -> Payload:
    """Return a copy of the row with new values at paths. Only the objects on a path are copied."""
    copy = dict(row)
    for path, value in changes.items():
        node = copy
        *steps, last = path.split("/")
        for step in steps:
            inner = node.get(step)
            node[step] = dict(inner) if isinstance(inner, dict) else {}
            node = node[step]
        node[last] = value
    return copy
