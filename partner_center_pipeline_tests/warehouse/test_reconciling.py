"""A comparison finds what is missing, loads it where it belongs, and says whether a complete window had missed it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from partner_center_pipeline.partner_center.schema_drift import DriftWatch
from partner_center_pipeline.referral import ReferralVersion, ScanPage
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import leads, ledger, pending, reconciling, referrals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.reconciling import Gap, Kind, Reconciled, Reconciler
from partner_center_pipeline.warehouse.schema import leads as schema_leads
from partner_center_pipeline.warehouse.schema import (
    payload_drift,
    quarantined_referrals,
    raw_referrals,
    reconciliations,
)
from partner_center_pipeline.windows import SyncWindow, parse_ticks, render_ticks
from partner_center_pipeline_tests.warehouse.pages import make_page, make_rejected, make_version
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_window_ingest import (
    FIRST,
    NOW,
    W,
    begin,
    covered,
    finish,
    rows_of,
    whole,
    windows,
)

LATER = NOW + timedelta(days=1)
THERE = [
    make_version("old", FIRST - 10**12),
    make_version("a", FIRST + 1),
    make_version("b", FIRST + W + 1),
    make_version("c", FIRST + 2 * W + 1),
]


def started(warehouse: Warehouse, run_id: str = "sweep", kind: Kind = Kind.FULL, lag: int = 0) -> Reconciler:
    lease = Lease(warehouse, run_id, lambda: LATER)
    lease.acquire(0, lambda _: None)
    with warehouse.read() as connection:
        end = reconciling.until(connection)
    assert end is not None
    return Reconciler.begin(warehouse, lease, end, lambda: LATER, kind=kind, lag=lag)


def compare(warehouse: Warehouse, rows: Sequence[ReferralVersion], per_page: int = 2) -> Reconciled:
    """A whole comparison with a server that has these rows."""
    reconciler = started(warehouse)
    for at in range(0, len(rows), per_page):
        chunk = rows[at : at + per_page]
        found = DriftWatch().new_drift([(row.referral_id, row.payload) for row in chunk])
        reconciler.take(replace(make_page(chunk, chunk[-1].updated_ticks), drift=tuple(found)))
    reconciler.finish()
    reconciler.lease.release()
    return reconciler.done


def synced(warehouse: Warehouse, count: int = 3) -> None:
    """The first windows are done, with the rows that are THERE."""
    whole(warehouse, windows(count), [row for row in THERE if row.updated_ticks < FIRST + count * W])
    finish(warehouse, windows(count))


def lose(warehouse: Warehouse, *referral_ids: str) -> None:
    """Take rows away behind the pipeline's back."""
    with warehouse.write() as connection:
        connection.execute(delete(raw_referrals).where(raw_referrals.c.referral_id.in_(referral_ids)))


def window_of(warehouse: Warehouse) -> dict[str, int]:
    return {row["referral_id"]: row["window_start"] for row in rows_of(warehouse, raw_referrals)}


def kept(warehouse: Warehouse) -> list[dict[str, Any]]:
    return rows_of(warehouse, reconciliations, reconciliations.c.id)


def test_a_warehouse_that_has_everything_is_read_and_not_written(warehouse: Warehouse) -> None:
    synced(warehouse)
    before = rows_of(warehouse, raw_referrals, raw_referrals.c.referral_id)
    done = compare(warehouse, THERE)
    assert (done.pages, done.fetched, done.missing, done.missed, done.ahead) == (2, 4, 0, 0, 0)
    assert rows_of(warehouse, raw_referrals, raw_referrals.c.referral_id) == before
    assert len(covered(warehouse)) == 1
    (row,) = kept(warehouse)
    assert (row["run_id"], row["until"], row["fetched"], row["windows"]) == ("sweep", FIRST + 3 * W, 4, [])
    assert (row["started_at"], row["finished_at"], row["error"]) == (LATER, LATER, None)


