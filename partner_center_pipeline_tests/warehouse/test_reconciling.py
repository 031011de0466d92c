"""A comparison finds what is missing, loads it where it belongs, and says whether a complete window had missed it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from partner_center_pipeline.partner_center.schema_drift import DriftWatch
from partner_center_pipeline.referral import ReferralVersion
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import ledger, pending, reconciling
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.reconciling import Gap, Reconciled, Reconciler
from partner_center_pipeline.warehouse.schema import (
    payload_drift,
    quarantined_referrals,
    raw_referrals,
    reconciliations,
)
from partner_center_pipeline.windows import SyncWindow
from partner_center_pipeline_tests.warehouse.pages import make_page, make_rejected, make_version
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


def started(warehouse: Warehouse, run_id: str = "sweep") -> Reconciler:
    lease = Lease(warehouse, run_id, lambda: LATER)
    lease.acquire(0, lambda _: None)
    with warehouse.read() as connection:
        end = reconciling.until(connection)
    assert end is not None
    return Reconciler.begin(warehouse, lease, end, lambda: LATER)


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
