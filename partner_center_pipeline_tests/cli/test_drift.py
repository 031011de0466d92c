"""`partner-center drift`: each new field or value once, without content."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_center_pipeline.referral import Drift, DriftKind
from partner_center_pipeline.warehouse import drift
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases

SEEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def place(home: Path, databases: Databases) -> Home:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=databases.emptied())
    return place


def fill(place: Home) -> None:
    warehouse = Warehouse.open(place.variables["HUNTER_DATABASE_URL"])
    found = [Drift(DriftKind.FIELD, "team[].nickname"), Drift(DriftKind.VALUE, "status", "[bold]Paused")]
    with warehouse.write() as connection:
        drift.record(connection, [(item, "r1") for item in found], SEEN)
    warehouse.close()


def test_without_drift_it_says_none(place: Home) -> None:
    shown = place.invoke("drift")
    assert shown.exit_code == 0
    assert shown.output.startswith("None: ")
    assert json.loads(place.invoke("drift", "--json").output) == []


def test_each_is_a_line_with_when_where_and_the_first_referral(place: Home) -> None:
    fill(place)
    shown = place.invoke("drift")
    assert shown.exit_code == 0
    heading, value, field = shown.output.strip().splitlines()
    assert heading.split("  ")[0].strip() == "first seen (UTC)"
    assert value.split() == ["2026-03-01", "12:30", "r1", "value", "status", "[bold]Paused"]
    assert field.split() == ["2026-03-01", "12:30", "r1", "field", "team[].nickname"]


def test_machines_get_the_same(place: Home) -> None:
    fill(place)
    first, second = json.loads(place.invoke("drift", "--json").output)
    assert first == {
        "kind": "value", "path": "status", "value": "[bold]Paused", "referral_id": "r1",
        "first_seen": "2026-03-01 12:30:00+00:00",
    }  # fmt: skip
    assert (second["path"], second["value"]) == ("team[].nickname", "")
