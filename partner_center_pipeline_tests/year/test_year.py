"""The short form of the year, and what its judge of operators' messages calls wrong."""

import json
import subprocess
import sys

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.year.course import wrong_alerts


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.xdist_group("year")
def test_after_all_troubles_no_window_is_missing_and_each_alert_came_once_and_cleared() -> None:
    command = [sys.executable, "-m", "partner_center_pipeline_tests.year", "--short"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{done.stdout}"
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["ok"], outcome["wrong"], outcome["gaps"]) == (True, [], [])
    assert outcome["windows"] > 20
    assert outcome["told"]["breaker"] == ["raised", "cleared"]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        (["raised", "cleared"], False),
        (["raised", "worse", "cleared", "raised", "cleared"], False),
        (["raised"], True),
        (["raised", "raised", "cleared"], True),
        (["raised", "cleared", "cleared"], True),
        (["cleared"], True),
    ],
)
def test_an_alert_that_came_twice_or_did_not_clear_is_wrong(changes: list[str], wrong: bool) -> None:
    assert bool(wrong_alerts({"sync": changes}, {"sync"})) is wrong


def test_an_alert_that_never_came_is_wrong() -> None:
    assert wrong_alerts({}, {"disk"}) == ["disk: nothing was told"]
