"""The DNS client: UDP, TCP when an answer is truncated, retries, a rate limit, and a cache by TTL.

Not here: what to ask for a domain (`scanner`), reading and writing messages (`wire`).

Measured with 17 questions per domain on one core, in domains per second of CPU: dnspython's own asyncio client 95,
aiodns (c-ares) 613, this one 561 to 647, classification included, with one socket for all questions. A socket for each
costs at most 60 us more, 1 ms for a domain; the rate limit lets one resolver have 59 domains a second. With aiodns one
unreadable answer fails every other question on the same socket, an NXDOMAIN hides the CNAME before it (which can name
the tenant), and the negative TTL of the SOA is not available.
"""

import asyncio
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, Self

from partner_center_pipeline.mail import wire
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.wire import Answer, Fit, Question, RdataType
from partner_center_pipeline.settings import is_loopback

TRIES: Final = 3
"""Attempts per question, each with the next resolver."""

TRY_SECONDS: Final = 2.0
"""The time in which one attempt must be answered."""

QUERIES_PER_SECOND: Final = 1000.0
"""Questions per second to one resolver. Google Public DNS limits a client to 1,500."""

BLOCK_SECONDS: Final = 0.1
"""Seconds of a resolver's time that a process reserves at once where several share it: 100 questions a round trip."""

IN_FLIGHT: Final = 128
"""Unanswered questions per resolver at one time. That many fit into the default receive buffer of a resolver's socket
(208 KiB on Linux). A datagram that does not fit is dropped, and its question waits for TRY_SECONDS."""

CACHE_SIZE: Final = 20_000
"""The largest number of answers kept. The least recently used are dropped first."""

LONGEST_DATAGRAM: Final = 65_535
"""The largest UDP message in bytes."""

_IDENT_BITS: Final = 16
"""The length of a message's id."""

_TTL_CAP: Final = 86_400
"""The longest time in seconds that an answer is kept."""


class ResolverError(Exception):
    """No resolver can be used. The message says which setting to change."""


class Resolver(Protocol):
    """A source of answers."""

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """Return the answer for an ASCII name. Never raises for what a server does: the answer's outcome says it."""
        ...


class TokenBucket:
    """Limits questions to `rate` per second. A burst has at most the questions of a tenth of a second."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._burst = max(rate / 10, 1) * self._interval
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Take one token and return the seconds to wait before using it. `now` is in seconds and never goes back."""
        self._next = max(self._next, now - self._burst) + self._interval
        return max(0.0, self._next - now)


Reserve = Callable[[str, float], float]
"""Given a resolver (`host:port`) and seconds of its time, reserves these for this process; returns the seconds until
they begin. Blocks. For processes that share a limit (`warehouse.dns_share`)."""


class SharedBucket:
    """Limits the questions of several processes together to `rate` per second.

    Each takes BLOCK_SECONDS of the resolver's time at once and spreads its questions over them, so a block is one call
    of `reserve`, which runs in a thread of its own. What a process does not use of a block is lost.
    """

    def __init__(self, rate: float, reserve: Callable[[float], float]) -> None:
        self._interval = 1 / rate
        self._block = max(1, round(rate * BLOCK_SECONDS))
        self._reserve = reserve
        self._left = 0
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def reserve(self, now: Callable[[], float]) -> float:
        """Take one token and return the seconds to wait before using it. `now` gives seconds that never go back."""
        async with self._lock:
            if not self._left or now() - self._next > BLOCK_SECONDS:  # what was not used in its time is over
                begins = await asyncio.to_thread(self._reserve, self._block * self._interval)
                # Not before the last block ends: where nobody can be asked, `begins` is 0, and this process goes on
                # with its own time alone.
                self._left, self._next = self._block, max(self._next, now() + begins)
            self._left -= 1
            at = self._next
            self._next += self._interval
        return max(0.0, at - now())


