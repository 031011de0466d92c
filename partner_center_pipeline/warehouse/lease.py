"""The lease, so that one run fetches at a time on all machines; and heartbeats, which tell running from dead runs.

Dagster's pool allows one fetch at a time in one Dagster instance; the lease does so across instances. A killed run
cannot keep the lease: it ends unless it is renewed. Each page's transaction confirms the lease, so a run that was taken
for dead and goes on later writes nothing.

Not here: what a run fetches and writes (`window_ingest`), how Dagster ends a dead run (`defs.recovery`).
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
"""The name of the lease for fetching rows from the Referrals API."""

LEASE_SECONDS: Final = 45.0
"""Seconds that a lease lasts without a renewal."""

BEAT_SECONDS: Final = 10.0
"""Seconds between two heartbeats; each heartbeat renews the lease too."""

DEAD_SECONDS: Final = 60.0
"""Seconds without a heartbeat after which a run is dead."""

_HEARTBEATS_KEPT: Final = timedelta(days=1)

# Made once, because one of them runs with each page. An update reserves bind names that are a column's, hence "lease_".
_RENEWAL: Final = update(leases).where(
    leases.c.name == bindparam("lease_name"), leases.c.holder == bindparam("lease_holder")
)
_RENEWAL_BY_SERVERS_CLOCK: Final = _RENEWAL.values(
    expires_at=func.clock_timestamp(type_=DateTime(timezone=True)) + bindparam("lasts", type_=Interval)
)

_log = logging.getLogger(__name__)


class LeaseLostError(WarehouseError):
    """Another run holds the lease. The transaction that noticed it was rolled back."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease of one run: `holder` is Dagster's run id, `clock` returns UTC.

    Machines disagree about the time, so on PostgreSQL the server's clock decides. A SQLite file is used by one machine.
    """

    warehouse: Warehouse
    holder: str
    clock: Callable[[], datetime]
    name: str = FETCH

    def acquire(self, patience: float, sleep: Callable[[float], None]) -> None:
        """Take the lease; wait up to `patience` seconds until another holder releases it or its lease ends.

        Raises LeaseLostError with the holder's run id when it still holds the lease after that.
        """
        waited = 0.0
        while (other := self._try_to_take()) is not None:
            if waited >= patience:
                raise LeaseLostError(
                    f"run {other} is fetching from Partner Center; one run fetches at a time, on whatever machine. "
                    "Nothing was done; try again when it has ended."
                )
            sleep(1.0)
            waited += 1.0

    def _try_to_take(self) -> str | None:
        """Take the lease and return None, or return the run that holds it."""
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
        """Renew the lease in the caller's transaction. Raises LeaseLostError when another run holds it."""
        held = {"lease_name": self.name, "lease_holder": self.holder}
        lasts = timedelta(seconds=LEASE_SECONDS)
        if connection.dialect.name == "postgresql":
            renewed = connection.execute(_RENEWAL_BY_SERVERS_CLOCK, {**held, "lasts": lasts})
        else:
            renewed = connection.execute(_RENEWAL, {**held, "expires_at": self.clock() + lasts})
        if renewed.rowcount != 1:
            raise LeaseLostError(
                "this run gave no sign of life for so long that another one took over fetching; it stops here, and "
                "nothing was written twice"
            )

    def release(self) -> None:
        """End the lease, if this run still holds it."""
        with self.warehouse.write() as connection:
            connection.execute(delete(leases).where(leases.c.name == self.name, leases.c.holder == self.holder))


@contextmanager
def heartbeats(
    warehouse: Warehouse, run_id: str, clock: Callable[[], datetime], lease: Lease | None = None
) -> Iterator[None]:
    """Write a heartbeat of a run every BEAT_SECONDS, from a thread of its own, and renew its `lease` each time.

    A heartbeat that fails (the database cannot be reached) is skipped: the run's own writes will raise the error.
    """
    ended = Event()

    def beat_and_renew() -> None:
        with warehouse.write() as connection:
            _beat(connection, run_id, clock)
            if lease is not None:
                lease.confirm(connection)

    def beat_until_the_end() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                beat_and_renew()
            except WarehouseError as error:
                _log.warning("no sign of life from run %s: %s", run_id, error)

    with warehouse.write() as connection:
        now = _beat(connection, run_id, clock)
        connection.execute(delete(run_heartbeats).where(run_heartbeats.c.seen_at < now - _HEARTBEATS_KEPT))
    thread = Thread(target=beat_until_the_end, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(connection: Connection, run_id: str, clock: Callable[[], datetime]) -> datetime:
    now = _now(connection, clock)
    upsert(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now}])
    return now


def watch(warehouse: Warehouse, run_ids: Collection[str], clock: Callable[[], datetime]) -> None:
    """Write one heartbeat for each of these runs that has none yet, so that `dead` counts its time from now on."""
    with warehouse.read() as connection:
        known = set(
            connection.execute(select(run_heartbeats.c.run_id).where(run_heartbeats.c.run_id.in_(run_ids))).scalars()
        )
    if unknown := sorted(set(run_ids) - known):
        with warehouse.write() as connection:
            now = _now(connection, clock)
            insert_new(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now} for run_id in unknown])


def dead(connection: Connection, run_ids: Sequence[str], clock: Callable[[], datetime]) -> list[str]:
    """Return those of these runs that have a heartbeat (`heartbeats` or `watch`) and none within DEAD_SECONDS."""
    dead_before = _now(connection, clock) - timedelta(seconds=DEAD_SECONDS)
    dead_runs = connection.execute(
        select(run_heartbeats.c.run_id)
        .where(run_heartbeats.c.run_id.in_(run_ids), run_heartbeats.c.seen_at < dead_before)
        .order_by(run_heartbeats.c.run_id)
    )
    return list(dead_runs.scalars())


def _now(connection: Connection, clock: Callable[[], datetime]) -> datetime:
    """Return the time that decides: the server's on PostgreSQL, otherwise that of `clock`."""
    if connection.dialect.name != "postgresql":
        return clock()
    now: datetime = connection.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    return now
