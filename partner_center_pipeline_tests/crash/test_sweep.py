"""After a kill at any failpoint, the next process ends with the tables of an uninterrupted run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from partner_center_pipeline_tests.conftest import Databases, PostgresServer, SqliteFiles
from partner_center_pipeline_tests.crash.failpoints import FAILPOINTS, Failpoint
from partner_center_pipeline_tests.crash.sweep import sweep, world


def test_there_are_enough_failpoints_and_each_has_its_own_name() -> None:
    names = {failpoint.name for failpoint in FAILPOINTS}
    assert len(names) == len(FAILPOINTS) >= 20


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.xdist_group("kill sweep")
def test_a_process_killed_at_any_failpoint_loses_nothing_and_doubles_nothing(
    tmp_path: Path, sqlite: SqliteFiles, postgres: PostgresServer
) -> None:
    """Each failpoint on one database, in turn; the command kills at each on both, which takes twice as long."""
    kinds: dict[str, tuple[Databases, Sequence[Failpoint]]] = {
        "sqlite": (sqlite, FAILPOINTS[::2]),
        "postgresql": (postgres, FAILPOINTS[1::2]),
    }
    with world(tmp_path) as here:
        verdicts = list(sweep(here, kinds))
    assert [(one.database, one.failpoint, *one.problems) for one in verdicts if one.problems] == []
    assert {one.failpoint for one in verdicts} == {failpoint.name for failpoint in FAILPOINTS}