def test_what_a_complete_window_missed_is_loaded_under_it_for_leads_to_be_made_of(warehouse: Warehouse) -> None:
    synced(warehouse)
    lose(warehouse, "b", "old")
    done = compare(warehouse, THERE)
    assert (done.missing, done.missed) == (2, 2)
    first, second, _ = windows(3)
    assert window_of(warehouse) == {"old": FIRST, "a": FIRST, "b": second.start, "c": FIRST + 2 * W}
    with warehouse.read() as connection:
        assert {"b", "old"} <= set(pending.load(connection, Task.LEADS).items)
    (row,) = kept(warehouse)
    assert (row["missing"], row["missed"]) == (2, 2)
    assert [(gap["window"], gap["missing"], gap["claimed_complete"]) for gap in row["windows"]] == [
        (first.key, 1, True),
        (second.key, 1, True),
    ]
    assert row["windows"][0]["interval"].startswith("[the beginning,")


def test_the_next_comparison_finds_nothing_and_is_the_one_that_counts(warehouse: Warehouse) -> None:
    synced(warehouse)
    lose(warehouse, "b")
    for missed in (1, 0):
        compare(warehouse, THERE)
        with warehouse.read() as connection:
            latest = reconciling.latest(connection)
        assert latest is not None
        assert latest.missed == missed


def test_another_version_of_a_known_referral_is_missing_too(warehouse: Warehouse) -> None:
    synced(warehouse)
    done = compare(warehouse, [make_version("a", FIRST + 1, "v2")])
    assert done.missed == 1
    assert {row["version"] for row in rows_of(warehouse, raw_referrals) if row["referral_id"] == "a"} == {"v1", "v2"}


def test_what_no_window_was_begun_for_is_left_to_its_window(warehouse: Warehouse) -> None:
    synced(warehouse, 1)
    whole(warehouse, windows(1, first=2), [THERE[3]])
    done = compare(warehouse, THERE)
    assert (done.missing, done.ahead) == (0, 1)
    assert "b" not in window_of(warehouse)
    assert kept(warehouse)[0]["until"] == FIRST + 3 * W


def test_a_window_that_was_not_done_had_not_claimed_anything(warehouse: Warehouse) -> None:
    synced(warehouse, 1)
    begin(warehouse, windows(1, first=1), "broken off").fail("a test wants it", incomplete=False)
    whole(warehouse, windows(1, first=2), [THERE[3]])
    done = compare(warehouse, THERE)
    assert (done.missing, done.missed) == (1, 0)
    (gap,) = done.windows()
    assert (gap.window, gap.claimed) == (windows(1, first=1)[0].key, False)
    assert window_of(warehouse)["b"] == FIRST + W
    assert covered(warehouse, Asset.RAW_REFERRALS)[-1][0] == FIRST + 2 * W, "the window is not taken for done"


def test_of_two_windows_that_cover_a_row_the_one_that_claimed_completeness_is_named(warehouse: Warehouse) -> None:
    synced(warehouse, 1)
    wide = SyncWindow(FIRST, FIRST + 6 * W, FIRST)
    whole(warehouse, [wide], [])
    narrow = begin(warehouse, windows(1, first=3), "narrow").windows[0]
    done = compare(warehouse, [make_version("d", FIRST + 3 * W + 1)])
    assert done.windows() == [Gap(wide.key, str(wide), 1, True)]
    with warehouse.write() as connection:
        ledger.complete_windows(connection, {narrow: ledger.Figures()}, "narrow", NOW)
    assert compare(warehouse, [make_version("e", FIRST + 3 * W + 1)]).windows() == [
        Gap(narrow.key, str(narrow), 1, True)
    ]


def test_rows_that_break_the_contract_are_kept_aside_with_the_window_of_their_page(warehouse: Warehouse) -> None:
    synced(warehouse)
    reconciler = started(warehouse)
    reconciler.take(make_page([], FIRST - 10**12, rejected=[make_rejected("f1")]))
    reconciler.take(make_page([THERE[2]], FIRST + W + 1, rejected=[make_rejected("f2")]))
    reconciler.take(make_page([], FIRST + 3 * W, rejected=[make_rejected("f1"), make_rejected("f3")], last=True))
    assert reconciler.done.quarantined == 4
    rows = rows_of(warehouse, quarantined_referrals, quarantined_referrals.c.fingerprint)
    assert [(row["window_start"], row["attempts"]) for row in rows] == [(FIRST, 2), (FIRST + W, 1), (FIRST + 2 * W, 1)]


def test_what_is_news_in_a_missing_version_is_drift(warehouse: Warehouse) -> None:
    synced(warehouse)
    compare(warehouse, [make_version("d", FIRST + 2, payload={"status": "Paused"})])
    (row,) = rows_of(warehouse, payload_drift)
    assert (row["path"], row["value"], row["referral_id"]) == ("status", "Paused", "d")


