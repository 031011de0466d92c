"""After some failed runs in a row Partner Center is left alone; then one page is tried. A person may try at once."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.tags import SENSOR_NAME_TAG
from sqlalchemy import update

from partner_center_pipeline.warehouse import breaker, schema
from partner_center_pipeline.warehouse.breaker import FAILURES
from partner_center_pipeline.windows import datetime_of
from partner_center_pipeline_tests.defs.project import JOB, Project
from partner_center_simulator import HttpFault, Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def broken(project: Project, microsoft: Simulator) -> Project:
    """A project whose account lost its role, and whose runs failed often enough."""
    microsoft.faults.role_missing = True
    for _ in range(FAILURES):
        assert not project.run(project.window(0)).success
    return project


def end_the_wait(project: Project) -> None:
    with project.warehouse.write() as connection:
        connection.execute(update(schema.breakers).values(open_until=datetime.now(UTC) - timedelta(seconds=1)))


def tick_of(project: Project) -> dg.RunRequest | str:
    window = project.last_due()
    return project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2))


@pytest.mark.dagster_on_disk
def test_schedule_and_sensor_skip_with_the_reason_and_a_time(broken: Project) -> None:
    for said in (broken.tick_sensor(), tick_of(broken)):
        assert isinstance(said, str)
        assert said.startswith("Partner Center is left alone until ")
        assert "Referral Admin" in said


def test_a_run_requested_before_the_breaker_opened_sends_no_request(broken: Project, microsoft: Simulator) -> None:
    asked = microsoft.api.requests
    job = broken.definitions.resolve_job_def(JOB)
    result = job.execute_in_process(
        instance=broken.instance,
        partition_key=broken.window(0).key,
        tags={SENSOR_NAME_TAG: "partner_center_flag_sensor"},
        raise_on_error=False,
    )
    assert not result.success
    assert microsoft.api.requests == asked
    state, error = broken.attempts(broken.window(0))[-1]
    assert state == "failed"
    assert str(error).startswith("Partner Center is left alone until ")


def test_after_the_wait_one_run_is_requested_and_tries_one_page(broken: Project, microsoft: Simulator) -> None:
    end_the_wait(broken)
    broken.set_attempts_back(timedelta(hours=2))
    said = broken.tick_sensor()
    assert not isinstance(said, str), said
    assert len(said) == 1

    asked = microsoft.api.requests
    assert not broken.run(broken.window(0)).success
    assert microsoft.api.requests == asked + 1
    with broken.warehouse.read() as connection:
        assert breaker.load(connection).failures == FAILURES + 1


def test_a_person_may_try_at_once_and_an_answer_closes_it(broken: Project, microsoft: Simulator) -> None:
    microsoft.faults.clear()
    assert broken.run(broken.window(0)).success
    with broken.warehouse.read() as connection:
        assert breaker.load(connection) == breaker.Breaker()
    assert not isinstance(broken.tick_sensor(), str)


def test_a_failure_that_a_retry_repairs_is_not_counted(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.UNAVAILABLE, times=2)
    assert project.run(project.window(0)).success
    with project.warehouse.read() as connection:
        assert breaker.load(connection) == breaker.Breaker()
