"""What the API was found to take is kept per API, with its date, and replaced whole."""

from datetime import UTC, datetime, timedelta

from partner_center_pipeline.warehouse import capabilities
from partner_center_pipeline.warehouse.database import Warehouse

FOUND_AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_a_finding_is_kept_per_api_and_the_last_one_counts(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        capabilities.store(connection, "https://one.example", "quoted", FOUND_AT)
        capabilities.store(connection, "https://two.example", None, FOUND_AT)
        capabilities.store(connection, "https://one.example", "bare", FOUND_AT + timedelta(days=30))
    with warehouse.read() as connection:
        assert capabilities.load(connection, "https://one.example") == ("bare", FOUND_AT + timedelta(days=30))
        assert capabilities.load(connection, "https://two.example") == (None, FOUND_AT)
        assert capabilities.load(connection, "https://three.example") is None
