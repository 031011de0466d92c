"""After a kill at any failpoint, the next process ends with the tables of an uninterrupted run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from partner_center_pipeline_tests.conftest import Databases, PostgresServer, SqliteFiles
from partner_center_pipeline_tests.crash.failpoints import FAILPOINTS, Failpoint
from partner_center_pipeline_tests.crash.sweep import sweep, world

HISTORIES = 3
"""Per database."""


def test_there_are_enough_failpoints_and_each_has_its_own_name() -> None:
    names = {failpoint.name for failpoint in FAILPOINTS}
    assert len(names) == len(FAILPOINTS) >= 20


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.xdist_group("kill sweep")
def test_a_process_killed_at_any_failpoint_loses_nothing_and_doubles_nothing(
    tmp_path: Path, sqlite: SqliteFiles, postgres: PostgresServer
) -> None:
    """Each failpoint on one database, in turn, several in a history; the command kills at one, on both databases."""
    kinds: dict[str, tuple[Databases, Sequence[Sequence[Failpoint]]]] = {
        "sqlite": (sqlite, _histories(FAILPOINTS[::2])),
        "postgresql": (postgres, _histories(FAILPOINTS[1::2])),
    }
    with world(tmp_path) as here:
        verdicts = list(sweep(here, kinds))
    assert [(one.database, *one.failpoints, *one.problems) for one in verdicts if one.problems] == []
    assert {name for one in verdicts for name in one.failpoints} == {failpoint.name for failpoint in FAILPOINTS}


def _histories(failpoints: Sequence[Failpoint]) -> Sequence[Sequence[Failpoint]]:
    """Deal failpoints out to histories: each goes through the work from its beginning to its end."""
    return [failpoints[first::HISTORIES] for first in range(HISTORIES)]
