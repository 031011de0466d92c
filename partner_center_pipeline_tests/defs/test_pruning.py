"""Dagster's old runs are deleted with their files, and what is materialized and done stays so."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from filelock import FileLock
from sqlalchemy import make_url, text

from partner_center_pipeline.cli import main
from partner_center_pipeline.defs import pruning
from partner_center_pipeline.defs.automation import JOB_NAME, WHAT_IS_PENDING
from partner_center_pipeline.defs.dagster_private import SqlEventLogStorage, SqliteEventLogStorage
from partner_center_pipeline.defs.periodic import UNFINISHED
from partner_center_pipeline.defs.run_heartbeat import end_finishing
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.windows import SyncWindow
from partner_center_pipeline_tests.defs import test_covered_windows as covered_windows
from partner_center_pipeline_tests.defs.project import Project, load_definitions

pytestmark = pytest.mark.slow

JOB = "partner_center_prune"
A_WINDOW = 350_000
"""Bytes in Dagster's storage, at most; dagster.md, "What is deleted, and when", counts with them."""
RUNS = ".dagster/storage/history/runs"
LOGS = ".dagster/compute_logs"


@pytest.fixture
def instance(
    home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage as the project's dagster.yaml describes it, in the home folder; or on PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        monkeypatch.setenv("DAGSTER_HOME", str(PROJECT_ROOT))
    else:
        made = request.getfixturevalue("postgres").empty()
        url = make_url(made).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        yaml = (PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")
        before = "storage:\n  sqlite:\n    base_dir: .dagster/storage\n"
        assert before in yaml
        yaml = yaml.replace(before, f"storage:\n  postgres:\n    postgres_url: {json.dumps(url)}\n")
        (home / "dagster.yaml").write_text(yaml, encoding="utf-8")
        monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance
        end_finishing()  # before the database is dropped


both_storages = pytest.mark.parametrize(
    "instance", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def set_back(project: Project, days: float, *run_ids: str) -> None:
    """Let runs have ended so many days ago, in Dagster's storage and by the times of their files."""
    then = datetime.now(UTC) - timedelta(days=days)
    storage = project.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(
            text("UPDATE runs SET create_timestamp = :then, update_timestamp = :then WHERE run_id = :run"),
            [{"then": f"{then:%Y-%m-%d %H:%M:%S.%f}", "run": run_id} for run_id in run_ids],
        )
    for run_id in run_ids:
        for file in project.home.joinpath(".dagster").rglob(f"*{run_id}*"):
            os.utime(file, (then.timestamp(), then.timestamp()))


def synced(project: Project, count: int) -> list[str]:
    """Run the first windows, one by one; the ids of the runs."""
    return [project.run(project.window(number)).run_id for number in range(count)]


def failed_run(project: Project) -> str:
    """A run that failed, because its window is not fetched yet."""
    outcome = project.run(project.window(50), assets=["normalized_leads"])
    assert not outcome.success
    return outcome.run_id


def run_job(project: Project) -> dict[str, object]:
    """Run the job to its good end; the metadata of its step."""
    result = project.definitions.resolve_job_def(JOB).execute_in_process(instance=project.instance)
    assert result.success
    (step,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in step.step_output_data.metadata.items()}


def prune_by_command() -> dict[str, object]:
    """Run the command to its good end; its figures."""
    result = CliRunner().invoke(main, ["prune", "--json"])
    assert result.exit_code == 0, result.output
    figures: dict[str, object] = json.loads(result.stdout)
    return figures


def known_runs(project: Project) -> set[str]:
    return {run.run_id for run in project.instance.get_runs()}


def files(project: Project) -> dict[str, int]:
    """The size of each file of Dagster's storage."""
    return {
        str(file.relative_to(project.home)): file.stat().st_size
        for file in sorted(project.home.joinpath(".dagster").rglob("*"))
        if file.is_file()
    }


def rows_of_tables(project: Project) -> dict[tuple[str, str], int]:
    """Rows of each table of the databases that all runs share."""
    rows = {}
    for name in ("history/runs/index.db", "history/runs.db"):
        with closing(sqlite3.connect(project.home / ".dagster/storage" / name)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                (rows[name, table],) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return rows


def materialized(instance: dg.DagsterInstance, project: Project, *windows: SyncWindow) -> set[tuple[str, str]]:
    """Assets and windows that the UI shows as materialized."""
    partitions = project.grid.partitions()
    return {
        (str(asset), key)
        for asset in Asset
        for key, status in (
            instance.get_status_by_partition(dg.AssetKey(str(asset)), [one.key for one in windows], partitions) or {}
        ).items()
        if status is not None and status.value == "MATERIALIZED"
    }


def test_the_daily_job_deletes_old_runs_with_their_files_and_keeps_failed_ones_longer(project: Project) -> None:
    first, second, newest = synced(project, 3)
    early, late, last = (failed_run(project) for _ in range(3))
    set_back(project, 15, first, newest)
    set_back(project, 13, second)
    set_back(project, 91, early, last)
    set_back(project, 89, late)
    assert isinstance(project.tick_schedule(datetime.now(UTC), JOB), dg.RunRequest)

    shown = run_job(project)
    assert (shown["succeeded_runs"], shown["failed_runs"], shown["runs_left_for_later"]) == (1, 1, 0)
    assert known_runs(project) >= {second, newest, late, last}
    assert not known_runs(project) & {first, early}
    left = "\n".join(files(project))
    for gone in (first, early):
        assert gone not in left
    for kept in (second, newest, late, last):
        assert f"{RUNS}/{kept}.db" in left
        assert f"{LOGS}/{kept}/" in left
        assert project.event_log(kept)


@both_storages
def test_windows_of_deleted_runs_stay_materialized_and_are_not_asked_for_again(project: Project) -> None:
    runs = synced(project, 2)
    windows = [project.window(number) for number in range(2)]
    everything = {(str(asset), window.key) for asset in Asset for window in windows}
    set_back(project, 20, *runs)
    counts = project.counts()
    assert run_job(project)["succeeded_runs"] == 1  # the newest run of the job is kept
    assert project.counts() == counts
    with dg.DagsterInstance.get() as another:  # as the UI's process is
        assert materialized(another, project, *windows) == everything
    asked = project.tick_sensor()
    assert isinstance(asked, list)
    assert windows[-1].key < min(first for first, _ in asked)

    project.run(project.window(2))
    assert len(materialized(project.instance, project, project.window(2))) == len(Asset)
    assert run_job(project)["succeeded_runs"] == 1
    assert not known_runs(project) & set(runs)
    assert materialized(project.instance, project, *windows) == everything
    assert covered_windows.tick(project, None)[1] == 0  # none is reported anew, with events that nothing would delete
    events = project.instance.event_log_storage
    assert isinstance(events, SqlEventLogStorage)
    with events.index_connection() as connection:
        for table in ("event_logs", "asset_check_executions"):
            with_rows = set(connection.execute(text(f"SELECT DISTINCT run_id FROM {table}")).scalars())
            assert with_rows
            assert not with_rows & set(runs)


def test_failures_of_an_earlier_trouble_delay_nothing_although_the_success_after_them_is_deleted(
    project: Project,
) -> None:
    assert project.run(project.window(0), assets=["raw_referrals"]).success
    project.mark_done((project.window(1), project.last_due()))
    failed = [
        create_run_for_test(
            project.instance, job_name=JOB_NAME, status=dg.DagsterRunStatus.FAILURE, tags=WHAT_IS_PENDING
        ).run_id
        for _ in range(6)
    ]
    set_back(project, 30, *failed[:5])
    set_back(project, 2 / 24 / 60, failed[5])
    assert isinstance(project.tick_sensor(), list)


@both_storages
def test_a_run_that_is_not_finished_is_never_deleted(project: Project) -> None:
    job = project.definitions.resolve_job_def("partner_center_alerts")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="partner_center_pipeline.definitions"), "partner_center_pipeline"
    )
    origin = RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job.name)
    unfinished = [
        create_run_for_test(project.instance, job_name=job.name, status=status, remote_job_origin=origin).run_id
        for status in UNFINISHED
    ]
    ended = [
        project.instance.create_run_for_job(job, status=status).run_id
        for status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.SUCCESS)
    ]
    set_back(project, 4000, *unfinished, *ended)
    shown = run_job(project)
    assert (shown["succeeded_runs"], shown["failed_runs"]) == (1, 1)
    assert known_runs(project) >= {*unfinished, ended[-1]}


