"""What several machines must not do to each other: ask Partner Center at once. What they share is tested beside it."""

import time
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import select, update

from partner_center_pipeline.warehouse import lease, schema
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator
from partner_center_simulator.faults import HttpFault

pytestmark = pytest.mark.slow


def test_a_run_that_was_cut_off_until_another_took_over_asks_partner_center_nothing_more(
    stored: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first request is answered with 503; while it waits to try again, another machine's run takes the lease."""
    monkeypatch.setattr(lease, "ASKING_SECONDS", 0.5)
    microsoft.faults.plan(HttpFault.UNAVAILABLE, retry_after=2)
    before = microsoft.api.requests

    def take_over() -> None:
        while microsoft.api.requests == before:
            time.sleep(0.01)
        with stored.warehouse.write() as connection:
            later = datetime.now(UTC) + timedelta(seconds=30)
            connection.execute(update(schema.leases).values(holder="another machine's run", expires_at=later))

    other = Thread(target=take_over)
    other.start()
    outcome = stored.run(stored.window(1))
    other.join()
    assert (outcome.success, outcome.failed_step) == (False, "raw_referrals")
    assert "another one took over" in str(outcome.failure)
    assert microsoft.api.requests == before + 1
    with stored.warehouse.read() as connection:
        assert connection.execute(select(schema.leases.c.holder)).scalar_one() == "another machine's run"
