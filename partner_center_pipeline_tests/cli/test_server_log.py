"""Which lines of Dagster's processes `partner-center ui` shows."""

import io
import os

import pytest

from partner_center_pipeline.cli.server_log import is_shown, show_warnings

LINES = {
    b'2026-11-28 18:59:33 +0000 - dagster - DEBUG - partner_center_sync - f0da - RUN_START - Started "x".': False,
    b"\x1b[32m2026-11-28 18:59:25 +0000\x1b[0m - dagster.daemon.SensorDaemon - \x1b[34mINFO\x1b[0m - Checking": False,
    b"2026-11-28 19:11:08 +0000 - dagster - ERROR - partner_center_sync - 167b - STEP_FAILURE - failed": True,
    b"\x1b[32m2026-11-28 18:59:25 +0000\x1b[0m - dagster.daemon - \x1b[33mWARNING\x1b[0m - INFO - DEBUG": True,
    b"Traceback (most recent call last):": True,
    b"  File DEBUG - INFO": True,
    b"": True,
}


@pytest.mark.parametrize(("line", "shown"), LINES.items())
def test_only_lines_of_the_log_below_warning_are_left_out(line: bytes, shown: bool) -> None:
    assert is_shown(line) is shown


def test_what_is_shown_is_copied_as_it_is_up_to_a_last_line_without_an_end() -> None:
    to = io.BytesIO()
    show_warnings(io.BytesIO(b"\n".join(LINES) + b"\xff last"), to).join(10)
    assert to.getvalue() == b"\n".join([line for line, shown in LINES.items() if shown]) + b"\xff last"


def test_a_terminal_that_is_gone_makes_no_process_wait_for_its_reader() -> None:
    reading, writing = os.pipe()
    gone = io.BytesIO()
    gone.close()
    with os.fdopen(reading, "rb") as printed, os.fdopen(writing, "wb") as process:
        thread = show_warnings(printed, gone)
        process.write(b"Traceback\n" * 100_000)  # more than a pipe holds
        process.close()
        thread.join(10)
        assert not thread.is_alive()
