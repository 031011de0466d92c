"""What runs on the machines: PostgreSQL, Redis, the UI with Dagster's daemon, workers of Celery."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from partner_center_pipeline_tests.machines.network import Machine
from partner_center_pipeline_tests.postgres import binaries
from partner_center_pipeline_tests.ui.running import wait_until

_NOBODY: Final = 65534
_ENDING_SECONDS: Final = 60.0
BIN: Final = Path(sys.executable).parent


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started (SIGKILL)."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_ENDING_SECONDS)


@dataclass
class Program:
    """A command on a machine, which may be killed and started again. Its output is added to `log`."""

    machine: Machine
    command: list[str]
    log: Path
    cwd: Path
    variables: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it in a session of its own."""

        def begin() -> "subprocess.Popen[bytes]":
            with self.log.open("ab") as output:
                return subprocess.Popen(
                    self.command, cwd=self.cwd, env=dict(self.variables), stdin=subprocess.DEVNULL, stdout=output,
                    stderr=output, start_new_session=True,
                )  # fmt: skip

        self.process = self.machine.do(begin)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it and all that it started."""
        if self.process is not None:
            kill(self.process)
            self.process = None

    def end(self, seconds: float = _ENDING_SECONDS) -> None:
        """Let it end, and kill it after that time."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()

    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


@dataclass
class Redis:
    """Debian's redis-server, with nothing on disk: what it held is lost when it ends."""

    machine: Machine
    folder: Path
    port: int
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        found = shutil.which("redis-server")
        if found is None:
            raise RuntimeError("redis-server is not installed: `apt-get install redis-server` on Debian")
        options = ["--bind", self.machine.address, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        command = [found, *options, "--protected-mode", "no", "--dir", str(self.folder)]
        self.program = Program(
            self.machine, command, self.folder / "redis.log", self.folder, {"PATH": os.environ["PATH"]}
        )

    def url(self, database: int) -> str:
        """The address of one of its databases."""
        return f"redis://{self.machine.address}:{self.port}/{database}"


class Postgres:
    """A PostgreSQL server with a database for the warehouse and one for Dagster; `folder` has a socket, too."""

    def __init__(self, machine: Machine, folder: Path, port: int) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        found = binaries(folder)
        self._machine, self._binaries, self._folder, self._port = machine, found, folder, port
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
            user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self._common: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **user}
        initdb = [str(found / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, capture_output=True, check=True, **self._common)
        with (folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write("host all all 10.0.0.0/8 trust\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE hunter")
            connection.execute("CREATE DATABASE dagster")

    def connect(self, database: str) -> "psycopg.Connection[Any]":
        """Open a connection over the socket, which every network reaches."""
        return psycopg.connect(
            host=str(self._folder), port=self._port, user="postgres", dbname=database, autocommit=True
        )

    def local_url(self, database: str) -> str:
        """The address over the socket, for this process."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}&port={self._port}"

    def url(self, driver: str, database: str) -> str:
        """The address for other machines."""
        return f"postgresql+{driver}://postgres@{self._machine.address}:{self._port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = self._folder / "log"
        options = [f"-clisten_addresses={self._machine.address}", f"-cport={self._port}", "-cmax_connections=300"]
        command = [
            str(self._binaries / "postgres"),
            "-D",
            str(self._folder / "data"),
            "-k",
            str(self._folder),
            *options,
        ]

        def begin() -> "subprocess.Popen[bytes]":
            with log.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    **self._common,
                )

        self._process = self._machine.do(begin)

        def answers() -> bool | None:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()[-2000:]}")
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                return None
            return True

        wait_until("PostgreSQL", answers, _ENDING_SECONDS)

    def stop(self) -> None:
        """Break all connections off, and end the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_ENDING_SECONDS)
            self._process = None


def tasks_of(log: str) -> set[str]:
    """Return the ids of Celery's tasks that a worker took, by its log."""
    marker = "Task execute_job["
    return {
        line.split(marker, 1)[1].partition("]")[0] for line in log.splitlines() if marker in line and "received" in line
    }


def unfinished(log: str) -> int:
    """Return how many tasks a worker has taken and not ended, by its log."""
    return len(tasks_of(log)) - log.count("succeeded in ") - log.count("raised unexpected: ")
