"""Drift is kept once each, as it was first seen."""

from datetime import UTC, datetime, timedelta

from partner_center_pipeline.referral import Drift, DriftKind
from partner_center_pipeline.warehouse import drift
from partner_center_pipeline.warehouse.database import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


FIELD = Drift(DriftKind.FIELD, "team[].nickname")
PAUSED, HELD = Drift(DriftKind.VALUE, "status", "Paused"), Drift(DriftKind.VALUE, "status", "Held")


def test_each_is_kept_once_with_the_first_referral_that_showed_it(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        drift.record(connection, [(FIELD, "r1"), (PAUSED, "r1"), (FIELD, "r2")], NOW)
    with warehouse.write() as connection:
        drift.record(connection, [(PAUSED, "r3"), (HELD, "r4")], LATER)
    with warehouse.read() as connection:
        assert drift.load(connection) == [
            drift.Seen("value", "status", "Held", "r4", LATER),
            drift.Seen("value", "status", "Paused", "r1", NOW),
            drift.Seen("field", "team[].nickname", "", "r1", NOW),
        ]


def test_no_news_is_no_write(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        drift.record(connection, [], NOW)
        assert drift.load(connection) == []
