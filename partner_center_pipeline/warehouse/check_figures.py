"""What the asset checks ask of the warehouse: figures from which a person sees that something goes wrong.

Each is one query that an index answers, or that reads a narrow table. Not here: what is too much (`health`,
`defs.checks`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from partner_center_pipeline.health import SAME_WEEKDAYS, Arrivals
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import ledger, pending
from partner_center_pipeline.warehouse.schema import (
    companies,
    company_scores,
    domain_signals,
    leads,
    raw_referrals,
    sync_windows,
)
from partner_center_pipeline.windows import TICKS_PER_SECOND, datetime_of, ticks_of, uncovered

DAY: Final = 86_400 * TICKS_PER_SECOND

_ASKED_TOGETHER: Final = timedelta(hours=1)
"""Scans this long before the newest one count with it: the runs of an hour."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How many domains the last hour of scans asked about, how many of them failed, and when the last one ended."""

    asked: int
    failed: int
    last: datetime | None


def answers(connection: Connection, now: datetime) -> Answers:
    """Return how DNS answered lately. A scan that a clock which was ahead has dated later than `now` does not count."""
    table = domain_signals
    newest = select(func.max(table.c.scanned_at)).where(table.c.scanned_at <= now + _ASKED_TOGETHER)
    last: datetime | None = connection.execute(newest).scalar_one()
    if last is None:
        return Answers(0, 0, None)
    counted = select(func.count(), func.count().filter(table.c.failures > 0)).where(
        table.c.scanned_at >= last - _ASKED_TOGETHER, table.c.scanned_at <= last
    )
    asked, failed = connection.execute(counted).one()
    return Answers(asked, failed, last)


def providers(connection: Connection) -> dict[str | None, int]:
    """Return how many domains have each mail provider; None stands for those that never had an answer."""
    table = domain_signals
    counts = select(table.c.provider, func.count(), func.count(table.c.facts_at)).group_by(table.c.provider)
    found: dict[str | None, int] = {}
    for provider, count, known in connection.execute(counts):  # from an index alone, in its order
        if known:
            found[provider] = known
        if count > known:
            found[None] = found.get(None, 0) + count - known
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """How many of `total` leads have no domain."""

    total: int
    without: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.without / self.total if self.total else 0.0


def leads_without_domain(connection: Connection, since: int) -> tuple[Share, Share]:
    """Return the share of leads without a domain: of windows from `since` (ticks) on, and of all others."""
    brought = select(raw_referrals.c.referral_id).where(raw_referrals.c.window_start >= since)
    counts = func.count(), func.count(leads.c.domain)
    total, named = connection.execute(select(*counts).where(leads.c.referral_id.in_(brought))).one()
    recent = Share(total, total - named)
    total = connection.execute(select(func.count()).select_from(leads)).scalar_one()
    without = connection.execute(select(func.count()).where(leads.c.domain.is_(None))).scalar_one()
    return recent, Share(total - recent.total, without - recent.without)


def versions_by_day(connection: Connection, first: int, end: int) -> dict[datetime, int]:
    """Return how many versions of referrals the windows of each UTC day in `[first, end)` (ticks) brought."""
    start = raw_referrals.c.window_start
    day = (start // DAY).label("day")
    rows = connection.execute(select(day, func.count()).where(start >= first, start < end).group_by(day))
    return {datetime_of(int(number) * DAY): count for number, count in rows}


def arrivals(connection: Connection, first: int | None, now: datetime) -> Arrivals | None:
    """Return how many versions yesterday brought, and the same weekdays before; None before the first window.

    `first` is where the windows begin (ticks). What that window brought was there before, so its day does not count.
    """
    if first is None:
        return None
    yesterday = days_before(now, 1)
    weeks = [yesterday - weeks * 7 * DAY for weeks in range(SAME_WEEKDAYS, 0, -1)]
    found = versions_by_day(connection, max(weeks[0], first + 1), yesterday + DAY)
    is_whole = not uncovered(yesterday, yesterday + DAY, ledger.covered(connection, [Asset.RAW_REFERRALS]))
    return Arrivals(
        yesterday=found.get(datetime_of(yesterday), 0) if is_whole else None,
        weekdays_before=[found.get(datetime_of(day), 0) for day in weeks if day > first],
        by_day=found,
    )


def last_done(connection: Connection) -> datetime | None:
    """Return when the whole chain had a window last, None while it has none."""
    at: datetime | None = connection.execute(
        select(func.max(sync_windows.c[f"{Asset.SCORED_SEGMENTS}_at"]))
    ).scalar_one()
    return at


def without_score(connection: Connection) -> int:
    """Count the companies that a referral names, that have no score, and that no pending work will score."""
    unscored = (
        select(companies.c.domain)
        .outerjoin(company_scores, company_scores.c.domain == companies.c.domain)
        .where(companies.c.referrals > 0, company_scores.c.domain.is_(None))
    )
    missing = pending.not_waiting(unscored, Task.COMPANIES, Task.SIGNALS, Task.SCORES).subquery()
    count: int = connection.execute(select(func.count()).select_from(missing)).scalar_one()
    return count


def days_before(now: datetime, days: int) -> int:
    """Return the tick at which the UTC day began that lies `days` days before the one of `now`."""
    return ticks_of(now) // DAY * DAY - days * DAY
