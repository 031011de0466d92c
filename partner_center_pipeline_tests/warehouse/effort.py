"""How much a statement reads, by the database's own account: for tests that hold a read to an index."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, text

_STEPS = 100
"""SQLite's instructions between two counts."""


def effort(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> int:
    """Return the instructions that SQLite runs for a statement, or the rows that PostgreSQL's plan passes on or drops.

    Both are the same each time.
    """
    compiled = text(statement).compile(dialect=connection.dialect)
    if compiled.positiontup is None:
        return effort_of_driver(connection, str(compiled), parameters)
    return effort_of_driver(connection, str(compiled), tuple(parameters[name] for name in compiled.positiontup))


def effort_of_driver(connection: Connection, statement: str, parameters: Any) -> int:
    """Return the same for a statement as the driver gets it."""
    if connection.dialect.name == "postgresql":
        # A test's tables are small enough to be read whole; a million rows are not, where there is an index.
        connection.execute(text("ANALYZE"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {statement}", parameters)
        (plan,) = rows.scalar_one()
        return sum(
            round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in _nodes(plan["Plan"])
        )
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += _STEPS

    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(count, _STEPS)
    connection.exec_driver_sql(statement, parameters).all()
    driver.set_progress_handler(None, 0)
    return counted


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for part in node.get("Plans", ()):
        yield from _nodes(part)
