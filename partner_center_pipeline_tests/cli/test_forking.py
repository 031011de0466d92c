"""What the tests' forked commands tell of their end, as those of subprocess.Popen do."""

import os
import subprocess
import time
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment, run

WAITS = "signal:pause"


def test_forked_commands_run_side_by_side_and_tell_how_each_one_ended(home: Path) -> None:
    environment, signals = clean_environment(home), (SIGINT, SIGTERM, SIGKILL)
    with Path(os.devnull).open("r+b") as nothing:
        descriptors = (nothing.fileno(), nothing.fileno(), nothing.fileno())
        started = [forking.start(COMMAND, environment, home, descriptors, entry=WAITS) for _ in signals]
    assert run(home, "--there-is-no-such-option").returncode == 2
    assert run(home, "--help").returncode == 0
    assert [one.poll() for one in started] == [None, None, None]
    for one, number in zip(started, signals, strict=True):
        one.send_signal(number)
    assert [one.wait(30) for one in started] == [-number for number in signals]
    assert [one.poll() for one in started] == [-number for number in signals]


def test_a_forked_command_that_takes_too_long_is_killed(home: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forking.run(COMMAND, clean_environment(home), home, timeout=0.5, entry=WAITS)


def test_a_forked_command_may_end_while_it_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open("r+b") as nothing:
        descriptors = (nothing.fileno(), nothing.fileno(), nothing.fileno())
        process = forking.start(COMMAND, clean_environment(home), home, descriptors, entry="os:getpid")
    while Path(f"/proc/{process.pid}").exists():
        time.sleep(0.01)
    with monkeypatch.context() as asked_before:
        asked_before.setattr(process, "poll", lambda: None)
        process.kill()
    assert process.wait(30) != -SIGKILL