def test_a_dry_run_changes_nothing_and_the_command_does_what_it_said(project: Project) -> None:
    runs = synced(project, 3)
    set_back(project, 20, *runs)
    log = project.home / LOGS / "__repository__/partner_center_flag_sensor/1234.err"
    log.parent.mkdir(parents=True)
    for name, days in (("1234", 20), ("5678", 2)):
        file = log.with_stem(name)
        file.write_text("a tick's log\n")
        then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(file, (then, then))
    lost = str(uuid4())  # what a prune that was killed leaves
    leftover = project.home / RUNS / f"{lost}.db"
    leftover.write_bytes((project.home / RUNS / f"{runs[0]}.db").read_bytes())
    set_back(project, 2, lost)

    before, known = files(project), known_runs(project)
    said = CliRunner().invoke(main, ["prune", "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "Would be deleted: 2 runs that succeeded more than 14 days ago, 0 that failed more than 90" in said.output
    dry = json.loads(CliRunner().invoke(main, ["prune", "--dry-run", "--json"]).stdout)
    assert (files(project), known_runs(project)) == (before, known)

    done = json.loads(CliRunner().invoke(main, ["prune", "--json"]).stdout)
    assert known_runs(project) == {runs[-1]}
    names = ("succeeded_runs", "failed_runs", "logs_of_ticks", "left_behind", "files_before", "files_after")
    assert [done[name] for name in names] == [dry[name] for name in names]
    assert [done[name] for name in names[:4]] == [2, 0, 1, 1]
    assert (dry["dry_run"], done["dry_run"]) == (True, False)
    after = files(project)
    assert not log.exists()
    assert log.with_stem("5678").exists()
    assert lost not in "\n".join(after)
    assert (done["bytes_before"], done["files_before"]) == (sum(before.values()), len(before))
    assert (done["bytes_after"], done["files_after"]) == (sum(after.values()), len(after))
    assert done["bytes_after"] <= dry["bytes_after"] < done["bytes_before"]


def test_old_attempts_are_folded_by_the_job_and_by_the_command(project: Project) -> None:
    synced(project, 3)
    project.set_attempts_back(timedelta(days=100))
    dry = json.loads(CliRunner().invoke(main, ["prune", "--dry-run", "--json"]).stdout)
    assert (dry["attempts_folded"], dry["versions_deleted"]) == (2, 0)
    assert (
        "Attempts that would be folded into sums of a day: 2" in CliRunner().invoke(main, ["prune", "--dry-run"]).stdout
    )
    assert run_job(project)["attempts_folded"] == 2
    assert prune_by_command()["attempts_folded"] == 0


def test_the_newest_result_of_a_check_stays_although_its_run_is_deleted(project: Project) -> None:
    checked = dg.AssetCheckKey(dg.AssetKey("raw_referrals"), "looked_at")

    @dg.op(config_schema={"looks": bool}, out=dg.Out(dg.Nothing))
    def look(context: dg.OpExecutionContext) -> Iterator[object]:
        if context.op_config["looks"]:
            yield dg.AssetCheckEvaluation(asset_key=checked.asset_key, check_name=checked.name, passed=True)
        yield dg.Output(None)

    @dg.job(executor_def=dg.in_process_executor)
    def looking() -> None:
        look()

    first, second, third = (
        looking.execute_in_process(
            instance=project.instance, run_config={"ops": {"look": {"config": {"looks": looks}}}}
        ).run_id
        for looks in (True, True, False)
    )
    set_back(project, 20, first, second, third)
    assert run_job(project)["succeeded_runs"] == 2
    kept = project.instance.event_log_storage.get_asset_check_execution_history(checked, limit=10)
    assert [(one.run_id, one.status.value) for one in kept] == [(second, "SUCCEEDED")]
    assert third in known_runs(project)


@both_storages
def test_what_no_run_told_is_deleted_too_but_for_the_newest_of_each_kind_and_asset(project: Project) -> None:
    windows = [project.window(number) for number in range(3)]
    checked = dg.AssetCheckKey(dg.AssetKey("raw_referrals"), "quarantine_is_empty")
    for window in windows:  # as the sensor of covered windows and the commands do
        for event in (
            dg.AssetMaterialization("raw_referrals", partition=window.key),
            dg.AssetObservation("raw_referrals"),
            dg.AssetCheckEvaluation(asset_key=checked.asset_key, check_name=checked.name, passed=True),
        ):
            project.instance.report_runless_asset_event(event)
    set_events_of_no_run_back(project, 13)
    assert run_job(project)["events_of_no_run"] == 0
    set_events_of_no_run_back(project, 15)
    settings, now = Settings.load(), datetime.now(UTC)
    nothing = pruning.OldRuns([], [])
    assert pruning.would_prune(project.instance, nothing, settings, now).events_of_no_run == 6
    assert run_job(project)["events_of_no_run"] == 6
    assert events_of_no_run(project) == [3] * len(storages_of_no_run(project))
    assert run_job(project)["events_of_no_run"] == 0
    assert {key for _, key in materialized(project.instance, project, *windows)} == {one.key for one in windows}
    assert len(project.observations("raw_referrals")) == 1
    kept = project.instance.event_log_storage.get_asset_check_execution_history(checked, limit=10)
    assert [one.status.value for one in kept] == ["SUCCEEDED"]


def storages_of_no_run(project: Project) -> list[Any]:
    """What opens the tables in which Dagster keeps events of no run: one, or two files with SQLite."""
    events = project.instance.event_log_storage
    assert isinstance(events, SqlEventLogStorage)
    of_run = [lambda: events.run_connection("")] if isinstance(events, SqliteEventLogStorage) else []
    return [events.index_connection, *of_run]


def set_events_of_no_run_back(project: Project, days: float) -> None:
    """Let all that no run wrote be so many days old."""
    then = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M:%S.%f}"
    for opened in storages_of_no_run(project):
        with opened() as connection:
            connection.execute(text("UPDATE event_logs SET timestamp = :then WHERE run_id = ''"), {"then": then})
            connection.execute(
                text("UPDATE asset_check_executions SET evaluation_event_timestamp = :then"), {"then": then}
            )


def events_of_no_run(project: Project) -> list[int]:
    """Rows of events that no run wrote, in each place that keeps events."""
    found = []
    for opened in storages_of_no_run(project):
        with opened() as connection:
            found.append(connection.scalar(text("SELECT count(*) FROM event_logs WHERE run_id = ''")))
    return found


def test_deleted_runs_leave_no_row_and_the_storage_does_not_grow_with_the_windows(project: Project) -> None:
    set_back(project, 20, *synced(project, 2))
    prune_by_command()
    rows, few = rows_of_tables(project), sum(files(project).values())
    more = [project.run(project.window(number)).run_id for number in range(2, 5)]
    a_window = (sum(files(project).values()) - few) / len(more)
    assert a_window < A_WINDOW
    set_back(project, 20, *more)
    prune_by_command()
    assert rows_of_tables(project) == rows
    assert sum(files(project).values()) - few < 0.1 * a_window * len(more)


def test_at_most_so_many_runs_are_deleted_at_a_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    job = project.definitions.resolve_job_def("partner_center_alerts")
    runs = [project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS).run_id for _ in range(8)]
    for days, run_id in enumerate(reversed(runs), start=20):
        set_back(project, days, run_id)
    monkeypatch.setattr(pruning, "MOST_RUNS", 5)
    monkeypatch.setattr(pruning, "_PORTION", 3)
    shown = run_job(project)
    assert (shown["succeeded_runs"], shown["runs_left_for_later"]) == (5, 2)
    assert known_runs(project) >= set(runs[5:])
    assert run_job(project)["succeeded_runs"] == 2


