"""`partner-center ui`: the Dagster UI and its daemon on the warehouse."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from partner_center_pipeline.cli.base import ensure_sync_start, enter_home, notes, report_errors, stop
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.database import open_warehouse


@click.command()
@click.option("--demo", is_flag=True, help="Start the local Microsoft beside it, with referrals arriving live.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the UI has no sign-in.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@report_errors
def ui(demo: bool, host: str, port: int) -> None:
    """Open the Dagster UI on the warehouse: assets, runs, backfills; schedule and sensor run too.

    It sets DAGSTER_HOME and the working directory, so that history survives a restart. With --demo, the schedule finds
    something to do without any account.
    """
    _refuse_port_in_use(host, port)
    enter_home()
    ensure_sync_start()
    with open_warehouse(Settings.load()):  # fails here, once, if the warehouse cannot be used
        pass
    with _simulator(demo):
        if not Settings.load().partner_center_enabled:
            notes.print(
                "Partner Center integration is disabled: the schedule and the sensor skip until .env says "
                "HUNTER_PARTNER_CENTER_ENABLED=true."
                + ("" if demo else " `partner-center ui --demo` shows them at work, without any account.")
            )
        notes.print(f"Dagster UI: [bold]http://{host}:{port}[/]  (Ctrl-C ends it)")
        code = _serve(host, port)
    if code not in (0, -signal.SIGINT, -signal.SIGTERM):
        stop(f"the Dagster UI ended with exit code {code}; its messages above say why")


def _refuse_port_in_use(host: str, port: int) -> None:
    """End the command if the port is in use: `dagster dev` would run on without its webserver."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        stop(f"the UI cannot listen on {host}:{port} ({error.strerror}); --port takes another")


@contextmanager
def _simulator(demo: bool) -> Iterator[None]:
    if not demo:
        yield
        return
    from partner_center_pipeline.cli.local_microsoft import local_microsoft

    with local_microsoft(live=True) as local:
        notes.print(f"Local Microsoft: {local.simulator.base_url}, a change about every 45 seconds")
        yield


_ENDING: Final = ((0, 8.0), (signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
"""Signals to a process group (0: none), each with the seconds to wait until its processes have ended."""


def _serve(host: str, port: int) -> int:
    """Run `dagster dev` until it ends or this process is signalled, and return its exit code."""
    workspace = str(PROJECT_ROOT / "workspace.yaml")
    command = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)]
    running: list[subprocess.Popen[bytes]] = []

    def end(_number: int, _frame: object) -> None:
        for process in running:
            process.send_signal(signal.SIGINT)

    # Handlers before the child: it inherits an ignored SIGINT (shells set that for background commands), but never a
    # handler. The child gets its own session, so that it receives Ctrl-C once, from here.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command, env=os.environ, start_new_session=True)  # noqa: S603  built above
        running.append(process)
        code = process.wait()
        _end_group(process.pid)
        return code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(group: int) -> None:
    """Wait until no process of the group is left; interrupt runs that do not end in time.

    `dagster dev` ends before its code server, which waits for the runs that it started. An interrupted run records that
    in its log and in the ledger, and its windows are requested again.
    """
    for number, seconds in _ENDING:
        if number == signal.SIGTERM:
            notes.print("A run still goes on; it is interrupted, and its windows are asked for again.")
        left = _send(group, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = _send(group, 0)
        if not left:
            return


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group (0: none) and say whether it still has processes."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS denies it if only zombies are left
        return False
    return True
