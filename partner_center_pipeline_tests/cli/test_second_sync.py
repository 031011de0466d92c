"""A second command beside one that fetches says who fetches and since when, and waits or ends as it was asked.

Not here: what it does after the first one was killed (`test_killed`).
"""

import os
import pty
import re
import select as io_select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT

import pytest

from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND, Started, clean_environment, run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.ui.running import wait_until
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

SAID = re.compile(r"Run (\S+) is fetching from Partner Center since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\d+ s\)")


class Terminal:
    """A command in a pseudo-terminal, as a person sees it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        environment = clean_environment(home, TERM="xterm", COLUMNS="200")
        self.process = forking.start(
            [*COMMAND, *arguments], environment, home.parent, (slave, slave, slave), new_session=True
        )
        os.close(slave)
        self.text = ""

    def shows(self, pattern: re.Pattern[str] | str, seconds: float) -> re.Match[str]:
        """Wait until the terminal shows this."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < deadline, self.text
            self._read(0.2)
        return found

    def ended(self, seconds: float) -> int:
        """Wait for the end; return the exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._read(0.2)
        self._read(0.2)
        return self.process.wait()

    def _read(self, seconds: float) -> None:
        if io_select.select([self._master], [], [], seconds)[0]:
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                time.sleep(seconds)


@contextmanager
def fetching(ready: Home, microsoft: Simulator, tmp_path: Path) -> Iterator[Started]:
    """A `sync` whose first request is not answered for a long time."""
    before = microsoft.api.requests
    microsoft.faults.slow_seconds = 300
    with (tmp_path / "first.log").open("w") as log, running(ready.path, log, "sync") as process:
        wait_until("the first request", lambda: microsoft.api.requests > before or None, 60)
        yield process


@pytest.mark.parametrize("command", ["sync", "reconcile"])
def test_it_says_at_once_who_fetches_and_ends_with_a_code_of_its_own(
    ready: Home, microsoft: Simulator, tmp_path: Path, command: str
) -> None:
    with fetching(ready, microsoft, tmp_path):
        second = Terminal(ready.path, command)
        second.shows(SAID, 20)
        said = time.monotonic()
        assert second.ended(40) == 3, second.text
        assert time.monotonic() - said < 20
        assert "Nothing was done. Run the command again later, or with --wait" in second.text.replace("\r\n", " ")
        assert "Traceback" not in second.text


def test_ctrl_c_ends_a_wait_at_once(ready: Home, microsoft: Simulator, tmp_path: Path) -> None:
    with fetching(ready, microsoft, tmp_path):
        second = Terminal(ready.path, "sync", "--wait")
        second.shows(SAID, 20)
        second.shows(r"waiting for run \S+ \(\d+ s\)", 20)
        at = time.monotonic()
        second.process.send_signal(SIGINT)
        assert second.ended(20) == 1
        assert time.monotonic() - at < 5
        assert "Aborted!" in second.text


def test_a_wait_ends_after_the_time_that_was_given(ready: Home, microsoft: Simulator, tmp_path: Path) -> None:
    with fetching(ready, microsoft, tmp_path):
        second = run(ready.path, "sync", "--wait", "2")
        assert second.returncode == 3
        assert SAID.search(second.stderr)


def test_a_wait_goes_on_when_the_other_has_ended(ready: Home, microsoft: Simulator, tmp_path: Path) -> None:
    with fetching(ready, microsoft, tmp_path) as first:
        second = Terminal(ready.path, "sync", "--wait")
        second.shows(SAID, 20)
        microsoft.faults.clear()
        first.send_signal(SIGINT)
        assert second.ended(120) == 0, second.text


def test_of_two_that_start_at_once_one_fetches_and_the_other_says_so(
    ready: Home, microsoft: Simulator, tmp_path: Path
) -> None:
    microsoft.faults.slow_seconds = 300
    both = [Terminal(ready.path, "sync") for _ in range(2)]
    deadline = time.monotonic() + 90
    try:
        while all(each.process.poll() is None for each in both):
            assert time.monotonic() < deadline
            for each in both:
                each._read(0.1)
        (ended,) = [each for each in both if each.process.poll() is not None]
        assert ended.ended(5) == 3, ended.text
        assert SAID.search(ended.text)
    finally:
        for each in both:
            each.process.kill()
