"""What a person sees of trouble while it lasts: in a terminal, and in the log of a cron job."""

import re
from typing import Any

import dagster as dg
import pytest

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.terminal import in_terminal
from partner_center_simulator import HttpFault, Simulator

pytestmark = pytest.mark.slow

TRY_1 = re.compile(
    r"Partner Center has had too many calls \(HTTP 429\) and asks to wait 4 s \(request id \S+\), try 1, "
    r"again in 4\.\d s, giving up at \d\d:\d\d:\d\d UTC"
)


def test_trouble_is_seen_in_a_narrow_terminal_while_it_lasts(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.THROTTLED, retry_after=4)
    with in_terminal(ready.path, "sync", columns=60) as terminal:
        pieces = list(terminal.read())
        assert terminal.process.wait(60) == 0
    ended = pieces[-1][0]
    text, seen_at = "", None
    for at, piece in pieces:
        text += piece
        if seen_at is None and TRY_1.search(" ".join(text.split())):
            seen_at = at
    assert seen_at is not None, text
    assert ended - seen_at > 3, "it was told before the pause was over"
    assert "Done: " in text.rsplit("giving up", 1)[-1], "and is gone at the end"


def test_a_cron_jobs_log_has_the_trouble_and_the_page_of_its_run_the_failure_alone(
    ready: Home, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    microsoft.faults.mfa_missing = True
    microsoft.faults.plan(HttpFault.THROTTLED, retry_after=4)
    done = run(ready.path, "sync")
    assert done.returncode == 1
    assert TRY_1.search(done.stderr), done.stderr
    assert "raw_referrals failed for " in done.stderr
    monkeypatch.chdir(ready.path)  # where the paths in dagster.yaml begin
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT_ROOT))
    with dg.DagsterInstance.get() as instance:
        (made,) = instance.get_runs()
        errors = [entry for entry in instance.all_logs(made.run_id) if int(entry.level) >= 40]
    failure, end = errors
    assert (failure.step_key, end.step_key) == ("raw_referrals", None)
    for entry in errors:
        data: Any = entry.get_dagster_event().event_specific_data
        assert data.error.message.startswith("Failed: Partner Center refuses the sign-in")
        assert (list(data.error.stack), data.error.cause, data.error.context) == ([], None, None)
