"""The reconcile job against the local Microsoft: what is missing comes back, is named, and turns the check red."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import delete, select

from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import breaker, demo, pending, schema
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.windows import TICKS_PER_SECOND, datetime_of
from partner_center_pipeline_tests.defs.project import Outcome, Project
from partner_center_pipeline_tests.defs.test_checks import MISSED, QUARANTINE, checks
from partner_center_pipeline_tests.defs.test_materializing import _personal
from partner_center_simulator import CorruptRow, HttpFault, Simulator

pytestmark = pytest.mark.slow

JOB = "partner_center_reconcile"
RAW = ["raw_referrals"]
DISABLED = "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in a folder: a schedule is handed a reference to it."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def reconcile(project: Project) -> tuple[Outcome, dict[str, Any]]:
    """Run the job as the Launchpad does; the outcome, and the metadata of its step."""
    job = project.definitions.resolve_job_def(JOB)
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


def tick(project: Project) -> dg.RunRequest | str:
    with dg.build_schedule_context(
        instance=project.instance,
        scheduled_execution_time=datetime.now(UTC),
        repository_def=project.definitions.get_repository_def(),
        resources=project.definitions.resources,
    ) as context:
        data = project.definitions.resolve_schedule_def(f"{JOB}_schedule").evaluate_tick(context)
    if data.skip_message is not None:
        return data.skip_message
    assert data.run_requests is not None
    (request,) = data.run_requests
    return request


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
    assert (shown["missing"].value, shown["left_to_windows_to_come"].value) == (0, 0)
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
    assert tick(project) == DISABLED
    assert reconcile(project)[0].failure == DISABLED
    assert microsoft.api.requests == asked
    assert kept(project) == []


def test_before_the_first_window_is_done_there_is_nothing_to_compare(project: Project) -> None:
    assert "no window is done yet" in str(tick(project))
    failure = reconcile(project)[0].failure
    assert failure is not None
    assert "run `partner-center sync` first" in failure


def test_the_schedule_requests_a_run_unless_one_is_running_or_the_breaker_is_open(project: Project) -> None:
    project.mark_done((project.window(0), project.window(0)))
    assert isinstance(tick(project), dg.RunRequest)
    job = project.definitions.resolve_job_def(JOB)
    run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert tick(project) == "the last reconcile is still at work"
    project.instance.report_run_canceled(run)
    with project.warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "no answer.", datetime.now(UTC))
    assert "Partner Center is left alone until" in str(tick(project))


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


def test_a_page_counts_only_when_the_servers_clock_has_passed_the_safety_lag(
    project: Project, microsoft: Simulator
) -> None:
    """Within the lag a referral may still appear in what is compared, and would be taken for missed by its window."""
    window = project.window(0)
    assert project.run(window).success
    lag = project.grid.lag
    microsoft.clock.set(datetime_of(window.end + (lag - 60) * TICKS_PER_SECOND))  # longer than a run waits
    outcome, _ = reconcile(project)
    assert outcome.failure is not None
    assert "The server's clock" in outcome.failure
    microsoft.clock.set(datetime_of(window.end + lag * TICKS_PER_SECOND))
    assert reconcile(project)[0].success
