"""What is derived again after a migration: rows of derived tables that a new column or a new table left without values.

`alembic/env.py` calls this around every migration, so no migration has to think of it. One that fills its new columns
itself leaves nothing to do here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, inspect, text

from partner_center_pipeline.vocabulary import Task


class Derived(NamedTuple):
    """The task that makes the rows of a table, with SQL for its items.

    `every` selects all of them, `lacking` those whose row fulfils `{lacks}`. Migrations of any age run this, so it
    names what the tables have from the first revision on.
    """

    task: Task
    every: str
    lacking: str


DERIVED: Final[Mapping[str, Sequence[Derived]]] = {
    "leads": (
        Derived(
            Task.LEADS,
            "SELECT referral_id FROM raw_referrals",
            "SELECT referral_id FROM leads WHERE {lacks}",
        ),
    ),
    "companies": (
        Derived(
            Task.COMPANIES,
            "SELECT domain FROM leads WHERE domain IS NOT NULL",
            "SELECT domain FROM companies WHERE {lacks}",
        ),
    ),
    "suggested_matches": (
        Derived(
            Task.COMPANY_MATCHES,
            "SELECT domain FROM companies",
            "SELECT subject FROM suggested_matches WHERE kind = 'company' AND ({lacks})",
        ),
        Derived(
            Task.LEAD_MATCHES,
            "SELECT referral_id FROM leads",
            "SELECT subject FROM suggested_matches WHERE kind = 'lead' AND ({lacks})",
        ),
    ),
    "domain_signals": (
        Derived(
            Task.SIGNALS,
            "SELECT domain FROM companies",
            "SELECT domain FROM domain_signals WHERE {lacks}",
        ),
    ),
    "company_scores": (
        Derived(
            Task.SCORES,
            "SELECT domain FROM companies",
            "SELECT domain FROM company_scores WHERE {lacks}",
        ),
    ),
}
"""By table. The tables that each run of scored_segments publishes anew need none of it."""

NOT_DERIVED: Final = {("leads", "vanished_at")}
"""Columns of these tables that no task fills, and that are empty as a rule."""

_MARK: Final = """
WITH items (item) AS ({items} EXCEPT SELECT item FROM pending_work WHERE task = :task)
INSERT INTO pending_work (task, item, queued_at)
SELECT :task, item, CURRENT_TIMESTAMP FROM items
"""
"""EXCEPT, and not NOT IN: `pending.not_waiting` says why."""
_ASK_AGAIN: Final = "UPDATE domain_signals SET next_scan_at = CURRENT_TIMESTAMP WHERE {lacks}"
"""A domain is asked about when its answer is too old; DNS alone knows what a new column holds."""

_Columns = Mapping[str, Any]
"""The columns of a table with their defaults (SQL), by name."""


@contextmanager
def deriving_new_columns(connection: Connection) -> Iterator[None]:
    """Note in `pending_work`, in the transaction of a migration, what the migration left to be derived.

    These are the rows that have no value, or only its default, in a column that is new, and everything that a new
    table follows from. Where the schema has no `pending_work` yet, the migration that adds it does that for all rows.
    """
    before = _derived_tables(connection)
    yield
    inspector = inspect(connection)
    if not inspector.has_table("pending_work"):
        return
    for table, columns in _derived_tables(connection).items():
        known = before.get(table)
        new = {
            name: default
            for name, default in columns.items()
            if known is not None and name not in known and (table, name) not in NOT_DERIVED
        }
        if known is not None and not new:
            continue
        lacks = " OR ".join(_lacks(name, default) for name, default in new.items())
        if known is not None and table == "domain_signals":
            connection.execute(text(_ASK_AGAIN.format(lacks=lacks)))
        for derived in DERIVED[table]:
            items = derived.every if known is None else derived.lacking.format(lacks=lacks)
            connection.execute(text(_MARK.format(items=items)), {"task": str(derived.task)})


def _derived_tables(connection: Connection) -> dict[str, _Columns]:
    inspector = inspect(connection)
    return {
        table: {column["name"]: column["default"] for column in inspector.get_columns(table)}
        for table in DERIVED
        if inspector.has_table(table)
    }


def _lacks(name: str, default: str | None) -> str:
    return f"{name} IS NULL" if default is None else f"{name} IS NULL OR {name} = {default}"