def test_one_prune_is_at_work_at_a_time(project: Project) -> None:
    job = project.definitions.resolve_job_def("partner_center_alerts")
    runs = [project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS).run_id for _ in range(2)]
    set_back(project, 20, *runs)
    lock = project.home / ".hunter/prune.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        assert project.definitions.resolve_job_def(JOB).execute_in_process(instance=project.instance).success
        refused = CliRunner().invoke(main, ["prune", "--json"])
        assert refused.exit_code == 1
        assert "another prune is at work" in json.loads(refused.stdout)["error"]
        assert known_runs(project) >= set(runs)
    assert run_job(project)["succeeded_runs"] == 1


def test_a_file_that_is_in_use_is_left_as_it_is_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_BUSY_SECONDS", 0.05)
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t AS SELECT zeroblob(1000000) AS b")
        connection.execute("DELETE FROM t")
        size = path.stat().st_size
        connection.execute("BEGIN IMMEDIATE")
        assert pruning._write_anew(path) == "index.db: database is locked"
        assert path.stat().st_size == size
        connection.execute("ROLLBACK")
        assert pruning._write_anew(path) is None
    assert path.stat().st_size < size / 10


def test_each_partitioned_asset_is_one_whose_windows_stay_materialized(project: Project) -> None:
    graph = load_definitions(project.grid).resolve_asset_graph()
    known = {
        node.key.to_user_string(): node.partitions_def for node in graph.asset_nodes if node.partitions_def is not None
    }
    assert known == pruning.partitions_of_assets(project.grid)
