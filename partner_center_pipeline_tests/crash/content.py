"""The content of a warehouse, for comparing two histories that must give equal tables.

Not here: making histories (`sweep`, `differential.ways`).
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Table, select

from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.row_counts import CONTENT
from partner_center_pipeline.warehouse.schema import quarantined_referrals

Contents = dict[str, list[str]]
"""By table, its rows as text, sorted."""

BOOKKEEPING: Final = frozenset(
    {
        "id", "fetched_at", "first_seen", "last_seen", "attempts", "suggested_at", "changed_at",
        "resolved_at", "scanned_at", "answered_at", "facts_at", "facts_from", "next_scan_at", "signals_at", "scored_at",
    }
)  # fmt: skip
"""Columns, and names inside JSON, that record when or how often something happened."""

SEEN_AGAIN: Final = frozenset({"last_seen", "attempts"})
"""Columns of a quarantined row that change when the row is seen again."""


def contents(warehouse: Warehouse, ignored: Collection[str] = BOOKKEEPING, *tables: Table) -> Contents:
    """Return the rows of `tables` (default: all that hold content) without the `ignored` names.

    A quarantined row has no instant, so its window (the scan's position) is left out.
    """
    found: Contents = {}
    with warehouse.read() as connection:
        for table in tables or CONTENT:
            hidden = {*ignored, *(("window_start",) if table is quarantined_referrals else ())}
            columns = [column for column in table.columns if column.name not in hidden]
            rows = connection.execute(select(*columns))
            found[table.name] = sorted(str(_plain(row._mapping, ignored)) for row in rows)
    return found


def differences(expected: Contents, found: Contents) -> list[str]:
    """Say in which tables rows differ, and how many, without quoting a row."""
    said = []
    for table, rows in expected.items():
        missing, more = set(rows) - set(found[table]), set(found[table]) - set(rows)
        if rows != found[table]:
            said.append(f"{table}: {len(rows)} rows expected, {len(found[table])} found; "
                        f"{len(missing)} missing, {len(more)} others")  # fmt: skip
    return said


def _plain(value: Any, ignored: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(value[name], ignored) for name in sorted(value) if name not in ignored}
    if isinstance(value, list):
        return [_plain(item, ignored) for item in value]
    return value
