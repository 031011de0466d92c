"""What is pending is derived, and what is added while it is derived is derived again."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, select, text

from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending
from partner_center_pipeline.warehouse.bulk import CHUNK, MANY, insert_new
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import companies
from partner_center_pipeline_tests.warehouse.effort import effort
from partner_center_pipeline_tests.warehouse.rows import company

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


def test_what_a_query_adds_is_found_in_one_pass_however_many_wait(warehouse: Warehouse) -> None:
    """A first load of 1,000,000 referrals asks which of them wait already, and all do.

    PostgreSQL went through all that wait for each of them, until the statement had taken too long.
    """
    efforts = []
    for more in (range(4000), range(4000, 8000)):
        items = [f"{number:05}" for number in more]
        with warehouse.write() as connection:
            insert_new(connection, companies, [company(item) for item in items])
        add(warehouse, *(item for item in items if item != "00000"))
        with warehouse.write() as connection:
            query = pending.not_waiting(select(companies.c.domain), Task.LEADS)
            assert connection.execute(query).scalars().all() == ["00000"]
            if not warehouse.is_sqlite:
                connection.execute(text("SET LOCAL work_mem = '64kB'"))  # as a million items are to 4 MB
            statement = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
            efforts.append(effort(connection, statement, {}))
    small, large = efforts
    assert large < 3 * small
    pending.add_selected(warehouse, Task.LEADS, select(companies.c.domain), NOW)
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT item FROM pending_work ORDER BY id DESC")).scalars().first() == "00000"


def test_an_item_that_was_added_many_times_is_derived_once(warehouse: Warehouse) -> None:
    """A first load of a million referrals adds each of its 100,000 companies ten times, far apart."""
    items = [f"{number:05}" for number in range(CHUNK + CHUNK // 2)]
    for _ in range(3):
        add(warehouse, *items)
    seen: list[str] = []
    pending.work_off(warehouse, Task.LEADS, lambda _connection, some: seen.extend(some))
    assert sorted(seen) == items
    assert left(warehouse) == 0


def test_an_item_that_was_added_again_after_it_failed_is_tried_once(warehouse: Warehouse) -> None:
    tried: list[str] = []

    def derive(_connection: Connection, items: Sequence[str]) -> None:
        tried.extend(items)
        if "a" in items:
            raise ValueError("a cannot be derived")

    add(warehouse, "a")
    with pytest.raises(ValueError, match="a cannot be derived"):
        pending.work_off(warehouse, Task.LEADS, derive)
    add(warehouse, "a", "b")
    tried.clear()
    pending.work_off(warehouse, Task.LEADS, derive)
    assert tried == ["a", "b", "a", "b"]  # both, then each alone
    with warehouse.read() as connection:
        assert pending.failed(connection) == [pending.Failed(Task.LEADS, "a", "ValueError")]


@pytest.mark.postgres
@pytest.mark.parametrize("databases", ["postgres"], indirect=True)
def test_what_a_task_wrote_much_of_is_known_to_the_database_before_the_next_task_reads_it(warehouse: Warehouse) -> None:
    """Without, 20,000 leads were read row by row against the companies, in three seconds instead of in none."""

    def statistics() -> float:
        with warehouse.read() as connection:
            return float(
                connection.execute(text("SELECT reltuples FROM pg_class WHERE relname = 'leads'")).scalar_one()
            )

    with warehouse.write() as connection:  # as in a new database: another test may have had this one
        connection.execute(text("UPDATE pg_class SET reltuples = -1 WHERE relname = 'leads'"))
    add(warehouse, "a")
    pending.work_off(warehouse, Task.LEADS, lambda _connection, _items: None)
    assert statistics() == -1  # of one row autovacuum may tell later
    add(warehouse, *(f"{number:05}" for number in range(MANY)))
    pending.work_off(warehouse, Task.LEADS, lambda _connection, _items: None)
    assert statistics() == 0


@pytest.mark.postgres
@pytest.mark.parametrize("databases", ["postgres"], indirect=True)
def test_no_run_waits_for_statistics_or_fails_because_of_them(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [f"{number:05}" for number in range(MANY)]
    add(warehouse, *items)
    with warehouse.engine.connect() as other:
        other.execute(text("LOCK TABLE leads"))  # as VACUUM FULL does, for as long as it takes
        pending.work_off(warehouse, Task.LEADS, lambda _connection, _items: None)
    assert left(warehouse) == 0

    add(warehouse, *items)
    monkeypatch.setitem(pending._WRITTEN_BY, Task.LEADS, (Table("no_such_table", MetaData(), Column("id", Integer)),))
    pending.work_off(warehouse, Task.LEADS, lambda _connection, _items: None)
    assert left(warehouse) == 0
    assert "the database could not look at what was written" in caplog.text
