"""The first rows of the lists, read from indexes: they take as long with a million leads as with ten thousand.

The views themselves number all their rows, whatever is read of them. Not here: the order and the columns (`views`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Table, text

from partner_center_pipeline.warehouse import list_order, views
from partner_center_pipeline.warehouse.schema import row_dict

Row = Mapping[str, Any]

_KEY: Final = ("set_aside", "category", "score_order", "urgency", "due_ticks", "value_order", "domain")
_key: Final = itemgetter(*_KEY)


def of_companies(connection: Connection, size: int, *, only_open: bool = False) -> list[Row]:
    """Return the first `size` rows of `leads_ready`; with `only_open`, of companies that have an open referral."""
    ranked = enumerate(_places(connection, size), start=1)
    wanted = islice(((place, rank) for rank, place in ranked if place["open_referrals"] or not only_open), size)
    places = [[place["domain"], place["referral_id"], rank] for place, rank in wanted]
    statement = views.companies_of_places_sql(connection.dialect.name)
    return _read(connection, statement, views.leads_ready, {"places": orjson.dumps(places).decode()})


def _places(connection: Connection, size: int) -> Iterator[Row]:
    """Yield the companies of the list in its order, `size` in memory at a time, and those that the clock has moved."""
    dialect = connection.dialect.name
    moved = connection.execute(text(moved_sql(dialect)))
    waiting = sorted(map(row_dict, moved), key=_key, reverse=True)
    after: Row | None = None
    while True:
        parameters = {"size": size, **({name: after[name] for name in _KEY} if after is not None else {})}
        page = [
            row_dict(row) for row in connection.execute(text(page_sql(dialect, after=after is not None)), parameters)
        ]
        for row in page:
            while waiting and _key(waiting[-1]) < _key(row):
                yield waiting.pop()
            yield row
        if len(page) < size:
            yield from reversed(waiting)
            return
        after = page[-1]


def moved_sql(dialect: str) -> str:
    """Return the SQL for the places, as they are now, of the companies whose row of list_order is not true any more."""
    return (
        f"SELECT o.*, c.open_referrals FROM ({views.order_sql(dialect, list_order.over(dialect))}\n) AS o "  # noqa: S608
        "JOIN companies AS c ON c.domain = o.domain"
    )


def page_sql(dialect: str, *, after: bool) -> str:
    """Return the SQL for a page of `:size` places, from an index; with `after`, behind the one of its parameters."""
    key = ", ".join(f"o.{name}" for name in _KEY)
    behind = f" AND ({key}) > ({', '.join(f':{name}' for name in _KEY)})" if after else ""
    return (
        f"SELECT {key}, o.referral_id, c.open_referrals FROM list_order AS o "  # noqa: S608  constants
        "JOIN companies AS c ON c.domain = o.domain AND c.referrals > 0 "
        f"WHERE o.valid_until_ticks > {views.DIALECTS[dialect].now}{behind} ORDER BY {key} LIMIT :size"
    )


def of_due(connection: Connection, size: int) -> list[Row]:
    """Return the first `size` rows of `due_first`."""
    dialect = connection.dialect.name
    until = connection.execute(text(last_deadline_sql(dialect)), {"before": size - 1}).scalar_one_or_none()
    parameters = {"until": views.FOREVER if until is None else until, "size": size}
    return _read(connection, first_due_sql(dialect), views.due_first, parameters)


def last_deadline_sql(dialect: str) -> str:
    """Return the SQL for the deadline of a page's last lead: the one behind `:before` others that nobody set aside."""
    q = views.of_few(dialect)
    return (
        f"SELECT leads.expires_ticks FROM leads {q.mark.format('leads')} "  # noqa: S608  constants
        f"WHERE leads.is_open AND leads.vanished_at IS NULL AND leads.expires_ticks > {q.now} "
        f"AND NOT {views.is_set_aside(q, 'leads')} ORDER BY leads.expires_ticks LIMIT 1 OFFSET :before"
    )


def first_due_sql(dialect: str) -> str:
    """Return the SQL for the first `:size` rows of `due_first`, of those with a deadline up to `:until`."""
    return f"{views.due_until_sql(dialect, ':until')}\nORDER BY rank LIMIT :size"


def due_within(connection: Connection, ticks: int, names: Sequence[str]) -> list[Row]:
    """Return these columns of the rows of `due_first` whose deadline is at most `ticks` away by the database's clock.

    `rank` is their place among each other.
    """
    return _read(connection, due_within_sql(connection.dialect.name, names), views.due_first, {"ticks": ticks})


def due_within_sql(dialect: str, names: Sequence[str]) -> str:
    """Return the SQL for these columns of the rows of `due_first` whose deadline is at most `:ticks` away."""
    near = views.due_until_sql(dialect, f"({views.DIALECTS[dialect].now} + :ticks)")
    return f"SELECT {', '.join(names)} FROM ({near}\n) AS near"  # noqa: S608  constants


def _read(connection: Connection, statement: str, view: Table, parameters: Mapping[str, Any]) -> list[Row]:
    # The columns are read as those of the view.
    typed = text(statement).columns(**{column.name: column.type for column in view.columns})
    return [row_dict(row) for row in connection.execute(typed, parameters)]
