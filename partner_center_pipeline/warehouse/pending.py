"""Table pending_work: what is still to be derived from rows that changed.

An item is added in the transaction that stores the change, and removed in the one that stores what was derived. So a
killed run leaves its work in the table, whichever window it was for. Not here: what follows from what
(`defs.derivation`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse.bulk import CHUNK, chunks, insert_new
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import pending_work

Derive = Callable[[Connection, Sequence[str]], None]
"""Derives the rows of some items, in the transaction of the connection."""


def add(connection: Connection, task: Task, items: Iterable[str], now: datetime) -> None:
    """Add items (referral ids or domains) to a task; those that are there already stay as they are."""
    rows = [{"task": str(task), "item": item, "queued_at": now} for item in sorted(set(items))]
    insert_new(connection, pending_work, rows)


def add_selected(connection: Connection, task: Task, items: Select[str], now: datetime) -> None:
    """Do the same as `add` with the items that a query (with a WHERE clause) returns, each once."""
    table = pending_work
    insert = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    (item,) = items.selected_columns
    query = items.with_only_columns(literal(str(task)), item, literal(now, table.c.queued_at.type))
    connection.execute(insert(table).from_select(["task", "item", "queued_at"], query).on_conflict_do_nothing())


def load(connection: Connection, task: Task) -> list[str]:
    """Return up to CHUNK items of a task that no try has failed at, in order."""
    table = pending_work
    rows = connection.execute(
        select(table.c.item).where(table.c.task == task, table.c.error.is_(None)).order_by(table.c.item).limit(CHUNK)
    )
    return [item for (item,) in rows]


def remove(connection: Connection, task: Task, items: Sequence[str]) -> None:
    """Remove items that are done."""
    table = pending_work
    for some in chunks(items):
        connection.execute(delete(table).where(table.c.task == task, table.c.item.in_(some)))


def work_off(db: Warehouse, task: Task, derive: Derive) -> None:
    """Derive all items of a task, CHUNK at a time, each chunk in a transaction of its own.

    An item at which `derive` fails does not stop the others: it stays, with the kind of error, and is tried again at
    the next call. Raises that error when each item failed that had not failed before: then it is no single item's.
    """
    with db.write() as connection:
        failed_before = _try_again(connection, task)
    derived, error = 0, None
    while items := _next(db, task):
        try:
            _derive(db, task, items, derive)
        except Exception:  # noqa: BLE001  which item it was shows when each is tried alone
            for item in items:
                try:
                    _derive(db, task, [item], derive)
                except Exception as caused:  # noqa: BLE001  the asset check `everything_is_derived` names it
                    error = error if item in failed_before else caused
                    _keep_error(db, task, item, caused)
                else:
                    derived += 1
        else:
            derived += len(items)
    if error is not None and not derived:
        raise error


def _try_again(connection: Connection, task: Task) -> set[str]:
    """Let the items be tried again at which the last try failed; return them."""
    table = pending_work
    again = update(table).where(table.c.task == task, table.c.error.is_not(None)).values(error=None)
    return set(connection.execute(again.returning(table.c.item)).scalars())


def _next(db: Warehouse, task: Task) -> list[str]:
    with db.read() as connection:
        return load(connection, task)


def _derive(db: Warehouse, task: Task, items: Sequence[str], derive: Derive) -> None:
    with db.write() as connection:
        derive(connection, items)
        remove(connection, task, items)


def _keep_error(db: Warehouse, task: Task, item: str, error: Exception) -> None:
    table = pending_work
    with db.write() as connection:
        connection.execute(
            update(table).where(table.c.task == task, table.c.item == item).values(error=type(error).__name__)
        )


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """An item at which the last try failed."""

    task: Task
    item: str
    error: str


def count(connection: Connection) -> int:
    """Count the items that are to be derived and have not failed."""
    return connection.execute(select(func.count()).where(pending_work.c.error.is_(None))).scalar_one()


def failed(connection: Connection) -> list[Failed]:
    """Return the items at which the last try failed, in order."""
    table = pending_work
    rows = connection.execute(select(table).where(table.c.error.is_not(None)).order_by(table.c.task, table.c.item))
    return [Failed(Task(row.task), row.item, row.error) for row in rows]
