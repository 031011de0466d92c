"""`partner-center init`: a home folder that nobody else may enter, and nothing overwritten."""

import json
import os
from pathlib import Path

import dagster as dg
import pytest
import yaml

from partner_center_pipeline.cli.base import enter_home
from partner_center_pipeline.cli.dagster_home import write_dagster_yaml
from partner_center_pipeline.settings import SHIPPED, Settings
from partner_center_pipeline_tests.cli.conftest import Home


@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
def test_init_makes_a_home_that_nobody_else_may_enter(home: Path, tmp_path: Path, exists: bool) -> None:
    place = tmp_path / "srv" / "partner center"
    if exists:
        place.mkdir(parents=True, mode=0o755)
    done = Home(home).invoke("init", str(place), "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["home"], said["files"]) == (str(place), [str(place / ".env"), str(place / "dagster.yaml")])
    assert said["next"][0].startswith(f"export HUNTER_HOME='{place}'")
    assert place.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}
    assert (place / ".env").read_bytes() == (SHIPPED / ".env.example").read_bytes()
    assert yaml.safe_load((place / "dagster.yaml").read_text())["concurrency"]["pools"]["default_limit"] == 1


def test_init_without_a_folder_makes_the_home_folder_and_its_settings_load(home: Path) -> None:
    done = Home(home).invoke("init")
    assert done.exit_code == 0
    assert "1. edit" in done.stdout
    assert "export HUNTER_HOME" not in done.stdout
    assert Settings.load() == Settings()


@pytest.mark.parametrize("present", [".env", "dagster.yaml", "somebody's.txt"])
def test_init_touches_no_folder_that_holds_anything(home: Path, present: str) -> None:
    (home / present).write_text("mine")
    home.chmod(0o755)
    done = Home(home).invoke("init", str(home), "--json")
    assert done.exit_code == 1
    assert "is not empty" in json.loads(done.stdout)["error"]
    assert [(file.name, file.read_text()) for file in home.iterdir()] == [(present, "mine")]
    assert home.stat().st_mode & 0o777 == 0o755


def test_init_says_that_a_file_is_no_folder(home: Path) -> None:
    (home / "file").touch()
    done = Home(home).invoke("init", str(home / "file"))
    assert (done.exit_code, "is a file" in done.stderr) == (1, True)


def test_an_unedited_dagster_yaml_is_renewed_and_an_operators_own_is_never_touched(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_dagster_yaml(home)
    first = file.read_bytes()
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setattr("partner_center_pipeline.cli.dagster_home.SHIPPED", newer)
    write_dagster_yaml(home)
    assert file.read_bytes() != first
    assert yaml.safe_load(file.read_text()) == {"telemetry": {"enabled": False}}

    for own in (first + b"# mine\n", b"telemetry: {enabled: true}\n", b""):
        file.write_bytes(own)
        write_dagster_yaml(home)
        assert file.read_bytes() == own


def test_dagsters_home_is_the_home_folder_and_a_command_that_only_reads_writes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    enter_home(make=False)
    assert os.environ["DAGSTER_HOME"] == str(SHIPPED)
    assert list(home.iterdir()) == []
    enter_home()
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert [file.name for file in home.iterdir()] == ["dagster.yaml"]


def test_dagster_uses_an_operators_own_file_and_finds_the_storage_of_an_older_installation(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(SHIPPED))  # as older versions did, from the home folder
    with dg.DagsterInstance.get() as before:
        before.event_log_storage.set_concurrency_slots("a pool", 3)
    enter_home()
    with dg.DagsterInstance.get() as after:
        assert {limit.name: limit.limit for limit in after.event_log_storage.get_pool_limits()} == {"a pool": 3}
    (home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: elsewhere}}\ntelemetry: {enabled: false}\n")
    enter_home()
    with dg.DagsterInstance.get():
        assert (home / "elsewhere").is_dir()
