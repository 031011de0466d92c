"""Whether a browser is opened, as Python's `webbrowser` resolves one in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ADDRESS = "file:///tmp/report.html"
OPEN = f"from partner_center_pipeline.cli.browser import open_in_browser; print(open_in_browser({ADDRESS!r}))"


def browser_program(folder: Path, name: str = "browser", *, ending: int = 0) -> tuple[Path, Path]:
    """Make a browser that writes the address into a file; return the program and that file."""
    program, opened = folder / name, folder / "opened"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > "{opened}"\nexit {ending}\n')
    program.chmod(0o700)
    return program, opened


def open_with(**variables: str) -> bool:
    """Open the address where only these variables say what there is; return what was said of it."""
    command = [sys.executable, "-c", OPEN]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=True)
    return {"True": True, "False": False}[done.stdout.strip()]


def test_the_program_that_the_person_named_is_opened(tmp_path: Path) -> None:
    program, opened = browser_program(tmp_path)
    assert open_with(BROWSER=str(program), PATH=os.defpath)
    assert opened.read_text() == ADDRESS


def test_the_browser_of_the_desktop_is_opened(tmp_path: Path) -> None:
    _, opened = browser_program(tmp_path, "xdg-open")
    assert open_with(DISPLAY=":0", PATH=str(tmp_path))
    until = time.monotonic() + 10
    while not (opened.exists() and opened.read_text()) and time.monotonic() < until:  # a desktop's is not waited for
        time.sleep(0.01)
    assert opened.read_text() == ADDRESS


@pytest.mark.parametrize("name", ["www-browser", "w3m", "elinks", "xdg-open"])
def test_without_a_desktop_nothing_is_opened_in_the_terminal(name: str, tmp_path: Path) -> None:
    _, opened = browser_program(tmp_path, name)
    assert not open_with(PATH=str(tmp_path), TERM="xterm")
    assert not opened.exists()


def test_a_browser_that_fails_was_not_opened(tmp_path: Path) -> None:
    program, _ = browser_program(tmp_path, ending=1)
    assert not open_with(BROWSER=str(program), PATH=os.defpath)
