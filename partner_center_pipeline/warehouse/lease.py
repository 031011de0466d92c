"""One fetch at a time per installation, and which runs are alive.

Belongs here: the lease that a run holds while it fetches, on whatever machine, and the signs of life of runs under way.
Not here: what a run does (`ingest`), and what becomes of a dead one in Dagster (`defs.recovery`).

Dagster's pool keeps fetches of one instance apart. The lease keeps those of several instances apart, and it cannot be
kept by a killed run: it ends by itself unless it is renewed, and each page's transaction confirms it, so a run that was
thought dead and wakes up writes nothing.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Final

from sqlalchemy import Connection, DateTime, Interval, bindparam, delete, func, select, update

from partner_center_pipeline.warehouse.bulk import insert_new, upsert
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import leases, run_heartbeats

FETCH: Final = "partner_center_fetch"
"""The lease of whoever asks the Referrals API for rows."""

LEASE_SECONDS: Final = 45.0
"""How long a lease lasts without a renewal."""

BEAT_SECONDS: Final = 10.0
"""Between two signs of life, each of which renews the lease too."""

DEAD_SECONDS: Final = 60.0
"""Without a sign of life for so long, a run is dead."""

_FORGET: Final = timedelta(days=1)

# Made once: one of them runs with each page.
_HELD: Final = update(leases).where(leases.c.name == bindparam("the_name"), leases.c.holder == bindparam("the_holder"))
_HELD_BY_SERVERS_CLOCK: Final = _HELD.values(
    expires_at=func.clock_timestamp(type_=DateTime(timezone=True)) + bindparam("lasts", type_=Interval)
)

_log = logging.getLogger(__name__)


class LeaseLostError(WarehouseError):
    """Another run holds the lease. Nothing of the transaction that found out was kept."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A run's hold on a lease: `holder` is Dagster's run id, `clock` gives UTC.

    Machines disagree about the time, so on PostgreSQL the server's clock decides; a SQLite file has one machine.
    """

    warehouse: Warehouse
    holder: str
    clock: Callable[[], datetime]
    name: str = FETCH

    def acquire(self, patience: float, sleep: Callable[[float], None]) -> None:
        """Take the lease, waiting up to `patience` seconds for a holder to give it back or to fall silent.

        Raises LeaseLostError naming the holder when it lives on.
        """
        waited = 0.0
        while (other := self._try()) is not None:
            if waited >= patience:
                raise LeaseLostError(
                    f"run {other} is fetching from Partner Center; one run fetches at a time, on whatever machine. "
                    "Nothing was done; try again when it has ended."
                )
            sleep(1.0)
            waited += 1.0

    def _try(self) -> str | None:
        """The run that holds the lease, None when it is ours now."""
        with self.warehouse.write() as connection:
            now = _now(connection, self.clock)
            row = connection.execute(select(leases).where(leases.c.name == self.name)).one_or_none()
            if row is not None and row.holder != self.holder and row.expires_at > now:
                return str(row.holder)
            held = {
                "name": self.name,
                "holder": self.holder,
                "acquired_at": now,
                "expires_at": now + timedelta(seconds=LEASE_SECONDS),
            }
            upsert(connection, leases, [held])
            return None

    def confirm(self, connection: Connection) -> None:
        """Renew the lease inside a transaction that stands only if it is still ours. Raises LeaseLostError."""
        held = {"the_name": self.name, "the_holder": self.holder}
        lasts = timedelta(seconds=LEASE_SECONDS)
        if connection.dialect.name == "postgresql":
            renewed = connection.execute(_HELD_BY_SERVERS_CLOCK, {**held, "lasts": lasts})
        else:
            renewed = connection.execute(_HELD, {**held, "expires_at": self.clock() + lasts})
        if renewed.rowcount != 1:
            raise LeaseLostError(
                "this run gave no sign of life for so long that another one took over fetching; it stops here, and "
                "nothing was written twice"
            )

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        with self.warehouse.write() as connection:
            connection.execute(delete(leases).where(leases.c.name == self.name, leases.c.holder == self.holder))


@contextmanager
def alive(
    warehouse: Warehouse, run_id: str, clock: Callable[[], datetime], lease: Lease | None = None
) -> Iterator[None]:
    """Give signs of life for a run, from a thread of its own, and renew its lease with each.

    A sign that cannot be given (the database is away) is left out: what the run itself writes will say so.
    """
    over = Event()

    def beat() -> None:
        with warehouse.write() as connection:
            _beat(connection, run_id, clock)
            if lease is not None:
                lease.confirm(connection)

    def beat_on() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                beat()
            except WarehouseError as error:
                _log.warning("no sign of life from run %s: %s", run_id, error)

    with warehouse.write() as connection:
        now = _beat(connection, run_id, clock)
        connection.execute(delete(run_heartbeats).where(run_heartbeats.c.seen_at < now - _FORGET))
    thread = Thread(target=beat_on, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(connection: Connection, run_id: str, clock: Callable[[], datetime]) -> datetime:
    now = _now(connection, clock)
    upsert(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now}])
    return now


def watch(warehouse: Warehouse, run_ids: Collection[str], clock: Callable[[], datetime]) -> None:
    """Count from now on the silence of those of these runs that never gave a sign of life."""
    with warehouse.read() as connection:
        heard = set(
            connection.execute(select(run_heartbeats.c.run_id).where(run_heartbeats.c.run_id.in_(run_ids))).scalars()
        )
    if silent := sorted(set(run_ids) - heard):
        with warehouse.write() as connection:
            now = _now(connection, clock)
            insert_new(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now} for run_id in silent])


def dead(connection: Connection, run_ids: Sequence[str], clock: Callable[[], datetime]) -> list[str]:
    """Those of these runs that gave a sign of life once, or were watched, and gave none for DEAD_SECONDS."""
    long_ago = _now(connection, clock) - timedelta(seconds=DEAD_SECONDS)
    found = connection.execute(
        select(run_heartbeats.c.run_id)
        .where(run_heartbeats.c.run_id.in_(run_ids), run_heartbeats.c.seen_at < long_ago)
        .order_by(run_heartbeats.c.run_id)
    )
    return list(found.scalars())


def _now(connection: Connection, clock: Callable[[], datetime]) -> datetime:
    """The time that decides."""
    if connection.dialect.name != "postgresql":
        return clock()
    now: datetime = connection.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    return now
