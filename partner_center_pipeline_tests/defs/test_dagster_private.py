"""Dagster's private names do what the project needs of them. Each failure says what stops working."""

import asyncio
import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import httpx
import pytest

from partner_center_pipeline.defs import dagster_private
from partner_center_pipeline.windows import WindowGrid

GRID = WindowGrid.of(datetime(2026, 3, 1, tzinfo=UTC), 600, 120)
FIRST, LAST = "2026-03-01-00:00", "2026-03-01-00:20"


@pytest.fixture
def seen() -> dict[str, object]:
    return {}


@pytest.fixture
def job(seen: dict[str, object]) -> dg.JobDefinition:
    """A job of one partitioned asset, which notes what range it is asked for."""

    @dg.asset(partitions_def=GRID.partitions())
    def probe(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        seen["range"] = (context.partition_key_range.start, context.partition_key_range.end)
        return dg.MaterializeResult()

    definitions = dg.Definitions(
        assets=[probe],
        jobs=[dg.define_asset_job("probing", selection=[probe])],
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("probing")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_every_private_name_has_a_test_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for name in dagster_private.__all__:
        assert f"dagster_private.{name}" in source, name


def test_range_tags_make_one_run_of_many_windows(
    job: dg.JobDefinition, seen: dict[str, object], instance: dg.DagsterInstance
) -> None:
    """Without them the sensor and `sync` cannot request a range, and `worked_on` does not see the range of a run."""
    tags = {
        dagster_private.ASSET_PARTITION_RANGE_START_TAG: FIRST,
        dagster_private.ASSET_PARTITION_RANGE_END_TAG: LAST,
    }
    assert job.execute_in_process(instance=instance, tags=tags).success
    assert seen["range"] == (FIRST, LAST)


def test_a_run_of_one_window_has_the_partition_tag(job: dg.JobDefinition, instance: dg.DagsterInstance) -> None:
    """Without it `worked_on` does not see which window a run works on, and the sensor requests it twice."""
    run_id = job.execute_in_process(instance=instance, partition_key=FIRST).run_id
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[dagster_private.PARTITION_NAME_TAG] == FIRST


def test_runs_of_schedules_and_sensors_are_recognized_by_their_tags() -> None:
    """Without them the circuit breaker also turns away a person who starts a run by hand."""

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def some_job() -> None:
        nothing()

    schedule = dg.ScheduleDefinition(name="a_schedule", job=some_job, cron_schedule="0 0 * * *")

    @dg.sensor(name="a_sensor", job=some_job)
    def a_sensor() -> dg.RunRequest:
        return dg.RunRequest()

    assert dg.DagsterRun.tags_for_schedule(schedule) == {dagster_private.SCHEDULE_NAME_TAG: "a_schedule"}
    assert dg.DagsterRun.tags_for_sensor(a_sensor) == {dagster_private.SENSOR_NAME_TAG: "a_sensor"}


def test_requested_backfills_can_be_listed_with_their_windows(instance: dg.DagsterInstance) -> None:
    """Without them the sensor requests windows that a backfill is about to run."""
    requested = dagster_private.BulkActionsFilter(statuses=[dagster_private.BulkActionStatus.REQUESTED])
    assert instance.get_backfills(filters=requested) == []
    subset = GRID.partitions().empty_subset().with_partition_keys([FIRST, LAST])
    assert isinstance(subset, dagster_private.TimeWindowPartitionsSubset)
    assert [window.start.strftime("%H:%M") for window in subset.included_time_windows] == ["00:00", "00:20"]


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [False, True])
def test_the_webserver_can_be_made_in_this_process_and_read_only(read_only: bool, tmp_path: Path) -> None:
    """Without them `partner-center ui` cannot put its front before Dagster's webserver."""
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text('{"load_from": []}', encoding="utf-8")
    target = dagster_private.WorkspaceFileTarget([str(workspace)])
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dagster_private.WorkspaceProcessContext(instance, target, read_only=read_only) as context,
    ):
        # Imported here: it takes a second, of each process that reads the tests.
        app = importlib.import_module("dagster_webserver.app").create_app_from_workspace_process_context(context)

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.post("/graphql", json={"query": "{ permissions { value } }"})

        answer = asyncio.run(ask()).json()
    assert any(permission["value"] for permission in answer["data"]["permissions"]) is not read_only


def test_the_storage_of_dagster_yaml_keeps_one_file_of_events_per_run(job: dg.JobDefinition, tmp_path: Path) -> None:
    """Without it files of deleted runs stay, and results of checks (`defs/pruning.py`)."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        run_id = job.execute_in_process(instance=instance, partition_key=FIRST).run_id
        events, logs = instance.event_log_storage, instance.compute_log_manager
        assert isinstance(events, dagster_private.SqlEventLogStorage)
        assert isinstance(events, dagster_private.SqliteEventLogStorage)
        assert Path(events.path_for_shard(run_id)).is_file()
        with events.index_connection() as connection:
            assert connection.execute(dagster_private.AssetCheckExecutionsTable.select()).all() == []
            assert connection.execute(dagster_private.SqlEventLogStorageTable.select()).all()
        assert isinstance(logs, dagster_private.LocalComputeLogManager)
        assert (Path(logs.get_captured_local_path(["any"], "err")).parent / run_id).is_dir()
