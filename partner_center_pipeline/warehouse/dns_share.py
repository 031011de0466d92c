"""Shares a resolver's time among all processes that ask it, on whatever machine, through one row of `leases` for each.

The row says until when the resolver's time is given away. A process takes the next tenth of a second or so from there,
so together they ask no more questions than one process alone may. Not here: how many questions a second that are
(`mail.resolver`).
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from sqlalchemy import DateTime, Interval, case, func, literal
from sqlalchemy.dialects.postgresql import insert

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import leases
from partner_center_pipeline.warehouse.time_limits import TimeLimits

LONGEST_AHEAD: Final = timedelta(seconds=60)
"""How far ahead a resolver's time can be given away. A row that says more was written by a clock that was wrong."""

_ALONE_SECONDS: Final = 30.0
"""Seconds before the next try after the database could not be asked."""

_LIMITS: Final = TimeLimits(connect_seconds=2, lock_seconds=1, statement_seconds=2)
"""A domain has 15 seconds for all of its questions, and they wait meanwhile."""

_log: Final = logging.getLogger(__name__)


def reserve(warehouse: Warehouse, resolver: str, seconds: float) -> float:
    """Take the next `seconds` of a resolver's time (PostgreSQL only); return in how many seconds they begin.

    The server's clock decides. The writers' lock is not taken: runs that store pages are not waited for.
    """
    now = func.clock_timestamp(type_=DateTime(timezone=True))
    lasts = literal(timedelta(seconds=seconds), Interval)
    longest = literal(LONGEST_AHEAD, Interval)
    free = case((leases.c.expires_at.between(now, now + longest), leases.c.expires_at), else_=now)
    row = insert(leases).values(
        name=f"dns {resolver}", holder=socket.gethostname(), acquired_at=now, expires_at=now + lasts
    )
    taken = row.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={"holder": row.excluded.holder, "acquired_at": now, "expires_at": free + lasts},
    ).returning(func.extract("epoch", leases.c.expires_at - now))
    with warehouse.read() as connection:
        # In one statement: a machine that dies between two of them would hold the row.
        left = float(connection.execution_options(isolation_level="AUTOCOMMIT").execute(taken).scalar_one())
    return max(0.0, left - seconds)


@contextmanager
def shared(settings: Settings) -> Iterator[Callable[[str, float], float] | None]:
    """Yield what reserves a resolver's time; None beside a SQLite file, which one machine uses.

    While the database cannot be asked, this process keeps the limit by itself: questions that wait too long would count
    as unanswered.
    """
    warehouse = Warehouse(settings.database_url.get_secret_value(), _LIMITS)
    if warehouse.is_sqlite:
        yield None
        return
    alone_until = 0.0

    def reserve_or_go_on(resolver: str, seconds: float) -> float:
        nonlocal alone_until
        if time.monotonic() < alone_until:
            return 0.0
        try:
            return reserve(warehouse, resolver, seconds)
        except WarehouseError as error:
            alone_until = time.monotonic() + _ALONE_SECONDS
            _log.warning(
                "other machines may ask the resolver %s at the same time; this one keeps its limit by itself for %.0f "
                "s: %s", resolver, _ALONE_SECONDS, error,
            )  # fmt: skip
            return 0.0

    try:
        yield reserve_or_go_on
    finally:
        warehouse.close()
