"""What each window holds, what covers a window, and how DNS answered lately: on both databases."""

from datetime import UTC, datetime, timedelta

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import (
    check_figures,
    companies,
    leads,
    ledger,
    referrals,
    scores,
    signals,
    window_rows,
)
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import SyncWindow, WindowGrid, ticks_of
from partner_center_pipeline_tests.warehouse.pages import make_version
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import score, signal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRID = WindowGrid.of(NOW - timedelta(days=1), 600, 0)
FIRST, SECOND, THIRD = (GRID.window((GRID.first or 0) + number * GRID.width) for number in range(3))


def held(warehouse: Warehouse, asset: Asset) -> tuple[list[int], dict[SyncWindow, set[str]]]:
    """How many rows each of three windows holds, asked one by one, and the keys, asked for the range."""
    windows = [FIRST, SECOND, THIRD]
    with warehouse.read() as connection:
        counts = [window_rows.count(connection, asset, window) for window in windows]
        keys: dict[SyncWindow, set[str]] = {window: set() for window in windows}
        for window, key in window_rows.keys(connection, asset, windows):
            keys[window].add(key)
    return counts, keys


def test_a_window_holds_what_follows_from_its_referrals_and_shares_companies(warehouse: Warehouse) -> None:
    placed = [
        referrals.Placed(make_version(name, 1, version), window.start, late=False)
        for name, version, window in (
            ("r1", "v1", FIRST), ("r1", "v2", FIRST), ("r2", "v1", FIRST), ("r3", "v1", THIRD), ("r4", "v1", THIRD),
        )
    ]  # fmt: skip
    domains = {"r1": "a.com", "r2": None, "r3": "a.com", "r4": "b.com"}
    with warehouse.write() as connection:
        referrals.store(connection, placed, NOW)
        leads.write(connection, [lead_row(name, domain=domain) for name, domain in domains.items()])
        companies.write(connection, [company("a.com"), company("b.com")])
        signals.write(connection, [signal("a.com")])
        scores.write(connection, [score("a.com"), score("b.com")])
    with warehouse.read() as connection:
        assert window_rows.counts(connection, [FIRST, SECOND, THIRD]) == {FIRST: 3, SECOND: 0, THIRD: 2}
    assert held(warehouse, Asset.RAW_REFERRALS)[0] == [3, 0, 2]
    assert held(warehouse, Asset.NORMALIZED_LEADS) == (
        [2, 0, 2],
        {FIRST: {"r1", "r2"}, SECOND: set(), THIRD: {"r3", "r4"}},
    )
    both = {FIRST: {"a.com"}, SECOND: set(), THIRD: {"a.com", "b.com"}}
    assert held(warehouse, Asset.COMPANIES) == ([1, 0, 2], both)
    assert held(warehouse, Asset.SCORED_SEGMENTS) == ([1, 0, 2], both)
    assert held(warehouse, Asset.DOMAIN_SIGNALS) == ([1, 0, 1], {FIRST: {"a.com"}, SECOND: set(), THIRD: {"a.com"}})


def test_a_window_is_covered_by_one_that_answers_for_all_of_it_and_is_done(warehouse: Warehouse) -> None:
    genesis = SyncWindow(SECOND.start, SECOND.end, FIRST.start - 10 * GRID.width)
    with warehouse.write() as connection:
        ledger.start_attempts(connection, [genesis], "run", NOW)
        assert ledger.covering(connection, [FIRST, SECOND]) == {}
        assert not ledger.is_done(connection, [SECOND])
        ledger.complete_windows(connection, {genesis: ledger.Figures()}, "run", NOW)
        assert ledger.covering(connection, [FIRST, SECOND, THIRD]) == {FIRST: genesis, SECOND: genesis}
        assert ledger.covering(connection, []) == {}
        assert ledger.is_done(connection, [FIRST, SECOND])
        assert not ledger.is_done(connection, [SECOND, THIRD])


def test_the_scans_of_the_last_hour_count_and_not_those_of_a_clock_that_was_ahead(warehouse: Warehouse) -> None:
    scans = {
        "old.com": signal("old.com", NOW - timedelta(hours=2), failures=1),
        "good.com": signal("good.com", NOW - timedelta(minutes=59)),
        "bad.com": signal("bad.com", NOW, failures=2, facts_at=None, provider="Unknown"),
        "ahead.com": signal("ahead.com", NOW + timedelta(days=9), failures=1, provider="Google"),
    }
    with warehouse.write() as connection:
        assert check_figures.answers(connection, NOW) == check_figures.Answers(0, 0, None)
        companies.write(connection, [company(name) for name in scans])
        signals.write(connection, list(scans.values()))
        assert check_figures.answers(connection, NOW) == check_figures.Answers(2, 1, NOW)
        assert check_figures.providers(connection) == {"M365": 2, "Google": 1, None: 1}


def test_a_set_up_is_known_from_the_first_answer_on_and_silence_changes_none(warehouse: Warehouse) -> None:
    later = [NOW + timedelta(hours=hour) for hour in range(3)]
    silent = {"facts_at": None, "provider": "Unknown", "is_complete": False, "signals": {"provider": "Unknown"}}
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com")])
        assert signals.write(connection, [signal("a.com", later[0], **silent)]) == signals.SetUps()
        assert signals.write(connection, [signal("a.com", later[1])]) == signals.SetUps(new=1)
        moved = {"signals": {"mx": [[10, "mx.other"]]}}
        assert signals.write(connection, [signal("a.com", later[2], **moved)]) == signals.SetUps(changed=1)


def test_days_are_counted_in_utc_from_their_first_tick(warehouse: Warehouse) -> None:
    midnight = NOW.replace(hour=0)
    starts = [midnight - timedelta(minutes=10), midnight, midnight + timedelta(hours=23)]
    placed = [
        referrals.Placed(make_version(f"r{number}", 1), ticks_of(start), late=False)
        for number, start in enumerate(starts)
    ]
    with warehouse.write() as connection:
        referrals.store(connection, placed, NOW)
        first = check_figures.days_before(NOW, 1)
        assert first == ticks_of(midnight - timedelta(days=1))
        assert check_figures.versions_by_day(connection, first, first + 2 * check_figures.DAY) == {
            midnight - timedelta(days=1): 1,
            midnight: 2,
        }
