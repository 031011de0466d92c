"""What commands write is for their user alone. The demo's run has the same promise (`install/test_wheel.py`)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.deciding import Decided


@pytest.fixture
def open_shell() -> Iterator[None]:
    """A shell that lets everybody read and change what is written."""
    before = os.umask(0)
    yield
    assert os.umask(before) == 0, "a command gives the umask back"


@pytest.mark.usefixtures("open_shell")
def test_a_new_database_and_its_folder_are_for_their_user_alone(home: Path) -> None:
    assert Home(home).invoke("migrate").exit_code == 0
    written = list(home.rglob("*"))
    assert written
    assert [path for path in written if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("name", ["monday.xlsx", "monday.html", "monday.csv"])
def test_an_export_is_for_its_user_alone(on_sqlite: Decided, tmp_path: Path, open_shell: None, name: str) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    done = on_sqlite.invoke("export", "--output", str(folder / name))
    assert done.exit_code == 0, done.output
    written = list(folder.rglob("*"))
    assert written
    assert [path for path in written if path.stat().st_mode & 0o077] == []
