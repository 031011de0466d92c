"""A migration that adds a derived column or table leaves nothing without its value, whatever its author thought of."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from alembic import command
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import companies, leads, matches, pending, scores, signals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.new_columns import DERIVED
from partner_center_pipeline.warehouse.schema import metadata
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import NOW, lead_row
from partner_center_pipeline_tests.warehouse.test_results import score, signal
from partner_center_pipeline_tests.warehouse.test_upgrades import with_a_later_migration

AS_RECEIVED_OR_OF_PEOPLE = {
    "raw_referrals", "quarantined_referrals", "payload_drift", "decisions", "connected_account", "demo_world",
    "erasures", "erasure_key", "tombstones",
}  # fmt: skip
OF_RUNS = {
    "sync_windows", "sync_attempts", "pending_work", "api_capabilities", "leases", "run_heartbeats", "breakers",
    "token_caches", "reconciliations", "outbox", "alert_conditions", "sync_days",
}  # fmt: skip
HISTORY = {"signal_changes", "score_changes"}
PUBLISHED_BY_EACH_RUN = {"lead_scores", "currency_rates", "rule_texts", "list_order"}

ADD = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "test", "{head}"

def upgrade():
    {upgrade}

def downgrade():
    pass
"""
NO_VALUE = 'op.add_column("{table}", sa.Column("fresh", sa.Text()))'
A_DEFAULT = 'op.add_column("{table}", sa.Column("fresh", sa.Boolean(), nullable=False, server_default=sa.false()))'
FILLED = NO_VALUE + "; op.execute(\"UPDATE {table} SET fresh = 'known' WHERE {key} LIKE '%1%'\")"

MUCH_LATER = datetime(2199, 1, 1, tzinfo=UTC)
TASKS: dict[str, dict[Task, Sequence[str]]] = {
    "leads": {Task.LEADS: ["r1", "r2"]},
    "companies": {Task.COMPANIES: ["c1.com", "c2.com"]},
    "domain_signals": {Task.SIGNALS: ["c1.com", "c2.com"]},
    "company_scores": {Task.SCORES: ["c1.com", "c2.com"]},
    "suggested_matches": {Task.COMPANY_MATCHES: ["c1.com", "c2.com"], Task.LEAD_MATCHES: ["r1", "r2"]},
}


def fill(warehouse: Warehouse) -> None:
    """Two rows of each derived table, and nothing pending."""
    domains = ["c1.com", "c2.com"]
    with warehouse.write() as connection:
        leads.write(connection, [lead_row("r1", 1, "v1"), lead_row("r2", 1, "v1")])
        companies.write(connection, [company(domain) for domain in domains], "this code")
        signals.write(connection, [signal(domain, next_scan_at=MUCH_LATER) for domain in domains])
        scores.write(connection, [score(domain, derived_with="this code") for domain in domains])
        for kind, subjects in (("company", domains), ("lead", ["r1", "r2"])):
            rows = [
                {"kind": kind, "subject": subject, "domain": "c2.com", "reason": "same_name", "similarity": 100,
                 "group_id": "g"}
                for subject in subjects
            ]  # fmt: skip
            replace = matches.replace_of_companies if kind == "company" else matches.replace_of_leads
            replace(connection, subjects, rows, NOW)


def migrate(warehouse: Warehouse, folder: Path, upgrade: str) -> None:
    """Migrate to a revision behind the newest, which does this."""
    command.upgrade(with_a_later_migration(warehouse, folder, ADD.replace("{upgrade}", upgrade)), "head")


def owed(warehouse: Warehouse) -> dict[Task, Sequence[str]]:
    with warehouse.read() as connection:
        return {task: chunk.items for task in Task if (chunk := pending.load(connection, task)).items}


def test_each_table_is_derived_again_after_a_migration_or_holds_nothing_derived() -> None:
    listed = AS_RECEIVED_OR_OF_PEOPLE | OF_RUNS | HISTORY | PUBLISHED_BY_EACH_RUN
    assert set(DERIVED) | listed == set(metadata.tables), "name a new table in DERIVED (new_columns.py), or here"
    assert not set(DERIVED) & listed
    assert set(TASKS) == set(DERIVED)


@pytest.mark.parametrize("column", [NO_VALUE, A_DEFAULT], ids=["no value", "a default"])
def test_rows_that_a_new_column_left_without_a_value_are_owed(
    databases: Databases, tmp_path: Path, column: str
) -> None:
    warehouse = Warehouse(databases.migrated())
    fill(warehouse)
    migrate(warehouse, tmp_path, "; ".join(column.replace("{table}", table) for table in DERIVED))
    assert owed(warehouse) == {task: items for tasks in TASKS.values() for task, items in tasks.items()}
    with warehouse.read() as connection:  # and DNS is asked, however good the answers were
        due = signals.due(connection, ["c1.com", "c2.com"], datetime.now(UTC) + timedelta(minutes=1))
    assert due == ["c1.com", "c2.com"]
    warehouse.close()


def test_rows_that_a_migration_filled_itself_are_not_owed(databases: Databases, tmp_path: Path) -> None:
    warehouse = Warehouse(databases.migrated())
    fill(warehouse)
    keyed = [table for table in DERIVED if table != "suggested_matches"]
    keys = {table: "referral_id" if table == "leads" else "domain" for table in keyed}
    filled = [FILLED.replace("{table}", table).replace("{key}", key) for table, key in keys.items()]
    migrate(warehouse, tmp_path, "; ".join(filled))
    assert owed(warehouse) == {task: items[1:] for table in keyed for task, items in TASKS[table].items()}
    with warehouse.read() as connection:
        due = signals.due(connection, ["c1.com", "c2.com"], datetime.now(UTC) + timedelta(minutes=1))
    assert due == ["c2.com"]
    warehouse.close()


def test_a_new_derived_table_owes_all_that_it_follows_from(databases: Databases, tmp_path: Path) -> None:
    warehouse = Warehouse(databases.migrated())
    fill(warehouse)
    with warehouse.write() as connection:
        for name in ("sync_health", "company_card", "due_first", "leads_without_company", "leads_ready"):
            connection.execute(text(f"DROP VIEW {name}"))
        connection.execute(text("DROP TABLE suggested_matches"))
    migrate(
        warehouse,
        tmp_path,
        "op.create_table('suggested_matches', sa.Column('kind', sa.Text()), sa.Column('subject', sa.Text()))",
    )
    assert owed(warehouse) == TASKS["suggested_matches"]
    warehouse.close()


def test_a_migration_without_a_new_column_owes_nothing(databases: Databases, tmp_path: Path) -> None:
    warehouse = Warehouse(databases.migrated())
    fill(warehouse)
    migrate(warehouse, tmp_path, "pass")
    assert owed(warehouse) == {}
    warehouse.close()
