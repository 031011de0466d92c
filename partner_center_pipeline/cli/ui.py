"""`partner-center ui`: the Dagster UI and its daemon, on the project's data."""

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

from partner_center_pipeline.cli.base import ensure_sync_start, enter_home, for_people, notes, stop
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.database import Warehouse


@click.command()
@click.option("--demo", is_flag=True, help="Start the local Microsoft beside it, with referrals arriving live.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the UI has no sign-in.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@for_people
def ui(demo: bool, host: str, port: int) -> None:
    """Open the Dagster UI on the warehouse: assets, runs, backfills; schedule and sensor run too.

    It sets DAGSTER_HOME and the working directory, so that history survives a restart. With --demo, the schedule finds
    something to do without any account.
    """
    _refuse_taken(host, port)
    enter_home()
    ensure_sync_start()
    Warehouse.open(Settings.load().database_url.get_secret_value()).close()
    with _microsoft(demo):
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


def _refuse_taken(host: str, port: int) -> None:
    """End the command when the port is taken: `dagster dev` would go on, without its webserver."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        stop(f"the UI cannot listen on {host}:{port} ({error.strerror}); --port takes another")


@contextmanager
def _microsoft(demo: bool) -> Iterator[None]:
    if not demo:
        yield
        return
    from partner_center_pipeline.cli.local_microsoft import local_microsoft

    with local_microsoft(live=True) as local:
        notes.print(f"Local Microsoft: {local.simulator.base_url}, a change about every 45 seconds")
        yield


_PATIENCE: Final = ((0, 8.0), (signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
"""What the processes of a group are told (0: nothing), and for how many seconds it is then waited that they end."""


def _serve(host: str, port: int) -> int:
    """Run `dagster dev` until it ends or is told to; its exit code."""
    workspace = str(PROJECT_ROOT / "workspace.yaml")
    command = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)]
    running: list[subprocess.Popen[bytes]] = []

    def end(_number: int, _frame: object) -> None:
        for process in running:
            process.send_signal(signal.SIGINT)

    # Handlers first: a child inherits an ignored SIGINT (which shells give to what they start in the background), but
    # never a handler. A session of its own, so that Ctrl-C reaches the child once, from here.
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
    """Wait until no process of a group is left; interrupt what goes on.

    `dagster dev` ends before its code server, which waits for the runs that it started. An interrupted run says so in
    its log and in the ledger, and its windows are asked for again.
    """
    for told, seconds in _PATIENCE:
        if told == signal.SIGTERM:
            notes.print("A run still goes on; it is interrupted, and its windows are asked for again.")
        left = _tell(group, told)
        give_up = time.monotonic() + seconds
        while left and time.monotonic() < give_up:
            time.sleep(0.1)
            left = _tell(group, 0)
        if not left:
            return


def _tell(group: int, number: int) -> bool:
    """Send a signal to a group (0: none); whether anybody is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS denies it once all that is left is a zombie
        return False
    return True
