"""The DNS server: it answers questions from a zone, over UDP and TCP on one port, of loopback by default.

Not here: the records (`zone`), the switches (`faults`).
"""

import asyncio
import re
import socket
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

_HEADER_SIZE: Final = 12
_UDP_SIZE_WITHOUT_EDNS: Final = 512
_UDP_SIZE: Final = 1232
_TCP_SIZE: Final = 65_535
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
_CACHE_SIZE: Final = 20_000
_PORT_ATTEMPTS: Final = 20
_HOST_LABEL: Final = re.compile(rb"[\w-]+", re.ASCII)


class DnsServer:
    """A DNS server with UDP and TCP on the same port of an address. It runs in its own thread.

    With `port` 0 it takes a free port. A change of `faults` counts from the next question on.
    """

    def __init__(
        self, zone: Zone, faults: Faults | None = None, *, port: int = 0, host: str = "127.0.0.1", delay: float = 0.0
    ) -> None:
        self.zone = zone
        self.delay = delay
        """Seconds until an answer by UDP is sent, as by a resolver that is not on this machine."""
        self.faults = faults or Faults()
        self.questions = 0
        """Number of questions received since the start."""
        self._host = host
        self._port = port
        self._cache: dict[bytes, bytes] = {}
        self._cache_version = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. The port is known after `start`."""
        return self._host, self._port

    def start(self) -> None:
        """Start to listen. Raises OSError if the port is in use, and then leaves nothing behind."""
        # The sockets are opened here, not in the thread, so that there is a thread only when it has something to serve.
        listener, datagrams = self._bind()
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, self._stop, listener, datagrams), name="simulator-dns", daemon=True
        )
        self._thread.start()

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

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        """Open both sockets on one port. A free TCP port may be in use for UDP; then try another."""
        for attempt in range(_PORT_ATTEMPTS):
            listener = socket.create_server((self._host, self._port))
            datagrams = socket.socket(type=socket.SOCK_DGRAM)
            try:
                datagrams.bind((self._host, listener.getsockname()[1]))
            except OSError:
                listener.close()
                datagrams.close()
                if self._port or attempt == _PORT_ATTEMPTS - 1:
                    raise
                continue
            self._port = listener.getsockname()[1]
            return listener, datagrams
        raise OSError("no port is free for both UDP and TCP")

    def _run(
        self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event, listener: socket.socket, datagrams: socket.socket
    ) -> None:
        # At its end the runner cancels what still serves a connection.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve(stop, listener, datagrams))

    async def _serve(self, stop: asyncio.Event, listener: socket.socket, datagrams: socket.socket) -> None:
        server = await asyncio.start_server(self._serve_tcp, sock=listener)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpProtocol(self), sock=datagrams)
        await stop.wait()
        transport.close()
        server.close()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one TCP connection, each preceded by its length in two bytes (RFC 7766)."""
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.respond(await reader.readexactly(size), udp=False)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed the connection
        finally:
            writer.close()

    def respond(self, message: bytes, *, udp: bool) -> bytes | None:
        """Return the answer to one message, both in wire format, or None to send nothing."""
        self.questions += 1
        if self._cache_version != self.zone.version or len(self._cache) > _CACHE_SIZE:
            self._cache.clear()
            self._cache_version = self.zone.version
        # The answer depends on every byte but the message id, so a repeated question needs no parsing.
        key = (b"u" if udp else b"t") + message[2:]
        faulty = self.faults.dns is not None or self.faults.dns_names
        if not faulty and (cached := self._cache.get(key)) is not None:
            return message[:2] + cached
        question = _parse_question(message)
        if question is None:
            return _format_error(message)
        answer = self.zone.lookup(question.name, question.kind)
        fault = self.faults.dns_fault(question.name) or answer.fault
        response = _build_response(message, question, answer, fault, udp=udp)
        if response is not None and not faulty and answer.fault is None:
            self._cache[key] = response[2:]
        return response


