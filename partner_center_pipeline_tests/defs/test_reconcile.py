"""The reconcile job against the local Microsoft: what is missing comes back, is named, and turns the check red."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import delete, select

from partner_center_pipeline.defs.reconcile import RECENT
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import breaker, demo, pending, schema
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.views import leads_ready
from partner_center_pipeline.windows import TICKS_PER_SECOND, datetime_of
from partner_center_pipeline_tests.defs.project import Outcome, Project
from partner_center_pipeline_tests.defs.test_checks import MISSED, QUARANTINE, VANISHED, checks
from partner_center_pipeline_tests.defs.test_materializing import _personal
from partner_center_simulator import CorruptRow, HttpFault, Simulator

pytestmark = pytest.mark.slow

JOB = "partner_center_reconcile"
DAILY = "partner_center_reconcile_recent"
RAW = ["raw_referrals"]
DISABLED = "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"


def reconcile(project: Project, name: str = JOB) -> tuple[Outcome, dict[str, Any]]:
    """Run the job as the Launchpad does; the outcome, and the metadata of its step."""
    job = project.definitions.resolve_job_def(name)
    result = job.execute_in_process(instance=project.instance, raise_on_error=False)
    failure = None
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        failure = data.user_failure_data.description if data.user_failure_data else str(data.error)
    shown = {
        name: value
        for event in result.all_events
        if event.is_successful_output
        for name, value in event.step_output_data.metadata.items()
    }
    return Outcome(result.run_id, result.success, None, failure, {}), shown


def lose_one(project: Project) -> tuple[str, int]:
    """Take a referral's only version away behind the pipeline's back; its id and the window it was under."""
    raw = schema.raw_referrals
    with project.warehouse.write() as connection:
        found = connection.execute(select(raw.c.referral_id, raw.c.window_start).order_by(raw.c.referral_id)).first()
        assert found is not None
        connection.execute(delete(raw).where(raw.c.referral_id == found.referral_id))
    return found.referral_id, found.window_start


def kept(project: Project) -> list[Any]:
    table = schema.reconciliations
    with project.warehouse.read() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def test_a_lost_row_is_found_loaded_and_named_and_the_check_is_red_at_once(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    before = project.counts()
    lost, _ = lose_one(project)
    outcome, shown = reconcile(project)
    assert outcome.success
    assert (shown["missing"].value, shown["missed_by_complete_windows"].value) == (1, 1)
    assert shown["fetched"].value >= before["raw_referrals"]
    assert [record.data["window"] for record in shown["windows"].records] == [project.window(0).key]
    check = checks(project)[MISSED]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert [seen.metadata["missing"].value for seen in project.observations("raw_referrals")] == [1]
    assert project.observations("normalized_leads") == []
    with project.warehouse.read() as connection:
        raw = connection.execute(select(schema.raw_referrals).where(schema.raw_referrals.c.referral_id == lost)).one()
        assert (raw.window_start, raw.late) == (project.window(0).start, False)
        assert pending.load(connection, Task.LEADS).items == [lost]
    log = project.event_log(outcome.run_id)
    assert [value for value in _personal(microsoft) if value in log] == []

    assert project.run(project.window(0)).success
    assert project.counts() == before
    outcome, shown = reconcile(project)
    assert (outcome.success, shown["missing"].value) == (True, 0)
    assert checks(project)[MISSED].passed
    assert [(row.missing, row.error, row.finished_at is not None) for row in kept(project)] == [
        (1, None, True),
        (0, None, True),
    ]


def test_what_was_updated_since_the_last_done_window_is_not_missed(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    raw = project.counts()["raw_referrals"]
    microsoft.world.create(project.window(1).start + TICKS_PER_SECOND)
    outcome, shown = reconcile(project)
    assert outcome.success
    assert shown["missing"].value == 0
    assert shown["left_to_windows_to_come"].value >= 1
    assert project.counts()["raw_referrals"] == raw
    assert checks(project)[MISSED].passed


def test_what_lies_in_a_gap_between_done_windows_is_left_to_its_window(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    microsoft.world.create(project.window(3).start + TICKS_PER_SECOND)
    assert project.run(project.window(9), assets=RAW).success
    _, shown = reconcile(project)
    assert shown["missing"].value == 0
    assert shown["left_to_windows_to_come"].value >= 1
    assert checks(project)[MISSED].passed


def test_broken_rows_that_it_finds_turn_the_quarantine_yellow_at_once(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    assert checks(project)[QUARANTINE].passed
    microsoft.faults.corrupt_rows = frozenset({CorruptRow.NUL})
    outcome, shown = reconcile(project)
    assert outcome.success
    assert shown["quarantined"].value == project.counts()["quarantined_referrals"] >= 1
    assert not checks(project)[QUARANTINE].passed


def test_a_failure_is_reported_and_recorded(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    microsoft.faults.plan(HttpFault.FORBIDDEN, times=2)
    outcome, _ = reconcile(project)
    assert outcome.failure is not None
    assert "Referral Admin for the entire company" in outcome.failure
    (row,) = kept(project)
    assert (row.error, row.missing, row.run_id) == (outcome.failure, 0, outcome.run_id)
    microsoft.faults.clear()
    assert reconcile(project)[0].success


def test_while_the_flag_is_off_schedule_and_run_say_so_and_nothing_is_asked(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    asked = microsoft.api.requests
    assert project.tick_schedule(datetime.now(UTC), JOB) == DISABLED
    assert reconcile(project)[0].failure == DISABLED
    assert microsoft.api.requests == asked
    assert kept(project) == []


@pytest.mark.dagster_on_disk
def test_before_the_first_window_is_done_there_is_nothing_to_compare(project: Project) -> None:
    assert "no window is done yet" in str(project.tick_schedule(datetime.now(UTC), JOB))
    failure = reconcile(project)[0].failure
    assert failure is not None
    assert "run `partner-center sync` first" in failure


@pytest.mark.dagster_on_disk
def test_the_schedule_requests_a_run_unless_one_is_running_or_the_breaker_is_open(project: Project) -> None:
    project.mark_done((project.window(0), project.window(0)))
    assert isinstance(project.tick_schedule(datetime.now(UTC), JOB), dg.RunRequest)
    job = project.definitions.resolve_job_def(JOB)
    run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert project.tick_schedule(datetime.now(UTC), JOB) == "the last reconcile is still at work"
    project.instance.report_run_canceled(run)
    with project.warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "no answer.", lambda: datetime.now(UTC))
    assert "Partner Center is left alone until" in str(project.tick_schedule(datetime.now(UTC), JOB))


def test_while_another_run_fetches_it_does_nothing_and_names_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # it waits for the other one for as long as a lease lasts
    project.mark_done((project.window(0), project.window(0)))
    Lease(project.warehouse, "another run", lambda: datetime.now(UTC)).acquire(0, lambda _: None)
    failure = reconcile(project)[0].failure
    assert failure is not None
    assert "run another run is fetching from Partner Center" in failure
    assert kept(project) == []


def test_a_real_api_is_not_compared_with_the_demos_warehouse(project: Project) -> None:
    start = datetime_of(project.window(0).start)
    with project.warehouse.write() as connection:
        demo.found(connection, demo.DemoWorld(1, start, start, 10))
    project.mark_done((project.window(0), project.window(0)))
    project.edit_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.partner.microsoft.com")
    failure = reconcile(project)[0].failure
    assert failure is not None
    assert "the demo's invented referrals" in failure


# Dates that no window asks for


def test_a_referral_without_a_date_is_kept_aside_with_the_reason_for_a_person(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    undated = microsoft.create({"updatedDateTime": None})
    try:
        assert project.run(project.last_due(), assets=RAW).success
        assert project.counts()["quarantined_referrals"] == 0, "no window can find it"
        outcome, shown = reconcile(project)
        assert (outcome.success, shown["missing"].value) == (True, 0)
        table = schema.quarantined_referrals
        with project.warehouse.read() as connection:
            (row,) = connection.execute(select(table.c.referral_id, table.c.reason)).all()
        assert (row.referral_id, row.reason) == (undated["id"], "no_updated")
        assert not checks(project)[QUARANTINE].passed
        assert checks(project)[MISSED].passed
    finally:
        microsoft.world.change(undated["id"], microsoft.clock.ticks(), {})


def tomorrow() -> str:
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("date", ["9999-12-31T23:59:59.9999999Z", "2100-01-01T00:00:00Z", "tomorrow"])
def test_a_referral_dated_in_the_future_becomes_a_lead_and_no_window_is_accused(
    date: str, project: Project, microsoft: Simulator
) -> None:
    date = tomorrow() if date == "tomorrow" else date
    assert project.run(project.window(0)).success
    leads = project.counts()["leads"]
    ahead = microsoft.create({"updatedDateTime": date, "status": "New"})
    try:
        outcome, shown = reconcile(project)
        assert outcome.success
        assert [shown[name].value for name in ("dated_in_the_future", "missing", "quarantined")] == [1, 0, 0]
        project.derive_what_is_pending()
        assert project.counts()["leads"] == leads + 1
        _, shown = reconcile(project)
        assert [shown[name].value for name in ("dated_in_the_future", "missing")] == [0, 0]
        assert checks(project)[MISSED].passed

        microsoft.world.change(ahead["id"], microsoft.clock.ticks(), {"status": "Closed"})
        corrected = project.grid.window(microsoft.clock.ticks() // project.grid.width * project.grid.width)
        table = schema.leads
        with project.warehouse.read() as connection:
            lead = connection.execute(select(table).where(table.c.referral_id == ahead["id"])).one()
        assert (lead.updated_text, lead.status) == (date, "New")
        assert lead.updated_ticks < corrected.end, "it does not win over what comes later"
    finally:
        microsoft.world.change(ahead["id"], microsoft.clock.ticks(), {})


# What Partner Center shows no more


def vanished(project: Project) -> set[str]:
    table = schema.leads
    with project.warehouse.read() as connection:
        return set(connection.execute(select(table.c.referral_id).where(table.c.vanished_at.is_not(None))).scalars())


def companies_of(project: Project) -> dict[str, tuple[int, int]]:
    """The figures of each company: its referrals, and the open ones."""
    table = schema.companies
    with project.warehouse.read() as connection:
        return {row.domain: (row.referrals, row.open_referrals) for row in connection.execute(select(table))}


def sales_list(project: Project) -> set[str]:
    with project.warehouse.read() as connection:
        return {row.domain for row in connection.execute(select(leads_ready))}


def only_referrals(project: Project, count: int) -> dict[str, str]:
    """Ids of leads whose company has no other referral, and its domain."""
    with project.warehouse.read() as connection:
        rows = connection.execute(select(schema.companies).where(schema.companies.c.referrals == 1)).all()
    return {row.referral_ids[0]: row.domain for row in rows[:count]}


def test_a_vanished_referral_leaves_the_sales_list_until_any_scan_shows_it_again(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    before, listed = companies_of(project), sales_list(project)
    gone = only_referrals(project, 2)
    microsoft.faults.hidden_referrals = frozenset(gone)
    outcome, shown = reconcile(project)
    assert outcome.success
    assert [shown[name].value for name in ("vanished", "marked_as_vanished", "shown_by_id_only")] == [2, 2, 0]
    assert vanished(project) == set(gone)
    project.derive_what_is_pending()
    assert {domain: companies_of(project)[domain] for domain in gone.values()} == dict.fromkeys(gone.values(), (0, 0))
    assert sales_list(project) == listed - set(gone.values())
    assert checks(project)[VANISHED].passed

    microsoft.faults.hidden_referrals = frozenset(sorted(gone)[:1])
    _, shown = reconcile(project)
    assert [shown[name].value for name in ("shown_again", "vanished")] == [1, 0]
    assert vanished(project) == set(sorted(gone)[:1])
    microsoft.faults.hidden_referrals = frozenset()
    assert project.run(project.window(0)).success
    assert vanished(project) == set(), "the scan of a window saw it"
    assert (companies_of(project), sales_list(project)) == (before, listed)


def test_an_account_that_lost_its_role_marks_nothing_and_turns_a_check_red(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    held = project.counts()["leads"]
    microsoft.faults.referral_user = True
    outcome, shown = reconcile(project)
    assert outcome.success
    assert shown["vanished"].value > held // 2
    assert (shown["marked_as_vanished"].value, vanished(project)) == (0, set())
    check = checks(project)[VANISHED]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "still Referral Admin for the entire company" in str(check.description)
    reconcile(project, DAILY)
    assert not checks(project)[VANISHED].passed, "the daily comparison cannot tell"
    microsoft.faults.clear()
    assert reconcile(project)[1]["vanished"].value == 0
    assert checks(project)[VANISHED].passed


def test_what_no_list_shows_and_the_id_does_has_not_vanished(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    last = project.last_due()
    recent = microsoft.world.create(last.start + 1)
    assert project.run(last).success
    microsoft.faults.late_visible_seconds = 3600.0
    _, shown = reconcile(project)
    assert shown["shown_by_id_only"].value >= 1
    assert recent["id"] not in vanished(project)
    assert (shown["vanished"].value, vanished(project)) == (0, set())


def test_a_comparison_that_is_not_proven_complete_marks_nothing(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    microsoft.faults.hidden_referrals = frozenset(only_referrals(project, 2))
    microsoft.faults.next_link_back = True
    project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10")
    outcome, _ = reconcile(project)
    assert outcome.failure is not None
    assert "nothing is taken for vanished" in outcome.failure
    assert vanished(project) == set()


# The last day


def test_the_daily_comparison_finds_what_was_lost_in_the_last_day_only(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    old, _ = lose_one(project)
    last = project.last_due()
    day_before = project.grid.window(last.end - RECENT)
    assert project.run(day_before, last, assets=RAW).success
    lost = microsoft.world.create(last.start + TICKS_PER_SECOND)["id"]
    outcome, shown = reconcile(project, DAILY)
    assert outcome.success
    assert (shown["kind"].value, shown["missed_by_complete_windows"].value) == ("recent", 1)
    raw = schema.raw_referrals
    with project.warehouse.read() as connection:
        ids = set(connection.execute(select(raw.c.referral_id)).scalars())
    assert lost in ids
    assert old not in ids
    assert not checks(project)[MISSED].passed


@pytest.mark.dagster_on_disk
def test_the_daily_schedule_requests_a_run_of_its_own_job(project: Project) -> None:
    project.mark_done((project.window(0), project.window(0)))
    assert isinstance(project.tick_schedule(datetime.now(UTC), DAILY), dg.RunRequest)
    job = project.definitions.resolve_job_def(DAILY)
    run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert project.tick_schedule(datetime.now(UTC), DAILY) == "the last daily reconcile is still at work"
    assert isinstance(project.tick_schedule(datetime.now(UTC), JOB), dg.RunRequest)
    project.instance.report_run_canceled(run)


@pytest.mark.parametrize("name", [JOB, DAILY])
def test_no_comparison_believes_a_server_whose_clock_is_not_past_the_end_and_the_lag(
    name: str, project: Project, microsoft: Simulator
) -> None:
    last = project.last_due()
    project.mark_done((last, last))
    microsoft.clock.set(datetime_of(last.end) + timedelta(seconds=project.grid.lag - 60))
    failure = reconcile(project, name)[0].failure
    assert failure is not None
    assert "this interval may be read from" in failure


# What was in quarantine


def test_a_row_that_comes_clean_after_its_window_kept_it_aside_is_not_missed(
    project: Project, microsoft: Simulator
) -> None:
    broken = microsoft.world.create(project.window(0).start + 1, {"customerProfile/name": "Bozuk\x00"})
    assert project.run(project.window(0)).success
    assert project.counts()["quarantined_referrals"] == 1
    clean = microsoft.world.change(
        broken["id"],
        microsoft.clock.ticks(),
        {"customerProfile/name": "Sağlam", "updatedDateTime": broken["updatedDateTime"]},
    )
    assert clean["updatedDateTime"] == broken["updatedDateTime"]
    outcome, shown = reconcile(project)
    assert outcome.success
    assert [shown[name].value for name in ("cleared_from_quarantine", "missing")] == [1, 0]
    assert checks(project)[MISSED].passed
    raw = schema.raw_referrals
    with project.warehouse.read() as connection:
        assert connection.execute(select(raw).where(raw.c.referral_id == broken["id"])).one()
