"""Running `partner-center` in a terminal of its own: a pseudo-terminal that controls the command's session."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND, Started, clean_environment

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    """A command and the other end of its terminal."""

    process: Started
    descriptor: int
    is_closed: bool = False
    _printed: str = ""

    def read(self) -> Iterator[tuple[float, str]]:
        """What it prints until it ends, piece by piece with the time (seconds), without control sequences."""
        while True:
            try:
                piece = os.read(self.descriptor, 65_536)
            except OSError:  # no process has the terminal any more
                return
            if not piece:
                return
            yield time.monotonic(), _CONTROLS.sub("", piece.decode(errors="replace"))

    def printed(self) -> str:
        """What it has printed until now, without control sequences; not beside `read`."""
        while select.select([self.descriptor], [], [], 0)[0]:
            try:
                self._printed += _CONTROLS.sub("", os.read(self.descriptor, 65_536).decode(errors="replace"))
            except OSError:  # no process has the terminal any more
                break
        return self._printed

    def close(self) -> None:
        """Close the terminal as a person closes its window: the kernel sends SIGHUP."""
        if not self.is_closed:
            self.is_closed = True
            os.close(self.descriptor)


@contextmanager
def in_terminal(
    home: Path, *arguments: str, columns: int = 100, is_script: bool = False, **variables: str
) -> Iterator[Terminal]:
    """Start a command in a terminal of so many columns; what is left of it at the end is killed.

    `is_script`: as its script starts it, else in a process that has the libraries already.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command, environment = [*COMMAND, *arguments], clean_environment(home, TERM="xterm", **variables)
    process: Started
    if is_script:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=home.parent,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    else:
        process = forking.start(command, environment, home.parent, (theirs, theirs, theirs), own_terminal=True)
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        terminal.close()
        process.kill()
        process.wait()
