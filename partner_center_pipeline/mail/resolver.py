"""Asking resolvers: UDP, TCP when an answer is truncated, retries, a rate limit, and a cache by TTL.

Here is the package's I/O. What does not belong here: what is asked for a domain (`scanner`), and how bytes are read
(`wire`).

Both libraries were measured (17 questions a domain, one core): dnspython's own asyncio client 95 domains per second of
CPU, aiodns (c-ares) 613, this 561 to 647 with the judging included. Besides, with aiodns one unreadable answer
fails every other question on the same socket, an NXDOMAIN hides the CNAME that led there (which is what names a
tenant), and the negative TTL of the SOA is not shown.
"""

import asyncio
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final, Protocol, Self

from partner_center_pipeline.mail import wire
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.wire import Answer, Question, RdataType

TRIES: Final = 3
"""Attempts per question, each at the next resolver."""

TRY_SECONDS: Final = 2.0
"""How long one attempt waits for its answer."""

QUERIES_PER_SECOND: Final = 1000.0
"""Questions per second to one resolver; Google Public DNS, for one, throttles a client at 1,500."""

IN_FLIGHT: Final = 128
"""Questions that one resolver has unanswered at the same time: a burst that fits a socket's default receive
buffer (208 KiB on Linux) at either end, where one too many is dropped and costs TRY_SECONDS."""

CACHE_SIZE: Final = 20_000
"""Answers that are kept at most; those that were used last stay."""

LONGEST_DATAGRAM: Final = 65_535

_TTL_CAP: Final = 86_400


class ResolverError(Exception):
    """No resolver can be used. The message says what to set."""


class Resolver(Protocol):
    """Where answers come from."""

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """The answer for a name in ASCII. Never raises for what a server does: that is the answer's outcome."""
        ...


class TokenBucket:
    """Spreads questions to `rate` per second with a burst of a tenth of a second's worth."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._burst = max(rate / 10, 1) * self._interval
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Take one token and say how many seconds to wait before using it; `now` in seconds, never going back."""
        self._next = max(self._next, now - self._burst) + self._interval
        return max(0.0, self._next - now)


