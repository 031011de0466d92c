"""An answer that comes one byte at a time holds no run for longer than its deadline."""

import time

import pytest

from partner_center_pipeline.defs import window_fetch
from partner_center_pipeline.partner_center import http
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import HttpFault, Simulator

SECONDS = 4.0


@pytest.fixture
def hurried(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose runs may take SECONDS."""
    monkeypatch.setattr(window_fetch, "_deadline", lambda *_: SECONDS)
    monkeypatch.setattr(http, "MAX_SIGN_IN_WAIT", 1.0)
    return project


@pytest.mark.slow
@pytest.mark.parametrize("drip", ["drip_bytes_per_second", "drip_headers_per_second", "drip_sign_in_bytes_per_second"])
def test_a_run_ends_at_about_its_deadline_and_says_what_it_waited_for(
    hurried: Project, microsoft: Simulator, drip: str
) -> None:
    if drip == "drip_sign_in_bytes_per_second":
        microsoft.faults.plan(HttpFault.UNAUTHORIZED)  # so that the token is renewed
    setattr(microsoft.faults, drip, 5.0)
    started = time.monotonic()
    outcome = hurried.run(hurried.window(0))
    assert time.monotonic() - started < SECONDS + 10
    assert not outcome.success
    assert "had not sent its whole answer after" in str(outcome.failure)
    ((state, error),) = hurried.attempts(hurried.window(0))
    assert (state, error) == ("failed", outcome.failure)

    microsoft.faults.clear()
    assert hurried.run(hurried.window(0)).success
