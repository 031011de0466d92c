"""Commands in processes forked from a server that has loaded the libraries, which takes longer than most tests.

The server has no thread, and has loaded nothing of the command line and of a home folder. What it forks gets its own
environment, folder, output and arguments, runs the command as the script does, and ends as any Python process. Tests of
the start itself, of terminals and of signals start the script (`commands.running`, `terminal`).
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Final

_LOADED: Final = (
    "msal",
    "openpyxl",
    "partner_center_pipeline.alerts.delivery",
    "partner_center_pipeline.defs.build",
    "partner_center_pipeline.defs.recovery",
    "partner_center_pipeline.reports.writing",
    "partner_center_simulator",
)

_LONGEST_MESSAGE: Final = 1 << 20


@cache
def _server() -> socket.socket:
    """Start this process's server. It ends when this process does, as it reads from a socket of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=Path(__file__).parents[2],
            env={"PATH": os.defpath},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return ours


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `partner-center` to its end, in this environment and folder. `command` has the script's path first.

    Raises subprocess.TimeoutExpired after `timeout` seconds; the process is killed.
    """
    server = _server()
    with TemporaryFile() as out, TemporaryFile() as errors:
        request = json.dumps([list(command), dict(environment), str(folder)]).encode()
        socket.send_fds(server, [request], [out.fileno(), errors.fileno()])
        process = int(_receive(server))
        server.settimeout(timeout)
        try:
            status = int(_receive(server))
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            server.settimeout(None)
            _receive(server)
            raise subprocess.TimeoutExpired(list(command), timeout) from None
        finally:
            server.settimeout(None)
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(command), status, *texts)


def _receive(server: socket.socket) -> bytes:
    message = server.recv(_LONGEST_MESSAGE)
    if not message:
        raise RuntimeError("the server that forks commands has ended; its error is above")
    return message


def _load() -> None:
    for module in _LOADED:
        import_module(module)
    import dagster

    with TemporaryDirectory() as folder, dagster.DagsterInstance.local_temp(folder):
        pass  # opening one imports 290 modules
    # A collection in a forked process would copy every page that it looks at.
    gc.collect()
    gc.freeze()


def _serve(client: socket.socket) -> None:
    """Fork a process for each request, and tell its id and exit code. Returns in a forked process only, or at the end.

    In a forked process the command's arguments are in `sys.argv`.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(client, _LONGEST_MESSAGE, 2)
        if not message:
            sys.exit()
        process = os.fork()
        if process == 0:
            command, environment, folder = json.loads(message)
            client.close()
            for number, descriptor in enumerate(descriptors, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            sys.argv = command
            return
        for descriptor in descriptors:
            os.close(descriptor)
        client.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        client.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from partner_center_pipeline.cli import main

    sys.exit(main())
