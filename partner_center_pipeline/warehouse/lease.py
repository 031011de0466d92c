"""The lease, so that one run fetches at a time on all machines; and heartbeats, which tell running from dead runs.

Dagster's pool allows one fetch at a time in one Dagster instance; the lease does so across instances. A killed run
cannot keep the lease: it ends unless it is renewed. Each page's transaction confirms the lease, so a run that was taken
for dead and goes on later writes nothing.

Not here: what a run fetches and writes (`window_ingest`), how Dagster ends a dead run (`defs.recovery`).
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Final

from sqlalchemy import Connection, DateTime, Interval, bindparam, delete, func, select, update

from partner_center_pipeline.telling import Paced, giving_up
from partner_center_pipeline.warehouse.bulk import insert_new, upsert
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.deciding_time import deciding_time
from partner_center_pipeline.warehouse.schema import leases, run_heartbeats
from partner_center_pipeline.windows import counts_until

FETCH: Final = "partner_center_fetch"
"""The name of the lease for fetching rows from the Referrals API."""

LEASE_SECONDS: Final = 45.0
"""Seconds that a lease lasts without a renewal."""

BEAT_SECONDS: Final = 10.0
"""Seconds between two heartbeats; each heartbeat renews the lease too."""

ASKING_SECONDS: Final = 30.0
"""Seconds after a renewal in which its holder may begin to ask something; the rest of the lease is for the answer."""

SILENT_SECONDS: Final = 40.0
DOUBT_SECONDS: Final = 15.0
"""Seconds without a heartbeat after which a run is doubted, and seconds of doubt after which it is dead: longer than
BEAT_SECONDS, so that a run that lives writes another one meanwhile. Together less than a minute."""

_QUICKLY: Final = 1.0
"""Seconds for the database's lock; whoever waits longer was kept off by another program, and so were the runs."""

_WAIT_TOLD_SECONDS: Final = 15.0
"""Seconds between two lines that tell of a wait for another run."""

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
    _renewals: "list[float]" = field(default_factory=lambda: [-math.inf], init=False, repr=False, compare=False)
    """The last renewal that was committed, in seconds of the monotonic clock; not sooner than it began."""

    def acquire(self, patience: float, sleep: Callable[[float], None]) -> None:
        """Take the lease; wait up to `patience` seconds until another holder releases it or its lease ends.

        Raises LeaseLostError with the holder's run id when it still holds the lease after that.
        """
        waited = 0.0
        tell = Paced(_log, _WAIT_TOLD_SECONDS)
        while (other := self._try_to_take()) is not None:
            if waited >= patience:
                raise LeaseLostError(
                    f"run {other.holder} is fetching from Partner Center (since {other.since:%Y-%m-%d %H:%M} UTC); one "
                    "run fetches at a time, on whatever machine. Nothing was done; try again when it has ended."
                )
            if not waited or tell.is_due:
                tell = Paced(_log, _WAIT_TOLD_SECONDS)
                _log.warning(
                    "waiting for run %s, which fetches from Partner Center since %s UTC; one run fetches at a time. "
                    "Waited %.0f s, %s",
                    other.holder, f"{other.since:%H:%M:%S}", waited, giving_up(self.clock(), patience - waited),
                )  # fmt: skip
            sleep(1.0)
            waited += 1.0

    def renew(self) -> None:
        """Renew the lease. Raises LeaseLostError when another run holds it, WarehouseError when nobody can tell."""
        began = time.monotonic()
        with self.warehouse.write() as connection:
            self.confirm(connection)
        self._renewals[:] = [began]

    def hold(self) -> None:
        """Make sure that this run still holds the lease, before it asks something that one run may ask at a time.

        A run that was cut off from the database asks nothing until it has reached it again: meanwhile another one may
        have taken over. Costs nothing while the lease is renewed in time. Raises as `renew` does.
        """
        if time.monotonic() - self._renewals[0] > ASKING_SECONDS:
            self.renew()

    def _try_to_take(self) -> "Held | None":
        """Take the lease and return None, or return who holds it."""
        began = time.monotonic()
        other = self._take()
        if other is None:
            self._renewals[:] = [began]
        return other

    def _take(self) -> "Held | None":
        with self.warehouse.write() as connection:
            other = held(connection, self.clock, self.name)
            if other is not None and other.holder != self.holder:
                return other
            now = deciding_time(connection, self.clock)
            row = {
                "name": self.name,
                "holder": self.holder,
                "acquired_at": now,
                "expires_at": now + timedelta(seconds=LEASE_SECONDS),
            }
            upsert(connection, leases, [row])
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


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that counts: who holds it, since when and until when unless it is renewed (UTC)."""

    holder: str
    since: datetime
    until: datetime


def held(connection: Connection, clock: Callable[[], datetime], name: str = FETCH) -> Held | None:
    """Return who holds the lease now, None when nobody does.

    One that ends further ahead than a lease lasts was written by a clock that was wrong, and does not count.
    """
    row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    if row is None or not counts_until(
        row.expires_at, deciding_time(connection, clock), timedelta(seconds=LEASE_SECONDS)
    ):
        return None
    return Held(row.holder, row.acquired_at, row.expires_at)


def forget_runs(connection: Connection) -> None:
    """Delete all leases and heartbeats: of a warehouse that was restored, no run that they are of is under way."""
    connection.execute(delete(leases))
    connection.execute(delete(run_heartbeats))


@contextmanager
def renewed(lease: Lease) -> Iterator[None]:
    """Renew a lease every BEAT_SECONDS while the block runs, from a thread of its own.

    A renewal that fails (the database cannot be reached) is skipped: the run's own writes will raise the error.
    """

    renewal = Repeated(f"renewal of the lease of run {lease.holder}", lease.renew)
    renewal.begin(after=BEAT_SECONDS)
    try:
        yield
    finally:
        renewal.end()


@contextmanager
def heartbeats(warehouse: Warehouse, run_id: str, clock: Callable[[], datetime]) -> Iterator[None]:
    """Write a heartbeat of a run every BEAT_SECONDS while the block runs, the first one at once."""
    beat(warehouse, run_id, clock)
    beating = Repeated(f"heartbeat of run {run_id}", lambda: beat(warehouse, run_id, clock))
    beating.begin(after=BEAT_SECONDS)
    try:
        yield
    finally:
        beating.end()


class Repeated:
    """A thread that does something every BEAT_SECONDS until it is ended, or `over` says that it is no longer needed.

    What fails because of the database is logged and tried again. `over` may be set later than the thread is begun.
    """

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self.over: Callable[[], bool] = lambda: False
        self._name = name
        self._action = action
        self._first = 0.0
        self._ended = Event()
        self._thread = Thread(target=self._repeat, name=name, daemon=True)

    def begin(self, *, after: float = 0.0) -> None:
        """Start, with the first action `after` so many seconds."""
        self._first = after
        self._thread.start()

    def end(self) -> None:
        """Stop, and wait until an action that is under way has ended."""
        self._ended.set()
        self._thread.join()

    def _repeat(self) -> None:
        pause = self._first
        while not self._ended.wait(pause) and not self.over():
            pause = BEAT_SECONDS
            try:
                self._action()
            except WarehouseError as error:
                _log.warning("%s failed: %s", self._name, error)


def beat(warehouse: Warehouse, run_id: str, clock: Callable[[], datetime]) -> None:
    """Write one heartbeat of a run, and forget those of runs that ended long ago."""
    with warehouse.write() as connection:
        _beat(connection, run_id, clock)


def _beat(connection: Connection, run_id: str, clock: Callable[[], datetime]) -> None:
    now = deciding_time(connection, clock)
    upsert(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now}])
    connection.execute(delete(run_heartbeats).where(run_heartbeats.c.seen_at < now - _HEARTBEATS_KEPT))


def last_seen(connection: Connection, run_id: str) -> datetime | None:
    """Return when a run's last heartbeat was written (UTC)."""
    query = select(run_heartbeats.c.seen_at).where(run_heartbeats.c.run_id == run_id)
    return connection.execute(query).scalar_one_or_none()


