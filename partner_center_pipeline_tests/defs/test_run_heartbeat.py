"""A run's process gives heartbeats from before its first step until the run is finished; a killed one is noticed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import make_url, select

from partner_center_pipeline.defs import run_heartbeat
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse import lease, schema
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.defs.project import JOB, Project
from partner_center_simulator import Simulator


def utc() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in a folder, with one slot for what asks Partner Center, as in dagster.yaml."""
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides={"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
    ) as instance:
        yield instance


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is 1.4 seconds."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "SILENT_SECONDS", 0.9)
    monkeypatch.setattr(lease, "DOUBT_SECONDS", 0.5)
    monkeypatch.setattr(lease, "_QUICKLY", 0.3)


def seen(project: Project) -> dict[str, datetime]:
    with project.warehouse.read() as connection:
        rows = connection.execute(select(schema.run_heartbeats)).all()
    return {row.run_id: row.seen_at for row in rows if not row.run_id.startswith("doubt")}


@contextmanager
def judging(project: Project) -> Iterator[list[str]]:
    """Judge runs over and over, as schedules and the sensor do; yields the list of the runs that were ended."""
    ended: list[str] = []
    over = threading.Event()

    def judge() -> None:
        while not over.wait(0.1):
            ended.extend(end_dead_runs(project.instance, project.warehouse, utc))

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        yield ended
    finally:
        over.set()
        thread.join()


def slow_event_writing(monkeypatch: pytest.MonkeyPatch, seconds: float, kind: dg.DagsterEventType) -> None:
    """Let Dagster take its time to write events of a kind."""
    handle = dg.DagsterInstance.handle_new_event

    def handle_slowly(self: dg.DagsterInstance, event: dg.EventLogEntry, **options: Any) -> None:
        if event.dagster_event is not None and event.dagster_event.event_type is kind:
            time.sleep(seconds)
        handle(self, event, **options)

    monkeypatch.setattr(dg.DagsterInstance, "handle_new_event", handle_slowly)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", [dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_SUCCESS])
def test_a_run_is_alive_while_dagster_takes_long_to_write_events_between_and_after_steps(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: dg.DagsterEventType
) -> None:
    slow_event_writing(monkeypatch, 3.0, kind)
    with judging(project) as ended:
        outcome = project.run(project.window(0), assets=["raw_referrals"])
    assert outcome.success
    assert ended == []
    assert project.attempts(project.window(0))[-1] == ("complete", None)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("job", ["partner_center_reconcile", "partner_center_rescan"])
def test_every_job_gives_heartbeats(project: Project, job: str) -> None:
    before = set(seen(project))
    project.definitions.resolve_job_def(job).execute_in_process(instance=project.instance, raise_on_error=False)
    run_heartbeat.end_finishing()
    assert len(set(seen(project)) - before) == 1


@pytest.mark.slow
@pytest.mark.postgres
def test_a_run_whose_dagster_storage_went_away_is_not_taken_for_finished(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = make_url(postgres.empty()).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    storage = {"storage": {"postgres": {"postgres_url": url}}}
    (tmp_path / "dagster.yaml").write_text(json.dumps(storage), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = create_run_for_test(instance)
        assert not run_heartbeat._is_finished(instance, run.run_id)
        postgres.drop()
        assert not run_heartbeat._is_finished(instance, run.run_id)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_heartbeats_end_when_the_run_is_finished(project: Project) -> None:
    assert project.run(project.window(0), assets=["raw_referrals"]).success
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("heartbeat of run") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def locked_by_another_process(file: Path, seconds: float) -> Iterator[None]:
    """Let a process of its own hold SQLite's write lock for so long, beginning now."""
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True);"
        "time.sleep(float(sys.argv[2])); c.execute('ROLLBACK')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(file), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        process.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_is_alive_and_keeps_its_lease_while_another_program_locks_the_database(
    project: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock lasts for more than the time after which a silent run is dead, and its lease has ended."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    microsoft.faults.slow_seconds = 1.0

    def lock() -> None:
        time.sleep(0.7)
        with locked_by_another_process(project.home / ".hunter/hunter.db", 3.0):
            pass

    locking = threading.Thread(target=lock)
    with judging(project) as ended:
        locking.start()
        outcome = project.run(project.window(0), assets=["raw_referrals"])
        locking.join()
    assert outcome.success, outcome.failure
    assert ended == []
    assert project.attempts(project.window(0)) == [("complete", None)]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_killed_run_is_ended_in_the_time_that_it_takes_to_doubt_it(project: Project) -> None:
    code = (
        "import os, sys, time; from datetime import UTC, datetime;"
        "from partner_center_pipeline.warehouse.database import Warehouse;"
        "from partner_center_pipeline.warehouse.lease import heartbeats\n"
        "with heartbeats(Warehouse.open(sys.argv[1]), sys.argv[2], lambda: datetime.now(UTC)):\n"
        "    print('alive', flush=True); time.sleep(600)"
    )
    run_id = create_run_for_test(project.instance, job_name=JOB, status=dg.DagsterRunStatus.STARTED).run_id
    process = subprocess.Popen(
        [sys.executable, "-c", code, project.warehouse.url, run_id],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
        env={"PATH": os.defpath},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "alive\n"
    with judging(project) as ended:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed = time.monotonic()
        while not ended and time.monotonic() < killed + 20:
            time.sleep(0.05)
    assert ended == [run_id]
    assert time.monotonic() - killed < 5
