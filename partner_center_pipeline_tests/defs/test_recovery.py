"""Runs that died before their first heartbeat are ended and free their pool's slot; no other run is ended."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from partner_center_pipeline.defs import covered_windows
from partner_center_pipeline.warehouse import lease
from partner_center_pipeline_tests.defs.project import JOB, Project

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=lease.SILENT_SECONDS + 1)
DEAD = LATER + timedelta(seconds=lease.DOUBT_SECONDS)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides={"concurrency": {"pools": {"default_limit": 1}}}) as instance:
        yield instance


def started(project: Project, pool: str) -> str:
    """A run that has begun and asks for this pool's slot."""
    run = create_run_for_test(project.instance, job_name=JOB, status=dg.DagsterRunStatus.STARTED)
    storage = project.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(pool)
    storage.claim_concurrency_slot(pool, run.run_id, "raw_referrals")
    return str(run.run_id)


def ended(project: Project, at: datetime) -> list[str]:
    from partner_center_pipeline.defs.recovery import end_dead_runs

    return end_dead_runs(project.instance, project.warehouse, lambda: at)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["partner_center_api", "mail_dns"])
def test_a_run_with_a_slot_and_no_heartbeat_is_ended_and_the_next_one_continues(pool: str, project: Project) -> None:
    dead, waiting = started(project, pool), started(project, pool)
    assert ended(project, NOW) == []
    assert ended(project, LATER) == []
    assert ended(project, DEAD) == [dead]
    run = project.instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    claim = project.instance.event_log_storage.claim_concurrency_slot(pool, waiting, "raw_referrals")
    assert claim.is_claimed


@pytest.mark.slow
def test_a_run_that_waits_for_a_slot_however_long_is_alive(project: Project) -> None:
    first, waiting = started(project, "partner_center_api"), started(project, "partner_center_api")
    for minutes in range(0, 30, 5):
        at = NOW + timedelta(minutes=minutes)
        with lease.heartbeats(project.warehouse, first, lambda at=at: at):  # type: ignore[misc]
            assert ended(project, at) == []
    run = project.instance.get_run_by_id(waiting)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.STARTED


def test_a_run_whose_process_is_slow_to_start_is_not_ended_after_a_heartbeat(project: Project) -> None:
    run_id = started(project, "partner_center_api")
    assert ended(project, NOW) == []
    assert ended(project, LATER) == []
    with lease.heartbeats(project.warehouse, run_id, lambda: DEAD):
        assert ended(project, DEAD) == []


@pytest.mark.slow
def test_a_run_in_another_pool_is_left_alone(project: Project) -> None:
    started(project, "another_pool")
    assert ended(project, NOW) == []
    assert ended(project, LATER) == []
    assert ended(project, DEAD) == []


@pytest.mark.slow
def test_the_sensor_that_requests_nothing_ends_dead_runs_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = started(project, "partner_center_api")
    for at in (NOW, LATER, DEAD):
        monkeypatch.setattr(covered_windows, "utc_now", lambda at=at: at)
        with dg.build_sensor_context(
            instance=project.instance,
            repository_def=project.definitions.get_repository_def(),
            resources=project.definitions.resources,
        ) as context:
            project.definitions.resolve_sensor_def(covered_windows.NAME).evaluate_tick(context)
    run = project.instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
