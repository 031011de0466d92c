"""What the judge of operators' messages in the year calls wrong."""

import pytest

from partner_center_pipeline_tests.year.course import wrong_alerts


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
