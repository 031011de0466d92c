"""The DNS responder: UDP and TCP on one loopback port, in front of a zone.

What belongs here: the wire format (dnspython), sockets, truncation, carrying out DNS faults. What does not: the
records (`zone`), the switches (`faults`).
"""

import asyncio
import struct
import threading
from functools import lru_cache
from types import TracebackType
from typing import Final, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from partner_center_pipeline.simulator.faults import DnsFault, Faults
from partner_center_pipeline.simulator.zone import NEGATIVE_TTL, TTL, Answer, Zone

_HOST: Final = "127.0.0.1"
_PLAIN_UDP_SIZE: Final = 512
_CACHE_SIZE: Final = 20_000
_PORT_ATTEMPTS: Final = 20
_START_SECONDS: Final = 10.0


class DnsServer:
    """Answers DNS questions from a zone on 127.0.0.1, UDP and TCP on the same port, in a thread of its own.

    `port` 0 takes a free one. `faults` are asked at every question.
    """

    def __init__(self, zone: Zone, faults: Faults | None = None, *, port: int = 0) -> None:
        self.zone = zone
        self.faults = faults or Faults()
        self.questions = 0
        """Questions that came in since the start."""
        self._port = port
        self._cache: dict[bytes, bytes] = {}
        self._cache_version = -1
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the port is known once started."""
        return _HOST, self._port

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="simulator-dns", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise OSError("the DNS responder did not start in time")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close the sockets and end the thread."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server, transport = await self._listen()
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        transport.close()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _listen(self) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
        """Both sockets on one port. A free TCP port may be taken on UDP: then another is tried."""
        loop = asyncio.get_running_loop()
        for attempt in range(_PORT_ATTEMPTS):
            server = await asyncio.start_server(self._converse, _HOST, self._port)
            port = server.sockets[0].getsockname()[1]
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(_HOST, port)
                )
            except OSError:
                server.close()
                if self._port or attempt == _PORT_ATTEMPTS - 1:
                    raise
                continue
            self._port = port
            return server, transport
        raise OSError("no port is free for both UDP and TCP")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: questions one behind the other, each with its length ahead (RFC 7766)."""
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.respond(await reader.readexactly(size), udp=False)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            writer.close()

    def respond(self, question: bytes, *, udp: bool) -> bytes | None:
        """The answer to one message in wire format, or None for silence."""
        self.questions += 1
        if self._cache_version != self.zone.version or len(self._cache) > _CACHE_SIZE:
            self._cache.clear()
            self._cache_version = self.zone.version
        # All but the message id decides the answer, so repeated questions cost no parsing.
        key = (b"u" if udp else b"t") + question[2:]
        faulty = self.faults.dns is not None or self.faults.dns_names
        if not faulty and (known := self._cache.get(key)) is not None:
            return question[:2] + known
        try:
            query = dns.message.from_wire(question)
        except dns.exception.DNSException:
            return _format_error(question)
        if not query.question or query.opcode() != dns.opcode.QUERY or query.flags & dns.flags.QR:
            return _format_error(question)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        qtype = dns.rdatatype.to_text(query.question[0].rdtype)
        answer = self.zone.lookup(name, qtype)
        fault = self.faults.dns_fault(name) or answer.fault
        match fault:
            case DnsFault.TIMEOUT:
                return None
            case DnsFault.MALFORMED:
                return question[:2] + b"\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00\xc0"
        response = dns.message.make_response(query, recursion_available=True)
        match fault:
            case DnsFault.SERVFAIL:
                response.set_rcode(dns.rcode.SERVFAIL)
            case DnsFault.REFUSED:
                response.set_rcode(dns.rcode.REFUSED)
            case DnsFault.TRUNCATE if udp:
                response.flags |= dns.flags.TC
            case _:
                self._fill(response, answer)
        wire = self._render(response, query, udp=udp)
        if not faulty and answer.fault is None:
            self._cache[key] = wire[2:]
        return wire

    def _fill(self, response: dns.message.Message, answer: Answer) -> None:
        response.set_rcode(dns.rcode.from_text(answer.rcode))
        sets: dict[tuple[str, str], list[str]] = {}
        for record in answer.records:
            sets.setdefault((record.name, record.type), []).append(record.text)
        response.answer = [_rrset(name, TTL, kind, tuple(texts)) for (name, kind), texts in sets.items()]
        if answer.negative:
            soa = f"ns1.{answer.apex}. hostmaster.{answer.apex}. 2026010101 7200 3600 1209600 {NEGATIVE_TTL}"
            response.authority = [_rrset(answer.apex, NEGATIVE_TTL, "SOA", (soa,))]

    def _render(self, response: dns.message.Message, query: dns.message.Message, *, udp: bool) -> bytes:
        limit = max(query.payload, _PLAIN_UDP_SIZE) if udp else 65_535
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            short = dns.message.make_response(query, recursion_available=True)
            short.set_rcode(response.rcode())
            short.flags |= dns.flags.TC
            return short.to_wire(max_size=limit)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport is a DatagramTransport by its methods, not by inheritance.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.respond(data, udp=True)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@lru_cache(maxsize=2048)
def _rrset(name: str, ttl: int, kind: str, texts: tuple[str, ...]) -> dns.rrset.RRset:
    """Records of one name and type. Kept, because a domain's SOA stands in each of its many negative answers."""
    return dns.rrset.from_text_list(dns.name.from_text(name), ttl, "IN", kind, texts)


def _format_error(question: bytes) -> bytes | None:
    """FORMERR for what cannot be read; silence when there is not even a message id."""
    return question[:2] + b"\x80\x01" + bytes(8) if len(question) >= 2 else None
