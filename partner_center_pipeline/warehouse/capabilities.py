"""Table api_capabilities: what the Referrals API accepts, kept so that a restart does not ask again."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import api_capabilities


class Found(NamedTuple):
    """How a filter on `updatedDateTime` takes dates (None: there is no such filter), and when that was found (UTC)."""

    date_literal: str | None
    found_at: datetime


def load(connection: Connection, base_url: str) -> Found | None:
    """Return what is stored about the API at `base_url`, or None."""
    table = api_capabilities
    row = connection.execute(select(table).where(table.c.base_url == base_url)).one_or_none()
    return None if row is None else Found(row.date_literal if row.updated_filter else None, row.found_at)


def store(connection: Connection, base_url: str, date_literal: str | None, found_at: datetime) -> None:
    """Store what was found about the API at `base_url`; it replaces what was stored before."""
    row = {
        "base_url": base_url,
        "date_literal": None if date_literal is None else str(date_literal),
        "updated_filter": date_literal is not None,
        "found_at": found_at,
    }
    upsert(connection, api_capabilities, [row])
