"""A scan in the warehouse: pages and positions commit together, windows close when passed, every try is told."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from partner_center_pipeline.referral import ReferralVersion
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import demo, leads, ledger, pending, referrals, vanished
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import LEASE_SECONDS, Lease, LeaseLostError
from partner_center_pipeline.warehouse.schema import leads as schema_leads
from partner_center_pipeline.warehouse.schema import (
    pending_work,
    quarantined_referrals,
    raw_referrals,
    row_dict,
    sync_attempts,
    sync_windows,
)
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, SyncWindow, WindowGrid, merge
from partner_center_pipeline_tests.warehouse.pages import make_page, make_rejected, make_version
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_lease import let_time_pass

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRID = WindowGrid.of(datetime(2026, 3, 1, tzinfo=UTC), 600, 120)
FIRST = GRID.first or 0
W = GRID.width


def windows(count: int, first: int = 0) -> list[SyncWindow]:
    return list(GRID.between(FIRST + first * W, FIRST + (first + count) * W))


def begin(warehouse: Warehouse, wanted: list[SyncWindow], run_id: str = "run") -> WindowIngest:
    return WindowIngest.begin(warehouse, wanted, run_id, lambda: NOW, first=FIRST)


def whole(
    warehouse: Warehouse, wanted: list[SyncWindow], rows: Sequence[ReferralVersion], run_id: str = "run"
) -> WindowIngest:
    ingest = begin(warehouse, wanted, run_id)
    ingest.write(make_page(rows, wanted[-1].end, last=True))
    return ingest


def rows_of(warehouse: Warehouse, table: Any, *order: Any) -> list[dict[str, Any]]:
    with warehouse.read() as connection:
        return [row_dict(row) for row in connection.execute(select(table).order_by(*order))]


def attempts(warehouse: Warehouse) -> list[dict[str, Any]]:
    return rows_of(warehouse, sync_attempts, sync_attempts.c.id)


def covered(warehouse: Warehouse, *assets: Asset) -> list[tuple[int, int]]:
    with warehouse.read() as connection:
        return ledger.covered(connection, assets or ledger.CHAIN)


def finish(warehouse: Warehouse, wanted: Sequence[SyncWindow]) -> None:
    with warehouse.write() as connection:
        for asset in ledger.CHAIN[1:]:
            ledger.mark(connection, wanted, asset, NOW)


class TestLease:
    """With a lease, nothing is written once another run has taken over."""

    @pytest.fixture
    def held(self, warehouse: Warehouse) -> Lease:
        lease = Lease(warehouse, "run", lambda: datetime.now(UTC))
        lease.acquire(0, time.sleep)
        return lease

    @staticmethod
    def take_over(warehouse: Warehouse) -> None:
        let_time_pass(warehouse, LEASE_SECONDS)
        Lease(warehouse, "other", lambda: datetime.now(UTC)).acquire(0, time.sleep)

    def test_a_run_that_lost_it_begins_no_attempt(self, warehouse: Warehouse, held: Lease) -> None:
        self.take_over(warehouse)
        with pytest.raises(LeaseLostError):
            WindowIngest.begin(warehouse, windows(1), "run", lambda: NOW, FIRST, held)
        assert attempts(warehouse) == []

    @pytest.mark.parametrize("last", [False, True])
    def test_a_run_that_lost_it_stores_no_further_page_and_closes_no_window(
        self, warehouse: Warehouse, held: Lease, last: bool
    ) -> None:
        ingest = WindowIngest.begin(warehouse, windows(2), "run", lambda: NOW, FIRST, held)
        ingest.write(make_page([make_version("a", FIRST)], FIRST + 5))
        self.take_over(warehouse)
        with pytest.raises(LeaseLostError):
            ingest.write(make_page([make_version("b", FIRST + 7)], FIRST + W + 1, last=last))
        assert [row["referral_id"] for row in rows_of(warehouse, raw_referrals)] == ["a"]
        assert covered(warehouse, Asset.RAW_REFERRALS) == []
        assert {row["position"] for row in rows_of(warehouse, sync_windows)} == {FIRST + 5, None}

    def test_a_run_that_lost_it_after_its_last_page_closes_no_window(
        self, warehouse: Warehouse, held: Lease, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ingest = WindowIngest.begin(warehouse, windows(1), "run", lambda: NOW, FIRST, held)
        complete = WindowIngest._complete_until

        def lose_it_first(self_: WindowIngest, ticks: int) -> None:
            self.take_over(warehouse)
            complete(self_, ticks)

        monkeypatch.setattr(WindowIngest, "_complete_until", lose_it_first)
        with pytest.raises(LeaseLostError):
            ingest.write(make_page([make_version("a", FIRST)], FIRST + W, last=True))
        assert [row["referral_id"] for row in rows_of(warehouse, raw_referrals)] == ["a"]
        assert covered(warehouse, Asset.RAW_REFERRALS) == []

    def test_each_page_renews_it(self, warehouse: Warehouse, held: Lease) -> None:
        ingest = WindowIngest.begin(warehouse, windows(2), "run", lambda: NOW, FIRST, held)
        let_time_pass(warehouse, LEASE_SECONDS)
        ingest.write(make_page([make_version("a", FIRST)], FIRST + 5))
        with pytest.raises(LeaseLostError):
            Lease(warehouse, "other", lambda: datetime.now(UTC)).acquire(0, time.sleep)


class TestPages:
    def test_the_first_window_of_all_answers_for_everything_before_it(self, warehouse: Warehouse) -> None:
        ingest = whole(warehouse, windows(1), [make_version("old", FIRST - 10**15), make_version("new", FIRST + 5)])
        assert ingest.windows[0].is_genesis
        assert ingest.total().late == 0
        assert covered(warehouse, Asset.RAW_REFERRALS) == [(BEGINNING, FIRST + W)]

    def test_a_page_is_stored_under_the_windows_of_its_rows(self, warehouse: Warehouse) -> None:
        whole(
            warehouse,
            windows(3),
            [make_version("a", FIRST), make_version("b", FIRST + W), make_version("c", FIRST + 3 * W - 1)],
        )
        stored = rows_of(warehouse, raw_referrals, raw_referrals.c.referral_id)
        assert [row["window_start"] for row in stored] == [FIRST, FIRST + W, FIRST + 2 * W]
        assert [attempt["new_versions"] for attempt in attempts(warehouse)] == [1, 1, 1]
        assert {attempt["state"] for attempt in attempts(warehouse)} == {"complete"}

    def test_a_late_row_belongs_to_the_window_that_fetched_it_and_is_counted(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(2), [])
        ingest = whole(warehouse, windows(1, first=2), [make_version("late", FIRST + W + 1)], "second")
        (row,) = rows_of(warehouse, raw_referrals)
        assert (row["window_start"], row["late"]) == (FIRST + 2 * W, True)
        assert ingest.total().late == 1

    def test_known_rows_cost_no_write_and_are_counted_as_unchanged(self, warehouse: Warehouse) -> None:
        page = [make_version("a", FIRST + 1), make_version("b", FIRST + 2)]
        whole(warehouse, windows(1), page)
        before = rows_of(warehouse, raw_referrals, raw_referrals.c.referral_id)
        again = whole(warehouse, windows(1), page, "again").total()
        assert (again.new_versions, again.unchanged, again.fetched) == (0, 2, 2)
        assert rows_of(warehouse, raw_referrals, raw_referrals.c.referral_id) == before

    def test_every_version_is_kept(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [make_version("a", FIRST + 1, "v1"), make_version("a", FIRST + 2, "v2")])
        assert [row["version"] for row in rows_of(warehouse, raw_referrals, raw_referrals.c.version)] == ["v1", "v2"]

    def test_an_empty_window_is_empty_and_not_a_failure(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [])
        (attempt,) = attempts(warehouse)
        assert (attempt["state"], attempt["fetched"], attempt["error"]) == ("empty", 0, None)

    def test_what_breaks_the_contract_is_kept_aside_and_counts_its_meetings(self, warehouse: Warehouse) -> None:
        for run_id in ("one", "two"):
            ingest = begin(warehouse, windows(1), run_id)
            ingest.write(
                make_page([make_version("a", FIRST)], windows(1)[0].end, rejected=[make_rejected("f1")], last=True)
            )
            assert ingest.total().quarantined == 1
        (row,) = rows_of(warehouse, quarantined_referrals)
        assert (row["attempts"], row["reason"], row["path"]) == (2, "no_id", "id")

    def test_figures_add_up(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(2))
        ingest.write(make_page([make_version("a", FIRST)], FIRST, rejected=[make_rejected("f")]))
        ingest.write(make_page([make_version("b", FIRST + W), make_version("b2", FIRST + W)], FIRST + 2 * W, last=True))
        total = ingest.total()
        assert (total.pages, total.fetched, total.new_versions, total.distinct_ids) == (2, 4, 3, 3)
        assert total.seconds_waited == 4.0
        assert sum(attempt["pages"] for attempt in attempts(warehouse)) == 2


class TestCrash:
    def test_an_attempt_that_stopped_goes_on_from_its_position(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(1))
        ingest.write(make_page([make_version("a", FIRST + 1)], FIRST + 1))
        again = begin(warehouse, windows(1), "again")
        assert again.resume_from == FIRST + 1
        assert covered(warehouse, Asset.RAW_REFERRALS) == []
        states = [(attempt["run_id"], attempt["state"]) for attempt in attempts(warehouse)]
        assert states == [("run", "failed"), ("again", "running")]
        assert "killed" in attempts(warehouse)[0]["error"]

    def test_windows_that_a_scan_has_passed_are_done_even_if_it_stops_later(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(4))
        ingest.write(make_page([make_version("a", FIRST), make_version("b", FIRST + 2 * W + 5)], FIRST + 2 * W + 5))
        ingest.fail("the line went dead", incomplete=False)
        assert covered(warehouse, Asset.RAW_REFERRALS) == [(BEGINNING, FIRST + 2 * W)]
        assert [attempt["state"] for attempt in attempts(warehouse)] == ["complete", "empty", "failed", "failed"]
        assert {attempt["error"] for attempt in attempts(warehouse)[2:]} == {"the line went dead"}
        assert begin(warehouse, windows(2, first=2), "rest").resume_from == FIRST + 2 * W + 5

    def test_a_scan_killed_before_it_closes_its_window_keeps_the_overlap_for_the_next(
        self, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise InterruptedError

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "complete_windows", killed)
            with pytest.raises(InterruptedError):
                whole(warehouse, windows(1), [make_version("a", FIRST)])
        assert begin(warehouse, windows(1), "same").resume_from == FIRST + W
        assert begin(warehouse, windows(2), "longer").resume_from is None

    def test_a_closed_window_is_read_from_its_start_again(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [make_version("a", FIRST)])
        assert begin(warehouse, windows(1), "again").resume_from is None

    def test_a_scan_without_proof_is_incomplete(self, warehouse: Warehouse) -> None:
        begin(warehouse, windows(1)).fail("pages contradict each other", incomplete=True)
        assert [attempt["state"] for attempt in attempts(warehouse)] == ["incomplete"]

    def test_a_page_whose_transaction_fails_leaves_nothing(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(1))
        bad = make_version("b", FIRST + 2, content_hash=None)  # type: ignore[arg-type]  # the column takes no NULL
        with pytest.raises(WarehouseError):
            ingest.write(make_page([make_version("a", FIRST + 1), bad], FIRST + 2))
        assert rows_of(warehouse, raw_referrals) == []
        assert rows_of(warehouse, sync_windows)[0]["position"] is None


class TestChain:
    def test_a_window_is_done_when_every_asset_has_it(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(2), [make_version("a", FIRST)])
        assert covered(warehouse) == []
        finish(warehouse, windows(2))
        assert covered(warehouse) == [(BEGINNING, FIRST + 2 * W)]

    def test_new_versions_are_to_be_derived_and_known_ones_are_not(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(2), [make_version("a", FIRST)])
        finish(warehouse, windows(2))
        with warehouse.write() as connection:
            assert pending.load(connection, Task.LEADS).items == ["a"]
            pending.remove(connection, pending.load(connection, Task.LEADS))
        whole(warehouse, windows(2), [make_version("a", FIRST), make_version("b", FIRST + W)], "again")
        assert covered(warehouse) == [(BEGINNING, FIRST + 2 * W)], "what the windows answer for stays fetched"
        with warehouse.read() as connection:
            assert pending.load(connection, Task.LEADS).items == ["b"]

    def test_a_replay_without_news_leaves_the_chain_done(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [make_version("a", FIRST)])
        finish(warehouse, windows(1))
        whole(warehouse, windows(1), [make_version("a", FIRST)], "again")
        assert covered(warehouse) == [(BEGINNING, FIRST + W)]

    def test_an_asset_may_not_run_before_the_one_before_it(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [])
        with (
            warehouse.read() as connection,
            pytest.raises(ledger.WindowNotReadyError, match=r"raw_referrals has not done window 2026-03-01-00:10"),
        ):
            ledger.require(connection, windows(2), Asset.RAW_REFERRALS)

    def test_tries_are_counted_until_the_window_is_done(self, warehouse: Warehouse) -> None:
        def tried() -> ledger.Tries:
            with warehouse.read() as connection:
                return ledger.tries(connection, FIRST, FIRST + W, NOW + timedelta(days=1))

        assert tried() == ledger.Tries(0, None)
        for run_id in ("one", "two"):
            begin(warehouse, windows(1), run_id).fail("no", incomplete=False)
        assert tried() == ledger.Tries(2, NOW)
        whole(warehouse, windows(1), [], "three")
        finish(warehouse, windows(1))
        assert tried().count == 0

    def test_an_attempt_that_the_gate_turned_away_is_told(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            ledger.record_disabled(connection, windows(2), "run", NOW)
        assert {attempt["state"] for attempt in attempts(warehouse)} == {"disabled"}
        assert all(attempt["finished_at"] == NOW for attempt in attempts(warehouse))
        assert covered(warehouse, Asset.RAW_REFERRALS) == []


class TestCoverage:
    def test_another_width_does_not_make_history_look_missing(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(6), [])
        hours = WindowGrid.of(datetime(2026, 3, 1, tzinfo=UTC), 3600, 120)
        WindowIngest.begin(warehouse, [hours.window(FIRST + 6 * W)], "hour", lambda: NOW, first=FIRST).write(
            make_page([], FIRST + 12 * W, last=True)
        )
        assert covered(warehouse, Asset.RAW_REFERRALS) == [(BEGINNING, FIRST + 12 * W)]

    def test_a_start_moved_forward_over_a_gap_makes_its_first_window_answer_for_the_gap(
        self, warehouse: Warehouse
    ) -> None:
        whole(warehouse, windows(2), [])
        finish(warehouse, windows(2))
        moved = FIRST + 10 * W
        with warehouse.read() as connection:
            (window,) = ledger.resolve(connection, windows(1, first=10), moved)
        assert window.covers_from == FIRST + 2 * W

    def test_what_the_chain_left_undone_before_it_is_the_first_windows_too(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(2), [make_version("a", FIRST + 1)])
        finish(warehouse, windows(1))
        moved = FIRST + 10 * W
        WindowIngest.begin(warehouse, windows(1, first=10), "moved", lambda: NOW, first=moved).write(
            make_page([], FIRST + 11 * W, last=True)
        )
        with warehouse.read() as connection:
            (window,) = ledger.require(connection, windows(1, first=10), Asset.RAW_REFERRALS)
        assert window.covers_from == FIRST + W

    def test_a_start_moved_back_owes_no_second_genesis(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(2), [])
        finish(warehouse, windows(2))
        earlier = FIRST - 5 * W
        with warehouse.read() as connection:
            (window,) = ledger.resolve(connection, [GRID.window(earlier)], earlier)
        assert window.covers_from == earlier

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
    @given(spans=st.lists(st.tuples(st.integers(-20, 60), st.integers(1, 12), st.booleans()), max_size=15))
    def test_what_is_covered_is_the_union_of_what_is_done(
        self, warehouse: Warehouse, spans: list[tuple[int, int, bool]]
    ) -> None:
        rows = {(start, start + length): done for start, length, done in spans}
        with warehouse.write() as connection:
            connection.execute(delete(sync_windows))
            for (start, end), done in rows.items():
                moment = NOW if done else None
                connection.execute(
                    sync_windows.insert().values(
                        window_start=start,
                        window_end=end,
                        covers_from=start,
                        **{f"{asset}_at": moment for asset in Asset},
                    )
                )
            assert ledger.covered(connection) == merge(span for span, done in rows.items() if done)


class TestNewest:
    def test_the_newest_version_counts_whichever_window_fetched_it(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [make_version("a", FIRST + 1, "v1"), make_version("b", FIRST + 2, "v1")])
        whole(warehouse, windows(1, first=1), [make_version("a", FIRST + W + 1, "v2")], "second")
        with warehouse.read() as connection:
            newest = referrals.newest(connection, ["b", "a", "nobody"])
        assert [(each.referral_id, each.version) for each in newest] == [("a", "v2"), ("b", "v1")]


class TestDemo:
    WORLD = demo.DemoWorld(1, NOW, NOW - timedelta(hours=1), 100)

    def test_the_demo_keeps_its_world_with_the_warehouse(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            assert demo.load(connection) is None
            demo.found(connection, self.WORLD)
        with warehouse.read() as connection:
            assert demo.load(connection) == self.WORLD

    def test_the_demo_does_not_mix_with_a_real_tenants_referrals(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [])
        with warehouse.write() as connection, pytest.raises(WarehouseError, match="real tenant's referrals"):
            demo.found(connection, self.WORLD)

    def test_windows_that_were_begun_in_vain_do_not_hinder_the_demo(self, warehouse: Warehouse) -> None:
        begin(warehouse, windows(2))
        with warehouse.write() as connection:
            ledger.fail(connection, "run", NOW, "nobody is signed in")
            demo.found(connection, self.WORLD)
        with warehouse.read() as connection:
            assert demo.load(connection) == self.WORLD

    def test_a_row_of_an_open_window_is_a_real_tenants(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(1))
        ingest.write(make_page([make_version("a", FIRST + 1)], FIRST + W))
        with warehouse.write() as connection, pytest.raises(WarehouseError, match="real tenant's referrals"):
            demo.found(connection, self.WORLD)

    @pytest.mark.parametrize(
        ("url", "resolvers", "is_refused"),
        [
            ("https://localhost:8443", (("127.0.0.1", 8053),), False),
            ("https://localhost:8443", (), True),
            ("https://localhost:8443", (("127.0.0.1", 53), ("192.0.2.53", 53)), True),
            ("https://api.partner.microsoft.com", (("127.0.0.1", 53),), True),
        ],
    )
    def test_real_name_servers_are_not_asked_about_the_demos_companies(
        self, warehouse: Warehouse, url: str, resolvers: tuple[tuple[str, int], ...], is_refused: bool
    ) -> None:
        asked = Settings(partner_center_base_url=url, dns_resolvers=resolvers)
        with warehouse.write() as connection:
            demo.refuse_asking(connection, asked)
            demo.found(connection, self.WORLD)
            with pytest.raises(WarehouseError, match="name servers are not asked") if is_refused else nullcontext():
                demo.refuse_asking(connection, asked)

    @pytest.mark.parametrize("url", ["https://api.partner.microsoft.com", "https://localhost.example.com"])
    def test_a_real_tenant_does_not_mix_with_the_demo(self, warehouse: Warehouse, url: str) -> None:
        with warehouse.write() as connection:
            demo.refuse_mixing(connection, url)
            demo.found(connection, self.WORLD)
            demo.refuse_mixing(connection, "https://localhost:8443")
            demo.refuse_mixing(connection, "https://127.0.0.1:8443")
            with pytest.raises(WarehouseError, match="invented referrals"):
                demo.refuse_mixing(connection, url)


class TestLateness:
    def late_run(self, warehouse: Warehouse, window: SyncWindow, *seconds_before: float) -> WindowIngest:
        """A window whose scan met versions in the overlap, so many seconds before it."""
        rows = [
            make_version(f"late-{window.key}-{seconds}", window.start - int(seconds * TICKS_PER_SECOND))
            for seconds in seconds_before
        ]
        return whole(warehouse, [window], rows, f"run {window.key}")

    def test_how_far_before_its_window_the_latest_late_version_lay_is_kept(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(3), [])
        ingest = self.late_run(warehouse, windows(1, first=3)[0], 30, 480.5, 60)
        assert ingest.total().latest_late_seconds == 480.5
        assert [row["latest_late_seconds"] for row in attempts(warehouse)] == [None, None, None, 480.5]

    def test_what_was_not_fetched_before_is_not_late(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(1), [])
        ingest = self.late_run(warehouse, windows(1, first=3)[0], 500)
        assert (ingest.total().late, ingest.total().latest_late_seconds) == (1, None)

    def test_the_overlap_widens_for_a_week_and_is_narrow_again(self, warehouse: Warehouse) -> None:
        whole(warehouse, windows(3), [])
        self.late_run(warehouse, windows(1, first=3)[0], 480)
        ingest = begin(warehouse, windows(1, first=4), "next")
        assert ingest.overlap(900) == 1800 * TICKS_PER_SECOND
        assert ingest.overlap_seconds == 1800
        ingest.clock = lambda: NOW + timedelta(days=7, seconds=1)
        assert ingest.overlap(900) == 900 * TICKS_PER_SECOND

    def test_a_known_version_of_the_overlap_is_not_late(self, warehouse: Warehouse) -> None:
        row = make_version("known", FIRST + 2 * W + 1)
        whole(warehouse, windows(3), [row])
        whole(warehouse, windows(1, first=3), [row], "again")
        assert begin(warehouse, windows(1, first=4), "next").overlap(900) == 900 * TICKS_PER_SECOND


class TestShownAgain:
    def mark(self, warehouse: Warehouse, *referral_ids: str) -> None:
        with warehouse.write() as connection:
            for referral_id in referral_ids:
                row = lead_row(referral_id, 1, domain=f"{referral_id}.com")
                leads.write(connection, [row])
            vanished.mark(connection, referral_ids, NOW)
            connection.execute(delete(pending_work))

    def marked(self, warehouse: Warehouse) -> set[str]:
        return {row["referral_id"] for row in rows_of(warehouse, schema_leads) if row["vanished_at"] is not None}

    def test_a_window_that_sees_a_vanished_referral_takes_the_mark_and_makes_its_company_again(
        self, warehouse: Warehouse
    ) -> None:
        self.mark(warehouse, "a", "b")
        whole(warehouse, windows(1), [make_version("a", FIRST + 1)])
        assert self.marked(warehouse) == {"b"}
        with warehouse.read() as connection:
            assert pending.load(connection, Task.COMPANIES).items == ["a.com"]
            assert pending.load(connection, Task.LEAD_MATCHES).items == ["a"]

    def test_a_row_that_breaks_the_contract_is_shown_too(self, warehouse: Warehouse) -> None:
        self.mark(warehouse, "a")
        ingest = begin(warehouse, windows(1))
        ingest.write(make_page([], FIRST + W, rejected=[make_rejected("f", "a")], last=True))
        assert self.marked(warehouse) == set()

    def test_a_page_without_a_vanished_referral_writes_no_lead(self, warehouse: Warehouse) -> None:
        self.mark(warehouse, "a")
        whole(warehouse, windows(1), [make_version("c", FIRST + 1)])
        assert self.marked(warehouse) == {"a"}
        with warehouse.read() as connection:
            assert pending.load(connection, Task.COMPANIES).items == []
