"""Puts the local Microsoft together: one process, HTTPS and DNS on loopback, one clock, one world.

Sockets, certificates, threads, addresses. Not here: what the services answer.
"""

import socket
import struct
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.control import Control
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.entra import AUDIENCE, USER, Entra
from partner_center_simulator.faults import DateHeader, Faults
from partner_center_simulator.mail_setups import WorldZone
from partner_center_simulator.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from partner_center_simulator.payloads import Payload
from partner_center_simulator.referrals import ReferralsApi
from partner_center_simulator.world import World

HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 20.0


class SimulatorError(RuntimeError):
    """The simulator could not start. The message says why."""


class Simulator:
    """A local Microsoft: Entra ID sign-in and the Referrals API over HTTPS, and a DNS zone, all on loopback.

    A context manager; `start` and `stop` do the same. Everything it knows is a function of `seed`, `anchor`
    (aware; now when None), `referrals`, `recent_from` and `live` (see `World`), so a restart with the same arguments
    comes up in the same state, sign-ins included.

    `clock` is the servers' clock; by default it shows `anchor` at the start and runs. `directory` is where the
    certificate authority lives; one that is there already is used again, so that clients need not reload it. Without
    a directory it lives in a temporary one. Ports are free ones unless given.
    """

    def __init__(
        self,
        seed: int = 1,
        anchor: datetime | None = None,
        referrals: int = 250,
        *,
        recent_from: datetime | None = None,
        live: bool = False,
        clock: SimulatorClock | None = None,
        directory: Path | None = None,
        https_port: int = 0,
        dns_port: int = 0,
        default_page_size: int = DEFAULT_PAGE_SIZE,
        max_page_size: int = MAX_PAGE_SIZE,
    ) -> None:
        self.clock = clock or SimulatorClock(anchor)
        self.world = World(seed, anchor or self.clock.now(), referrals, recent_from=recent_from, live=live)
        self.faults = Faults()
        self.zone = WorldZone(seed, self.world.companies)
        self.entra = Entra(seed, self.clock, self.faults, self.zone.tenant_of)
        self.dns = DnsServer(self.zone, self.faults, port=dns_port)
        self._connections: dict[tuple[str, int], Any] = {}
        self.api = ReferralsApi(
            self.world,
            self.clock,
            self.faults,
            self.entra,
            self._reset,
            default_page_size=default_page_size,
            max_page_size=max_page_size,
        )
        control = Control(self.clock, self.faults, self.entra, self.world, self._counters)
        routes = [*control.routes(), *self.api.routes(), *self.entra.routes()]
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False  # the API has addresses that end in slashes
        self.asgi_app: ASGIApp = _Dated(app, self.clock, self.faults)
        """The HTTPS side without its socket, for httpx.ASGITransport."""
        self._directory = directory
        self._port = https_port
        self._stack = ExitStack()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises SimulatorError when a port is taken."""
        # A live world that was away for weeks catches up before anyone waits for an answer.
        self.world.advance(self.clock.ticks())
        try:
            with ExitStack() as stack:
                folder = self._directory
                if folder is None:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
                authority = _certificate_authority(folder)
                self.ca_bundle = folder / "ca.pem"
                stack.callback(self.dns.stop)
                self.dns.start()
                self._serve_https(stack, authority, folder)
                self._stack = stack.pop_all()
        except OSError as error:
            raise SimulatorError(f"the simulator cannot listen on {HOST}: {error}") from error

    def stop(self) -> None:
        """Close every socket, end every thread."""
        self._stack.close()
        self._stopped.set()

    def wait(self) -> None:
        """Block until `stop` is called from another thread, or KeyboardInterrupt."""
        self._stopped.wait()

    # Where it is

    @property
    def base_url(self) -> str:
        """The address of both HTTPS services, `https://localhost:port`."""
        return f"https://localhost:{self._port}"

    @property
    def authority(self) -> str:
        """The sign-in service without its tenant."""
        return self.base_url

    @property
    def tenant_id(self) -> str:
        """The partner's tenant."""
        return self.entra.tenant_id

    @property
    def client_id(self) -> str:
        """The app registration."""
        return self.entra.client_id

    @property
    def dns_address(self) -> tuple[str, int]:
        """Host and port of the resolver, UDP and TCP."""
        return self.dns.address

    def environment(self) -> dict[str, str]:
        """Return the variables that point the pipeline at this simulator (names of `settings.py`)."""
        host, port = self.dns_address
        return {
            "HUNTER_PARTNER_CENTER_BASE_URL": self.base_url,
            "HUNTER_PARTNER_CENTER_AUTHORITY": self.authority,
            "HUNTER_PARTNER_CENTER_TENANT_ID": self.tenant_id,
            "HUNTER_PARTNER_CENTER_CLIENT_ID": self.client_id,
            "HUNTER_PARTNER_CENTER_SCOPE": f"{AUDIENCE}/.default",
            "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(self.ca_bundle),
            "HUNTER_DNS_RESOLVERS": f"{host}:{port}",
            "HUNTER_OWN_DOMAINS": USER.partition("@")[2],
        }

    # What a person or Microsoft does

    def approve(self, user_code: str) -> None:
        """Sign in with a device code. Raises KeyError when the code is unknown, expired or used."""
        self.entra.approve(user_code)

    def create(self, changes: Mapping[str, Any] | None = None) -> Payload:
        """Make a new referral, now (see `World.create`)."""
        self.world.advance(self.clock.ticks())
        return self.world.create(self.clock.ticks(), changes)

    def change(self, referral_id: str, changes: Mapping[str, Any]) -> Payload:
        """Change a referral, now (see `World.change`)."""
        self.world.advance(self.clock.ticks())
        return self.world.change(referral_id, self.clock.ticks(), changes)

    def _counters(self) -> dict[str, int]:
        return {"requests": self.api.requests, "questions": self.dns.questions}

    # Sockets

    def _serve_https(self, stack: ExitStack, authority: trustme.CA, folder: Path) -> None:
        leaf = authority.issue_cert("localhost", HOST)
        server_pem = folder / "server.pem"
        server_pem.touch(0o600)
        leaf.private_key_and_cert_chain_pem.write_to_path(server_pem)
        listener = socket.create_server((HOST, self._port), backlog=512)
        stack.callback(listener.close)
        self._port = listener.getsockname()[1]
        self.entra.base_url = self.base_url
        server = uvicorn.Server(
            uvicorn.Config(
                self.asgi_app,
                http=_protocol(self._connections),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                ssl_certfile=server_pem,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="simulator-https", daemon=True
        )
        thread.start()
        stack.callback(_end, server, thread)
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise SimulatorError("the HTTPS server did not start")
            time.sleep(0.005)

    def _reset(self, request: Request) -> None:
        """Reset the connection a request came in on."""
        client = request.client
        transport = None if client is None else self._connections.get((client.host, client.port))
        if transport is None:
            raise SimulatorError("only a real connection can be reset, and this request came without one")
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class _Dated:
    """Adds the `Date` header from the simulated clock to every answer (uvicorn's own is real time)."""

    def __init__(self, app: ASGIApp, clock: SimulatorClock, faults: Faults) -> None:
        self._app = app
        self._clock = clock
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = self._date()
                if date is not None:
                    MutableHeaders(scope=message)["Date"] = date
            await send(message)

        await self._app(scope, receive, dated)

    def _date(self) -> str | None:
        match self._faults.date_header:
            case DateHeader.MISSING:
                return None
            case DateHeader.GARBLED:
                return "sometime today"
            case DateHeader.RIGHT:
                shown = self._clock.now() + timedelta(seconds=self._faults.date_skew_seconds)
                return format_datetime(shown.replace(microsecond=0), usegmt=True)


def _protocol(connections: dict[tuple[str, int], Any]) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, keeping its connections where a fault can reset them."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connections[transport.get_extra_info("peername")[:2]] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self.client or ("", 0), None)
            super().connection_lost(exc)

    return Protocol


def _end(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join()


def _certificate_authority(folder: Path) -> trustme.CA:
    """Return the authority kept in a folder, made at the first start."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
    authority = trustme.CA()
    authority.cert_pem.write_to_path(certificate)
    key.touch(0o600)
    authority.private_key_pem.write_to_path(key)
    return authority
