"""The clock that decides what is over: machines disagree about the time, so on PostgreSQL it is the server's."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, DateTime, func, select


def deciding_time(connection: Connection, clock: Callable[[], datetime]) -> datetime:
    """Return the time (UTC) that decides: the server's on PostgreSQL, otherwise that of `clock`.

    A SQLite file is used by one machine.
    """
    if connection.dialect.name != "postgresql":
        return clock()
    now: datetime = connection.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    return now
