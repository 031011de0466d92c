"""What is pending is derived, and what is added while it is derived is derived again."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection

from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending
from partner_center_pipeline.warehouse.database import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def add(warehouse: Warehouse, *items: str) -> None:
    with warehouse.write() as connection:
        pending.add(connection, Task.LEADS, items, NOW)


def left(warehouse: Warehouse) -> int:
    with warehouse.read() as connection:
        return pending.count(connection)


def test_what_is_added_while_it_is_derived_is_derived_again(warehouse: Warehouse) -> None:
    """The change was perhaps not seen yet: what is derived was read before it came."""
    add(warehouse, "a", "b")
    seen: list[list[str]] = []

    def derive(connection: Connection, items: Sequence[str]) -> None:
        seen.append(list(items))
        if len(seen) == 1:
            pending.add(connection, Task.LEADS, ["a"], NOW)

    pending.work_off(warehouse, Task.LEADS, derive)
    assert seen == [["a", "b"], ["a"]]
    assert left(warehouse) == 0


def test_what_is_added_between_reading_and_removing_a_chunk_stays(warehouse: Warehouse) -> None:
    add(warehouse, "a")
    with warehouse.read() as connection:
        chunk = pending.load(connection, Task.LEADS)
    add(warehouse, "a")  # another run, while this one asks DNS
    with warehouse.write() as connection:
        pending.remove(connection, chunk)
    with warehouse.read() as connection:
        assert pending.load(connection, Task.LEADS).items == ["a"]
    assert left(warehouse) == 1
