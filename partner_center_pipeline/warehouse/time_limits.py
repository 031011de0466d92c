"""How long the warehouse waits for PostgreSQL, and the connection that stops waiting.

PostgreSQL ends what takes too long by itself (`statement_timeout`, `lock_timeout`), and TCP a network that is gone. A
server that is there and says nothing (a process that was stopped, a machine without memory) is noticed by neither; so
each answer has a time by which the connection is closed.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event

from partner_center_pipeline.settings import Settings

_GRACE_SECONDS: Final = 10
"""The client waits so much longer than `statement_timeout`, or twice as long: PostgreSQL's own words come first."""

_NO_COMPILING: Final = "-c jit=off"
"""PostgreSQL would compile the plan of company_card for 2.6 s, to run it for a few ms."""
_AS_WRITTEN: Final = "-c datestyle=ISO -c extra_float_digits=1"
"""How values are printed, so that each is read as it was written, whatever the database or the role is set to."""
_OURS: Final = "partner_center.session"
"""A setting of our own, sent with the limits: where a session lacks it, a pooler has dropped all that was sent."""

WHETHER_OURS: Final = f"current_setting('{_OURS}', true) = 'yes'"
"""SQL for whether PostgreSQL has what the connection sent."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds after which something fails on PostgreSQL; SQLite has none of them.

    connect_seconds     until a connection is open
    silence_seconds     until a network that acknowledges nothing counts as gone, here and for the server: it then
                        frees what a machine held that lost its power or its cable
    lock_seconds        until a lock is had that another transaction holds
    statement_seconds   until a statement has ended; 0 for any time
    """

    connect_seconds: int = 10
    silence_seconds: int = 60
    lock_seconds: int = 240
    statement_seconds: int = 300

    @classmethod
    def of(cls, settings: Settings) -> "TimeLimits":
        """Return the limits of HUNTER_DATABASE_CONNECT_SECONDS and so on."""
        return cls(
            connect_seconds=settings.database_connect_seconds,
            silence_seconds=settings.database_silence_seconds,
            lock_seconds=settings.database_lock_seconds,
            statement_seconds=settings.database_statement_seconds,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The connection parameters of libpq for them, and for how values are written."""
        idle, interval, user_timeout = (
            max(1, self.silence_seconds // 2),
            max(1, self.silence_seconds // 6),
            self.silence_seconds * 1000,
        )
        return {
            "client_encoding": "UTF8",  # goes before PGCLIENTENCODING, which may lack a company's letters
            "connect_timeout": self.connect_seconds,
            "tcp_user_timeout": user_timeout,
            "keepalives_idle": idle,
            "keepalives_interval": interval,
            "keepalives_count": 3,
            "options": f"{_NO_COMPILING} {_AS_WRITTEN} -c {_OURS}=yes -c lock_timeout={self.lock_seconds}s "
            f"-c statement_timeout={self.statement_seconds}s -c tcp_keepalives_idle={idle} "
            f"-c tcp_keepalives_interval={interval} -c tcp_keepalives_count=3 -c tcp_user_timeout={user_timeout}",
        }


class _LimitedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when an answer does not come in `answer_seconds`."""

    answer_seconds: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the answer. Raises psycopg.OperationalError when it does not come in time."""
        limit = self.answer_seconds if timeout is None else timeout
        began = time.monotonic()
        try:
            return super().wait(gen, interval, limit)
        except Exception:
            if timeout is not None or limit is None or time.monotonic() - began < limit:
                raise
            # What the server will say to the statement is not known, so the connection can take no other.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server did not answer for {limit:g} seconds") from None


def limit_waits(engine: Engine, limits: TimeLimits) -> None:
    """Let an engine for PostgreSQL keep the limits. What HUNTER_DATABASE_URL itself says to the server goes first.

    The time after which the connection is closed follows `limits` alone: an address with a longer `statement_timeout`
    needs a longer HUNTER_DATABASE_STATEMENT_SECONDS, too.
    """

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        said = {**limits.parameters, **parameters}
        if "options" in parameters:
            said["options"] = f"{limits.parameters['options']} {parameters['options']}"
        connection = _LimitedConnection.connect(*arguments, **said)
        if limits.statement_seconds:
            connection.answer_seconds = limits.statement_seconds + min(_GRACE_SECONDS, limits.statement_seconds)
        return connection
