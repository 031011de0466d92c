"""Table companies: each row is made anew from all leads of a company, so that a repeated write changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.leads import Written
from partner_center_pipeline.warehouse.schema import companies, row_dict


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the companies of these domains, by domain."""
    rows = connection.execute(select(companies).where(companies.c.domain.in_(domains)))
    return {row.domain: row_dict(row) for row in rows}


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Written:
    """Write companies; rows equal to the stored ones are not written. Return the counts."""
    stored = load(connection, [row["domain"] for row in rows])
    changed = [row for row in rows if dict(stored.get(row["domain"], {})) != dict(row)]
    upsert(connection, companies, changed)
    new = sum(row["domain"] not in stored for row in changed)
    return Written(new, len(changed) - new, len(rows) - len(changed))
