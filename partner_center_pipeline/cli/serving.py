"""The processes of `partner-center ui`: the code server, Dagster's daemon, and Dagster's webserver behind `cli.front`.

`dagster dev` would start the same three, but its webserver listens on a port of its own without any sign-in. Here the
webserver runs in this process, on the socket that `ui` opened and hands over; the code server listens on a socket in a
folder that no other user may enter. So there is no port that goes past the front.

It is a program of its own, the first of its process group: `ui` ends it by SIGINT, and `cli.ending` what is left.
"""

import json
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click
import dagster as dg
import uvicorn
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette

from partner_center_pipeline.cli.base import codes_folder, stop
from partner_center_pipeline.cli.front import Front, Hosts, SignIn, names_of
from partner_center_pipeline.defs.dagster_private import WorkspaceFileTarget, WorkspaceProcessContext
from partner_center_pipeline.settings import Settings

LOCATION: Final = "partner_center_pipeline"
_DEFINITIONS: Final = "partner_center_pipeline.definitions"
_LOADED_SECONDS: Final = 300.0
"""Seconds in which the code must be loaded; about five on a machine with nothing else to do."""
_ENDING_SECONDS: Final = 60.0
"""Seconds that the daemon has to end, as with `dagster dev`."""
_CLOSING_SECONDS: Final = 3
"""Seconds that open requests have to end."""
_POLL_RATE: Final = 2000
"""Milliseconds between two looks of a page for news, as with `dagster dev`."""
_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW = 15_000, 3600, 20
"""What `dagster-webserver` asks of the storage's connections: milliseconds, seconds, connections."""


@click.command()
@click.option("--fd", required=True, type=int, help="The listening socket.")
@click.option("--name", "names", multiple=True, help="A name by which browsers ask.")
@click.option("--remote", is_flag=True, help="Whether other machines may ask.")
@click.option("--read-only", is_flag=True, help="Dagster's read-only mode.")
def serve(fd: int, names: tuple[str, ...], remote: bool, read_only: bool) -> None:
    """Serve the Dagster UI until SIGINT. Exit code 1 when one of its processes ended by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    listener = socket.socket(fileno=fd)
    password = Settings.load().ui_password
    port = listener.getsockname()[1]
    sign_in = SignIn(codes_folder(), password.get_secret_value() if password else None, f"partner_center_ui_{port}")
    ended: Sequence[str] = ()
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="hunter-") as folder:  # mode 0700
        workspace = Path(folder) / "workspace.yaml"
        code_socket = Path(folder) / "code"
        place = {"location_name": LOCATION, "socket": str(code_socket), "host": "localhost"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": place}]}), encoding="utf-8")
        with _running(_code_server(code_socket)) as code_server:  # ends after its runs; `ui` waits for the group
            _wait_until_loaded(code_server, code_socket)
            with _running(_daemon(workspace), waits=_ENDING_SECONDS) as daemon, _dagster(workspace, read_only) as app:
                server = uvicorn.Server(
                    uvicorn.Config(
                        Front(app, Hosts(names_of(names), remote), sign_in),
                        log_level="warning",
                        lifespan="off",
                        timeout_graceful_shutdown=_CLOSING_SECONDS,
                    )
                )
                with _ends_with({"code server": code_server, "daemon": daemon}, server) as ended:
                    server.run(sockets=[listener])
    if ended:
        stop(f"Dagster's {ended[0]} ended by itself; its messages above say why")


def _code_server(place: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "dagster", "code-server", "start", "--socket", str(place)),
        *("--module-name", _DEFINITIONS, "--location-name", LOCATION),
        *("--use-python-environment-entry-point", "--log-level", "warning"),
    ]


def _daemon(workspace: Path) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / "dagster-daemon"), "run", "--workspace", str(workspace)]


@contextmanager
def _running(command: Sequence[str], waits: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs, then interrupt it and wait so many seconds for its end."""
    process = subprocess.Popen(command)  # noqa: S603  built above
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        if waits:
            with suppress(subprocess.TimeoutExpired):
                process.wait(waits)


def _wait_until_loaded(code_server: subprocess.Popen[bytes], place: Path) -> None:
    """Wait until the code server listens: it does when the code is loaded, or failed to load."""
    deadline = time.monotonic() + _LOADED_SECONDS
    while code_server.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.connect(str(place))
            return
        time.sleep(0.1)
    stop(f"Dagster's code server did not load the code within {_LOADED_SECONDS:.0f} s; its messages above say why")


@contextmanager
def _dagster(workspace: Path, read_only: bool) -> Iterator[Starlette]:
    """Make Dagster's webserver, as the program `dagster-webserver` does."""
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance, WorkspaceFileTarget([str(workspace)]), version=__version__, read_only=read_only
        ) as context:
            yield create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_RATE)


@contextmanager
def _ends_with(processes: Mapping[str, subprocess.Popen[bytes]], server: uvicorn.Server) -> Iterator[list[str]]:
    """End the server when one of these processes ended, and note which: without them nothing would be synced."""
    ended: list[str] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(1.0):
            ended.extend(name for name, process in processes.items() if process.poll() is not None)
            if ended:
                server.should_exit = True
                return

    watcher = threading.Thread(target=watch, name="processes of the UI", daemon=True)
    watcher.start()
    try:
        yield ended
    finally:
        is_over.set()
        watcher.join()


if __name__ == "__main__":
    serve()
