"""A run opens the warehouse once for all of its steps, whatever its database."""

import sqlite3
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Engine, event

from partner_center_pipeline_tests.defs.project import Project

MOST = 3
"""The steps' connection, one more while a second is needed, and the heartbeat's."""


def _to_the_warehouse(project: Project) -> tuple[list[object], Callable[..., None]]:
    """Return the connections that are made to a project's warehouse, and what has to be told of each connection."""
    made: list[object] = []
    file = project.warehouse.file

    def note(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            if str(file) == connection.execute("PRAGMA database_list").fetchone()[2]:
                made.append(connection)
        elif isinstance(connection, psycopg.Connection):
            made.append(connection)

    return made, note


@pytest.mark.slow
def test_a_run_makes_one_connection_for_its_steps_and_one_for_its_heartbeat(stored: Project) -> None:
    made, note = _to_the_warehouse(stored)
    event.listen(Engine, "connect", note)
    try:
        assert stored.run(stored.window(1)).success
    finally:
        event.remove(Engine, "connect", note)
    assert 0 < len(made) <= MOST
