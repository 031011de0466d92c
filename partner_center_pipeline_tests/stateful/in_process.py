"""The local Microsoft and the pipeline in one thread: no socket, no waiting, and crashes at any transaction.

The client, the scan, the ingest, the ledger, the leads and the SQLite file are the real ones. Only the HTTP transport
(the simulator's application is called as a function) and the clock (pauses move the simulator's) are replaced.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast
from unittest.mock import patch

import httpx
from sqlalchemy import Connection

from partner_center_pipeline.defs import reconcile as reconcile_job
from partner_center_pipeline.defs.resources import PartnerCenterResource
from partner_center_pipeline.defs.window_fetch import fetch_windows
from partner_center_pipeline.partner_center import Capability, DateLiteral, ReferralsClient
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import capabilities
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import LEASE_SECONDS, Lease
from partner_center_pipeline.warehouse.reconciling import Reconciled
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import TICKS_PER_SECOND, SyncWindow, WindowGrid, datetime_of
from partner_center_simulator import Simulator
from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.server import SimulatorError

BASE_URL = "https://localhost"
OVERLAP = 900 * TICKS_PER_SECOND
DEADLINE = 480.0
"""Ticks and seconds; the settings' default, and that of one ordinary window."""


class KilledError(BaseException):
    """The process is killed here."""


class SharedClock:
    """This machine's clock: the simulator's plus `skew` seconds. Pauses take no time and move it."""

    def __init__(self, server: SimulatorClock) -> None:
        self.skew = 0.0
        self._server = server
        self._paused = 0.0

    def monotonic(self) -> float:
        """Seconds paused."""
        return self._paused

    def utc(self) -> datetime:
        """The server's time and the skew."""
        return self._server.now() + timedelta(seconds=self.skew)

    def sleep(self, seconds: float) -> None:
        """Move this clock and the simulator's."""
        self._paused += seconds
        self._server.advance(seconds)


class InProcessTransport(httpx.BaseTransport):
    """Calls the simulator's application for each request. `before` is called with the request's number, from 0."""

    def __init__(self, microsoft: Simulator) -> None:
        self.before: Callable[[int], None] = lambda _: None
        self.requests = 0
        self._app = microsoft.asgi_app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer. Raises ReadError if the simulator resets the connection."""
        number, self.requests = self.requests, self.requests + 1
        self.before(number)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "https",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 443),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        # Nothing in the application waits for anything, so one step runs it to its end.
        running: Any = self._app(scope, receive, send)
        try:
            running.send(None)
        except StopIteration:
            start, *bodies = sent
            body = b"".join(message.get("body", b"") for message in bodies)
            return httpx.Response(start["status"], headers=start["headers"], content=body)
        except SimulatorError as reset:
            raise httpx.ReadError("connection reset", request=request) from reset
        raise AssertionError("the simulator waits for something")


class CrashingWarehouse(Warehouse):
    """A warehouse that raises KilledError in or just after a transaction: after `crash_in` more of them, or never."""

    crash_in: int | None = None
    crash_before_commit = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction, perhaps the last."""
        last = self.crash_in == 0
        if self.crash_in is not None:
            self.crash_in -= 1
        with super().write() as connection:
            yield connection
            if last and self.crash_before_commit:
                raise KilledError
        if last:
            raise KilledError


def client_of(
    microsoft: Simulator,
    transport: InProcessTransport,
    clock: SharedClock,
    db: Warehouse,
    page_size: int,
    bad_tokens: int = 0,
) -> ReferralsClient:
    """Return a client with the API's stored capability. Its first `bad_tokens` tokens have expired."""
    left = bad_tokens

    def token(*, renew: bool = False) -> str:
        nonlocal left
        left -= 1
        return microsoft.entra.issue(exp=1) if left >= 0 else microsoft.entra.issue()

    with db.read() as connection:
        found = capabilities.load(connection, BASE_URL)
    literal = DateLiteral(found.date_literal) if found and found.date_literal else None
    return ReferralsClient(
        httpx.Client(transport=transport, trust_env=False),
        token,
        BASE_URL,
        page_size,
        deadline_seconds=DEADLINE,
        capability=None if found is None else Capability(literal, found.found_at),
        clock=clock,
    )


@cache
def settings_of(grid: WindowGrid) -> Settings:
    """Return the default settings for the simulator at BASE_URL, with this grid."""
    assert grid.first is not None
    return Settings(
        partner_center_base_url=BASE_URL,
        sync_start=datetime_of(grid.first),
        partner_center_poll_interval_seconds=grid.interval,
        partner_center_safety_lag_seconds=grid.lag,
    )


def fetch(
    db: Warehouse,
    client: ReferralsClient,
    grid: WindowGrid,
    windows: Sequence[SyncWindow],
    run_id: str,
    lease: Lease | None = None,
) -> WindowIngest:
    """Do what the asset raw_referrals does, without Dagster, and remember what the API was found to take."""
    ingest = fetch_windows(
        db, lambda _: nullcontext(client), settings_of(grid), windows, run_id, client.clock.utc, lease
    )
    if client.capability is not None:
        with db.write() as connection:
            capabilities.store(connection, BASE_URL, client.capability.date_literal, client.capability.found_at)
    return ingest


def taken_lease(db: Warehouse, clock: SharedClock, run_id: str) -> Lease:
    """Take the lease for fetching, after another run's, which is not renewed meanwhile, has ended."""
    lease = Lease(db, run_id, clock.utc)
    lease.acquire(LEASE_SECONDS + 15, lambda _: clock.sleep(LEASE_SECONDS))
    return lease


class _Connects:
    """Stands for the resource: it opens the client of this process."""

    def __init__(self, client: ReferralsClient) -> None:
        self._client = client

    @contextmanager
    def open(
        self, _: Settings, *, deadline: float, asking: Callable[[], None] = lambda: None
    ) -> Iterator[ReferralsClient]:
        self._client._asking = asking  # what the resource gives to a client that it makes
        yield self._client


def compare(db: Warehouse, client: ReferralsClient, clock: SharedClock, grid: WindowGrid, run_id: str) -> Reconciled:
    """Do what the weekly job does. The lease is held without a thread that renews it: no time passes here."""

    @contextmanager
    def fetching(db: Warehouse, run_id: str) -> Iterator[Lease]:
        lease = taken_lease(db, clock, run_id)
        try:
            yield lease
        finally:
            lease.release()

    partner_center = cast(PartnerCenterResource, _Connects(client))
    with patch.object(reconcile_job, "fetching", fetching), patch.object(reconcile_job, "utc_now", clock.utc):
        return reconcile_job.reconcile(db, partner_center, settings_of(grid), run_id)
