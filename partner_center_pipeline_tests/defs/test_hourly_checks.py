"""The checks of each hour: what is red, what is yellow, and what a person is told, on both databases and in the job."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import delete, insert, update

from partner_center_pipeline.defs import hourly_checks
from partner_center_pipeline.defs.hourly_checks import DOMAINS, FETCHED, OVERLAP, SCORED, SIGN_IN, STILL_COME, Moment
from partner_center_pipeline.partner_center.connect import sign_in_store
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import breaker, companies, leads, ledger, pending, referrals, schema, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import BEGINNING, WindowGrid, ticks_of
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_checks import values
from partner_center_pipeline_tests.warehouse.pages import make_version
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import score

GREEN, YELLOW, RED = "green", "yellow", "red"
NOW = datetime(2026, 11, 28, 12, 5, tzinfo=UTC)
START = NOW.replace(hour=0, minute=0) - timedelta(days=40)
GRID = WindowGrid.of(START, 600, 120)


def on(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"partner_center_enabled": True, **changes})


@pytest.fixture
def settings(home: Path) -> Settings:
    return on(Settings.load())


def looked_at(warehouse: Warehouse, check: str, settings: Settings) -> tuple[str, str]:
    """The colour of a check as it is now, and what it says."""
    with warehouse.read() as connection:
        result = hourly_checks._EVALUATED[check](Moment(connection, settings, GRID, NOW))
    warns = result.severity is dg.AssetCheckSeverity.WARN
    return GREEN if result.passed else YELLOW if warns else RED, str(result.description)


def done_until(warehouse: Warehouse, end: datetime, at: datetime = NOW) -> None:
    """Let the chain have everything up to an instant, since `at`."""
    with warehouse.write() as connection:
        first = GRID.first or 0
        times = {f"{asset}_at": at for asset in ledger.CHAIN}
        row = {"window_start": first, "window_end": ticks_of(end), "covers_from": BEGINNING, **times}
        connection.execute(delete(schema.sync_windows))
        connection.execute(insert(schema.sync_windows).values(row))


def failed(warehouse: Warehouse, times: int) -> None:
    """Let attempts at the window after what is done have failed."""
    with warehouse.write() as connection:
        window = GRID.window(ledger.covered_from_the_beginning(connection))
        for number in range(times):
            ledger.start_attempts(connection, [window], f"run {number}", NOW - timedelta(minutes=number))
            ledger.fail(connection, f"run {number}", NOW, "a test wants it")


class TestWindows:
    def test_windows_that_are_open_for_less_than_two_hours_are_green(
        self, warehouse: Warehouse, settings: Settings
    ) -> None:
        done_until(warehouse, NOW.replace(minute=0))
        assert looked_at(warehouse, FETCHED, settings) == (GREEN, "Every window that is due is done.")
        done_until(warehouse, NOW.replace(hour=10, minute=0))
        assert looked_at(warehouse, FETCHED, settings)[0] == GREEN

    @pytest.mark.parametrize(
        ("last_done", "tries", "changes", "colour", "said"),
        [
            (timedelta(minutes=1), 0, {}, YELLOW, "being caught up"),
            (timedelta(minutes=1), 3, {}, RED, "3 attempts at it failed"),
            (timedelta(hours=3), 0, {}, RED, "the schedule and the sensor are on"),
            (timedelta(hours=3), 3, {"partner_center_enabled": False}, YELLOW, "HUNTER_PARTNER_CENTER_ENABLED"),
        ],
        ids=["caught up", "refused", "stands still", "switched off"],
    )
    def test_a_window_open_for_more_than_two_hours_is_red_unless_it_is_no_trouble(
        self,
        last_done: timedelta,
        tries: int,
        changes: dict[str, Any],
        colour: str,
        said: str,
        warehouse: Warehouse,
        settings: Settings,
    ) -> None:
        done_until(warehouse, NOW.replace(hour=9, minute=40), NOW - last_done)
        failed(warehouse, tries)
        found, described = looked_at(warehouse, FETCHED, settings.model_copy(update=changes))
        assert found == colour
        assert said in described
        assert "the oldest (2026-11-28-09:40) since 2026-11-28 09:52 UTC" in described

    def test_while_the_breaker_is_open_its_reason_is_what_is_red(
        self, warehouse: Warehouse, settings: Settings
    ) -> None:
        done_until(warehouse, NOW.replace(hour=8))
        with warehouse.write() as connection:
            for _ in range(breaker.FAILURES):
                breaker.note_failure(connection, "nobody answers", lambda: NOW)
        found, said = looked_at(warehouse, FETCHED, settings)
        assert found == RED
        assert "Partner Center is left alone until" in said


def day(ago: int) -> datetime:
    return NOW.replace(hour=0, minute=0) - timedelta(days=ago)


def brought(warehouse: Warehouse, counts: dict[int, int]) -> None:
    """Let windows have brought so many versions on days so many days ago."""
    placed = [
        referrals.Placed(make_version(f"{ago}-{number}", ticks_of(day(ago))), ticks_of(day(ago)), late=False)
        for ago, count in counts.items()
        for number in range(count)
    ]
    with warehouse.write() as connection:
        referrals.store(connection, placed, NOW)


class TestCounts:
    @pytest.mark.parametrize(
        ("usual", "yesterday", "colour"),
        [
            ((30, 20, 25, 25), 5, GREEN),
            ((30, 20, 25, 25), 4, YELLOW),
            ((9, 9, 9, 9), 0, GREEN),
            ((0, 0, 30, 30), 0, YELLOW),
        ],
        ids=["a fifth", "less", "few as a rule", "median"],
    )
    def test_a_day_with_less_than_a_fifth_of_its_weekdays_usual_is_yellow(
        self, usual: tuple[int, ...], yesterday: int, colour: str, warehouse: Warehouse, settings: Settings
    ) -> None:
        done_until(warehouse, NOW)
        brought(warehouse, {1: yesterday, **{1 + 7 * week: count for week, count in enumerate(usual, 1)}})
        found, said = looked_at(warehouse, STILL_COME, settings)
        assert (found, "partner-center reconcile" in said) == (colour, colour == YELLOW)

    def test_a_day_that_is_not_fetched_yet_has_not_collapsed(self, warehouse: Warehouse, settings: Settings) -> None:
        done_until(warehouse, day(1) + timedelta(hours=3))
        brought(warehouse, {8: 50, 15: 50, 22: 50})
        found, said = looked_at(warehouse, STILL_COME, settings)
        assert found == GREEN
        assert "not fetched to its end" in said


class TestOverlap:
    @pytest.mark.parametrize(
        ("latest", "colour"),
        [(None, GREEN), (450.0, GREEN), (451.0, YELLOW), (7200.0, YELLOW), (7201.0, RED)],
    )
    def test_a_version_near_the_edge_of_the_overlap_is_yellow_and_of_the_widest_red(
        self, latest: float | None, colour: str, warehouse: Warehouse, settings: Settings
    ) -> None:
        failed(warehouse, 1)
        with warehouse.write() as connection:
            connection.execute(update(schema.sync_attempts).values(latest_late_seconds=latest))
        assert looked_at(warehouse, OVERLAP, settings)[0] == colour


def stored_leads(warehouse: Warehouse, window: datetime, named: int, without: int, prefix: str) -> None:
    rows = [
        lead_row(f"{prefix}-{number}", domain="a.com" if number < named else None) for number in range(named + without)
    ]
    placed = [
        referrals.Placed(make_version(row["referral_id"], ticks_of(window)), ticks_of(window), late=False)
        for row in rows
    ]
    with warehouse.write() as connection:
        referrals.store(connection, placed, NOW)
        leads.write(connection, rows)


class TestDomains:
    @pytest.mark.parametrize(
        ("named", "without", "colour"),
        [(16, 4, GREEN), (9, 11, YELLOW), (20, 0, GREEN), (0, 19, GREEN)],
        ids=["as before", "many more", "none", "too few"],
    )
    def test_many_more_leads_without_a_domain_than_before_are_yellow(
        self, named: int, without: int, colour: str, warehouse: Warehouse, settings: Settings
    ) -> None:
        stored_leads(warehouse, day(30), 32, 8, "old")
        stored_leads(warehouse, day(2), named, without, "new")
        found, said = looked_at(warehouse, DOMAINS, settings)
        assert found == colour
        assert ("partner-center drift" in said) == (colour == YELLOW)

    def test_far_fewer_leads_without_a_domain_than_before_are_yellow_too(
        self, warehouse: Warehouse, settings: Settings
    ) -> None:
        stored_leads(warehouse, day(30), 20, 40, "old")
        stored_leads(warehouse, day(2), 60, 0, "new")
        assert looked_at(warehouse, DOMAINS, settings)[0] == YELLOW


class TestScores:
    def test_a_company_that_nothing_will_score_is_red(self, warehouse: Warehouse, settings: Settings) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com", referrals=1), company("nobody.com")])
        assert looked_at(warehouse, SCORED, settings)[0] == RED
        with warehouse.write() as connection:
            pending.add(connection, Task.SCORES, ["a.com"], NOW - timedelta(hours=1))
        assert looked_at(warehouse, SCORED, settings)[0] == GREEN
        with warehouse.write() as connection:
            scores.write(connection, [score("a.com")])
            pending.remove_items(connection, Task.SCORES, ["a.com"])
        assert looked_at(warehouse, SCORED, settings)[0] == GREEN

    def test_rows_that_wait_for_more_than_two_hours_are_red(self, warehouse: Warehouse, settings: Settings) -> None:
        with warehouse.write() as connection:
            pending.add(connection, Task.LEADS, ["r1"], NOW - timedelta(hours=2, seconds=1))
        found, said = looked_at(warehouse, SCORED, settings)
        assert found == RED
        assert "wait to be derived since 2026-11-28 10:04 UTC" in said


@pytest.mark.parametrize(("enabled", "colour"), [(True, RED), (False, YELLOW)])
def test_without_a_sign_in_the_check_is_red_while_the_flag_is_on(
    enabled: bool, colour: str, warehouse: Warehouse, settings: Settings
) -> None:
    settings = settings.model_copy(update={"partner_center_enabled": enabled})
    assert looked_at(warehouse, SIGN_IN, settings) == (
        colour,
        "Nobody is signed in to Partner Center; run `partner-center login`",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "colour", "said"),
    [(74, GREEN, "was renewed 74 days ago"), (76, YELLOW, "run `partner-center login`"), (91, RED, "91 days ago")],
    ids=["young", "ends soon", "has ended"],
)
def test_a_sign_in_that_was_not_renewed_for_long_is_yellow_and_one_that_has_ended_red(
    days: int, colour: str, said: str, project: Project
) -> None:
    settings = Settings.load()
    store = sign_in_store(settings)
    stored = store.read()
    assert stored is not None
    with store.locked():
        store.write(stored.model_copy(update={"renewed_at": datetime.now(UTC) - timedelta(days=days, minutes=1)}))
    found, described = looked_at(project.warehouse, SIGN_IN, settings)
    assert found == colour
    assert said in described


# In Dagster -----------------------------------------------------------------------------------------------------------


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


@pytest.mark.slow
def test_the_hourly_job_evaluates_all_checks_and_observes_the_rows_although_runs_fail(project: Project) -> None:
    assert project.run(project.window(0)).success
    with project.warehouse.write() as connection:
        connection.execute(insert(schema.companies).values(company("lost.com", referrals=1)))
    project.edit_env(HUNTER_SCORING_RULES="not there.toml")  # so runs fail
    result = project.definitions.resolve_job_def("partner_center_checks").execute_in_process(instance=project.instance)
    found = evaluated(result)
    assert len(found) == 11
    assert (found[SCORED], found[SIGN_IN], found["everything_is_derived"]) == (False, True, True)
    counts = project.counts()
    observed = {str(asset): values(project.observations(asset)[0])["dagster/row_count"] for asset in Asset}
    assert observed == {
        "raw_referrals": counts["raw_referrals"],
        "normalized_leads": counts["leads"],
        "companies": counts["companies"],
        "domain_signals": counts["domain_signals"],
        "scored_segments": counts["company_scores"],
    }


@pytest.mark.slow
def test_a_check_can_be_executed_by_hand_alone(project: Project) -> None:
    job = project.definitions.resolve_implicit_global_asset_job_def()

    def by_hand(keys: Iterable[dg.AssetCheckKey]) -> dict[str, bool]:
        alone = job.get_subset(asset_selection=set(), asset_check_selection=set(keys))
        return evaluated(alone.execute_in_process(instance=project.instance))

    graph = project.definitions.get_repository_def().asset_graph
    assert len(graph.asset_check_keys) == 11
    for key in graph.asset_check_keys:
        # Dagster's UI offers the button "Execute" for such checks only.
        assert graph.get_execution_set_identifier(key) is None
    for name in ("complete_windows_missed_nothing", FETCHED):
        assert set(by_hand(key for key in graph.asset_check_keys if key.name == name)) == {name}
