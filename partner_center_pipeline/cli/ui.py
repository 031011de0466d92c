"""`partner-center ui`: the Dagster UI and its daemon on the warehouse."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from shutil import rmtree
from threading import Thread
from typing import Final

import click
from rich.markup import escape

from partner_center_pipeline.cli import ending
from partner_center_pipeline.cli.base import (
    alone,
    codes_folder,
    console,
    ensure_sync_start,
    enter_home,
    holder_of,
    leave_terminal,
    notes,
    report_errors,
    stop,
)
from partner_center_pipeline.cli.browser import open_in_browser
from partner_center_pipeline.cli.server_log import show_warnings
from partner_center_pipeline.settings import Settings, SettingsError, home
from partner_center_pipeline.warehouse.database import WarehouseError, open_warehouse

_LAST_LINES_SECONDS: Final = 2.0
"""How long the last lines of Dagster's processes, which have ended, are waited for."""


@click.command()
@click.option("--demo", is_flag=True, help="Start the local Microsoft beside it, with referrals arriving live.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port of the UI.")
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Let --host name an address that other machines reach; needs HUNTER_UI_PASSWORD.",
)
@click.option("--name", "names", multiple=True, help="A name by which browsers ask for it, e.g. that of a proxy.")
@click.option("--read-only", is_flag=True, help="Show everything, change nothing: Dagster's read-only mode.")
@click.option("--open", "opening", is_flag=True, help="Open the link in the browser.")
@click.option("--link", "only_link", is_flag=True, help="Print another link for the UI that runs, and end.")
@report_errors
def ui(
    demo: bool,
    host: str,
    port: int,
    allow_remote: bool,
    names: tuple[str, ...],
    read_only: bool,
    opening: bool,
    only_link: bool,
) -> None:
    """Open the Dagster UI on the warehouse: assets, runs, backfills; schedule and sensor run too.

    It prints a link that signs one browser in, once, within a day; --link prints another one for the UI that runs. Only
    who is signed in sees or changes anything, and no page of another site can (docs/operations.md, "The UI").

    It sets DAGSTER_HOME and the working directory, so that history survives a restart. With --demo, the schedule finds
    something to do without any account. One UI runs on a home folder. It ends by Ctrl-C, and when its terminal is
    closed; a run that is still under way then is interrupted, and its windows are asked for again.
    """
    if only_link:
        console.print(_link(_running_at()), markup=False)
        return
    is_remote = not _is_loopback(host)
    if is_remote:
        _refuse_unprotected(host, allow_remote)
    enter_home()
    address = f"http://{_shown(host)}:{port}"
    with alone("ui", "`partner-center ui`", address), _listening(host, port) as listener:
        ensure_sync_start()
        options = [f"--name={name}" for name in _names(host, names, is_remote)]
        options += ["--remote"] * is_remote + ["--read-only"] * read_only
        _run(address, listener, options, demo=demo, opening=opening)


def _run(address: str, listener: socket.socket, options: Sequence[str], *, demo: bool, opening: bool) -> None:
    from partner_center_pipeline.defs.gate import refuse_without_room

    settings = Settings.load()
    refuse_without_room(settings)
    with open_warehouse(settings):  # fails here, once, if the warehouse cannot be used
        pass
    with _simulator(demo):
        if not Settings.load().partner_center_enabled:
            notes.print(
                "Partner Center integration is disabled: the schedule and the sensor skip until .env says "
                "HUNTER_PARTNER_CENTER_ENABLED=true."
                + ("" if demo else " `partner-center ui --demo` shows them at work, without any account.")
            )
        link = _link(address)
        console.print(f"Dagster UI: [bold]{escape(link)}[/]  (Ctrl-C ends it)")
        if opening:  # beside this, as some browsers are waited for until they are closed
            Thread(target=_open, args=[link], daemon=True).start()
        try:
            code = _serve(listener, options)
        finally:
            rmtree(codes_folder(), ignore_errors=True)  # no link outlives the UI that it was printed for
            # Whoever closes a SQLite file last writes its log into it, and a run that was killed closed nothing.
            with suppress(SettingsError, WarehouseError), open_warehouse(Settings.load()) as warehouse:
                warehouse.is_current()
    if code not in (0, -signal.SIGINT, -signal.SIGTERM):
        stop(f"the Dagster UI ended with exit code {code}; its messages above say why")


def _open(link: str) -> None:
    if not open_in_browser(link):
        notes.print("No browser could be opened; open the link by hand.")


def _link(address: str) -> str:
    from partner_center_pipeline.cli.front import SIGN_IN, new_code

    return f"{address}{SIGN_IN}?code={new_code(codes_folder())}"


def _running_at() -> str:
    """Return the address of the UI that runs on the home folder, as it said itself."""
    said = holder_of("ui")
    address = re.search(r"https?://\S+", said or "")
    if address is None:
        stop(f"no `partner-center ui` runs on the home folder {home()}; start it, it prints a link")
    return address.group()


def _is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address to listen on."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        stop(f"the UI cannot listen on {host} ({error.strerror}); --host takes a name or an address of this machine")
    return all(ip_address(str(place[4][0]).partition("%")[0]).is_loopback for place in found)


def _refuse_unprotected(host: str, allow_remote: bool) -> None:
    """End the command where other machines would reach the UI and nobody asked for that, or nothing protects it."""
    if not allow_remote:
        stop(
            f"other machines would reach the UI on {host or 'every address'}. To let them, set HUNTER_UI_PASSWORD in "
            ".env and add --allow-remote; or leave --host out, and come through an SSH tunnel (docs/operations.md)"
        )
    if Settings.load().ui_password is None:
        stop("--allow-remote needs a password: set HUNTER_UI_PASSWORD in .env, at least 12 characters")
    notes.print(
        "[bold yellow]note[/] Other machines reach the UI by http: whoever reads the network reads password and data. "
        "Put a proxy with TLS before it where the network is not yours alone."
    )


def _names(host: str, names: Sequence[str], is_remote: bool) -> list[str]:
    """Return the names by which browsers may ask for the UI, beside addresses."""
    own = [socket.gethostname(), socket.getfqdn()] if is_remote else []
    return sorted({name for name in (*names, *own, host) if name})


def _shown(host: str) -> str:
    """Return the host as a link on this machine has it."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen before anything starts, so that a port that is taken is said, and that the link works at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        stop(f"the UI cannot listen on {host}:{port} ({error.strerror}); --port takes another")
    with listener:
        yield listener


@contextmanager
def _simulator(demo: bool) -> Iterator[None]:
    if not demo:
        yield
        return
    from partner_center_pipeline.cli.local_microsoft import local_microsoft

    with local_microsoft(live=True) as local:
        notes.print(f"Local Microsoft: {local.simulator.base_url}, a change about every 45 seconds")
        yield


def _serve(listener: socket.socket, options: Sequence[str]) -> int:
    """Run `cli.serving` until it ends or this process is signalled, and return its exit code."""
    module = "partner_center_pipeline.cli.serving"
    command = [sys.executable, "-m", module, "--fd", str(listener.fileno()), *options]
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
            command,
            env=os.environ,
            start_new_session=True,
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        running.append(process)
        listener.close()  # the child has it: once that ends, nobody waits for an answer
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