@dataclass(frozen=True, slots=True)
class _Question:
    """A question: lower-case name without the final dot, type, end in the message, UDP size (None without EDNS)."""

    name: str
    kind: str
    end: int
    udp_size: int | None


# This module reads and builds messages itself: dnspython's parser and renderer take half a millisecond for each, and a
# scan sends thousands a second. Only the data of records comes from dnspython; it is cached.


def _parse_question(message: bytes) -> _Question | None:
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
        udp_size: int | None = None
        if additional:
            root, rdtype, size = struct.unpack_from("!BHH", message, end)
            udp_size = size if root == 0 and rdtype == dns.rdatatype.OPT else None
        name = _name_text(labels)
    except (struct.error, IndexError, dns.name.NameTooLong):
        return None
    return _Question(name.lower(), _type_name(kind), end, udp_size)


def _name_text(labels: list[bytes]) -> str:
    """Return a name as zones write it, with escapes for bytes that are not letters, digits, `-` or `_`."""
    if all(map(_HOST_LABEL.fullmatch, labels)):
        return b".".join(labels).decode("ascii")
    return dns.name.Name((*labels, b"")).to_text(omit_final_dot=True)


def _build_response(
    message: bytes, question: _Question, answer: Answer, fault: DnsFault | None, *, udp: bool
) -> bytes | None:
    """Return the response to a message, or None to send nothing."""
    flags = dns.flags.QR | dns.flags.RA | (message[2] << 8 & dns.flags.RD)
    edns = b"" if question.udp_size is None else b"\0" + struct.pack("!HHIH", dns.rdatatype.OPT, _UDP_SIZE, 0, 0)
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
                owner = _POINTER_TO_QUESTION if record.name == question.name else _name_wire(record.name)
                records.append(owner + _record_wire(record.type, record.text, TTL))
            if answer.soa is not None:
                negative_ttl = int(answer.soa.text.rsplit(" ", 1)[1])
                authority.append(_name_wire(answer.soa.name) + _record_wire("SOA", answer.soa.text, negative_ttl))
    counts = len(records), len(authority), len(edns) > 0
    asked = message[_HEADER_SIZE : question.end]
    body = b"".join((asked, *records, *authority, edns))
    limit = max(question.udp_size or 0, _UDP_SIZE_WITHOUT_EDNS) if udp else _TCP_SIZE
    if _HEADER_SIZE + len(body) > limit:
        flags, counts, body = flags | dns.flags.TC, (0, 0, len(edns) > 0), asked + edns
    return message[:2] + struct.pack("!HHHHH", flags | rcode, 1, *counts) + body


@lru_cache
def _type_name(number: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))


@lru_cache(maxsize=8192)
def _name_wire(name: str) -> bytes:
    # to_wire returns None only when it writes to a file.
    return cast(bytes, dns.name.from_text(name).to_wire())


@lru_cache(maxsize=8192)
def _record_wire(kind: str, text: str, ttl: int) -> bytes:
    """Return a record in wire format without its owner name."""
    rdtype = dns.rdatatype.from_text(kind)
    data = cast(bytes, dns.rdata.from_text(dns.rdataclass.IN, rdtype, text).to_wire())
    return struct.pack("!HHIH", rdtype, dns.rdataclass.IN, ttl, len(data)) + data


class _UdpProtocol(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's transport has the methods of DatagramTransport but does not inherit from it.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.respond(data, udp=True)
        if answer is None or self._transport is None:
            return
        if self._server.delay:
            asyncio.get_running_loop().call_later(self._server.delay, self._transport.sendto, answer, addr)
        else:
            self._transport.sendto(answer, addr)


def _format_error(message: bytes) -> bytes | None:
    """Return FORMERR for an unreadable message, or None (send nothing) if it has no message id."""
    return message[:2] + b"\x80\x01" + bytes(8) if len(message) >= 2 else None
