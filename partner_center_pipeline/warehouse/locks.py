"""Waits for a lock of the database, and tells it when that takes longer than a moment.

On SQLite a writer begins with BEGIN IMMEDIATE; on PostgreSQL it takes an advisory lock until its transaction ends.
"""

import logging
import sqlite3
import time
from typing import Any, Final

from sqlalchemy import Connection, text

from partner_center_pipeline.telling import told_wait

BUSY_SECONDS: Final = 60
"""How long a writer waits for another one on SQLite."""

_BETWEEN_TRIES: Final = 0.02
"""Seconds between two looks whether a lock of PostgreSQL is free, as long as the wait is not told."""
_BEGIN: Final = "BEGIN IMMEDIATE"
_PLAN: Final = "set_config('plan_cache_mode', 'force_custom_plan', true)"
"""Makes PostgreSQL plan each statement of the transaction anew: tables grow a thousandfold during a load, and a plan
from its beginning would read a whole table for each page."""
_IDLE: Final = "set_config('idle_in_transaction_session_timeout', :idle, true)"
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock(:key), {_PLAN}, {_IDLE}")
_TRY_LOCK: Final = text(f"SELECT pg_try_advisory_xact_lock(:key), {_PLAN}, {_IDLE}")

IDLE_SECONDS: Final = 120
"""How long a writer may do nothing between two statements before PostgreSQL ends its transaction. Without an end, a
process that hangs, or was stopped, would keep all others from writing."""

_log: Final = logging.getLogger(__name__)


def begin_writing_on_sqlite(connection: Connection, line: str, *values: object) -> None:
    """Begin a transaction that excludes other writers; tell the line when that does not succeed in a moment.

    It waits up to BUSY_SECONDS. Raises OperationalError when that is over.
    """
    raw: Any = connection.connection.driver_connection

    def begin(seconds: float | None) -> bool:
        wait = BUSY_SECONDS if seconds is None else seconds
        raw.execute(f"PRAGMA busy_timeout={wait * 1000:.0f}")
        try:
            if seconds is None:
                connection.exec_driver_sql(_BEGIN)
            else:
                raw.execute(_BEGIN)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            connection.exec_driver_sql(_BEGIN)  # raises the same, as SQLAlchemy's error
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        return True

    told_wait(begin, _log, line, *values)


def lock_on_postgresql(connection: Connection, key: int, idle_seconds: float, line: str, *values: object) -> None:
    """Take an advisory lock until the transaction ends; tell the line when it is not had in a moment.

    How long it waits is what `lock_timeout` says. Raises OperationalError when that is over. PostgreSQL ends the
    transaction when it has had no statement for `idle_seconds`.
    """
    parameters = {"key": key, "idle": f"{idle_seconds * 1000:.0f}ms"}

    def lock(seconds: float | None) -> bool:
        if seconds is None:
            connection.execute(_LOCK, parameters)
            return True
        until = time.monotonic() + seconds
        while not connection.execute(_TRY_LOCK, parameters).scalar():
            if time.monotonic() >= until:
                return False
            time.sleep(_BETWEEN_TRIES)
        return True

    told_wait(lock, _log, line, *values)
