"""Table pending_work: what is still to be derived from rows that changed.

An item is added in the transaction that stores the change, and removed in the one that stores what was derived. So a
killed run leaves its work in the table, whichever window it was for. Items are appended and may be there many times: a
key of their own would cost SQLite a page of its log for each. One row of each is left when a task is worked off.

Not here: what follows from what (`defs.derivation`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    CompoundSelect,
    Connection,
    Executable,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from partner_center_pipeline.telling import Paced
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse.bulk import CHUNK, among, take_statistics_after
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import (
    companies,
    company_scores,
    domain_signals,
    leads,
    list_order,
    pending_work,
    suggested_matches,
)

_TABLE: Final = pending_work
_log = logging.getLogger(__name__)
_QUEUED_AT: Final = _TABLE.c.queued_at.type

_WRITTEN_BY: Final = {
    Task.LEADS: (leads,),
    Task.COMPANIES: (companies, list_order),
    Task.COMPANY_MATCHES: (suggested_matches,),
    Task.LEAD_MATCHES: (suggested_matches,),
    Task.SIGNALS: (domain_signals,),
    Task.SCORES: (company_scores, list_order),
}
"""The tables that a task's rows are written to."""

Derive = Callable[[Connection, Sequence[str]], None]
"""Derives the rows of some items, in the transaction of the connection."""


def add(connection: Connection, task: Task, items: Iterable[str], now: datetime) -> None:
    """Add items (referral ids or domains) to a task.

    They are sent as JSON in one statement: it runs with each page of a scan.
    """
    given = orjson.dumps(sorted(set(items))).decode()
    if given != "[]":
        connection.execute(_add(connection.dialect.name), {"task": str(task), "now": now, "items": given})


@cache
def _add(dialect: str) -> Executable:
    item: ColumnElement[str]
    if dialect == "postgresql":
        item = func.json_array_elements_text(cast(bindparam("items", type_=Text), JSON)).column_valued("value")
    else:
        item = func.json_each(bindparam("items")).table_valued("value").c.value
    return _insert(select(bindparam("task"), item, bindparam("now", type_=_QUEUED_AT)))


def add_selected(db: Warehouse, task: Task, items: Select[str], now: datetime) -> None:
    """Add the items that a query returns and that the task does not have yet.

    Where it returns none, as in a window without a change, no writer's turn is waited for.
    """
    with db.read() as connection:
        if connection.execute(items.limit(1)).first() is None:
            return
    with db.write() as connection:
        _add_selected(connection, task, items, now)


def _add_selected(connection: Connection, task: Task, items: Select[str], now: datetime) -> None:
    new = not_waiting(items, task).subquery("new")
    connection.execute(_insert(select(literal(str(task)), new.c[0], literal(now, _QUEUED_AT))))


def not_waiting(items: Select[str], *tasks: Task) -> CompoundSelect[str]:
    """Select the items of a query, each once, that none of these tasks has.

    EXCEPT, because PostgreSQL goes through the items of NOT IN once for each row as soon as they are more than its
    `work_mem` holds, some hundred thousand.
    """
    return items.except_(select(_TABLE.c.item).where(_TABLE.c.task.in_(tasks)))


