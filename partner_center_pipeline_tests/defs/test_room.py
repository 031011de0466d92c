"""On a disk that is nearly full nothing begins, and everything goes on by itself when there is space again."""

from datetime import UTC, datetime

import pytest

from partner_center_pipeline.defs import gate
from partner_center_pipeline_tests.defs.project import Project


@pytest.mark.slow
def test_without_room_schedule_sensor_and_runs_say_why_and_go_on_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = project.window(0)
    with monkeypatch.context() as patch:
        patch.setattr(gate, "ROOM", 1 << 60)  # more than any disk has
        for skipped in (project.tick_schedule(datetime.now(UTC)), project.tick_sensor()):
            assert "MB free, and a run needs" in str(skipped)
            assert "free some space" in str(skipped)
        refused = project.run(window, assets=["raw_referrals"])
        assert "MB free, and a run needs" in str(refused.failure)
        assert [state for state, _ in project.attempts(window)] == ["disabled"]
    assert isinstance(project.tick_sensor(), list)
    assert project.run(window, assets=["raw_referrals"]).success
