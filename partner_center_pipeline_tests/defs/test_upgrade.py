"""An upgrade of a filled warehouse is whole: what new columns hold is derived by the runs that follow by themselves."""

from typing import Any

import pytest
from sqlalchemy import func, select, text

from alembic import command
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import companies, company_scores, leads, row_dict, suggested_matches
from partner_center_pipeline_tests.defs.project import Project

WHEN = {"derived_with", "suggested_at", "scored_at"}
"""Columns that say when or by which code a row was made."""


@pytest.fixture
def filled(stored: Project) -> Project:
    """A project whose windows are done, the first with its rows, on a database of each kind that may be migrated."""
    project = stored
    assert project.run(project.window(0)).success
    project.mark_done((project.window(1), project.last_due()))
    return project


def content(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """What is derived from what was fetched, without when."""
    with warehouse.read() as connection:
        return {
            table.name: [
                {name: value for name, value in row_dict(row).items() if name not in WHEN}
                for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in (leads, companies, suggested_matches, company_scores)
        }


@pytest.mark.slow
def test_a_filled_warehouse_taken_down_and_up_again_has_all_its_derived_columns(filled: Project) -> None:
    before = content(filled.warehouse)
    assert before["suggested_matches"]
    assert any(row["name_block"] for row in before["companies"])
    command.downgrade(filled.warehouse._alembic(), "0001")
    filled.warehouse.close()
    upgraded = Warehouse(filled.warehouse.url)
    upgraded.migrate("0003")
    upgraded.migrate()
    with upgraded.read() as connection:
        assert connection.execute(select(func.count(companies.c.name_block))).scalar_one() == 0
    assert isinstance(requests := filled.sensor_requests(), list)
    assert {str(key.to_user_string()) for key in requests[-1].asset_selection or ()} == {
        "normalized_leads", "companies", "domain_signals", "scored_segments",
    }  # fmt: skip
    filled.follow_sensor()
    assert content(upgraded) == before
    with upgraded.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending_work")).scalar_one() == 0
    upgraded.close()
