"""What runs write to the log file: each line with its run and windows, calls with their ids, and no person."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_materializing import RAW, _personal
from partner_center_pipeline_tests.test_log_file import own_handlers
from partner_center_simulator import HttpFault, Simulator

__all__ = ["own_handlers"]

pytestmark = pytest.mark.slow


@pytest.fixture
def log(project: Project) -> Path:
    """The log file of a project that writes everything to one, as JSON."""
    project.edit_env(HUNTER_LOG_FILE="log/sync.log", HUNTER_LOG_FORMAT="json", HUNTER_LOG_LEVEL="debug")
    return project.home / "log" / "sync.log"


def lines(log: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, log.read_text(encoding="utf-8").splitlines())


def test_each_line_names_its_run_and_windows_and_each_call_the_ids_of_both_sides(
    project: Project, microsoft: Simulator, log: Path
) -> None:
    assert project.run(project.window(0)).success
    outcome = project.run(project.window(1), project.window(3))
    found = [line for line in lines(log) if line.get("run") == outcome.run_id]
    assert {line["windows"] for line in found} == {f"{project.window(1).key} to {project.window(3).key}"}
    calls = [line for line in found if line["message"].startswith("GET referrals: 200")]
    assert calls
    assert (
        len({line["client_request_id"] for line in calls}) == len({line["request_id"] for line in calls}) == len(calls)
    )
    pages = [line for line in found if line["message"].startswith("fetch: done")]
    assert [line["request_id"] for line in pages] == [calls[-1]["request_id"]]
    whole = log.read_text(encoding="utf-8")
    assert [value for value in _personal(microsoft) if value in whole] == []


def test_a_failed_run_says_why(project: Project, microsoft: Simulator, log: Path) -> None:
    microsoft.faults.plan(HttpFault.FORBIDDEN, times=9)
    outcome = project.run(project.window(0), assets=RAW)
    (failed,) = [line for line in lines(log) if line["level"] == "ERROR"]
    assert failed["message"] == f"the run fails: {outcome.failure}"
    assert failed["run"] == outcome.run_id