def test_a_comparison_that_breaks_off_keeps_what_it_loaded_and_says_why(warehouse: Warehouse) -> None:
    synced(warehouse)
    lose(warehouse, "a", "b")
    reconciler = started(warehouse)
    reconciler.take(make_page(THERE[:2], FIRST + 1))
    (row,) = kept(warehouse)
    assert (row["missing"], row["finished_at"]) == (1, None), "a killed one shows what it found"
    reconciler.fail("no answer")
    (row,) = kept(warehouse)
    assert (row["missing"], row["missed"], row["error"]) == (1, 1, "no answer")
    assert "a" in window_of(warehouse)


@pytest.mark.parametrize(
    ("first", "then", "counts"),
    [([], None, None), ([], [], "second"), (["b"], None, "first"), (["b"], ["c"], "second"), ([], ["c"], "second")],
    ids=["failed only", "through", "a finding, then a failure", "two findings", "a finding that broke off"],
)
def test_a_failure_without_a_finding_proves_nothing_and_hides_nothing(
    first: list[str], then: list[str] | None, counts: str | None, warehouse: Warehouse
) -> None:
    synced(warehouse)
    for name, lost, ends_well in (("first", first, bool(first)), ("second", then or [], then == [])):
        lose(warehouse, *lost)
        reconciler = started(warehouse, name)
        reconciler.take(make_page(THERE, FIRST + 3 * W))
        reconciler.finish() if ends_well else reconciler.fail("no answer")
        reconciler.lease.release()
    with warehouse.read() as connection:
        latest = reconciling.latest(connection)
    assert (latest and latest.run_id) == counts


def test_a_run_that_lost_its_lease_loads_nothing(warehouse: Warehouse) -> None:
    synced(warehouse)
    lose(warehouse, "b")
    reconciler = started(warehouse)
    with warehouse.write() as connection:
        reconciler.lease.confirm(connection)
    reconciler.lease.release()
    Lease(warehouse, "another", lambda: LATER).acquire(0, lambda _: None)
    with pytest.raises(LeaseLostError):
        reconciler.take(make_page(THERE, FIRST + 3 * W))
    assert "b" not in window_of(warehouse)
    assert reconciler.done.missing == 0