def watch(warehouse: Warehouse, run_ids: Collection[str], clock: Callable[[], datetime]) -> None:
    """Write one heartbeat for each of these runs that has none yet, so that `dead` counts its time from now on."""
    with warehouse.read() as connection:
        known = set(
            connection.execute(select(run_heartbeats.c.run_id).where(run_heartbeats.c.run_id.in_(run_ids))).scalars()
        )
    if unknown := sorted(set(run_ids) - known):
        with warehouse.write() as connection:
            now = deciding_time(connection, clock)
            insert_new(connection, run_heartbeats, [{"run_id": run_id, "seen_at": now} for run_id in unknown])


def dead(warehouse: Warehouse, run_ids: Sequence[str], clock: Callable[[], datetime]) -> list[str]:
    """Return those of these runs that are dead: they could write a heartbeat and did not.

    A run without a heartbeat within SILENT_SECONDS is *doubted*, which is written down. It is dead when it is still
    silent DOUBT_SECONDS after that. While another program holds the database's lock nobody can write, so a doubt
    counts anew from when this function had to wait for the lock. Runs that never had a heartbeat (`heartbeats` or
    `watch`) are not judged. Raises WarehouseError while the database cannot be written.
    """
    with warehouse.read() as connection:
        if not _silent(connection, run_ids, clock):
            return []
    asked_at = time.monotonic()
    with warehouse.write() as connection:
        waited = time.monotonic() - asked_at
        now = deciding_time(connection, clock)
        doubts = {
            f"doubt of {run_id}, silent since {seen_at.isoformat()}": run_id
            for run_id, seen_at in _silent(connection, run_ids, clock)
        }
        since = {
            row.run_id: row.seen_at
            for row in connection.execute(select(run_heartbeats).where(run_heartbeats.c.run_id.in_(doubts)))
            if waited <= _QUICKLY and row.seen_at <= now
        }
        new = [{"run_id": doubt, "seen_at": now} for doubt in doubts if doubt not in since]
        if new:
            upsert(connection, run_heartbeats, new)
    long_ago = now - timedelta(seconds=DOUBT_SECONDS)
    return sorted(run_id for doubt, run_id in doubts.items() if doubt in since and since[doubt] <= long_ago)


def _silent(
    connection: Connection, run_ids: Sequence[str], clock: Callable[[], datetime]
) -> list[tuple[str, datetime]]:
    """Return the runs without a heartbeat within SILENT_SECONDS, with their last one.

    A heartbeat further ahead than that comes from a clock that was wrong, and does not count.
    """
    now, lasts = deciding_time(connection, clock), timedelta(seconds=SILENT_SECONDS)
    rows = connection.execute(select(run_heartbeats).where(run_heartbeats.c.run_id.in_(run_ids)))
    return [(row.run_id, row.seen_at) for row in rows if not counts_until(row.seen_at + lasts, now, 2 * lasts)]
