"""The ways in which a history is synced, and the steps of the five assets without Dagster.

Not here: the history and the comparison (`test_histories`).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count

from partner_center_pipeline.defs.derivation import Span, ask_signals, make_companies, make_leads, make_scores
from partner_center_pipeline.defs.window_fetch import fetch_windows
from partner_center_pipeline.mail import scan as scan_dns
from partner_center_pipeline.partner_center import connect
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import SyncWindow


class Order(StrEnum):
    """How the windows of an interval are run."""

    RANGE = "one range"
    ASCENDING = "one by one"
    DESCENDING = "one by one, reversed"
    SHUFFLED = "one by one, shuffled"


@dataclass(frozen=True, slots=True)
class Way:
    """A page size, a window's width in seconds, and an order."""

    page_size: int
    width: int
    order: Order

    def __str__(self) -> str:
        return f"pages of {self.page_size}, windows of {self.width} s, {self.order}"

    def runs(self, windows: Sequence[SyncWindow]) -> Iterator[Sequence[SyncWindow]]:
        """Yield the windows of each run, in the order of the runs."""
        if self.order is Order.RANGE:
            yield windows
            return
        ordered = list(windows)
        if self.order is Order.DESCENDING:
            ordered.reverse()
        elif self.order is Order.SHUFFLED:
            random.Random(self.width).shuffle(ordered)  # noqa: S311  the same order each time
        yield from ([window] for window in ordered)


WAYS = (
    Way(100, 3600, Order.RANGE),
    Way(100, 3600, Order.ASCENDING),
    Way(7, 3600, Order.DESCENDING),
    Way(1, 3600, Order.SHUFFLED),
    Way(1, 600, Order.RANGE),
    Way(100, 600, Order.ASCENDING),
    Way(100, 600, Order.DESCENDING),
    Way(7, 600, Order.SHUFFLED),
    Way(7, 60, Order.RANGE),
    Way(7, 60, Order.ASCENDING),
    Way(1, 60, Order.DESCENDING),
    Way(100, 60, Order.SHUFFLED),
)
"""Not all 36: each pair of page size, width and order occurs in one of them."""

_runs = count()


def now() -> datetime:
    """Return the time of the runs."""
    return datetime.now(UTC)


def sync(db: Warehouse, settings: Settings, windows: Sequence[SyncWindow]) -> None:
    """Do with these windows what the five assets do in one run."""
    ingest = fetch_windows(
        db, lambda deadline: connect(settings, deadline=deadline), settings, windows, f"run {next(_runs)}", now
    )
    first, end = ingest.windows[0], ingest.windows[-1].end
    _later_assets(db, settings, ingest.windows, first.covers_from, end)


def _later_assets(db: Warehouse, settings: Settings, windows: Sequence[SyncWindow], start: int, end: int) -> None:
    span, at = Span(start, end), now()
    make_leads(db, span, frozenset(settings.own_domains), at)
    make_companies(db, span, settings, at)
    ask_signals(
        db,
        span,
        lambda asked, _: scan_dns(
            asked, resolvers=settings.dns_resolvers, selectors=settings.dkim_selectors, clock=now
        ),
        settings,
        at,
    )
    make_scores(db, span, settings, at)
    with db.write() as connection:
        for asset in ledger.CHAIN[1:]:
            ledger.mark(connection, windows, asset, at)
