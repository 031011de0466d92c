"""A row that the server cannot send, through the real asset, sensor and ledger: nothing else waits for it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from partner_center_pipeline.defs import window_fetch
from partner_center_pipeline.defs.reconcile import reconcile
from partner_center_pipeline.defs.resources import PartnerCenterResource
from partner_center_pipeline.partner_center import PartnerCenterError, isolation
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import breaker, quarantine, schema
from partner_center_pipeline.warehouse.quarantine import Kept
from partner_center_pipeline.windows import TICKS_PER_SECOND
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_pending_work import create, has_lead, is_done
from partner_center_simulator import HttpFault, Simulator


@pytest.fixture
def project(project: Project) -> Project:
    """The genesis window is done, and every window from the fifth on."""
    assert project.run(project.window(0)).success
    project.mark_done((project.window(5), project.last_due()))
    return project


def held(project: Project, *, resolved: bool = False) -> list[Kept]:
    with project.warehouse.read() as connection:
        return quarantine.load(connection, resolved=resolved)


def rows_in(project: Project, microsoft: Simulator, window: int, count: int) -> list[str]:
    start = project.window(window).start
    return [create(microsoft, start + number * TICKS_PER_SECOND) for number in range(1, count + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 500])
def test_its_window_closes_with_it_in_quarantine_and_later_it_leaves_by_itself(
    status: int, project: Project, microsoft: Simulator
) -> None:
    ids = rows_in(project, microsoft, 2, 4)
    microsoft.faults.poisoned_rows, microsoft.faults.poison_status = frozenset({ids[1]}), status
    outcome = project.run(project.window(1), project.window(4))
    assert outcome.success, outcome.failure
    assert [has_lead(project, each) for each in ids] == [True, False, True, True]
    (row,) = held(project)
    assert (row.reason, row.window_start) == ("unreadable", project.window(2).start)
    assert row.earliest_ticks == project.window(2).start + 2 * TICKS_PER_SECOND
    microsoft.faults.clear()
    with project.warehouse.write() as connection:
        long_ago = datetime.now(UTC) - window_fetch.ASK_AGAIN_AFTER - timedelta(minutes=1)
        connection.execute(update(schema.quarantined_referrals).values(last_seen=long_ago))
    assert project.run(project.last_due()).success, "a window far from the row asks for it as well"
    assert has_lead(project, ids[1])
    assert held(project) == []
    assert [row.resolution for row in held(project, resolved=True)] == ["clean"]


@pytest.mark.slow
def test_what_a_failed_range_has_stored_becomes_leads_while_it_keeps_failing(
    project: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "MOST_IN_A_SCAN", 0)  # a server with more unreadable rows than a scan steps over
    first = rows_in(project, microsoft, 1, 3)
    rows_in(project, microsoft, 3, 3)
    poisoned = rows_in(project, microsoft, 4, 1)
    microsoft.faults.poisoned_rows = frozenset(poisoned)
    project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="4")
    asked = project.tick_sensor()
    assert asked == [(project.window(1).key, project.window(4).key)]
    assert "refuses more than" in str(project.run(project.window(1), project.window(4)).failure)
    assert not any(has_lead(project, each) for each in first)
    requests = project.sensor_requests()
    assert isinstance(requests, list), "the stretch waits for its next try, and still something is to be done"
    (later,) = requests
    assets = [key.to_user_string() for key in later.asset_selection or ()]
    assert project.run(str(later.partition_key), assets=assets).success
    assert all(has_lead(project, each) for each in first)
    assert is_done(project)
    assert str(project.sensor_requests()).startswith("waiting before another try at ")


class TestRetryAfter:
    @pytest.mark.slow
    def test_a_wait_longer_than_the_run_lets_partner_center_rest_at_once(
        self, project: Project, microsoft: Simulator
    ) -> None:
        microsoft.faults.plan(HttpFault.THROTTLED, retry_after=86_400)
        assert not project.run(project.window(1)).success
        with project.warehouse.read() as connection:
            state = breaker.load(connection)
        assert state.failures == 1
        assert state.rests(datetime.now(UTC) + timedelta(hours=23, minutes=59))
        assert not state.rests(datetime.now(UTC) + timedelta(hours=24, minutes=1))
        said = project.tick_sensor()
        assert "because it asked to wait; then one page is tried" in str(said)

    @pytest.mark.slow
    def test_a_comparison_that_is_asked_to_wait_lets_it_rest_too(self, project: Project, microsoft: Simulator) -> None:
        microsoft.faults.plan(HttpFault.THROTTLED, retry_after=86_400)
        with pytest.raises(PartnerCenterError, match="asks to wait 86400 s"):
            reconcile(project.warehouse, PartnerCenterResource(), Settings.load(), "a comparison")
        with project.warehouse.read() as connection:
            assert breaker.load(connection).rests(datetime.now(UTC) + timedelta(hours=23))

    @pytest.mark.slow
    def test_a_run_that_ends_well_forgets_the_wait(self, project: Project, microsoft: Simulator) -> None:
        microsoft.faults.plan(HttpFault.THROTTLED, retry_after=86_400)
        assert not project.run(project.window(1)).success
        assert project.run(project.window(1)).success
        assert isinstance(project.tick_sensor(), list)


class TestSwitch:
    @pytest.mark.slow
    def test_turned_off_during_a_run_it_ends_between_two_pages_and_keeps_what_came(
        self, project: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(window_fetch, "GATE_SECONDS", 0.0)
        rows_in(project, microsoft, 1, 6)
        project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="2")
        load = Settings.load
        before = project.counts()["raw_referrals"]

        def turned_off_after_a_page() -> Settings:
            if project.counts()["raw_referrals"] > before:
                project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
            return load()

        monkeypatch.setattr(Settings, "load", turned_off_after_a_page)
        outcome = project.run(project.window(1))
        monkeypatch.undo()
        monkeypatch.setenv("HUNTER_HOME", str(project.home))
        assert "is disabled" in str(outcome.failure)
        assert [state for state, _ in project.attempts(project.window(1))] == ["disabled"]
        assert project.counts()["raw_referrals"] > before
        project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="true")
        assert isinstance(project.tick_sensor(), list), "a disabled try makes no window wait"
        assert project.run(project.window(1)).success
