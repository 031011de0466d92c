"""What `all` measures of starting: how long a process takes until it works, beside importing Dagster alone.

A run's process is the one that Dagster's launchers start (`dagster api execute_run`), up to its first connection to
Partner Center, where it is ended. The command is `partner-center sync` with no window due, from its start to its end.
Both load the code of all assets. The opponent imports Dagster and opens the same instance: beside a run's process until
that is done, beside the command from its start to its end.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import click

from partner_center_pipeline_tests.benchmarks.ingest import Database
from partner_center_pipeline_tests.benchmarks.installation import Installation, make_templates, start_servers, timed
from partner_center_pipeline_tests.benchmarks.pages import GRID
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures

STARTED: Final = Goal(1.3)
_AGAINST: Final = "importing dagster and opening its instance"
_MODULE: Final = "partner_center_pipeline_tests.benchmarks.starting"
_OPEN: Final = "import dagster; dagster.DagsterInstance.get().dispose()"
_OPEN_AND_CONNECT: Final = """
import dagster, socket, sys
dagster.DagsterInstance.get()
socket.create_connection(("127.0.0.1", int(sys.argv[1])))
"""
_SECONDS: Final = 300.0
"""How long a process may take to connect."""
_ROUNDS: Final = 9
"""Rounds at least: a start takes two seconds, and of three rounds one slow start makes 1.36 of 1.26."""


@measures("start-up")
def start_up(run: Measuring) -> Iterator[Row]:
    """A run's process, and the command."""
    servers = start_servers(run, 2000)
    for database in Database:
        template, _ = make_templates(run, database, servers)
        with template.installed() as installation:
            _dagster_seconds(installation)  # not counted: it compiles modules, and makes Dagster's files
            first, opened, sync, theirs = run.medians(
                lambda: _first_request_seconds(installation),
                lambda: _open_seconds(installation),
                lambda: _idle_sync_seconds(installation),
                lambda: _dagster_seconds(installation),
                at_least=run.size(_ROUNDS, 1),
            )
        yield Row(f"a run process up to its first API request: {database}", _AGAINST, first / opened, STARTED,
                  f"{first:.2f} s, {opened:.2f} s")  # fmt: skip
        yield Row(f"partner-center sync with nothing due: {database}", _AGAINST, sync / theirs, STARTED,
                  f"{sync:.2f} s, {theirs:.2f} s")  # fmt: skip


def _dagster_seconds(installation: Installation) -> float:
    environment = {**installation.environment, "DAGSTER_HOME": str(installation.home)}
    return timed([sys.executable, "-c", _OPEN], environment, installation.home)[0]


def _idle_sync_seconds(installation: Installation) -> float:
    """Return the seconds of a sync whose first window has not ended."""
    environment = {**installation.environment, "HUNTER_SYNC_START": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    command = [sys.executable, "-m", "partner_center_pipeline", "sync"]
    return timed(command, environment, installation.home)[0]


def _open_seconds(installation: Installation) -> float:
    """Return the seconds from the start of a process until it has imported Dagster and opened the instance."""
    environment = {**installation.environment, "DAGSTER_HOME": str(installation.home)}
    with _listening() as listener:
        port = str(listener.getsockname()[1])
        return _seconds_to_connect(listener, [sys.executable, "-c", _OPEN_AND_CONNECT, port], environment, installation)


def _first_request_seconds(installation: Installation) -> float:
    """Return the seconds from the start of a run's process until it connects to Partner Center."""
    with _listening() as listener:
        environment = {
            **installation.environment,
            "DAGSTER_HOME": str(installation.home),
            "HUNTER_PARTNER_CENTER_BASE_URL": f"https://localhost:{listener.getsockname()[1]}",
        }
        asked = replace(installation, environment=environment)
        _, arguments = timed([sys.executable, "-m", _MODULE, GRID.window(GRID.first or 0).key], environment, asked.home)
        command = [sys.executable, "-m", "dagster", "api", "execute_run", arguments.strip().splitlines()[-1]]
        try:
            return _seconds_to_connect(listener, command, environment, asked)
        finally:
            _end_runs(asked)


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_SECONDS)
        yield listener


def _seconds_to_connect(
    listener: socket.socket, command: list[str], environment: Mapping[str, str], installation: Installation
) -> float:
    """Start a command; return the seconds until it connects. It is ended then."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(environment), cwd=installation.home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        listener.accept()[0].close()
        return time.perf_counter() - start
    except TimeoutError:
        raise click.ClickException(f"{' '.join(command[:5])} did not connect") from None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _end_runs(installation: Installation) -> None:
    """Let the next run begin at once: what a killed run held is free."""
    from partner_center_pipeline.warehouse.schema import leases, run_heartbeats

    with installation.warehouse() as db, db.write() as connection:
        connection.execute(leases.delete())
        connection.execute(run_heartbeats.delete())


def main(key: str) -> None:
    """Make a run of a window in Dagster's storage, with its pool's slot free; print what starts its process."""
    import dagster as dg
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._serdes import serialize_value

    from partner_center_pipeline.definitions import defs
    from partner_center_pipeline.defs.automation import JOB_NAME

    built: Any = defs()
    module = "partner_center_pipeline.definitions"
    repository = RepositoryPythonOrigin(sys.executable, ModuleCodePointer(module, "defs", None))
    origin = JobPythonOrigin(JOB_NAME, repository)
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        for run_id in storage.get_concurrency_run_ids():
            storage.free_concurrency_slots_for_run(run_id)
        run = instance.create_run_for_job(
            built.resolve_job_def(JOB_NAME), tags={"dagster/partition": key}, job_code_origin=origin
        )
        print(serialize_value(ExecuteRunArgs(origin, run.run_id, instance.get_ref())))


if __name__ == "__main__":
    main(*sys.argv[1:])
