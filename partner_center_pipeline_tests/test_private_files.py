"""Who else on this machine gets at a file: its mode, its owner, the folders above it; and who is told."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_center_pipeline.private_files import opening
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline_tests.cli.conftest import Home


@pytest.fixture
def reached() -> Iterator[Path]:
    """A folder that every user of the machine reaches, as the tests' own folders are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def made(file: Path, mode: int) -> Path:
    file.touch()
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("mode", "said", "may_change", "by_all"),
    [(0o604, "read", False, False), (0o606, "changed", True, True), (0o602, "changed", True, True)],
)
def test_a_file_that_others_read_or_change_is_open(
    reached: Path, mode: int, said: str, may_change: bool, by_all: bool
) -> None:
    found = opening(made(reached / "file", mode))
    assert found is not None
    assert (found.may_change, found.by_all) == (may_change, by_all)
    assert f"can be {said} by other users of this machine (mode {mode:o}); run `chmod 600 " in found.text


def test_a_private_file_is_not_open_nor_is_one_in_a_private_folder_nor_one_that_is_not_there(reached: Path) -> None:
    assert opening(made(reached / "file", 0o600)) is None
    assert opening(reached / "nothing") is None
    folder = reached / "private"
    folder.mkdir(mode=0o700)
    assert opening(made(folder / "file", 0o666)) is None


def test_a_folder_above_that_others_change_opens_a_private_file_unless_it_is_sticky(reached: Path) -> None:
    folder = reached / "open"
    (folder / "inner").mkdir(parents=True)
    file = made(folder / "inner/file", 0o600)
    folder.chmod(0o777)
    found = opening(file)
    assert found is not None
    assert found.by_all
    assert f"{folder} can be changed by other users (mode 777), so they can replace {file}" in found.text
    folder.chmod(0o1777)
    assert opening(file) is None


def test_a_file_or_folder_of_another_user_is_open(reached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(reached, 65534, 65534)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 65534)
    found = opening(made(reached / "file", 0o600))
    assert found is not None
    assert f"{reached} belongs to user" in found.text or f"{reached / 'file'} belongs to user" in found.text
    assert found.may_change
    assert not found.by_all


def test_a_group_that_others_may_be_in_counts_as_others(reached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(reached / "file", 0o640)
    if os.geteuid() == 0:
        os.chown(file, 0, 100)
    found = opening(file)
    assert (found is not None) is (file.stat().st_gid not in (0, os.geteuid()))


@pytest.mark.parametrize("name", [".env", "password"])
def test_settings_and_secrets_that_all_may_change_are_refused(
    home: Path, reached: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HUNTER_HOME", str(reached))
    monkeypatch.setenv("HUNTER_UI_PASSWORD_FILE", "password")
    (reached / ".env").write_text("HUNTER_PARTNER_CENTER_ENABLED=true\n")
    (reached / "password").write_text("twelve letters\n")
    assert Settings.load().ui_password
    (reached / name).chmod(0o666)
    with pytest.raises(SettingsError, match=r"could change what the program does: .*chmod 600") as refused:
        Settings.load()
    assert refused.value.variable == {".env": str(reached / ".env"), "password": "HUNTER_UI_PASSWORD_FILE"}[name]


def test_status_and_doctor_warn_of_each_file_that_others_read(
    home: Path, reached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_HOME", str(reached))
    database = reached / ".hunter/hunter.db"
    cache = reached / ".token_cache/sign_in.key"
    for file in (reached / ".env", cache, database):
        file.parent.mkdir(exist_ok=True)
        file.parent.chmod(0o755)
        made(file, 0o600)
    for mode, grade in ((0o600, "ok"), (0o644, "warning")):
        for file in (reached / ".env", cache, database):
            file.chmod(mode)
        done = json.loads(Home(home).invoke("status", "--json").stdout)
        (found,) = [item for item in done["items"] if item["subject"] == "private files"]
        assert (found["grade"], found["figures"]["open"]) == (grade, 0 if grade == "ok" else 3)
    assert str(cache) in found["text"]
    told = json.loads(Home(home).invoke("doctor", "--json").stdout)["findings"]
    assert {finding["state"] for finding in told if finding["subject"] == "private files"} == {"note"}
