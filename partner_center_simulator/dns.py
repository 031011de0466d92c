"""The DNS responder: UDP and TCP on one loopback port, in front of a zone.

Wire format (dnspython), sockets, truncation, DNS faults. Not here: the records (`zone`), the switches (`faults`).
"""

import asyncio
import re
import struct
import threading
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Final, Self, cast

import dns.flags
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from partner_center_simulator.faults import DnsFault, Faults
from partner_center_simulator.zone import TTL, Answer, Rcode, Zone

_HOST: Final = "127.0.0.1"
_HEADER_SIZE: Final = 12
_PLAIN_UDP_SIZE: Final = 512
_UDP_SIZE: Final = 1232
_MAX_SIZE: Final = 65_535
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
_CACHE_SIZE: Final = 20_000
_PORT_ATTEMPTS: Final = 20
_PLAIN_LABEL: Final = re.compile(rb"[\w-]+", re.ASCII)
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
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(_HOST, port))
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
        """Return the answer to one message in wire format, or None for silence."""
        self.questions += 1
        if self._cache_version != self.zone.version or len(self._cache) > _CACHE_SIZE:
            self._cache.clear()
            self._cache_version = self.zone.version
        # All but the message id decides the answer, so repeated questions cost no parsing.
        key = (b"u" if udp else b"t") + question[2:]
        faulty = self.faults.dns is not None or self.faults.dns_names
        if not faulty and (known := self._cache.get(key)) is not None:
            return question[:2] + known
        asked = _read(question)
        if asked is None:
            return _format_error(question)
        answer = self.zone.lookup(asked.name, asked.kind)
        fault = self.faults.dns_fault(asked.name) or answer.fault
        wire = _write(question, asked, answer, fault, udp=udp)
        if wire is not None and not faulty and answer.fault is None:
            self._cache[key] = wire[2:]
        return wire


@dataclass(frozen=True, slots=True)
class _Question:
    """One question.

    `name` is in lower case without the dot at the end, `kind` the type, `end` where its bytes end, `payload` the EDNS
    payload size (None without EDNS).
    """

    name: str
    kind: str
    end: int
    payload: int | None


# Messages are read and put together by hand, with record data made by dnspython and kept: its parser and renderer
# take half a millisecond a message, and a scan asks thousands a second.


def _read(message: bytes) -> _Question | None:
    """Return the question of a standard query, or None for any other message."""
    try:
        flags, questions, _, _, additional = struct.unpack_from("!HHHHH", message, 2)
        if questions != 1 or flags & (dns.flags.QR | 0x7800):
            return None
        labels: list[bytes] = []
        at = _HEADER_SIZE
        while (size := message[at]) != 0:
            if size > 63:
                return None
            labels.append(message[at + 1 : at + 1 + size])
            at += 1 + size
        (kind,) = struct.unpack_from("!H", message, at + 1)
        end = at + 5
        payload: int | None = None
        if additional:
            root, rdtype, payload_size = struct.unpack_from("!BHH", message, end)
            payload = payload_size if root == 0 and rdtype == dns.rdatatype.OPT else None
        name = _text(labels)
    except (struct.error, IndexError, dns.name.NameTooLong):
        return None
    return _Question(name.lower(), _kind(kind), end, payload)


def _text(labels: list[bytes]) -> str:
    """Return a name as zones write it; only letters of host names need no escape."""
    if all(map(_PLAIN_LABEL.fullmatch, labels)):
        return b".".join(labels).decode("ascii")
    return dns.name.Name((*labels, b"")).to_text(omit_final_dot=True)


def _write(message: bytes, asked: _Question, answer: Answer, fault: DnsFault | None, *, udp: bool) -> bytes | None:
    """Return the answer to a message, or None for silence."""
    flags = dns.flags.QR | dns.flags.RA | (message[2] << 8 & dns.flags.RD)
    edns = b"" if asked.payload is None else b"\0" + struct.pack("!HHIH", dns.rdatatype.OPT, _UDP_SIZE, 0, 0)
    records: list[bytes] = []
    authority: list[bytes] = []
    rcode = dns.rcode.NOERROR
    match fault:
        case DnsFault.TIMEOUT:
            return None
        case DnsFault.MALFORMED:
            return message[:2] + b"\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00\xc0"
        case DnsFault.SERVFAIL:
            rcode = dns.rcode.SERVFAIL
        case DnsFault.REFUSED:
            rcode = dns.rcode.REFUSED
        case DnsFault.TRUNCATE if udp:
            flags |= dns.flags.TC
        case _:
            rcode = dns.rcode.NXDOMAIN if answer.rcode is Rcode.NXDOMAIN else dns.rcode.NOERROR
            for record in answer.records:
                owner = _POINTER_TO_QUESTION if record.name == asked.name else _name_wire(record.name)
                records.append(owner + _record_wire(record.type, record.text, TTL))
            if answer.soa is not None:
                negative_ttl = int(answer.soa.text.rsplit(" ", 1)[1])
                authority.append(_name_wire(answer.soa.name) + _record_wire("SOA", answer.soa.text, negative_ttl))
    counts = len(records), len(authority), len(edns) > 0
    head = message[_HEADER_SIZE : asked.end]
    body = b"".join((head, *records, *authority, edns))
    limit = max(asked.payload or 0, _PLAIN_UDP_SIZE) if udp else _MAX_SIZE
    if _HEADER_SIZE + len(body) > limit:
        flags, counts, body = flags | dns.flags.TC, (0, 0, len(edns) > 0), head + edns
    return message[:2] + struct.pack("!HHHHH", flags | rcode, 1, *counts) + body


@lru_cache
def _kind(number: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))


@lru_cache(maxsize=8192)
def _name_wire(name: str) -> bytes:
    # to_wire answers None only when it writes to a file.
    return cast(bytes, dns.name.from_text(name).to_wire())


@lru_cache(maxsize=8192)
def _record_wire(kind: str, text: str, ttl: int) -> bytes:
    """All of a record but its owner."""
    rdtype = dns.rdatatype.from_text(kind)
    data = cast(bytes, dns.rdata.from_text(dns.rdataclass.IN, rdtype, text).to_wire())
    return struct.pack("!HHIH", rdtype, dns.rdataclass.IN, ttl, len(data)) + data


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


def _format_error(question: bytes) -> bytes | None:
    """FORMERR for what cannot be read; silence when there is not even a message id."""
    return question[:2] + b"\x80\x01" + bytes(8) if len(question) >= 2 else None
