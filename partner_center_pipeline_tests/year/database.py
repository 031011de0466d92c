"""A PostgreSQL server of the course's own, under its clock, which it stops and starts in the middle.

The server's clock decides which runs are dead and whose lease has ended, so it must be stepped, too.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from partner_center_pipeline_tests.postgres import _wait_until_it_answers, binaries

_NOBODY: Final = 65534
_ENDING_SECONDS: Final = 60.0


class Postgres:
    """A server on a socket in `folder`, with one database.

    `library` is libfaketime's, which reads at each question for the time what `offset` wrote: seconds that are added.
    """

    def __init__(self, folder: Path, library: Path, offset: float) -> None:
        folder.chmod(0o755)
        found = binaries(folder)
        self._binaries, self._folder = found, folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
            self._user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self._common: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **self._user}
        initdb = [str(found / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, capture_output=True, check=True, **self._common)
        self._clock = folder / "clock"
        self._common["env"] |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.offset(offset)
        self.start()
        with psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE hunter")

    @property
    def url(self) -> str:
        """The database's URL."""
        return f"postgresql+psycopg://postgres@/hunter?host={self._folder}"

    def offset(self, seconds: float) -> None:
        """Let the server's clock show the real time and so many seconds."""
        written = self._clock.with_suffix(".new")
        written.write_text(f"+{seconds:.3f}\n", encoding="ascii")
        written.replace(self._clock)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = self._folder / "log"
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "-clisten_addresses="], stdout=output, stderr=output, **self._common
            )
        _wait_until_it_answers(self._folder, self._process, log)

    def stop(self) -> None:
        """Break all connections off, and end the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_ENDING_SECONDS)
            self._process = None


@contextmanager
def running_database(folder: Path, library: Path, offset: float) -> Iterator[Postgres]:
    """A server while the block runs."""
    folder.mkdir()
    server = Postgres(folder, library, offset)
    try:
        yield server
    finally:
        server.stop()
