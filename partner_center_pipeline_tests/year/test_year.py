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
    ("changes", "times", "is_wrong"),
    [
        (["raised", "cleared"], range(1, 2), False),
        (["raised", "worse", "cleared"], range(1, 2), False),
        (["raised", "cleared", "raised", "cleared"], range(1, 3), False),
        (["raised", "cleared", "raised", "cleared"], range(1, 2), True),
        ([], range(2), False),
        ([], range(1, 2), True),
        (["raised"], range(1, 2), True),
        (["raised", "raised", "cleared"], range(1, 3), True),
        (["raised", "cleared", "cleared"], range(1, 3), True),
        (["cleared"], range(1, 2), True),
    ],
)
def test_an_alert_that_came_too_often_or_did_not_clear_is_wrong(
    changes: list[str], times: range, is_wrong: bool
) -> None:
    assert bool(wrong_alerts({"disk": changes}, {"disk": times})) is is_wrong


def test_an_alert_that_nobody_expected_must_have_ended() -> None:
    assert wrong_alerts({"drift": ["raised", "cleared"]}, {}) == []
    assert wrong_alerts({"drift": ["raised"]}, {}) == ["operators were told of drift: raised"]
