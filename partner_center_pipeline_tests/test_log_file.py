"""The log file: whole lines with what they belong to, from several processes, in bounded space."""

import json
import logging
import multiprocessing
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline import log_file, telling
from partner_center_pipeline.log_file import open_log_file
from partner_center_pipeline.settings import LogFormat, LogLevel

PACKAGE = logging.getLogger("partner_center_pipeline")


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The package's logger is after each test as it was before."""
    handlers, level = list(PACKAGE.handlers), PACKAGE.level
    yield
    for handler in [handler for handler in PACKAGE.handlers if handler not in handlers]:
        PACKAGE.removeHandler(handler)
        handler.close()
    PACKAGE.setLevel(level)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_says_what_the_process_is_at_work_on_and_no_longer_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log" / "file.log"
    open_log_file(path, LogFormat.JSON, LogLevel.INFO)
    log = logging.getLogger("partner_center_pipeline.partner_center.client")
    with telling.about(run="r1", windows="2026-11-28-09:00"):
        telling.note(client_request_id="c1", request_id="s1")
        log.info("page %d", 1)
        telling.note(client_request_id="c2", request_id=None)
        log.warning("Şirket\n\x1b[31m")
        log.debug("not at this level")
    log.info("idle")
    first, second, last = lines_of(path)
    assert {"run", "windows", "client_request_id", "request_id", "process", "at"} <= first.keys()
    assert (first["message"], first["module"], first["level"]) == ("page 1", "partner_center.client", "INFO")
    assert (first["client_request_id"], first["request_id"]) == ("c1", "s1")
    assert (second["client_request_id"], "request_id" in second) == ("c2", False)
    assert second["message"] == "Şirket\n\x1b[31m"
    assert last.keys() == {"at", "level", "module", "process", "message"}
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_as_text_each_message_is_one_line_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    open_log_file(path, LogFormat.TEXT, LogLevel.DEBUG)
    with telling.about(run="r1"):
        PACKAGE.getChild("defs").debug("one\r\ntwo\x1b[31m\u2028three\x00")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert line.endswith(" run=r1] one two [31m three ")
    assert " DEBUG   defs [process=" in line


def _write(path: Path, number: int) -> None:
    open_log_file(path, LogFormat.JSON, LogLevel.INFO)
    for line in range(200):
        PACKAGE.info("%d-%d %s", number, line, "x" * 50)


def test_lines_of_several_processes_are_whole_and_full_files_are_kept_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "MOST_BYTES", 20_000)
    monkeypatch.setattr(log_file, "OLD_FILES", 20)
    path = tmp_path / "file.log"
    processes = [multiprocessing.get_context("fork").Process(target=_write, args=(path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    files = [tmp_path / f"file.log.{n}" for n in range(20, 0, -1) if (tmp_path / f"file.log.{n}").exists()] + [path]
    assert len(files) > 3
    assert [(file.name, file.stat().st_mode & 0o777) for file in files if file.stat().st_mode & 0o077] == []
    assert max(file.stat().st_size for file in files) <= 20_500  # a line more
    written = [line["message"].split(" ")[0] for file in files for line in lines_of(file)]
    assert len(written) == 600
    for n in range(3):
        assert [each for each in written if each.startswith(f"{n}-")] == [f"{n}-{line}" for line in range(200)]


def test_no_more_than_the_newest_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MOST_BYTES", 2_000)
    monkeypatch.setattr(log_file, "OLD_FILES", 2)
    _write(tmp_path / "file.log", 1)
    assert sorted(file.name for file in tmp_path.glob("file.log*")) == ["file.log", "file.log.1", "file.log.2"]
    assert lines_of(tmp_path / "file.log")[-1]["message"].startswith("1-199 ")


def test_a_file_that_cannot_be_made_is_told_and_stops_no_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    with telling.heard_by(lambda _, line: told.append(line)):
        open_log_file(tmp_path / "file" / "file.log", LogFormat.TEXT, LogLevel.INFO)
        PACKAGE.info("work")
    assert len(told) == 2
    assert "file.log cannot be written (" in told[0]
    assert "HUNTER_LOG_FILE" in told[0]


def _fill(path: Path, told: Any) -> None:
    open_log_file(path, LogFormat.TEXT, LogLevel.INFO)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
    with telling.heard_by(lambda level, line: told.put(line) if level == logging.WARNING else None):
        for number in range(100):
            PACKAGE.info("line %d %s", number, "x" * 100)
    told.put("the end")


def test_on_a_full_disk_one_line_says_so_and_work_goes_on(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    process = context.Process(target=_fill, args=(tmp_path / "file.log", told))
    process.start()
    first, last = told.get(timeout=30), told.get(timeout=30)
    process.join(30)
    assert "file.log cannot be written (File too large)" in first
    assert last == "the end"


def test_lines_for_the_file_alone_are_not_told_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "file.log"
    open_log_file(path, LogFormat.JSON, LogLevel.INFO)
    told: list[str] = []
    with telling.heard_by(lambda _, line: told.append(line)):
        PACKAGE.error("the run fails", extra=telling.ONLY_IN_FILE)
    assert told == []
    assert [line["message"] for line in lines_of(path)] == ["the run fails"]
