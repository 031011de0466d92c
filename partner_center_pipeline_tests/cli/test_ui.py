"""`partner-center ui`: what becomes of the demo's flag, and a port that is taken.

Not here: what the running UI does with windows, and how it ends (`partner_center_pipeline_tests.ui`, `test_processes`).
"""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partner_center_pipeline.cli.local_microsoft import local_microsoft
from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.cli.commands import run


def processes_of(home: Path) -> list[int]:
    """The processes whose environment names this home folder (as Linux lists them)."""
    mark = f"HUNTER_HOME={home}\0".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def set_flag(home: Path, value: str) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    (home / ".env").write_text(
        f"HUNTER_SYNC_START={start:%Y-%m-%dT%H:%M:%SZ}\n"
        + (f"HUNTER_PARTNER_CENTER_ENABLED={value}\n" if value else ""),
        encoding="utf-8",
    )


@pytest.mark.parametrize(("live", "in_file", "enabled"), [
    (True, "", True), (True, "false", False), (True, "true", True),
    (False, "", True), (False, "false", True),
])  # fmt: skip
def test_the_live_demo_is_on_unless_env_says_off_and_the_one_shot_demo_is_always_on(
    live: bool, in_file: str, enabled: bool, home: Path
) -> None:
    set_flag(home, in_file)
    with local_microsoft(live=live):
        assert Settings.load().partner_center_enabled is enabled
        if live:
            set_flag(home, "false" if enabled else "true")
            assert Settings.load().partner_center_enabled is not enabled
    set_flag(home, "")
    assert Settings.load().partner_center_enabled is False


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(home, "ui", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port takes another" in done.stderr
    assert processes_of(home) == []
