"""Tables domain_signals and signal_changes: the results of DNS scans, and which domains are due for the next scan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, true

from partner_center_pipeline.mail.history import change_between, is_known
from partner_center_pipeline.mail.signals import LocalHost
from partner_center_pipeline.vocabulary import Provider
from partner_center_pipeline.warehouse import erasures
from partner_center_pipeline.warehouse.bulk import CHUNK, among, chunks, upsert
from partner_center_pipeline.warehouse.leads import named_by
from partner_center_pipeline.warehouse.schema import companies, domain_signals, leads, row_dict, signal_changes

_CLOCKS_MAY_DIFFER: Final = timedelta(hours=1)
"""How far machines that share a warehouse may differ; an answer younger than that is not asked for again."""


def _is_due(now: datetime | None) -> ColumnElement[bool]:
    """Return the condition for a domain that is due at `now`, or that a clock which was ahead has scanned.

    Without a time each domain is due.
    """
    if now is None:
        return true()
    return or_(domain_signals.c.next_scan_at <= now, domain_signals.c.scanned_at > now + _CLOCKS_MAY_DIFFER)


def due(connection: Connection, domains: Sequence[str], now: datetime | None) -> list[str]:
    """Return those of `domains` that have a company and were never scanned, or are due for another scan at `now`.

    Without a time all that have a company are due.
    """
    due_domains: list[str] = []
    for chunk in chunks(domains):
        rows = connection.execute(
            select(companies.c.domain)
            .outerjoin(domain_signals, domain_signals.c.domain == companies.c.domain)
            .where(
                among(companies.c.domain, chunk),
                domain_signals.c.domain.is_(None) | _is_due(now),
            )
            .order_by(companies.c.domain)
        )
        due_domains.extend(domain for (domain,) in rows)
    return due_domains


def due_of_span(start: int, end: int, now: datetime | None) -> Select[str]:
    """Select the domains of windows in `[start, end)` (ticks) that were never scanned, or are due at `now`.

    Without a time all of them.
    """
    query = named_by(start, end).outerjoin_from(leads, domain_signals, domain_signals.c.domain == leads.c.domain)
    return query.where(or_(domain_signals.c.domain.is_(None), _is_due(now)))


@dataclass(frozen=True, slots=True)
class Part:
    """The domains after `after` up to `until`, in the database's own order; empty text is no bound on that side."""

    after: str = ""
    until: str = ""


ALL: Final = Part()
"""Every domain."""


def _due_again(now: datetime | None, part: Part) -> Select[str]:
    """Select the domains of a part that were scanned before and are due for another scan.

    Without a time each one is due. Only domains of companies that a referral names: no others are looked up.
    """
    query = (
        select(domain_signals.c.domain)
        .join(companies, companies.c.domain == domain_signals.c.domain)
        .where(_is_due(now), companies.c.referrals > 0, domain_signals.c.domain > part.after)
    )
    return query.where(domain_signals.c.domain <= part.until) if part.until else query


def due_again(connection: Connection, now: datetime | None, part: Part = ALL) -> list[str]:
    """Return up to CHUNK domains of a part, in order, that were scanned before and are due; without a time each one."""
    rows = connection.execute(_due_again(now, part).order_by(domain_signals.c.domain).limit(CHUNK))
    return [domain for (domain,) in rows]


def count_due_again(connection: Connection, now: datetime | None, part: Part = ALL) -> int:
    """Count the domains that repeated calls of `due_again` return."""
    return connection.execute(select(func.count()).select_from(_due_again(now, part).subquery())).scalar_one()


def parts_due_again(connection: Connection, now: datetime | None, size: int) -> list[Part]:
    """Cut all domains into parts with `size` domains each that are due; the last one has what is left."""
    number = func.row_number().over(order_by=domain_signals.c.domain).label("number")
    numbered = _due_again(now, ALL).add_columns(number, func.count().over().label("total")).subquery()
    is_last_of_part = (numbered.c.number % size == 0) & (numbered.c.number < numbered.c.total)
    rows = connection.execute(select(numbered.c.domain).where(is_last_of_part).order_by(numbered.c.number))
    bounds = ["", *(domain for (domain,) in rows), ""]
    return [Part(after, until) for after, until in pairwise(bounds)]


def unlisted_hosts(connection: Connection) -> Iterator[tuple[str, datetime]]:
    """Yield the mail host that nobody in the provider table owns, and when it was first seen, of each company with one.

    Only companies that a referral names count.
    """
    first_seen = (
        select(signal_changes.c.domain, func.min(signal_changes.c.changed_at).label("at"))
        .where(signal_changes.c.provider_after == Provider.LOCAL)
        .group_by(signal_changes.c.domain)
        .subquery()
    )
    rows = connection.execute(
        select(domain_signals.c.signals, func.coalesce(first_seen.c.at, domain_signals.c.scanned_at))
        .join(companies, companies.c.domain == domain_signals.c.domain)
        .outerjoin(first_seen, first_seen.c.domain == domain_signals.c.domain)
        .where(domain_signals.c.provider == Provider.LOCAL, companies.c.referrals > 0)
        .order_by(domain_signals.c.domain)
    )
    for signals, at in rows:
        if signals.get("local_host") == LocalHost.UNLISTED and signals.get("decided_by"):
            yield signals["decided_by"]["detail"], at


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the signals of these domains, by domain."""
    rows = connection.execute(select(domain_signals).where(among(domain_signals.c.domain, domains)))
    return {row.domain: row_dict(row) for row in rows}


def _may_replace(stored: Mapping[str, Any] | None, scanned_at: datetime) -> bool:
    if stored is None:
        return True
    ahead: timedelta = stored["scanned_at"] - scanned_at
    return ahead <= timedelta(0) or ahead > _CLOCKS_MAY_DIFFER


@dataclass(frozen=True, slots=True)
class SetUps:
    """How many mail set-ups became known with a write, and how many of the known ones changed."""

    new: int = 0
    changed: int = 0


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> SetUps:
    """Write signals, with a history row for each mail set-up that became known or changed. Return how many did.

    A row with an earlier `scanned_at` than the stored one is not written, unless a clock that was ahead wrote that one.
    Of persons who were erased, whose addresses DMARC records may have, nothing is written.
    """
    erasing = erasures.of(connection, max(row["scanned_at"] for row in rows)) if rows else None
    if erasing is not None:
        rows = [{**row, "signals": erasing.document(row["signals"])} for row in rows]
    stored = load(connection, [row["domain"] for row in rows])
    newer = [row for row in rows if _may_replace(stored.get(row["domain"]), row["scanned_at"])]
    history: list[dict[str, Any]] = []
    for row in newer:
        last = stored.get(row["domain"])
        detail = change_between(last, row)
        before = last if is_known(last) else None
        if detail is not None:
            history.append(
                {
                    "domain": row["domain"],
                    "changed_at": row["scanned_at"],
                    "provider_before": before and before["provider"],
                    "provider_after": row["provider"],
                    "gateway_before": before and before["gateway"],
                    "gateway_after": row["gateway"],
                    "detail": detail,
                }
            )
    upsert(connection, domain_signals, newer)
    if history:
        connection.execute(signal_changes.insert(), history)
    changed = sum(bool(row["detail"]) for row in history)
    return SetUps(len(history) - changed, changed)