def _insert(rows: Select[Any]) -> Executable:
    return insert(_TABLE).from_select(["task", "item", "queued_at"], rows)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items of a task, each once, and the number of the last row (`until`) that they were read from."""

    task: Task
    items: Sequence[str]
    until: int


def load(connection: Connection, task: Task) -> Chunk:
    """Return the items of the first CHUNK rows of a task that no try has failed at."""
    rows = connection.execute(
        select(_TABLE.c.id, _TABLE.c.item)
        .where(_TABLE.c.task == task, _TABLE.c.error.is_(None))
        .order_by(_TABLE.c.id)
        .limit(CHUNK)
    ).all()
    return Chunk(task, sorted({row.item for row in rows}), rows[-1].id if rows else 0)


def remove(connection: Connection, chunk: Chunk) -> None:
    """Remove the rows of a chunk that is done. What was added meanwhile stays."""
    connection.execute(delete(_TABLE).where(_rows_of(chunk)))


def _rows_of(chunk: Chunk) -> ColumnElement[bool]:
    table = _TABLE
    return and_(
        table.c.task == chunk.task, table.c.id <= chunk.until, table.c.error.is_(None), among(table.c.item, chunk.items)
    )


def remove_items(connection: Connection, task: Task, items: Sequence[str]) -> None:
    """Remove items that were derived outside the order of the table, up to CHUNK of them."""
    connection.execute(delete(_TABLE).where(_TABLE.c.task == task, among(_TABLE.c.item, items)))


def work_off(db: Warehouse, task: Task, derive: Derive) -> None:
    """Derive all items of a task, CHUNK at a time, each chunk in a transaction of its own.

    An item at which `derive` fails does not stop the others: it stays, with the kind of error, and is tried again at
    the next call. Raises that error when each item failed that had not failed before: then it is no single item's.
    """
    with db.read() as connection:
        if connection.execute(select(_TABLE.c.id).where(_TABLE.c.task == task).limit(1)).first() is None:
            return
    with db.write() as connection:
        failed_before = _try_again(connection, task)
        _keep_once(connection, task)
    derived, error, tell = 0, None, Paced(_log)
    while (chunk := _next(db, task)).items:
        try:
            _derive(db, chunk, derive)
        except Exception:  # noqa: BLE001  which item it was shows when each is tried alone
            for item in chunk.items:
                alone = Chunk(task, [item], chunk.until)
                try:
                    _derive(db, alone, derive)
                except Exception as caused:  # noqa: BLE001  the asset check `everything_is_derived` names it
                    error = error if item in failed_before else caused
                    _keep_error(db, alone, caused)
                else:
                    derived += 1
        else:
            derived += len(chunk.items)
        if tell.is_due:
            tell("derive: %s: %s done, %s to do", task, f"{derived:,}", f"{_left(db, task):,}")
    finish(db, task, derived)
    if error is not None and not derived:
        raise error


def finish(db: Warehouse, task: Task, derived: int) -> None:
    """Let the database look at the tables that a task wrote, where it derived many rows."""
    take_statistics_after(db, derived, *_WRITTEN_BY[task])


def _try_again(connection: Connection, task: Task) -> set[str]:
    """Let the items be tried again at which the last try failed; return them."""
    again = update(_TABLE).where(_TABLE.c.task == task, _TABLE.c.error.is_not(None)).values(error=None)
    return set(connection.execute(again.returning(_TABLE.c.item)).scalars())


def _keep_once(connection: Connection, task: Task) -> None:
    """Keep the first row of each item.

    Rows of one item may be further apart than a chunk has rows: each chunk of leads adds the companies that it names. A
    company would be made of all its leads once for each of them, ten times in a load of a million referrals.
    """
    place = func.row_number().over(partition_by=_TABLE.c.item, order_by=_TABLE.c.id).label("place")
    rows = select(_TABLE.c.id, place).where(_TABLE.c.task == task).subquery()
    connection.execute(delete(_TABLE).where(_TABLE.c.id.in_(select(rows.c.id).where(rows.c.place > 1))))


def _next(db: Warehouse, task: Task) -> Chunk:
    with db.read() as connection:
        return load(connection, task)


def _left(db: Warehouse, task: Task) -> int:
    with db.read() as connection:
        return count(connection, task)


def _derive(db: Warehouse, chunk: Chunk, derive: Derive) -> None:
    with db.write() as connection:
        derive(connection, chunk.items)
        remove(connection, chunk)


def _keep_error(db: Warehouse, alone: Chunk, error: Exception) -> None:
    with db.write() as connection:
        connection.execute(update(_TABLE).where(_rows_of(alone)).values(error=type(error).__name__))


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """An item at which the last try failed."""

    task: Task
    item: str
    error: str


def count(connection: Connection, task: Task | None = None) -> int:
    """Count the rows that are to be derived and have not failed, of one task or of all."""
    rows = select(func.count()).where(_TABLE.c.error.is_(None))
    return connection.execute(rows if task is None else rows.where(_TABLE.c.task == task)).scalar_one()


def oldest(connection: Connection) -> datetime | None:
    """Return when the oldest row was added that is to be derived and has not failed, None without such a row."""
    since: datetime | None = connection.execute(
        select(func.min(_TABLE.c.queued_at)).where(_TABLE.c.error.is_(None))
    ).scalar_one()
    return since


def failed(connection: Connection) -> list[Failed]:
    """Return the items at which the last try failed, in order."""
    columns = _TABLE.c.task, _TABLE.c.item, _TABLE.c.error
    rows = connection.execute(select(*columns).distinct().where(_TABLE.c.error.is_not(None)).order_by(*columns))
    return [Failed(Task(row.task), row.item, row.error) for row in rows]
