"""`partner-center ui`: the Dagster UI and its daemon on the warehouse."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from partner_center_pipeline.cli import ending
from partner_center_pipeline.cli.base import (
    alone,
    ensure_sync_start,
    enter_home,
    leave_terminal,
    notes,
    report_errors,
    stop,
)
from partner_center_pipeline.cli.server_log import show_warnings
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.database import open_warehouse

_LAST_LINES_SECONDS: Final = 2.0
"""How long the last lines of Dagster's processes, which have ended, are waited for."""


@click.command()
@click.option("--demo", is_flag=True, help="Start the local Microsoft beside it, with referrals arriving live.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the UI has no sign-in.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@report_errors
def ui(demo: bool, host: str, port: int) -> None:
    """Open the Dagster UI on the warehouse: assets, runs, backfills; schedule and sensor run too.

    It sets DAGSTER_HOME and the working directory, so that history survives a restart. With --demo, the schedule finds
    something to do without any account. One UI runs on a home folder. It ends by Ctrl-C, and when its terminal is
    closed; a run that is still under way then is interrupted, and its windows are asked for again.
    """
    enter_home()
    with alone("ui", "`partner-center ui`", f"http://{host}:{port}"):
        _refuse_port_in_use(host, port)
        ensure_sync_start()
        _run(host, port, demo=demo)


def _run(host: str, port: int, *, demo: bool) -> None:
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


def _serve(host: str, port: int) -> int:
    """Run `dagster dev` until it ends or this process is signalled, and return its exit code."""
    workspace = str(PROJECT_ROOT / "workspace.yaml")
    command = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", host, "-p", str(port)]
    running: list[subprocess.Popen[bytes]] = []

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        for process in running:
            process.send_signal(signal.SIGINT)

    # Handlers before the child: it inherits an ignored SIGINT (shells set that for background commands), but never a
    # handler. The child gets its own session, so that it receives Ctrl-C once, from here.
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` ignores it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        process = subprocess.Popen(  # noqa: S603  built above
            command, env=os.environ, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        running.append(process)
        log = show_warnings(process.stdout, sys.stderr.buffer) if process.stdout else None
        with _watched(process.pid):
            code = process.wait()
            ending.end_group(
                process.pid,
                lambda: notes.print("A run still goes on; it is interrupted, and its windows are asked for again."),
            )
        if log:
            log.join(_LAST_LINES_SECONDS)
        return code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watched(group: int) -> Iterator[None]:
    """Let a process of its own end the group when this one is killed: nobody would stop its runs and its daemon."""
    command = [sys.executable, "-I", ending.__file__, str(group)]
    with subprocess.Popen(  # noqa: S603  built above
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()
