"""domain_signals: what DNS said, and which domains are to be asked again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from partner_center_pipeline.warehouse.bulk import chunks, upsert
from partner_center_pipeline.warehouse.schema import companies, domain_signals, row_dict


def due(connection: Connection, domains: Sequence[str], now: datetime) -> list[str]:
    """Those of `domains` that were never asked, or whose time to be asked again has come; companies only."""
    found: list[str] = []
    for some in chunks(domains):
        rows = connection.execute(
            select(companies.c.domain)
            .outerjoin(domain_signals, domain_signals.c.domain == companies.c.domain)
            .where(
                companies.c.domain.in_(some),
                domain_signals.c.domain.is_(None) | (domain_signals.c.next_scan_at <= now),
            )
            .order_by(companies.c.domain)
        )
        found.extend(domain for (domain,) in rows)
    return found


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The signals of these domains, by domain."""
    rows = connection.execute(select(domain_signals).where(domain_signals.c.domain.in_(domains)))
    return {row.domain: row_dict(row) for row in rows}


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write signals. An answer that came earlier than the stored one gives way."""
    upsert(connection, domain_signals, rows, guard=lambda given: given.scanned_at >= domain_signals.c.scanned_at)
