"""Table payload_drift: unknown fields and values, once each, with the first referral that showed them.

Not here: what is unknown (`partner_center.schema_drift`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from partner_center_pipeline.referral import NewDrift
from partner_center_pipeline.warehouse.bulk import insert_new
from partner_center_pipeline.warehouse.schema import payload_drift


@dataclass(frozen=True, slots=True)
class Seen:
    """Recorded drift: `value` is empty for a field, `first_seen` is UTC."""

    kind: str
    path: str
    value: str
    referral_id: str
    first_seen: datetime


def record(connection: Connection, found: Iterable[NewDrift], now: datetime) -> None:
    """Store drift with the id of the referral that showed it; what is stored already stays as it is."""
    rows: dict[tuple[str, str, str], dict[str, object]] = {}
    for item, referral_id in found:
        kind = str(item.kind)
        rows.setdefault(
            (kind, item.path, item.value),
            {"kind": kind, "path": item.path, "value": item.value, "referral_id": referral_id, "first_seen": now},
        )
    insert_new(connection, payload_drift, list(rows.values()))


def load(connection: Connection) -> Sequence[Seen]:
    """Return all drift, the newest first."""
    table = payload_drift
    rows = connection.execute(select(table).order_by(table.c.first_seen.desc(), table.c.path, table.c.value))
    return [Seen(row.kind, row.path, row.value, row.referral_id, row.first_seen) for row in rows]