class _Upstream:
    """One resolver: a connected UDP socket that many questions share, told apart by their ids.

    The socket is read here and not by an asyncio transport, which takes one datagram per turn of the event
    loop.
    """

    def __init__(self, host: str, port: int, rate: float | None) -> None:
        self._address = (host, port)
        self._bucket = TokenBucket(rate) if rate is not None else None
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._pending: dict[int, asyncio.Future[bytes | None]] = {}
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket

    async def open(self) -> None:
        family, kind, protocol, _, address = (await self._loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM))[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.connect(address)
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        for _ in range(IN_FLIGHT):
            try:
                message = self._socket.recv(LONGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._nobody_there()
                return
            waiting = self._pending.get(wire.ident_of(message) or 0)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def _nobody_there(self) -> None:
        """The network says that nothing listens at the address: no question waits any longer for its answer."""
        for waiting in self._pending.values():
            _give_up(waiting)

    async def ask(self, asked: Question) -> Answer:
        """One attempt."""
        async with self._slots:
            message = await self._datagram(asked, edns=True)
            if message is not None and wire.rejects_edns(message):
                message = await self._datagram(asked, edns=False)
            if message is not None and wire.is_truncated(message):
                message = await self._stream(asked)
        return Answer(Outcome.TIMEOUT) if message is None else wire.read_answer(message, asked)

    async def _token(self) -> None:
        if self._bucket is not None and (delay := self._bucket.reserve(self._loop.time())) > 0:
            await asyncio.sleep(delay)

    async def _datagram(self, asked: Question, *, edns: bool) -> bytes | None:
        await self._token()
        ident = self._free_ident()
        waiting: asyncio.Future[bytes | None] = self._loop.create_future()
        self._pending[ident] = waiting
        timer = self._loop.call_later(TRY_SECONDS, _give_up, waiting)
        try:
            self._socket.send(asked.message(ident, edns=edns))
            return await waiting
        except OSError:
            return None
        finally:
            timer.cancel()
            del self._pending[ident]

    async def _stream(self, asked: Question) -> bytes | None:
        await self._token()
        message = asked.message(self._free_ident())
        try:
            async with asyncio.timeout(TRY_SECONDS):
                reader, writer = await asyncio.open_connection(*self._address)
                try:
                    writer.write(len(message).to_bytes(2, "big") + message)
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    answer = await reader.readexactly(length)
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        # What answers another question is as good as unreadable.
        return answer if wire.ident_of(answer) == wire.ident_of(message) else b""

    def _free_ident(self) -> int:
        while (ident := secrets.randbelow(0xFFFF) + 1) in self._pending:
            pass
        return ident


def _give_up(waiting: asyncio.Future[bytes | None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def system_resolvers() -> tuple[tuple[str, int], ...]:
    """The machine's own resolvers (/etc/resolv.conf). Raises ResolverError when it has none."""
    import dns.resolver  # brings dnspython's own network code, which nothing else needs

    try:
        found = dns.resolver.Resolver()
    except (dns.resolver.NoResolverConfiguration, OSError):
        raise ResolverError(
            "this machine names no DNS resolver; set HUNTER_DNS_RESOLVERS, e.g. HUNTER_DNS_RESOLVERS=192.0.2.53"
        ) from None
    return tuple((str(server), found.port) for server in found.nameservers)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class StubResolver:
    """Asks recursive resolvers in turn. An async context manager: the sockets live as long as it does.

    `servers` are (host, port); none means the machine's own. `rate` is questions per second to each, except to one on
    loopback: that is a resolver of our own (or the local Microsoft's zone), and it limits what it forwards.
    """

    def __init__(self, servers: Sequence[tuple[str, int]], rate: float = QUERIES_PER_SECOND) -> None:
        self._servers = tuple(servers) or system_resolvers()
        self._rate = rate
        self._upstreams: list[_Upstream] = []
        self._turn = 0

    async def __aenter__(self) -> Self:
        """Open one socket per resolver. Raises ResolverError for an address that cannot be used."""
        for host, port in self._servers:
            upstream = _Upstream(host, port, None if _is_loopback(host) else self._rate)
            try:
                await upstream.open()
            except OSError as error:
                await self.__aexit__()
                raise ResolverError(
                    f"the DNS resolver {host}:{port} cannot be used ({error.strerror or error}); "
                    "check HUNTER_DNS_RESOLVERS"
                ) from error
            self._upstreams.append(upstream)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the sockets."""
        for upstream in self._upstreams:
            upstream.close()

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """See Resolver. CNAMEs are followed to their end, at most `wire.CHAIN_LIMIT` (see `wire.continue_chain`)."""
        answer = await self._ask(name, rdtype)
        while answer.open_end:
            answer = wire.continue_chain(answer, await self._ask(answer.cnames[-1], rdtype))
        return answer

    async def _ask(self, name: str, rdtype: RdataType) -> Answer:
        asked = wire.question(name, rdtype)
        if asked is None:
            return wire.impossible(name)
        self._turn += 1
        answer = Answer(Outcome.TIMEOUT)
        for attempt in range(TRIES):
            latest = await self._upstreams[(self._turn + attempt) % len(self._upstreams)].ask(asked)
            if latest.outcome.is_fact:
                return latest
            # A word from a server says more than silence.
            answer = answer if latest.outcome is Outcome.TIMEOUT else latest
        return answer


class CachingResolver:
    """Remembers another resolver's facts for their TTL and asks no question twice at the same time."""

    def __init__(self, resolver: Resolver, now: Callable[[], float]) -> None:
        """`now` gives seconds that never go back."""
        self._resolver = resolver
        self._now = now
        self._known: OrderedDict[tuple[str, RdataType], tuple[float, Answer]] = OrderedDict()
        self._asking: dict[tuple[str, RdataType], asyncio.Future[Answer]] = {}

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """See Resolver."""
        key = (name, rdtype)
        while (other := self._asking.get(key)) is not None:
            try:
                return await asyncio.shield(other)
            except asyncio.CancelledError:
                # Either the domain that asked first ran out of time, or this one did.
                task = asyncio.current_task()
                if not other.cancelled() or (task is not None and task.cancelling()):
                    raise
        if (known := self._known.get(key)) is not None and known[0] > self._now():
            self._known.move_to_end(key)
            return known[1]
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking[key] = mine
        try:
            answer = await self._resolver.query(name, rdtype)
            mine.set_result(answer)
        finally:
            mine.cancel()
            del self._asking[key]
        if answer.outcome.is_fact and answer.ttl > 0:
            self._known[key] = (self._now() + min(answer.ttl, _TTL_CAP), answer)
            if len(self._known) > CACHE_SIZE:
                self._known.popitem(last=False)
        return answer
