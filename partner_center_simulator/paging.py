"""A list of referrals, page by page: query options, $skiptoken, @odata.nextLink (partner_center_api.md, section 2).

Not here: who may ask (`referrals`), how a row is printed (`row_variants`).

Where Microsoft documents nothing, the first switches of `faults.Faults` choose between the possible behaviours.
Without $orderby the newest rows come first.
"""

import base64
import binascii
import hmac
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.faults import CorruptRow, Faults
from partner_center_simulator.instants import TICKS_PER_SECOND, ticks_or_none
from partner_center_simulator.odata import (
    EVERYTHING,
    AllOf,
    Condition,
    DateComparison,
    Filter,
    Order,
    QueryError,
    parse_filter,
    parse_orderby,
)
from partner_center_simulator.payloads import Payload
from partner_center_simulator.responses import invalid, spoiled
from partner_center_simulator.row_variants import as_sent, make_corrupt
from partner_center_simulator.world import Position, World

PATH: Final = "/v1.0/engagements/referrals"
_DEFAULT_PAGE_SIZE: Final = 50
_MAX_PAGE_SIZE: Final = 100

_OPTIONS: Final = frozenset({"$filter", "$orderby", "$top", "$skip", "$select", "$count", "$skiptoken"})
_CONTEXT: Final = "http://api.partner.microsoft.com/v1.0/$metadata#Referrals"


@dataclass(frozen=True, slots=True)
class Query:
    """A request for one page of a list; the $skiptoken of a next link holds it.

    `rows_left` is how many rows may still come, None for all. The page begins after the position `after` and leaves out
    `skip` rows. `last_id` is the last row of the previous page, `held_id` a row held back from it. `followed` says that
    a link led here, `again` that the page was sent before. `started` (the first request) and `issued` (the link) are
    ticks.
    """

    filter: str | None
    order: Order
    descending: bool
    size: int
    rows_left: int | None
    skip: int
    select: tuple[str, ...]
    after: Position | None = None
    last_id: str | None = None
    held_id: str | None = None
    followed: bool = False
    again: bool = False
    started: int = 0
    issued: int = 0


