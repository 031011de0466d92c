"""Schedule and sensor: evaluated on a real instance that holds runs and backfills in each state."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from sqlalchemy import update

from partner_center_pipeline.defs.automation import MOST_REQUESTS, MOST_UNFINISHED
from partner_center_pipeline.defs.dagster_state import SCHEDULES_AND_SENSORS
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.windows import REFUSALS_BEFORE_HALVING, TICKS_PER_SECOND, SyncWindow, datetime_of, ticks_of
from partner_center_pipeline_tests.defs.project import JOB, Project, requested

pytestmark = pytest.mark.dagster_on_disk  # a schedule opens it by itself, from its description

RAW = ["raw_referrals"]
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def all_done_until(project: Project, last: SyncWindow) -> None:
    """All windows from genesis to `last` have the whole chain."""
    project.mark_done((project.window(0), last))


def add_run(project: Project, status: dg.DagsterRunStatus, first: SyncWindow, last: SyncWindow | None = None) -> None:
    """A run of the job in a state, for a window or a range."""
    tags = (
        {PARTITION_NAME_TAG: first.key}
        if last is None
        else {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="partner_center_pipeline.definitions"), "partner_center_pipeline"
    )
    create_run_for_test(
        project.instance,
        job_name=JOB,
        status=status,
        tags=tags,
        remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin(JOB),
    )


# The schedule -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tick_asks_for_the_window_that_ended_the_lag_before_it(project: Project) -> None:
    window = project.window(20)
    request = project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2))
    assert isinstance(request, dg.RunRequest)
    assert requested(request) == (window.key, window.key)
    assert request.run_key is None  # a key is never used again, not even after failure


@pytest.mark.slow
def test_before_the_first_window_has_ended_a_tick_skips(project: Project) -> None:
    start = datetime_of(project.window(0).start)
    assert project.tick_schedule(start + timedelta(minutes=2)) == "no sync window has ended since HUNTER_SYNC_START"


@pytest.mark.slow
def test_a_tick_skips_a_window_that_is_done(project: Project) -> None:
    window = project.window(20)
    all_done_until(project, window)
    answer = project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2))
    assert answer == f"window {window.key} is done already"


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_a_tick_skips_a_window_that_a_run_works_on(status: dg.DagsterRunStatus, project: Project) -> None:
    window = project.window(20)
    add_run(project, status, project.window(18), project.window(21))
    answer = project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2))
    assert answer == f"a run is already working on window {window.key}"


@pytest.mark.parametrize("status", FINISHED, ids=lambda status: status.value)
def test_a_tick_asks_again_for_a_window_whose_run_came_to_nothing(
    status: dg.DagsterRunStatus, project: Project
) -> None:
    window = project.window(20)
    add_run(project, status, window)
    assert isinstance(project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2)), dg.RunRequest)


# The sensor ---------------------------------------------------------------------------------------------------------


def test_all_missed_is_asked_for_in_runs_of_at_most_a_day_the_newest_first_then_the_oldest(project: Project) -> None:
    asked = project.tick_sensor()
    day = project.grid.per_day
    assert isinstance(asked, list)
    (newest, _), *asked = asked
    assert newest in {project.last_due().key, project.grid.window(project.last_due().start - project.grid.width).key}
    assert asked[:2] == [
        (project.window(0).key, project.window(day - 1).key),
        (project.window(day).key, project.window(2 * day - 1).key),
    ]
    assert [first for first, _ in asked] == sorted(first for first, _ in asked)


def test_each_gap_is_one_run(project: Project) -> None:
    last = project.last_due()
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(8), project.window(20)), (project.window(22), last))
    assert project.tick_sensor() == [
        (project.window(5).key, project.window(7).key),
        (project.window(21).key, project.window(21).key),
    ]


@pytest.mark.parametrize(("due_for", "asked"), [(75, False), (105, True)])
def test_a_window_is_left_to_the_schedule_until_it_was_due_for_a_while(
    due_for: int, asked: bool, project: Project
) -> None:
    now = datetime.now(UTC)
    end = (ticks_of(now) // TICKS_PER_SECOND - 120) // 600 * 600
    lag = ticks_of(now) // TICKS_PER_SECOND - end - due_for
    project = Project(
        project.home,
        {**project.variables, "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS": str(lag)},
        project.instance,
    )
    newest = project.last_due()
    all_done_until(project, project.grid.window(newest.start - project.grid.width))
    assert project.tick_sensor() == ([(newest.key, newest.key)] if asked else "no window was missed")


def test_nothing_missed_is_a_skip_that_says_so(project: Project) -> None:
    all_done_until(project, project.last_due())
    assert project.tick_sensor() == "no window was missed"


@pytest.mark.parametrize("stopped_after", list(ledger.CHAIN[:-1]))
def test_a_window_whose_chain_stopped_half_way_is_asked_for(stopped_after: Asset, project: Project) -> None:
    window = project.window(3)
    all_done_until(project, project.last_due())
    with project.warehouse.write() as connection:
        later = ledger.CHAIN[ledger.CHAIN.index(stopped_after) + 1 :]
        connection.execute(
            update(schema.sync_windows)
            .where(schema.sync_windows.c.window_start == window.start)
            .values({f"{asset}_at": None for asset in later})
        )
    project.set_attempts_back(timedelta(hours=2))
    assert project.tick_sensor() == [(window.key, window.key)]


@pytest.mark.parametrize("status", UNFINISHED, ids=lambda status: status.value)
def test_windows_that_a_run_works_on_are_left_out(status: dg.DagsterRunStatus, project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(15), project.last_due()))
    add_run(project, status, project.window(7), project.window(9))
    add_run(project, status, project.window(12))
    assert project.tick_sensor() == [
        (project.window(5).key, project.window(6).key),
        (project.window(10).key, project.window(11).key),
        (project.window(13).key, project.window(14).key),
    ]


@pytest.mark.parametrize("status", FINISHED, ids=lambda status: status.value)
def test_a_run_that_came_to_nothing_leaves_its_windows_missed(status: dg.DagsterRunStatus, project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(8), project.last_due()))
    add_run(project, status, project.window(5), project.window(7))
    assert project.tick_sensor() == [(project.window(5).key, project.window(7).key)]


def test_while_all_that_is_missed_is_being_worked_on_the_skip_says_so(project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(8), project.last_due()))
    add_run(project, dg.DagsterRunStatus.QUEUED, project.window(5), project.window(7))
    assert project.tick_sensor() == "every window that was missed is done, or a run is working on it"


def backfill_of(project: Project, assets: Sequence[str], partitions: list[str]) -> PartitionBackfill:
    """A backfill that a person asked for."""
    return PartitionBackfill.from_asset_partitions(
        backfill_id="a-backfill",
        asset_graph=project.definitions.get_repository_def().asset_graph,
        partition_names=partitions,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=project.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )


def test_exactly_the_windows_of_a_backfill_in_progress_are_left_out(project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(12), project.last_due()))
    windows = [project.window(number).key for number in (6, 7, 10)]
    backfill = backfill_of(project, [str(asset) for asset in ledger.CHAIN], windows)
    project.instance.add_backfill(backfill)
    assert project.tick_sensor() == [
        (project.window(5).key, project.window(5).key),
        (project.window(8).key, project.window(9).key),
        (project.window(11).key, project.window(11).key),
    ]
    canceled = backfill.with_status(BulkActionStatus.CANCELED)  # type: ignore[no-untyped-call]  # Dagster's own
    project.instance.update_backfill(canceled)
    assert project.tick_sensor() == [(project.window(5).key, project.window(11).key)]


def test_a_backfill_of_reports_holds_no_window_back(project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(12), project.last_due()))
    missing = project.tick_sensor()
    day = f"{datetime_of(project.window(6).start):%Y-%m-%d}"
    project.instance.add_backfill(backfill_of(project, ["lead_report"], [day]))
    assert project.tick_sensor() == missing


@pytest.mark.slow
def test_a_failed_window_rests_longer_after_each_try(project: Project) -> None:
    window = project.window(5)
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(6), project.last_due()))
    for tries, minutes in ((1, 1), (2, 2), (3, 4)):
        project.mark_failed(window)
        assert len(project.attempts(window)) == tries
        skip = project.tick_sensor()
        assert isinstance(skip, str)
        assert skip.startswith(f"waiting before another try at {window.key} (again after ")
        project.set_attempts_back(timedelta(minutes=minutes) - timedelta(seconds=15))
        assert isinstance(project.tick_sensor(), str)
        project.set_attempts_back(timedelta(minutes=minutes) + timedelta(seconds=1))
        assert project.tick_sensor() == [(window.key, window.key)]


def test_gaps_that_rest_do_not_keep_later_ones_waiting(project: Project) -> None:
    many = 12
    for number in range(many):
        project.mark_done((project.window(2 * number), project.window(2 * number)))
        project.mark_failed(project.window(2 * number + 1))
    project.mark_done((project.window(2 * many), project.window(40)))
    project.mark_done((project.window(42), project.last_due()))
    assert project.tick_sensor() == [(project.window(41).key, project.window(41).key)]


@pytest.mark.slow
def test_tries_while_the_flag_was_off_do_not_make_a_window_rest(project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(6), project.last_due()))
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert not project.run(project.window(5), assets=RAW).success
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="true")
    assert project.tick_sensor() == [(project.window(5).key, project.window(5).key)]


@pytest.mark.slow
def test_a_backlog_of_months_does_not_keep_the_newest_window_waiting(project: Project) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=120)
    project = Project(
        project.home, {**project.variables, "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}"}, project.instance
    )
    requests = project.sensor_requests()
    assert isinstance(requests, list)
    assert len(requests) == MOST_REQUESTS
    newest, *older = requests
    assert newest.tags["dagster/priority"] > "0"
    assert requested(newest)[0] >= project.grid.window(project.last_due().start - project.grid.width).key
    assert all("dagster/priority" not in request.tags for request in older)
    request = project.tick_schedule(datetime_of(project.last_due().end) + timedelta(minutes=2))
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/priority"] == newest.tags["dagster/priority"]
    for number in range(MOST_UNFINISHED):
        first = project.window(144 * number)
        add_run(project, dg.DagsterRunStatus.QUEUED, first, project.window(144 * number + 143))
    asked = project.tick_sensor()
    assert asked == [requested(newest)], "no more of the backlog, but the newest window"
    add_run(project, dg.DagsterRunStatus.QUEUED, project.grid.window_of_key(requested(newest)[0]))
    assert "runs of the job wait or work; more are requested as they end" in str(project.tick_sensor())


@pytest.mark.slow
def test_a_stretch_that_is_refused_again_and_again_is_asked_for_in_halves(project: Project) -> None:
    project.mark_done((project.window(0), project.window(4)))
    project.mark_done((project.window(13), project.last_due()))
    windows = [project.window(number) for number in range(5, 13)]
    for number in range(REFUSALS_BEFORE_HALVING):
        assert project.tick_sensor() == [(windows[0].key, windows[-1].key)]
        project.mark_refused(windows, f"try {number}")
        project.set_attempts_back(timedelta(hours=2))
    assert project.tick_sensor() == [(windows[0].key, windows[3].key), (windows[4].key, windows[7].key)]
    project.mark_done((windows[0], windows[3]))
    project.mark_refused(windows[4:], "a half")
    assert project.tick_sensor() == [(windows[4].key, windows[5].key), (windows[6].key, windows[7].key)]


# The gate -----------------------------------------------------------------------------------------------------------


def both_answers(project: Project) -> tuple[object, object]:
    window = project.window(20)
    return project.tick_schedule(datetime_of(window.end) + timedelta(minutes=2)), project.tick_sensor()


def test_off_means_that_both_skip_and_say_what_to_set(project: Project) -> None:
    reason = "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert both_answers(project) == (reason, reason)
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="true")
    assert not any(isinstance(answer, str) for answer in both_answers(project))


def test_the_file_wins_over_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_ENABLED", "true")  # what Dagster copied from `.env` at start
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert all("is disabled" in str(answer) for answer in both_answers(project))


@pytest.mark.parametrize(
    ("name", "value"),
    [("HUNTER_PARTNER_CENTER_PAGE_SIZE", "many"), ("HUNTER_PARTNER_CENTER_ENABELD", "true")],
)
def test_a_bad_edit_makes_both_skip_with_the_variables_name(name: str, value: str, project: Project) -> None:
    project.edit_env(**{name: value})
    schedule, sensor = both_answers(project)
    assert str(schedule).startswith(f"{name}: ")
    assert schedule == sensor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS", "900"),
        ("HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS", "300"),
        ("HUNTER_SYNC_START", "2026-01-01T00:00:00Z"),
    ],
)
def test_windows_that_changed_since_the_code_was_loaded_make_both_skip(name: str, value: str, project: Project) -> None:
    project.edit_env(**{name: value})
    schedule, sensor = both_answers(project)
    assert name in str(schedule)
    assert "changed since this code location was loaded: restart it" in str(schedule)
    assert schedule == sensor


def test_without_a_start_both_skip_and_say_what_to_set(project: Project) -> None:
    variables = {name: value for name, value in project.variables.items() if name != "HUNTER_SYNC_START"}
    project = Project(project.home, variables, project.instance)
    reason = "HUNTER_SYNC_START is not set: set it in .env, e.g. 2026-01-01T00:00:00Z, then restart"
    assert project.tick_schedule(datetime.now(UTC)) == reason
    assert project.tick_sensor() == reason


def test_a_warehouse_that_is_not_ours_makes_both_skip_with_its_name(project: Project) -> None:
    project.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    schedule, sensor = both_answers(project)
    assert "nobody:***@127.0.0.1:1/none cannot be used" in str(schedule)
    assert schedule == sensor


# What a person sees of a tick that skips ------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_tick_that_skips_has_its_reason_in_its_own_log(project: Project) -> None:
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    repository, at = project.definitions.get_repository_def(), datetime.now(UTC)
    resources: Any = project.definitions.resources
    ticks: list[Any] = []
    for schedule in repository.schedule_defs:
        with dg.ScheduleEvaluationContext(
            project.instance.get_ref(), at, None, repository.name, schedule.name, resources, repository
        ) as context:
            ticks.append(schedule.evaluate_tick(context))
    for sensor in repository.sensor_defs:
        with dg.build_sensor_context(
            project.instance,
            instance_ref=project.instance.get_ref(),
            repository_name=repository.name,
            sensor_name=sensor.name,
            repository_def=repository,
            resources=resources,
        ) as of_sensor:
            ticks.append(sensor.evaluate_tick(of_sensor))
    skipping = [tick for tick in ticks if not tick.run_requests]
    assert len(skipping) == len(SCHEDULES_AND_SENSORS) - 1  # old runs are deleted whatever the flag says
    for tick in skipping:
        told_in_log(project.instance, tick)


def told_in_log(instance: dg.DagsterInstance, tick: Any) -> None:
    """Check that a tick skipped, and that the log that Dagster's UI opens for it says why."""
    assert tick.skip_message
    assert tick.log_key is not None
    kept = instance.compute_log_manager.get_log_data(tick.log_key).stderr
    assert kept is not None
    assert any(json.loads(line)["msg"].endswith(f" - {tick.skip_message}") for line in kept.decode().splitlines())
