"""What `benchmarks all` measures works (in small sizes its ratios mean little); a measurement of nothing is refused."""

import json
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from partner_center_pipeline_tests.benchmarks import graphs
from partner_center_pipeline_tests.benchmarks.all_rows import all_rows
from partner_center_pipeline_tests.benchmarks.ingest import Database
from partner_center_pipeline_tests.benchmarks.installation import make_templates, start_servers
from partner_center_pipeline_tests.benchmarks.loads import sync_seconds
from partner_center_pipeline_tests.benchmarks.pages import GRID
from partner_center_pipeline_tests.benchmarks.rows import Measuring

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_small_sizes_are_measured_to_the_end() -> None:
    only = [part for name in ("windows", "start-up") for part in ("--only", name)]
    result = CliRunner().invoke(all_rows, ["--small", "--repeat", "1", *only])
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["failures"] == {}
    assert len(last["rows"]) == 8
    assert all(row["ratio"] > 0 for row in last["rows"])
    assert "postgresql" in last["machine"]


def test_work_that_was_left_out_is_refused() -> None:
    """A server that has other referrals than it is thought to have stands for a product that leaves some out."""
    measuring = Measuring(small=True, repeat=1, notes=Console(quiet=True))
    with measuring.stack:
        servers = start_servers(measuring, 200)
        empty, full = make_templates(measuring, Database.SQLITE, servers)
        assert sync_seconds(empty, 200) > 0
        assert sync_seconds(full, 0) > 0
        for template, new in ((empty, 0), (full, 200)):
            with pytest.raises(click.ClickException, match="did not do all of its work"):
                sync_seconds(template, new)
        more = replace(empty, servers=replace(servers, count=201))
        with pytest.raises(click.ClickException, match="did not do all of its work"):
            sync_seconds(more, 200)
        others = replace(full, servers=replace(servers, changes=99))
        with pytest.raises(click.ClickException, match="stored 100 changes, not 99"):
            graphs.in_turn(others, [[GRID.window(GRID.first or 0)]])
