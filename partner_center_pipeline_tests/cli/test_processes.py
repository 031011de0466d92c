"""Commands that end with all their processes: a terminal that is closed, a parent that is killed; one UI per home.

Not here: a UI whose terminal is closed (`partner_center_pipeline_tests.ui.test_running_ui`).
"""

from pathlib import Path
from signal import SIGKILL

import pytest
from sqlalchemy import select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline_tests.cli.commands import free_port, run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.terminal import in_terminal
from partner_center_pipeline_tests.cli.test_ui import processes_of
from partner_center_pipeline_tests.ui.running import Ui, wait_until
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow


def all_ended(home: Path) -> bool | None:
    """Whether no process of this home folder is left."""
    return None if processes_of(home) else True


def test_a_closed_terminal_ends_a_sync_and_the_run_is_recorded_as_failed(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.slow_seconds = 300
    before = microsoft.api.requests
    with in_terminal(ready.path, "sync", is_script=True) as terminal:
        wait_until("the first request", lambda: microsoft.api.requests > before or None, 60)
        terminal.close()
        terminal.process.wait(30)
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        assert set(connection.execute(select(schema.sync_attempts.c.state)).scalars()) == {"failed"}


def test_one_ui_and_one_local_microsoft_per_home_and_none_outlives_a_killed_parent(home: Path, tmp_path: Path) -> None:
    port = free_port()
    command = ("ui", "--demo", "--port", str(port))
    with (tmp_path / "log").open("w") as log, running(home, log, *command, is_script=True) as process:
        ui = Ui(f"http://127.0.0.1:{port}", home, tmp_path / "log")
        wait_until("the UI", ui.is_loaded, 120)
        settings = (home / ".hunter/demo/demo.env").read_text()

        second = run(home, "ui", "--port", str(free_port()))
        assert second.returncode == 1
        assert f"`partner-center ui` runs already on the home folder {home}" in second.stderr
        assert f"(process {process.pid}, http://127.0.0.1:{port})" in second.stderr

        demo = run(home, "demo", "--json")
        assert demo.returncode == 1
        assert f"The local Microsoft runs already on the home folder {home}" in demo.stderr
        assert f"(process {process.pid}, `partner-center ui --demo`)" in demo.stderr
        assert (home / ".hunter/demo/demo.env").read_text() == settings

        process.send_signal(SIGKILL)
        process.wait()
        assert processes_of(home), "its children are asked to end now"
        wait_until("the end of every process", lambda: all_ended(home), 60)
