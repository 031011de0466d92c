"""Commands in processes forked from a server that has loaded the libraries, which takes longer than most tests.

The server has no thread, and has loaded nothing of the command line and of a home folder. What it forks gets its own
environment, folder, output, arguments and, where asked, session, terminal or namespaces; it runs the command as the
script does, takes signals as it does, and ends as any Python process. Its variables are not in `/proc/*/environ`, and
what Python reads at its start (PYTHONIOENCODING, TZ) does not count. Tests of the start itself, and one of each way to
end a command, start the script (`commands.run_script`, `is_script=True`).
"""

import array
import ctypes
import fcntl
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import Any, Final

from partner_center_pipeline_tests.cli.forked import LONGEST_MESSAGE, ask

MAIN: Final = "partner_center_pipeline.cli:main"
"""What the script `partner-center` calls."""

_LOADED: Final = (
    "msal",
    "openpyxl",
    "partner_center_pipeline.alerts.delivery",
    "partner_center_pipeline.defs.build",
    "partner_center_pipeline.defs.recovery",
    "partner_center_pipeline.reports.writing",
    "partner_center_simulator",
)


_kept_open: Final[list[int]] = []
"""Ends of pipes whose other end a server reads: it ends when they are closed, which is when this process ends."""


class Process:
    """A command that was started, with what tests need of subprocess.Popen."""

    def __init__(self, connection: socket.socket, command: Sequence[str]) -> None:
        self._connection = connection
        self.args = list(command)
        self.returncode: int | None = None
        self.pid = int(self._receive())

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. A signal that ended it is a negative number."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended since it was asked
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = int(self._receive())
        self._connection.close()

    def _receive(self) -> bytes:
        message = self._connection.recv(LONGEST_MESSAGE)
        if not message:
            raise RuntimeError("the server that forks commands has ended; its error is above")
        return message


@cache
def address() -> str:
    """Start this process's server, and return the path of its socket. It ends when this process does."""
    path = Path(mkdtemp(prefix="forking-")) / "socket"
    lasting, ours = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno()), str(path.parent)],
            cwd=Path(__file__).parents[2],
            env={"PATH": os.defpath},
            pass_fds=[listener.fileno()],
            stdin=lasting,
            start_new_session=True,
        )
    os.close(lasting)
    _kept_open.append(ours)
    return str(path)


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    descriptors: tuple[int, int, int],
    *,
    entry: str = MAIN,
    **options: bool,
) -> Process:
    """Start a command in this environment and folder, with these descriptors as input, output and errors.

    `command` has the script's path first. `entry` is the function to call. `new_session`: it leads a
    session of its own. `own_terminal`: it leads one, and its input is the terminal that controls it.
    """
    connection = ask(address(), command, environment, str(folder), descriptors, entry=entry, **options)
    return Process(connection, command)


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float, entry: str = MAIN
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in this environment and folder. `command` has the script's path first.

    Raises subprocess.TimeoutExpired after `timeout` seconds; the process is killed.
    """
    with TemporaryFile() as out, TemporaryFile() as errors, Path(os.devnull).open("rb") as nothing:
        descriptors = (nothing.fileno(), out.fileno(), errors.fileno())
        process = start(command, environment, folder, descriptors, entry=entry)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(list(command), status, *texts)


def _load() -> None:
    for module in _LOADED:
        import_module(module)
    import dagster

    with TemporaryDirectory() as folder, dagster.DagsterInstance.local_temp(folder):
        pass  # opening one imports 290 modules
    # A collection in a forked process would copy every page that it looks at.
    gc.collect()
    gc.freeze()


def _serve(listener: socket.socket) -> str:
    """Fork a process for each request, and tell its id and exit code. Returns in a forked process only: what to call.

    In a forked process the command's arguments are in `sys.argv`. The server ends with its standard input.
    """
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    started: dict[int, socket.socket] = {}
    asking: list[socket.socket] = []
    while True:
        waited_for: list[int | socket.socket] = [0, listener, woken, *asking]
        ready = select.select(waited_for, [], [])[0]
        if 0 in ready:
            sys.exit()
        if woken in ready:
            woken.recv(LONGEST_MESSAGE)
            _tell_ends(started)
        if listener in ready:
            asking.append(listener.accept()[0])
        for connection in [one for one in asking if one in ready]:
            asking.remove(connection)
            message, ancillary, _, _ = connection.recvmsg(LONGEST_MESSAGE, socket.CMSG_SPACE(5 * 4))
            descriptors = array.array("i", b"".join(data for _, _, data in ancillary))
            if not message:
                connection.close()
                continue
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (listener, woken, waker, connection, *asking, *started.values()):
                    other.close()
                return _become(json.loads(message), list(descriptors))
            for descriptor in descriptors:
                os.close(descriptor)
            started[process] = connection
            connection.send(str(process).encode())


def _tell_ends(started: dict[int, socket.socket]) -> None:
    while started:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        with started.pop(process) as connection:
            try:
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:
                continue  # nobody waits for it any more


def _become(asked: dict[str, Any], descriptors: list[int]) -> str:
    """Make a forked process what was asked for. Return what to call."""
    if asked.get("new_session") or asked.get("own_terminal"):
        os.setsid()
    for number in range(3):
        os.dup2(descriptors[number], number)
    if asked.get("own_terminal"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for namespace in descriptors[3:]:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, 0):
            raise OSError(ctypes.get_errno(), "setns")
    for descriptor in descriptors:
        os.close(descriptor)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["command"]
    entry: str = asked["entry"]
    return entry


if __name__ == "__main__":
    try:
        _load()
        called = _serve(socket.socket(fileno=int(sys.argv[1])))
    except SystemExit:
        shutil.rmtree(sys.argv[2])
        raise
    sys.exit(resolve_name(called)())
