"""api_capabilities: what the Referrals API was found to take, so that a restart does not ask again."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import api_capabilities


class Found(NamedTuple):
    """The form of dates that a filter on `updatedDateTime` takes (None: there is no such filter), and when found."""

    date_literal: str | None
    found_at: datetime


def load(connection: Connection, base_url: str) -> Found | None:
    """What is remembered of the API at `base_url`, or None."""
    table = api_capabilities
    row = connection.execute(select(table).where(table.c.base_url == base_url)).one_or_none()
    return None if row is None else Found(row.date_literal if row.updated_filter else None, row.found_at)


def store(connection: Connection, base_url: str, date_literal: str | None, found_at: datetime) -> None:
    """Remember a finding of the API at `base_url` in place of the one before."""
    row = {
        "base_url": base_url,
        "date_literal": None if date_literal is None else str(date_literal),
        "updated_filter": date_literal is not None,
        "found_at": found_at,
    }
    upsert(connection, api_capabilities, [row])
