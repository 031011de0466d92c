"""Many rows at once mean the same on both databases, whatever their values are."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, not_, or_, select, text
from sqlalchemy.exc import StatementError

from partner_center_pipeline.partner_center.contract import decode, read_referral
from partner_center_pipeline.referral import Breach, RejectedRow
from partner_center_pipeline.warehouse import referrals
from partner_center_pipeline.warehouse.bulk import (
    MANY,
    among,
    chunks,
    insert_absent,
    insert_new,
    present,
    take_statistics,
    upsert,
)
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    companies,
    quarantined_referrals,
    raw_referrals,
    row_dict,
    sync_attempts,
    sync_windows,
)
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.warehouse.rows import company, undone

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
"""Text that a database can hold; the contract refuses NUL and lone surrogates."""

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(-(2.0**53), 2.0**53)
"""Larger floats come back from JSONB as the integer that their digits spell."""

json_values = st.recursive(
    st.none() | st.booleans() | storable | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=12,
)


class Word(StrEnum):
    """Any closed set of texts."""

    IN = "ıçğ, \t\\N"


def raw(referral_id: str, **values: Any) -> dict[str, Any]:
    return {
        "referral_id": referral_id,
        "version": "v1",
        "etag": None,
        "updated_ticks": 1,
        "updated_text": "1970-01-01T00:00:00.0000001Z",
        "window_start": 0,
        "late": False,
        "content_hash": "hash",
        "payload": {},
        "fetched_at": NOW,
        **values,
    }


def stored(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    with warehouse.read() as connection:
        return [row_dict(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]


@pytest.mark.parametrize("insert", [insert_new, insert_absent])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(payload=st.dictionaries(storable, json_values, max_size=4), text=storable)
def test_payloads_and_texts_are_read_back_as_written(
    warehouse: Warehouse, insert: Callable[..., None], payload: dict[str, Any], text: str
) -> None:
    with undone(warehouse) as connection:
        row = {**raw("a", payload=payload, content_hash=text), "erased_at": None}
        insert(connection, raw_referrals, [row])
        found = connection.execute(select(raw_referrals)).one()
        assert row_dict(found) == row


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    value=st.none() | st.decimals(Decimal("-7e13"), Decimal("7e13"), places=2),
    ticks=st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_amounts_and_ticks_are_read_back_to_the_cent_and_to_the_tick(
    warehouse: Warehouse, value: Decimal | None, ticks: int | None
) -> None:
    with undone(warehouse) as connection:
        upsert(connection, companies, [company("a.com", deal_value=value, next_expiry_ticks=ticks)])
        found = connection.execute(select(companies)).one()
        assert (found.deal_value, found.next_expiry_ticks) == (value, ticks)


@pytest.mark.parametrize("moment", [NOW, NOW.astimezone(timezone(timedelta(hours=3)))])
def test_an_instant_is_read_back_in_utc(warehouse: Warehouse, moment: datetime) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [raw("a", fetched_at=moment)])
    (row,) = stored(warehouse, raw_referrals)
    assert row["fetched_at"] == NOW
    assert row["fetched_at"].utcoffset() == timedelta(0)


def test_a_datetime_without_a_zone_is_refused(warehouse: Warehouse) -> None:
    naive = NOW.replace(tzinfo=None)
    with warehouse.write() as connection, pytest.raises((ValueError, StatementError), match="aware datetimes only"):
        insert_new(connection, raw_referrals, [raw("a", fetched_at=naive)])


def test_enums_are_stored_as_their_text_by_either_way_in(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [raw("a", content_hash=Word.IN, payload={"word": Word.IN})])
        attempt = dict.fromkeys(
            ("window_start", "window_end", "pages", "fetched", "new_versions", "unchanged", "late", "quarantined",
             "distinct_ids", "seconds_waited"), 0,
        )  # fmt: skip
        connection.execute(
            sync_attempts.insert().values(state=AttemptState.EMPTY, run_id="run", started_at=NOW, **attempt)
        )
        assert connection.execute(select(sync_attempts.c.state)).scalar_one() == "empty"
    (row,) = stored(warehouse, raw_referrals)
    assert row["content_hash"] == Word.IN.value
    assert row["payload"] == {"word": Word.IN.value}
    assert type(row["content_hash"]) is str


def test_an_insert_leaves_a_known_key_unchanged_and_an_upsert_updates_it(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [raw("a", content_hash="one"), raw("b", content_hash="one")])
        insert_new(connection, raw_referrals, [raw("a", content_hash="two"), raw("c", content_hash="two")])
    assert [row["content_hash"] for row in stored(warehouse, raw_referrals)] == ["one", "one", "two"]
    with warehouse.write() as connection:
        upsert(connection, raw_referrals, [raw("a", content_hash="three"), raw("d", content_hash="three")])
    assert [row["content_hash"] for row in stored(warehouse, raw_referrals)] == ["three", "one", "two", "three"]


def test_a_guard_decides_for_each_row_whether_the_stored_one_gives_way(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        upsert(connection, raw_referrals, [raw("a", updated_ticks=5), raw("b", updated_ticks=5)])
        upsert(
            connection,
            raw_referrals,
            [raw("a", updated_ticks=4, content_hash="older"), raw("b", updated_ticks=6, content_hash="newer")],
            guard=lambda given: given.updated_ticks > raw_referrals.c.updated_ticks,
        )
    assert [row["content_hash"] for row in stored(warehouse, raw_referrals)] == ["hash", "newer"]


def test_columns_that_are_not_given_keep_what_they_hold(warehouse: Warehouse) -> None:
    key = {"window_start": 0, "window_end": 10}
    with warehouse.write() as connection:
        insert_new(connection, sync_windows, [{**key, "covers_from": 0, "position": 7}])
        upsert(connection, sync_windows, [{**key, "covers_from": -5}])
    (row,) = stored(warehouse, sync_windows)
    assert (row["covers_from"], row["position"]) == (-5, 7)


def test_nothing_is_nothing(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [])
        insert_absent(connection, raw_referrals, [])
        assert present(connection, raw_referrals, set()) == set()
        upsert(connection, companies, [])
    assert stored(warehouse, raw_referrals) == []


def test_a_transaction_may_write_a_table_many_times_and_leaves_nothing_if_it_fails(warehouse: Warehouse) -> None:
    def break_off() -> None:
        with warehouse.write() as connection:
            for name in "abc":
                insert_new(connection, raw_referrals, [raw(name)])
            assert len(connection.execute(select(raw_referrals)).all()) == 3
            raise InterruptedError

    with pytest.raises(InterruptedError):
        break_off()
    assert stored(warehouse, raw_referrals) == []


def test_more_rows_than_a_statement_takes_variables_are_written(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [raw(f"{number:05}") for number in range(3500)])
    assert len(stored(warehouse, raw_referrals)) == 3500


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(held=st.sets(st.tuples(storable, storable), max_size=5), others=st.sets(st.tuples(storable, storable)))
def test_of_any_keys_those_are_present_that_the_table_holds(
    warehouse: Warehouse, held: set[tuple[str, str]], others: set[tuple[str, str]]
) -> None:
    with undone(warehouse) as connection:
        insert_new(connection, raw_referrals, [raw(name, version=version) for name, version in sorted(held)])
        assert present(connection, raw_referrals, held | others) == held


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(held=st.sets(storable, max_size=5), asked=st.sets(storable, max_size=5))
def test_a_key_is_among_others_whatever_characters_they_have(
    warehouse: Warehouse, held: set[str], asked: set[str]
) -> None:
    with undone(warehouse) as connection:
        insert_new(connection, companies, [company(domain) for domain in sorted(held)])
        domains = select(companies.c.domain)
        found = connection.execute(domains.where(among(companies.c.domain, asked))).scalars()
        assert set(found) == held & asked
        others = connection.execute(domains.where(not_(among(companies.c.domain, asked)))).scalars()
        assert set(others) == held - asked


def test_a_thousand_keys_are_found_by_an_index_also_beside_another_condition(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, companies, [company(f"{number:05}.com.tr") for number in range(5000)])
    keys = [f"{number:05}.com.tr" for number in range(1000)]
    either = or_(among(companies.c.domain, keys), among(companies.c.domain_ascii_key, keys))
    with warehouse.read() as connection:
        if not warehouse.is_sqlite:  # which rightly reads so small a table whole
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        for condition in (among(companies.c.domain, keys), either):
            query = select(companies.c.domain).where(condition)
            statement = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
            how = "EXPLAIN QUERY PLAN" if warehouse.is_sqlite else "EXPLAIN"
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{how} {statement}"))
            assert "Seq Scan on companies" not in plan, plan
            assert "SCAN companies" not in plan, plan


def test_after_many_rows_postgresql_knows_what_a_table_holds(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_new(connection, raw_referrals, [raw(f"{number:05}") for number in range(MANY)])
        take_statistics(connection, raw_referrals)
    with warehouse.read() as connection:
        if warehouse.is_sqlite:  # which takes an index without them
            assert not connection.execute(text("SELECT * FROM sqlite_master WHERE name LIKE 'sqlite_stat%'")).all()
            return
        known = connection.execute(text("SELECT reltuples FROM pg_class WHERE relname = 'raw_referrals'")).scalar_one()
        columns = set(
            connection.execute(text("SELECT attname FROM pg_stats WHERE tablename = 'raw_referrals'")).scalars()
        )
    assert known == MANY
    assert {"referral_id", "version", "window_start", "fetched_at"} <= columns
    assert not columns & {"payload", "etag"}


@pytest.mark.postgres
def test_a_table_that_is_filled_for_the_first_time_is_not_read_through_for_each_page(postgres: PostgresServer) -> None:
    names = [f"{number:05}" for number in range(20_000)]
    warehouse = Warehouse.open(postgres.migrated())
    with warehouse.write() as connection:
        insert_absent(connection, raw_referrals, [raw(name, payload={"notes": "x" * 1000}) for name in names])
        assert len(present(connection, raw_referrals, {(name, "v1") for name in names[::200]})) == 100
        looked = text("SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'raw_referrals'")
        assert connection.execute(looked).one() == (0, 100)
    warehouse.close()


@pytest.mark.postgres
def test_a_plan_made_while_the_table_was_small_is_none_for_a_large_one(postgres: PostgresServer) -> None:
    names = [f"{number:05}" for number in range(20_000)]
    looked = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'raw_referrals'")
    warehouse = Warehouse.open(postgres.migrated())
    with warehouse.write() as connection:
        insert_absent(connection, raw_referrals, [raw("first")])
        connection.execute(text("ANALYZE raw_referrals"))
        for _ in range(12):  # the driver prepares what it ran five times, and the server may keep its plan
            assert present(connection, raw_referrals, {(name, "v1") for name in names[:100]}) == set()
        before = connection.execute(looked).scalar_one()
        rest = [raw(f"{name}+", payload={"notes": "x" * 1000}) for name in names]
        insert_absent(connection, raw_referrals, rest)
        assert len(present(connection, raw_referrals, {(f"{name}+", "v1") for name in names[::200]})) == 100
        assert connection.execute(looked).scalar_one() == before
    warehouse.close()


def test_rows_said_to_be_absent_that_are_there_fail_the_transaction_whole(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        insert_absent(connection, raw_referrals, [raw("a")])
    with pytest.raises(WarehouseError, match="nothing of its transaction was kept"), warehouse.write() as connection:
        insert_absent(connection, raw_referrals, [raw("b"), raw("a", content_hash="other")])
    (row,) = stored(warehouse, raw_referrals)
    assert (row["referral_id"], row["content_hash"]) == ("a", "hash")


def test_chunks_hold_every_key_once_in_order() -> None:
    keys = [f"{number}" for number in range(2001)]
    cut = list(chunks(keys))
    assert [key for some in cut for key in some] == keys
    assert [len(some) for some in cut] == [1000, 1000, 1]
    assert list(chunks([])) == []


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800"])
def test_text_that_no_database_stores_is_kept_in_quarantine_and_not_in_referrals(
    warehouse: Warehouse, escape: str
) -> None:
    row = read_referral(
        decode(b'{"id": "a", "updatedDateTime": "2026-01-01T00:00:00Z", "name": "x%s"}' % escape.encode())
    )
    assert isinstance(row, RejectedRow)
    assert row.reason is Breach.UNSTORABLE_TEXT
    with warehouse.write() as connection:
        referrals.quarantine(connection, [row], 0, NOW)
    (kept,) = stored(warehouse, quarantined_referrals)
    assert escape in kept["payload_text"]
    assert kept["reason"] == "unstorable_text"
