"""What a person sees in a terminal: a bar that moves, whole ids in tables, a sentence where something is wrong."""

import re
import resource

import pytest

from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.terminal import in_terminal
from partner_center_simulator import Simulator

ROWS = re.compile(r"raw_referrals: ([\d,]+) rows")


@pytest.mark.slow
def test_the_bar_moves_while_dagster_runs_and_the_end_is_whole(ready: Home, microsoft: Simulator) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="20")
    microsoft.faults.slow_seconds = 0.2
    with in_terminal(ready.path, "sync") as terminal:
        seen = list(terminal.read())
        assert terminal.process.wait(30) == 0
    texts = "".join(text for _, text in seen)
    assert len(set(ROWS.findall(texts))) >= 3, "the number of rows was seen to grow"
    end = " ".join(texts.split())
    assert re.search(r"Done: \d+ windows\. (\d+) rows fetched: (\d+) new or changed, \d+ known already, 0 to", end)
    assert "Next: partner-center export" in end

    microsoft.faults.clear()
    with in_terminal(ready.path, "reconcile") as terminal:
        counts = re.findall(r"(\d+)/(\d+)", "".join(text for _, text in terminal.read()))
    assert all(int(done) <= int(total) for done, total in counts)
    done, total = counts[-1]
    assert done == total != "0"


@pytest.mark.slow
def test_nobody_is_signed_in_is_said_before_dagster_is_loaded(unsigned: Home) -> None:
    for command in ("sync", "reconcile"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(unsigned.path, command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 1
        assert done.stderr.strip() == "error Nobody is signed in to Partner Center; run `partner-center login`."
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3, "whatever else the machine does"
    assert not (unsigned.path / ".dagster").exists(), "Dagster was not started"
