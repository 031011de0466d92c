"""Table list_order: by what `leads_ready` ranks each company, kept in step, so that its first page comes from an index.

Rows are made by the database from what it holds, in the transaction that changes a company, its score or a person's
mark. The clock changes some of them later, when a deadline passes: such a row says until when it is true. Not here: the
order itself (`views`), reading pages (`first_page`).
"""

from collections.abc import Collection
from functools import cache
from typing import Final

import orjson
from sqlalchemy import Connection, TextClause, delete, text

from partner_center_pipeline.warehouse.schema import list_order
from partner_center_pipeline.warehouse.views import DIALECTS, order_sql

NAMES: Final = tuple(column.name for column in list_order.columns)

_GIVEN: Final = {
    "sqlite": "SELECT value AS domain FROM json_each(:domains)",
    "postgresql": "SELECT json_array_elements_text(CAST(:domains AS json)) AS domain",
}
"""Selects the companies of `:domains`, a JSON list."""


def over(dialect: str) -> str:
    """Return the SQL that selects the companies whose row the clock has made untrue."""
    return f"SELECT o.domain FROM list_order AS o WHERE o.valid_until_ticks <= {DIALECTS[dialect].now}"  # noqa: S608


def renew(connection: Connection, domains: Collection[str]) -> None:
    """Make the rows of these companies anew."""
    if not domains:
        return
    dialect = connection.dialect.name
    parameters = {"domains": orjson.dumps(sorted(domains)).decode()}
    connection.execute(_unlisted(dialect), parameters)
    connection.execute(_insert(dialect, _GIVEN[dialect]), parameters)


def renew_what_is_over(connection: Connection) -> None:
    """Make the rows anew that the clock has made untrue. An index finds them; as a rule they are few."""
    dialect = connection.dialect.name
    connection.execute(_insert(dialect, over(dialect)))


def renew_all(connection: Connection) -> None:
    """Make all rows anew, as after a change of the rates."""
    connection.execute(delete(list_order))
    connection.execute(_insert(connection.dialect.name, None))


@cache
def _unlisted(dialect: str) -> TextClause:
    """Delete the rows of those companies that no referral names any more."""
    return text(
        f"DELETE FROM list_order WHERE domain IN ({_GIVEN[dialect]}) AND domain IN "  # noqa: S608  constants
        "(SELECT c.domain FROM companies AS c WHERE c.domain = list_order.domain AND c.referrals = 0)"
    )


@cache
def _insert(dialect: str, domains: str | None) -> TextClause:
    update = ", ".join(f"{name} = excluded.{name}" for name in NAMES if name != "domain")
    return text(
        f"INSERT INTO list_order ({', '.join(NAMES)}){order_sql(dialect, domains)} "
        f"ON CONFLICT (domain) DO UPDATE SET {update}"
    )
