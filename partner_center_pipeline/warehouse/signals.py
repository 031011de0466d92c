"""domain_signals: what DNS said, and which domains are to be asked again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from partner_center_pipeline.mail.history import change_between
from partner_center_pipeline.warehouse.bulk import CHUNK, chunks, upsert
from partner_center_pipeline.warehouse.schema import companies, domain_signals, row_dict, signal_changes


def due(connection: Connection, domains: Sequence[str], now: datetime) -> list[str]:
    """Those of `domains` that were never asked, or whose time to be asked again has come; companies only."""
    found: list[str] = []
    for chunk in chunks(domains):
        rows = connection.execute(
            select(companies.c.domain)
            .outerjoin(domain_signals, domain_signals.c.domain == companies.c.domain)
            .where(
                companies.c.domain.in_(chunk),
                domain_signals.c.domain.is_(None) | (domain_signals.c.next_scan_at <= now),
            )
            .order_by(companies.c.domain)
        )
        found.extend(domain for (domain,) in rows)
    return found


def due_again(connection: Connection, now: datetime, after: str = "") -> list[str]:
    """Up to CHUNK domains behind `after`, in order, that were asked before and whose time to be asked again has come.

    Only of companies that a referral names: a domain is looked up for no other reason.
    """
    rows = connection.execute(
        select(domain_signals.c.domain)
        .join(companies, companies.c.domain == domain_signals.c.domain)
        .where(domain_signals.c.next_scan_at <= now, companies.c.referrals > 0, domain_signals.c.domain > after)
        .order_by(domain_signals.c.domain)
        .limit(CHUNK)
    )
    return [domain for (domain,) in rows]


def count_due_again(connection: Connection, now: datetime) -> int:
    """How many domains `due_again` walks through."""
    found: int = connection.execute(
        select(func.count())
        .select_from(domain_signals.join(companies, companies.c.domain == domain_signals.c.domain))
        .where(domain_signals.c.next_scan_at <= now, companies.c.referrals > 0)
    ).scalar_one()
    return found


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The signals of these domains, by domain."""
    rows = connection.execute(select(domain_signals).where(domain_signals.c.domain.in_(domains)))
    return {row.domain: row_dict(row) for row in rows}


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write signals, with a history row for each set-up that changed; how many did.

    An answer that came earlier than the stored one gives way.
    """
    stored = load(connection, [row["domain"] for row in rows])
    newer = [
        row for row in rows if row["domain"] not in stored or row["scanned_at"] >= stored[row["domain"]]["scanned_at"]
    ]
    history: list[dict[str, Any]] = []
    for row in newer:
        before = stored.get(row["domain"])
        detail = change_between(before, row)
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
    return len(history)
