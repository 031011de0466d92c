"""The simulator as a whole: HTTPS and DNS in one process, on loopback by default, with one clock and one world.

Not here: what the services answer (`entra`, `referrals`, `control`, `dns`).
"""

import asyncio
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
from partner_center_simulator.paging import PATH
from partner_center_simulator.payloads import Payload
from partner_center_simulator.referrals import ReferralsApi
from partner_center_simulator.world import World

_START_SECONDS: Final = 20.0


class SimulatorError(RuntimeError):
    """The simulator cannot start, or cannot reset a connection. The message says why."""


class Simulator:
    """A local Microsoft: Entra ID sign-in and the Referrals API over HTTPS, and a DNS zone.

    A context manager that calls `start` and `stop`. Its state depends only on `seed`, `anchor` (aware; None is now),
    `referrals`, `recent_from` and `live` (see `World`): after a restart with the same arguments it is the same, and
    sign-ins are still valid.

    `clock` is the clock of the servers; the default one shows `anchor` at first and runs. `directory` keeps the
    certificate authority, so that clients need not load a new one after a restart; without it the authority is
    temporary. Port 0 takes a free port. `host` is the address that it listens on, loopback by default; another is for
    machines of a test.
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
        host: str = "127.0.0.1",
    ) -> None:
        self.clock = clock or SimulatorClock(anchor)
        self.world = World(seed, anchor or self.clock.now(), referrals, recent_from=recent_from, live=live)
        self.faults = Faults()
        self.zone = WorldZone(seed, self.world.companies)
        self.entra = Entra(seed, self.clock, self.faults, self.zone.tenant_of)
        self.dns = DnsServer(self.zone, self.faults, port=dns_port, host=host)
        self._connections: dict[tuple[str, int], Any] = {}
        self.api = ReferralsApi(self.world, self.clock, self.faults, self.entra, self._reset)
        control = Control(self.clock, self.faults, self.entra, self.world, self._counters)
        routes = [*control.routes(), *self.api.routes(), *self.entra.routes()]
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False  # some addresses of the API end in slashes
        dripping = _DripMiddleware(app, self.faults, self._connections)
        self.asgi_app: ASGIApp = _DateMiddleware(dripping, self.clock, self.faults)
        """The HTTPS application without a socket, for httpx.ASGITransport."""
        self._directory = directory
        self._host = host
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
        """Start to listen. Raises SimulatorError if a port is in use."""
        # After weeks without a run a live world needs time for all events since; no client should wait for that.
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
            raise SimulatorError(f"the simulator cannot listen on {self._host}: {error}") from error

    def stop(self) -> None:
        """Close every socket and end every thread."""
        self._stack.close()
        self._stopped.set()

    def wait(self) -> None:
        """Block until another thread calls `stop`, or until KeyboardInterrupt."""
        self._stopped.wait()

    # Addresses and ids

    @property
    def base_url(self) -> str:
        """The address of both HTTPS services, `https://localhost:port` on loopback."""
        return f"https://{'localhost' if self._host == '127.0.0.1' else self._host}:{self._port}"

    @property
    def authority(self) -> str:
        """The address of the sign-in service without the tenant."""
        return self.base_url

    @property
    def tenant_id(self) -> str:
        """The id of the partner's tenant."""
        return self.entra.tenant_id

    @property
    def client_id(self) -> str:
        """The id of the app registration."""
        return self.entra.client_id

    @property
    def dns_address(self) -> tuple[str, int]:
        """Host and port of the DNS server, for UDP and TCP."""
        return self.dns.address

    def environment(self) -> dict[str, str]:
        """Return the pipeline's settings, as environment variables, that make it use this simulator."""
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

    # Actions of a person or of Microsoft

    def approve(self, user_code: str) -> None:
        """Sign in with a device code. Raises KeyError if the code is unknown, expired or used."""
        self.entra.approve(user_code)

    def create(self, changes: Mapping[str, Any] | None = None) -> Payload:
        """Create a referral now (see `World.create`)."""
        self.world.advance(self.clock.ticks())
        return self.world.create(self.clock.ticks(), changes)

    def change(self, referral_id: str, changes: Mapping[str, Any]) -> Payload:
        """Change a referral now (see `World.change`)."""
        self.world.advance(self.clock.ticks())
        return self.world.change(referral_id, self.clock.ticks(), changes)

    def _counters(self) -> dict[str, int]:
        return {"requests": self.api.requests, "questions": self.dns.questions}

    # Sockets

    def _serve_https(self, stack: ExitStack, authority: trustme.CA, folder: Path) -> None:
        leaf = authority.issue_cert("localhost", self._host)
        server_pem = folder / "server.pem"
        server_pem.touch(0o600)
        leaf.private_key_and_cert_chain_pem.write_to_path(server_pem)
        listener = socket.create_server((self._host, self._port), backlog=512)
        stack.callback(listener.close)
        self._port = listener.getsockname()[1]
        self.entra.base_url = self.base_url
        server = uvicorn.Server(
            uvicorn.Config(
                self.asgi_app,
                http=_protocol_class(self._connections),
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
        stack.callback(_stop_server, server, thread)
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise SimulatorError("the HTTPS server did not start")
            time.sleep(0.005)

    def _reset(self, request: Request) -> None:
        """Reset the connection of a request. Raises SimulatorError if it has no real one."""
        client = request.client
        transport = None if client is None else self._connections.get((client.host, client.port))
        if transport is None:
            raise SimulatorError("only a real connection can be reset, and this request came without one")
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class _DateMiddleware:
    """Adds the `Date` header of the simulated clock to every response (uvicorn's own shows real time)."""

    def __init__(self, app: ASGIApp, clock: SimulatorClock, faults: Faults) -> None:
        self._app = app
        self._clock = clock
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_date(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = self._date()
                if date is not None:
                    MutableHeaders(scope=message)["Date"] = date
            await send(message)

        await self._app(scope, receive, send_with_date)

    def _date(self) -> str | None:
        match self._faults.date_header:
            case DateHeader.MISSING:
                return None
            case DateHeader.GARBLED:
                return "sometime today"
            case DateHeader.RIGHT:
                moment = self._clock.now() + timedelta(seconds=self._faults.date_skew_seconds)
                return format_datetime(moment.replace(microsecond=0), usegmt=True)


class _DripMiddleware:
    """Sends answers one byte at a time, or answers with headers that do not end (see `Faults`)."""

    def __init__(self, app: ASGIApp, faults: Faults, connections: dict[tuple[str, int], Any]) -> None:
        self._app = app
        self._faults = faults
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(PATH) and self._faults.drip_headers_per_second:
            await self._drip_headers(scope)
            return

        async def send_dripping(message: Message) -> None:
            body = message.get("body", b"")
            while body and (rate := self._rate(scope["path"])) and self._transport(scope) is not None:
                await send({"type": "http.response.body", "body": body[:1], "more_body": True})
                body = body[1:]
                await asyncio.sleep(1 / rate)
            await send({**message, "body": body} if message["type"] == "http.response.body" else message)

        await self._app(scope, receive, send_dripping)

    def _rate(self, path: str) -> float:
        if path.startswith("/_sim"):
            return 0.0
        of_api = path.startswith(PATH)
        return self._faults.drip_bytes_per_second if of_api else self._faults.drip_sign_in_bytes_per_second

    def _transport(self, scope: Scope) -> Any:
        return self._connections.get(tuple(scope["client"] or ()))

    async def _drip_headers(self, scope: Scope) -> None:
        transport = self._transport(scope)
        if transport is None:
            raise SimulatorError("headers drip on a real connection only, and this request came without one")
        transport.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        while (rate := self._faults.drip_headers_per_second) and not transport.is_closing():
            transport.write(b"x")
            await asyncio.sleep(1 / rate)
        transport.abort()


def _protocol_class(connections: dict[tuple[str, int], Any]) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with the addition that it keeps its open connections in `connections`."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connections[transport.get_extra_info("peername")[:2]] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self.client or ("", 0), None)
            super().connection_lost(exc)

    return Protocol


def _stop_server(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join()


def _certificate_authority(folder: Path) -> trustme.CA:
    """Return the certificate authority of a folder. Create it at the first start."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
    authority = trustme.CA()
    authority.cert_pem.write_to_path(certificate)
    key.touch(0o600)
    authority.private_key_pem.write_to_path(key)
    return authority