class Pages:
    """The lists of one world, with pages of 50 rows, or up to 100 by $top."""

    def __init__(self, world: World, clock: SimulatorClock, faults: Faults) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults
        self._key = f"skiptoken {world.seed}".encode()

    def page(self, options: Mapping[str, str], host: str, visible: tuple[Condition, ...]) -> dict[str, Any]:
        """Return the body that answers the query options, for a caller who may see the rows that fulfil `visible`.

        `host` is the request's Host header. Raises ApiError (400).
        """
        query = self._query(options)
        faults = self._faults
        if "$skiptoken" in options and faults.next_link_dead:
            return {"@odata.context": _CONTEXT, "@odata.count": 0, "value": []}
        if query.followed and faults.touch_between_pages:
            self._update_last_row(query)
        condition = self._condition(query, visible)
        size = query.size if query.rows_left is None else min(query.size, query.rows_left)
        matches = self._select(condition, query, size + 1)
        more = len(matches) > size and (query.rows_left is None or query.rows_left > size)
        matches = matches[:size]
        rows = [row for _, row in matches]
        may_hold = faults.out_of_order_row and more and not faults.next_link_missing  # only if a page follows
        held = rows.pop(0) if may_hold and len(rows) > 1 else None
        repeated = self._world.get(query.last_id) if faults.duplicate_rows and query.last_id else None
        held_before = None if query.held_id is None else self._world.get(query.held_id)
        rows = [row for row in (repeated, *rows, held_before) if row is not None]
        limit = faults.rows_refused_above
        if any(row["id"] in faults.poisoned_rows for row in rows) or (limit is not None and len(rows) > limit):
            raise spoiled(faults.poison_status)
        if faults.reordered_rows:
            rows.reverse()
        value = [as_sent(row, faults) for row in rows]
        counts_for_skip = faults.next_link_missing or faults.next_link_dead
        if matches and not counts_for_skip:  # a reader that counts rows for $skip would count these, too
            value += [make_corrupt(matches[0][1], kind) for kind in self._corrupt_kinds(query)]
        if query.select:
            value = [_picked(row, query.select) for row in value]
        total = len(self._world.select(condition, query.order)) if faults.count_is_total else len(value)
        body: dict[str, Any] = {"@odata.context": _CONTEXT, "@odata.count": total, "value": value}
        next_query = self._next_query(query, matches, None if held is None else held["id"]) if more else None
        next_query = self._wrong_next_query(query, next_query)
        if next_query is not None and not faults.next_link_missing:
            body["@odata.nextLink"] = self._next_link(host, replace(next_query, issued=self._clock.ticks()))
        return body

    def _select(self, condition: Filter, query: Query, limit: int) -> list[tuple[Position, Payload]]:
        """Return the page's rows in the order that the server gives them, at most `limit`."""
        compares = self._faults.compares
        if compares is DateComparison.EXACT or query.order is not Order.UPDATED:
            return self._world.select(
                condition,
                query.order,
                descending=query.descending,
                after=query.after,
                skip=query.skip,
                limit=limit,
            )
        rows = [(_coarse(at, row["id"], compares), row) for at, row in self._world.select(condition)]
        rows.sort(key=lambda item: item[0], reverse=query.descending)
        if (after := query.after) is not None:
            rows = [item for item in rows if (item[0] < after if query.descending else item[0] > after)]
        return rows[query.skip : query.skip + limit]

    def _corrupt_kinds(self, query: Query) -> list[CorruptRow]:
        """Return the corrupt rows for a page. One without a date fulfils no comparison with `updatedDateTime`."""
        compares_dates = query.filter is not None and Order.UPDATED in query.filter
        undated = (CorruptRow.NO_DATE, CorruptRow.BAD_DATE)
        kinds = [kind for kind in CorruptRow if kind in self._faults.corrupt_rows]
        return [kind for kind in kinds if not (compares_dates and kind in undated)]

    def _next_query(self, query: Query, matches: list[tuple[Position, Payload]], held_id: str | None) -> Query:
        """Return the query for the page after these matches: after the last one's position, or at an offset."""
        by_offset = self._faults.offset_paging
        return replace(
            query,
            skip=query.skip + len(matches) if by_offset else 0,
            after=query.after if by_offset else matches[-1][0],
            rows_left=None if query.rows_left is None else query.rows_left - len(matches),
            last_id=matches[-1][1]["id"],
            held_id=held_id,
            followed=True,
            again=False,
        )

    def _wrong_next_query(self, query: Query, next_query: Query | None) -> Query | None:
        """Return the query that the next link leads to while a switch makes it wrong, else `next_query`."""
        faults = self._faults
        if faults.duplicate_pages and not query.again:
            return replace(query, followed=True, again=True)
        if next_query is None or faults.next_link_loop:
            return query if next_query else None
        if faults.next_link_back and query.followed:
            return replace(query, skip=0, after=None, last_id=None, held_id=None, followed=False)
        return next_query

    def _update_last_row(self, query: Query) -> None:
        last = None if query.last_id is None else self._world.get(query.last_id)
        updated = None if last is None else ticks_or_none(last.get(Order.UPDATED))
        if last is not None and updated is not None and updated < query.started:
            self._world.change(last["id"], self._clock.ticks(), {})

    def _condition(self, query: Query, visible: tuple[Condition, ...]) -> Filter:
        faults = self._faults
        refused = ("updatedDateTime",) if faults.filter_updated_refused else ()
        try:
            condition = (
                EVERYTHING
                if query.filter is None
                else parse_filter(
                    query.filter,
                    faults.date_literal,
                    refused,
                    faults.compares,
                    without_updated=faults.filter_ignored,
                )
            )
        except QueryError as error:
            raise invalid(str(error)) from None
        condition = replace(condition, rest=AllOf((*condition.rest.parts, *visible)))
        if faults.late_visible_seconds:
            upper = self._clock.ticks() - int(faults.late_visible_seconds * TICKS_PER_SECOND) + 1
            condition = replace(condition, upper=upper if condition.upper is None else min(upper, condition.upper))
        return condition

    def _query(self, options: Mapping[str, str]) -> Query:
        for name in options:
            if name not in _OPTIONS:
                raise invalid(f"The query option '{name}' is not supported.")
        token = options.get("$skiptoken")
        if token is not None:
            return self._read_skiptoken(token)
        order, descending = Order.UPDATED, True
        if "$orderby" in options:
            try:
                order, descending = parse_orderby(options["$orderby"])
            except QueryError as error:
                raise invalid(str(error)) from None
            if order is Order.UPDATED and self._faults.orderby_updated_refused:
                raise invalid(f"Ordering by '{order}' is not supported.")
            if self._faults.orderby_ignored:
                order, descending = Order.UPDATED, True
        skip = _parse_number(options, "$skip") or 0
        if "$skip" in options and self._faults.skip_refused:
            raise invalid("The query option '$skip' is not supported.")
        if options.get("$count", "false") not in ("true", "false"):
            raise invalid("The value of '$count' is not a boolean.")
        top = _parse_number(options, "$top")
        total = self._faults.top_is_total
        size = _DEFAULT_PAGE_SIZE if top is None or total else min(top, _MAX_PAGE_SIZE)
        select = tuple(name.strip() for name in options.get("$select", "").split(",") if name.strip())
        if any("/" in name for name in select):
            raise invalid("Only top-level properties can be selected.")
        return Query(
            options.get("$filter"),
            order,
            descending,
            min(size, self._faults.largest_page or size),
            top if total else None,
            0 if self._faults.skip_ignored else skip,
            select,
            started=self._clock.ticks(),
        )

    # Links

    def _next_link(self, host: str, query: Query) -> str:
        # Microsoft's own tokens have lower-case escapes (%2f, %2b); a client must not change them.
        token = re.sub("%..", lambda escape: escape[0].lower(), quote(self._write_skiptoken(query), safe=""))
        faults = self._faults
        if faults.next_link_foreign:
            host = "referrals.example.net"
        scheme = "https" if faults.next_link_plain or faults.next_link_https else "http"
        path = PATH if faults.next_link_plain or faults.next_link_engagements else "/v1.0/referrals"
        return f"{scheme}://{host}{path}?$skiptoken={token}"

    def _write_skiptoken(self, query: Query) -> str:
        state = json.dumps([getattr(query, name) for name in Query.__slots__])
        packed = zlib.compress(state.encode())
        return base64.b64encode(hmac.digest(self._key, packed, "sha512") + packed).decode()

    def _read_skiptoken(self, token: str) -> Query:
        try:
            raw = base64.b64decode(token, validate=True)
        except (ValueError, binascii.Error):
            raise invalid("The $skiptoken is not valid.") from None
        signature, packed = raw[:64], raw[64:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, packed, "sha512")):
            raise invalid("The $skiptoken is not valid.")
        state: dict[str, Any] = dict(zip(Query.__slots__, json.loads(zlib.decompress(packed)), strict=True))
        age = timedelta(microseconds=(self._clock.ticks() - state["issued"]) // 10)
        if age > timedelta(seconds=self._faults.skiptoken_lifetime_seconds):
            raise invalid("The $skiptoken has expired.")
        after = state["after"]
        state |= {
            "order": Order(state["order"]),
            "select": tuple(state["select"]),
            "after": None if after is None else (after[0], after[1], after[2]),
        }
        return Query(**state)


def _coarse(at: Position, referral_id: str, compares: DateComparison) -> Position:
    """Return a row's position where instants are compared coarsely. Equal ones come in an order of their own."""
    ticks, _, number = at
    return compares.key(ticks) if ticks > 0 else ticks, zlib.crc32(referral_id.encode()), number


def _picked(row: Any, names: tuple[str, ...]) -> Any:
    return {name: row[name] for name in names if name in row} if isinstance(row, dict) else row


def _parse_number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or (name == "$top" and int(text) == 0):
        raise invalid(f"The value of '{name}' is not a positive integer.")
    return int(text)