def test_nothing_is_compared_before_a_window_is_done(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        assert reconciling.until(connection) is None
        assert reconciling.latest(connection) is None
        assert reconciling.expected(connection, recent=False) == 0


# Dates in the future


def at_server_time(rows: Sequence[ReferralVersion], server_ticks: int) -> ScanPage:
    return replace(make_page(rows, FIRST + 3 * W), server_ticks=server_ticks)


def test_a_date_beyond_the_servers_clock_and_the_lag_is_loaded_once_and_accuses_no_window(warehouse: Warehouse) -> None:
    synced(warehouse)
    now, lag = FIRST + 4 * W, 120
    rows = [make_version("soon", now + lag), make_version("future", now + lag + 1), make_version("since", now)]
    for expected_future, expected_ahead in ((1, 2), (0, 2)):
        reconciler = started(warehouse, lag=lag)
        reconciler.take(at_server_time(rows, now))
        reconciler.finish()
        reconciler.lease.release()
        done = reconciler.done
        assert (done.future, done.ahead, done.missing) == (expected_future, expected_ahead, 0)
    (row,) = (row for row in rows_of(warehouse, raw_referrals) if row["referral_id"] == "future")
    assert (row["window_start"], row["updated_ticks"], row["late"]) == (FIRST + 2 * W, now - lag, False)
    assert row["updated_text"] == render_ticks(now + lag + 1)
    with warehouse.read() as connection:
        assert "future" in pending.load(connection, Task.LEADS).items
    assert [row["future"] for row in kept(warehouse)] == [1, 0]

    finish(warehouse, windows(2, first=3))
    whole(warehouse, windows(2, first=3), [])
    assert compare(warehouse, rows[1:2]).missing == 0, "also when its date has come"


def test_what_corrects_a_date_in_the_future_is_newer(warehouse: Warehouse) -> None:
    synced(warehouse)
    reconciler = started(warehouse)
    year_9999 = make_version("a", parse_ticks("9999-12-31T23:59:59Z"), "wrong")
    reconciler.take(at_server_time([year_9999], FIRST + 4 * W))
    reconciler.lease.release()
    whole(warehouse, windows(1, first=4), [make_version("a", FIRST + 4 * W + 1, "right")], "later")
    with warehouse.read() as connection:
        assert [row.version for row in referrals.newest(connection, ["a"])] == ["right"]


def test_what_corrects_it_is_newer_even_where_the_servers_clock_is_ahead_of_its_dates(warehouse: Warehouse) -> None:
    synced(warehouse)
    lag, now = 120, FIRST + 4 * W
    reconciler = started(warehouse, lag=lag)
    tomorrow = make_version("new", now + 10 * lag, "wrong"), make_version("a", now + 10 * lag, "wrong")
    reconciler.take(at_server_time(tomorrow, now))
    reconciler.lease.release()
    with warehouse.read() as connection:
        assert [row.version for row in referrals.newest(connection, ["a", "new"])] == ["wrong", "wrong"]
    corrected = [make_version("a", now - lag + 1, "right"), make_version("new", now - lag + 1, "right")]
    whole(warehouse, windows(1, first=3), corrected, "later")
    with warehouse.read() as connection:
        assert [row.version for row in referrals.newest(connection, ["a", "new"])] == ["right", "right"]


def test_a_date_in_the_future_is_newer_than_what_was_stored_a_moment_before(warehouse: Warehouse) -> None:
    synced(warehouse)
    lag, now = 120, FIRST + 4 * W
    whole(warehouse, windows(1, first=3), [make_version("a", now - 1, "right")], "later")
    reconciler = started(warehouse, lag=lag)
    reconciler.take(at_server_time([make_version("a", now + 10 * lag, "wrong")], now))
    with warehouse.read() as connection:
        assert [row.version for row in referrals.newest(connection, ["a"])] == ["wrong"]


# What was in quarantine


def refused(warehouse: Warehouse, window: SyncWindow, referral_id: str | None, **payload: str) -> None:
    """A row that a window met and put into quarantine."""
    row = replace(make_rejected("f1", referral_id), payload_text=json.dumps(payload))
    with warehouse.write() as connection:
        referrals.quarantine(connection, [row], window.start, NOW)


@pytest.mark.parametrize(
    ("referral_id", "number", "dated", "accused"),
    [
        ("d", 1, {}, False),
        ("d", 0, {"updatedDateTime": render_ticks(FIRST + W + 5)}, False),
        ("d", 0, {"updatedDateTime": render_ticks(FIRST + W + 6)}, True),
        ("d", 0, {"updatedDateTime": "yesterday"}, False),
        ("other", 1, {}, True),
        (None, 1, {"updatedDateTime": render_ticks(FIRST + W + 5)}, False),
        (None, 1, {"updatedDateTime": render_ticks(FIRST + W + 6)}, True),
        (None, 0, {"updatedDateTime": render_ticks(FIRST + W + 5)}, True),
        (None, 1, {}, True),
    ],
    ids=[
        "same window", "same date", "another date", "no date before", "another referral", "no id, window and date",
        "no id, another date", "no id, another window", "neither",
    ],
)  # fmt: skip
def test_a_window_that_kept_the_row_aside_is_not_accused_when_it_comes_clean(
    referral_id: str | None, number: int, dated: dict[str, str], accused: bool, warehouse: Warehouse
) -> None:
    synced(warehouse)
    refused(warehouse, windows(3)[number], referral_id, **dated)
    done = compare(warehouse, [make_version("d", FIRST + W + 5)])
    assert (done.cleared, done.missed) == ((0, 1) if accused else (1, 0))
    assert window_of(warehouse)["d"] == FIRST + W


# What Partner Center shows no more


def with_leads(warehouse: Warehouse, count: int) -> list[str]:
    """So many leads; their ids."""
    ids = [f"r{number:04}" for number in range(count)]
    with warehouse.write() as connection:
        leads.write(connection, [lead_row(referral_id, domain=f"{referral_id}.com") for referral_id in ids])
    return ids


def marked(warehouse: Warehouse) -> list[str]:
    return [row["referral_id"] for row in rows_of(warehouse, schema_leads, schema_leads.c.referral_id)
            if row["vanished_at"] is not None]  # fmt: skip


def look_for(
    warehouse: Warehouse, shown: set[str], by_id: Sequence[str] = (), *, accept_many: bool = False
) -> Reconciled:
    reconciler = started(warehouse)
    unseen = reconciler.unseen(shown.__contains__, accept_many=accept_many)
    reconciler.mark_vanished(unseen, by_id.__contains__)
    reconciler.finish()
    reconciler.lease.release()
    return reconciler.done


@pytest.mark.parametrize(
    ("held", "gone", "marks"),
    [(12, 10, True), (12, 11, False), (200, 10, True), (200, 11, False), (2001, 100, True), (2001, 101, False)],
)
def test_few_are_marked_and_many_are_only_counted(held: int, gone: int, marks: bool, warehouse: Warehouse) -> None:
    synced(warehouse)
    ids = with_leads(warehouse, held)
    done = look_for(warehouse, set(ids[gone:]))
    assert (done.held, done.vanished, done.marked) == (held, gone, gone if marks else 0)
    assert marked(warehouse) == (ids[:gone] if marks else [])
    with warehouse.read() as connection:
        outcome = reconciling.latest_full(connection)
        items = pending.load(connection, Task.COMPANIES).items
    assert outcome is not None
    assert outcome.too_many_vanished is not marks
    assert len(items) == (gone if marks else 0)


def test_a_person_may_say_that_many_are_really_gone(warehouse: Warehouse) -> None:
    synced(warehouse)
    ids = with_leads(warehouse, 30)
    assert look_for(warehouse, set(), accept_many=True).marked == 30
    assert marked(warehouse) == ids
    assert look_for(warehouse, set()).held == 0, "what is marked is not looked for again"


def test_what_is_shown_by_its_id_is_not_marked(warehouse: Warehouse) -> None:
    synced(warehouse)
    ids = with_leads(warehouse, 5)
    done = look_for(warehouse, set(ids[2:]), by_id=ids[:1])
    assert (done.vanished, done.marked, done.unlisted) == (1, 1, 1)
    assert marked(warehouse) == ids[1:2]


def test_a_comparison_that_sees_a_vanished_referral_takes_the_mark(warehouse: Warehouse) -> None:
    synced(warehouse)
    ids = with_leads(warehouse, 3)
    look_for(warehouse, {ids[2]})
    reconciler = started(warehouse, kind=Kind.RECENT)
    reconciler.take(make_page([make_version(ids[0], FIRST + 1)], FIRST + 3 * W))
    assert reconciler.done.returned == 1
    assert marked(warehouse) == [ids[1]]
    assert kept(warehouse)[-1]["returned"] == 1
    assert kept(warehouse)[-1]["kind"] == "recent"


def test_a_lead_that_is_written_again_keeps_its_mark(warehouse: Warehouse) -> None:
    synced(warehouse)
    ids = with_leads(warehouse, 2)
    look_for(warehouse, {ids[1]})
    with warehouse.write() as connection:
        assert leads.write(connection, [lead_row(ids[0], domain=f"{ids[0]}.com")]).unchanged == 1
        leads.write(connection, [lead_row(ids[0], 5, domain="other.com")])
    assert marked(warehouse) == [ids[0]]


@pytest.mark.parametrize(
    ("history", "counts"),
    [
        ([(Kind.FULL, 1), (Kind.RECENT, 0)], 0),
        ([(Kind.FULL, 1), (Kind.FULL, 0)], 1),
        ([(Kind.RECENT, 1), (Kind.RECENT, 0)], 1),
        ([(Kind.RECENT, 1), (Kind.FULL, 0)], 1),
        ([(Kind.FULL, 0), (Kind.RECENT, 1)], 1),
        ([(Kind.FULL, 1), (Kind.RECENT, 1)], 1),
        ([(Kind.FULL, 0), (Kind.RECENT, 0)], 1),
    ],
)
def test_a_daily_comparison_does_not_hide_what_a_full_one_found(
    history: list[tuple[Kind, int]], counts: int, warehouse: Warehouse
) -> None:
    synced(warehouse)
    for number, (kind, missed) in enumerate(history):
        if missed:
            lose(warehouse, "b")
        reconciler = started(warehouse, f"run {number}", kind)
        reconciler.take(make_page(THERE, FIRST + 3 * W))
        assert reconciler.done.missed == missed
        reconciler.finish()
        reconciler.lease.release()
    with warehouse.read() as connection:
        latest = reconciling.latest(connection)
    assert latest is not None
    assert latest.run_id == f"run {counts}"
