"""After each command the SQLite file alone holds everything: whoever copies `hunter.db` has the data."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGINT

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline_tests.cli.commands import clean_environment, run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow


def log_of(home: Path) -> int:
    """The bytes of the write-ahead log that a command left."""
    log = home / ".hunter/hunter.db-wal"
    return log.stat().st_size if log.exists() else 0


def rows_in_the_file_alone(home: Path, table: str) -> int:
    """The rows of a table in a copy of the file, without its log."""
    copy = home / "copy.db"
    shutil.copyfile(home / ".hunter/hunter.db", copy)
    with closing(sqlite3.connect(copy)) as connection:
        counted: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return counted


def test_after_each_command_the_file_alone_has_the_data(ready: Home) -> None:
    for command, table in (("sync", "company_scores"), ("rescan", "domain_signals"), ("reconcile", "reconciliations")):
        done = run(ready.path, command)
        assert done.returncode == 0, done.stderr
        assert log_of(ready.path) == 0, command
        assert rows_in_the_file_alone(ready.path, table), command


def test_after_a_run_of_dagsters_own_the_file_alone_has_the_data(ready: Home) -> None:
    """As its launcher starts one: the process ends when the run has, and no command of ours closes anything."""
    window = Settings.load().grid.last_due(datetime.now(UTC))
    assert window is not None
    program = (sys.executable, "-m", "dagster", "asset", "materialize")
    done = subprocess.run(
        [*program, "--select", "raw_referrals", "--partition", window.key, "-m", "partner_center_pipeline.definitions"],
        env=clean_environment(ready.path, DAGSTER_HOME=str(PROJECT_ROOT)),
        cwd=ready.path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert log_of(ready.path) == 0
    assert rows_in_the_file_alone(ready.path, "sync_windows") == 1


def test_after_ctrl_c_the_file_alone_has_what_was_fetched(ready: Home, microsoft: Simulator, tmp_path: Path) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10")
    microsoft.faults.slow_seconds = 0.3
    with (tmp_path / "log").open("w") as log, running(ready.path, log, "sync") as process:
        deadline = time.monotonic() + 60
        while log_of(ready.path) < 400_000 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(SIGINT)
        assert process.wait(60) == 1
    assert log_of(ready.path) == 0
    assert rows_in_the_file_alone(ready.path, "raw_referrals")