class _Exchange:
    """One question over UDP from a socket of its own, so from a port that the system draws at random.

    It waits until the answer comes that fits, whatever else comes: who forges one has to guess port, id and capitals,
    and one that does not fit ends nothing. The socket is read here because an asyncio transport reads only one datagram
    per turn of the event loop.
    """

    def __init__(self, sent: bytes, asked: Question, reply: asyncio.Future[bytes | None]) -> None:
        self._sent = sent
        self._asked = asked
        self._reply = reply
        self._unfit: bytes | None = None

    def receive(self, udp: socket.socket) -> None:
        """Read what came, and end the exchange with what fits. An error is the network's: nobody listens there."""
        while not self._reply.done():
            try:
                message = udp.recv(LONGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._reply.set_result(None)
                return
            match wire.fit(message, self._sent, self._asked):
                case Fit.WHOLE:
                    self._reply.set_result(message)
                case Fit.IN_OTHER_CAPITALS:
                    self._reply.set_result(wire.ASK_OVER_TCP)  # which nobody forges from afar
                case Fit.ID_ONLY:
                    self._unfit = message

    def end(self) -> None:
        """End the exchange because its time is over, with what came instead of an answer, if anything."""
        if not self._reply.done():
            self._reply.set_result(self._unfit)


class _Upstream:
    """One resolver."""

    def __init__(self, host: str, port: int, rate: float | None, reserve: Reserve | None) -> None:
        self._address = (host, port)
        self._bucket = TokenBucket(rate) if rate is not None else None
        self._shared = (
            SharedBucket(rate, partial(reserve, f"{host}:{port}")) if rate is not None and reserve is not None else None
        )
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._loop = asyncio.get_running_loop()
        self._family = socket.AF_INET
        self._resolved: Any = self._address

    async def open(self) -> None:
        """Find the address. Raises OSError where there is none."""
        found = await self._loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
        self._family, _, _, _, self._resolved = found[0]
        self._connected().close()

    def _connected(self) -> socket.socket:
        udp = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            udp.setblocking(False)
            udp.connect(self._resolved)
        except OSError:
            udp.close()
            raise
        return udp

    async def query_once(self, asked: Question) -> Answer:
        """Make one attempt, over UDP and, when the server requires it, again without EDNS or over TCP."""
        async with self._slots:
            message = await self._send_over_udp(asked, edns=True)
            if message is not None and wire.rejects_edns(message):
                message = await self._send_over_udp(asked, edns=False)
            if message is not None and wire.is_truncated(message):
                message = await self._send_over_tcp(asked)
        return Answer(Outcome.TIMEOUT) if message is None else wire.read_answer(message, asked)

    async def _wait_for_token(self) -> None:
        if self._shared is not None:
            delay = await self._shared.reserve(self._loop.time)
        else:
            delay = 0.0 if self._bucket is None else self._bucket.reserve(self._loop.time())
        if delay > 0:
            await asyncio.sleep(delay)

    async def _send_over_udp(self, asked: Question, *, edns: bool) -> bytes | None:
        await self._wait_for_token()
        drawn = secrets.randbits(_IDENT_BITS + 8 * len(asked.section))
        sent = asked.message(drawn % (1 << _IDENT_BITS), edns=edns, capitals=drawn >> _IDENT_BITS)
        reply: asyncio.Future[bytes | None] = self._loop.create_future()
        exchange = _Exchange(sent, asked, reply)
        try:
            udp = self._connected()
        except OSError:
            return None
        timer = self._loop.call_later(TRY_SECONDS, exchange.end)
        # By its number: asyncio looks for the reader that a socket has already, and writes the socket out where there
        # is none, a tenth of the time that a question takes.
        number = udp.fileno()
        self._loop.add_reader(number, exchange.receive, udp)
        try:
            udp.send(sent)
            return await reply
        except OSError:
            return None
        finally:
            timer.cancel()
            self._loop.remove_reader(number)
            udp.close()

    async def _send_over_tcp(self, asked: Question) -> bytes | None:
        await self._wait_for_token()
        message = asked.message(secrets.randbits(_IDENT_BITS))
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
        # An answer to another question counts as unreadable: b"" reads as MALFORMED.
        return answer if wire.ident_of(answer) == wire.ident_of(message) else b""


def system_resolvers() -> tuple[tuple[str, int], ...]:
    """Return the machine's own resolvers (/etc/resolv.conf). Raises ResolverError when it has none."""
    import dns.resolver  # loads dnspython's network code, which nothing else needs

    try:
        resolver = dns.resolver.Resolver()
    except (dns.resolver.NoResolverConfiguration, OSError):
        raise ResolverError(
            "this machine names no DNS resolver; set HUNTER_DNS_RESOLVERS, e.g. HUNTER_DNS_RESOLVERS=192.0.2.53"
        ) from None
    return tuple((str(server), resolver.port) for server in resolver.nameservers)


class StubResolver:
    """Asks recursive resolvers in turn. An async context manager: it finds their addresses.

    `servers` are (host, port); without any, the machine's own are used. `rate` is questions per second to each, of all
    processes together that have the same `reserve`. There is no limit for a resolver on loopback: it is our own (or the
    simulator's), and limits what it forwards.
    """

    def __init__(
        self, servers: Sequence[tuple[str, int]], rate: float = QUERIES_PER_SECOND, reserve: Reserve | None = None
    ) -> None:
        self._servers = tuple(servers) or system_resolvers()
        self._rate = rate
        self._reserve = reserve
        self._upstreams: list[_Upstream] = []
        self._turn = 0

    async def __aenter__(self) -> Self:
        """Find the address of each resolver. Raises ResolverError for an address that cannot be used."""
        for host, port in self._servers:
            upstream = _Upstream(host, port, None if is_loopback(host) else self._rate, self._reserve)
            try:
                await upstream.open()
            except OSError as error:
                raise ResolverError(
                    f"the DNS resolver {host}:{port} cannot be used ({error.strerror or error}); "
                    "check HUNTER_DNS_RESOLVERS"
                ) from error
            self._upstreams.append(upstream)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: each question closes its own socket."""

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """Return the answer, following CNAMEs to their end (see `wire.continue_chain`)."""
        answer = await self._query_with_retries(name, rdtype)
        while answer.open_end:
            answer = wire.continue_chain(answer, await self._query_with_retries(answer.cnames[-1], rdtype))
        return answer

    async def _query_with_retries(self, name: str, rdtype: RdataType) -> Answer:
        asked = wire.question(name, rdtype)
        if asked is None:
            return wire.impossible(name)
        self._turn += 1
        answer = Answer(Outcome.TIMEOUT)
        for attempt in range(TRIES):
            latest = await self._upstreams[(self._turn + attempt) % len(self._upstreams)].query_once(asked)
            if latest.outcome.is_fact:
                return latest
            # An error that a server reports says more than a timeout.
            answer = answer if latest.outcome is Outcome.TIMEOUT else latest
        return answer


class CachingResolver:
    """Keeps another resolver's facts for their TTL, and asks no question twice at the same time."""

    def __init__(self, resolver: Resolver, now: Callable[[], float]) -> None:
        """Cache the answers of `resolver`. `now` gives seconds that never go back."""
        self._resolver = resolver
        self._now = now
        self._known: OrderedDict[tuple[str, RdataType], tuple[float, Answer]] = OrderedDict()
        self._asking: dict[tuple[str, RdataType], asyncio.Future[Answer]] = {}

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        """Return the kept answer, or else the other resolver's (see Resolver.query)."""
        key = (name, rdtype)
        while (pending := self._asking.get(key)) is not None:
            try:
                return await asyncio.shield(pending)
            except asyncio.CancelledError:
                # The time is over, either for the domain that asked first (then ask again) or for this one.
                task = asyncio.current_task()
                if not pending.cancelled() or (task is not None and task.cancelling()):
                    raise
        if (known := self._known.get(key)) is not None and known[0] > self._now():
            self._known.move_to_end(key)
            return known[1]
        result: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking[key] = result
        try:
            answer = await self._resolver.query(name, rdtype)
            result.set_result(answer)
        finally:
            result.cancel()
            del self._asking[key]
        if answer.outcome.is_fact and answer.ttl > 0:
            self._known[key] = (self._now() + min(answer.ttl, _TTL_CAP), answer)
            if len(self._known) > CACHE_SIZE:
                self._known.popitem(last=False)
        return answer
