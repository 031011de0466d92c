"""A name server that answers badly: what test_resolver and test_fuzz ask.

Belongs here: the sockets, and ways to spoil an honest answer. Not here: what the product has to make of it.
"""

import re
import socketserver
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import dns.message
import dns.rcode
from dns.rdatatype import CNAME

HEADER: Final = 12
"""Bytes before the question section."""

_TC: Final = 0x02
_ANSWER: Final = 0x8180
_OPT_SIZE: Final = 11


@dataclass(frozen=True, slots=True)
class Reply:
    """What happens to one question: datagrams over UDP; over TCP bytes, the length ahead of them included, and whether
    the connection then stays open without another word."""

    datagrams: Sequence[bytes] = ()
    stream: bytes = b""
    hangs: bool = False


Script = Callable[[bytes], Reply]
"""What is done with a question, of which the bytes are given."""


class HostileServer:
    """UDP and TCP on one port of 127.0.0.1. `script` says what happens to a question; it is called in other threads."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.questions = 0
        """Datagrams that came in."""
        self.ports: list[int] = []
        """The ports that they came from."""
        self._udp, self._tcp = self._listen()
        self.address: tuple[str, int] = ("127.0.0.1", self._tcp.server_address[1])
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), name="hostile-dns")
            for server in (self._udp, self._tcp)
        ]

    def _listen(self) -> tuple[socketserver.BaseServer, socketserver.TCPServer]:
        hostile = self

        class Datagrams(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                question, socket = self.request
                hostile.questions += 1
                hostile.ports.append(self.client_address[1])
                for datagram in hostile.script(question).datagrams:
                    socket.sendto(datagram, self.client_address)

        class Streams(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    (size,) = struct.unpack("!H", self.rfile.read(2))
                    reply = hostile.script(self.rfile.read(size))
                    self.wfile.write(reply.stream)
                    if reply.hangs:
                        self.rfile.read(1)
                except (OSError, struct.error):
                    pass  # the client is done

        while True:
            tcp = _Streams(("127.0.0.1", 0), Streams)
            try:
                return socketserver.UDPServer(("127.0.0.1", tcp.server_address[1]), Datagrams), tcp
            except OSError:  # the port is taken on UDP
                tcp.server_close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


class _Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256


def framed(message: bytes) -> bytes:
    """A message as TCP carries it."""
    return struct.pack("!H", len(message)) + message


def truncated(question: bytes) -> bytes:
    """The answer to a question that says: come again over TCP."""
    response = bytearray(dns.message.make_response(dns.message.from_wire(question)).to_wire())
    response[2] |= _TC
    return bytes(response)


def datagram(make: Callable[[bytes], bytes]) -> Script:
    """One datagram for each question."""
    return lambda asked: Reply((make(asked),))


def stream(make: Callable[[bytes], bytes], *, hangs: bool = False) -> Script:
    """Bytes over TCP for each question, after a datagram that asks for it."""
    return lambda asked: Reply((truncated(asked),), make(asked), hangs)


def spoiled(honest: Callable[[bytes], bytes]) -> dict[str, Script]:
    """Ways to meet a question, by name: every one is silence, an error, or unreadable. `honest` gives the answer."""
    return {
        "silence": lambda asked: Reply(),
        "the question": datagram(lambda asked: asked),
        "two bytes": datagram(lambda asked: asked[:2]),
        "another id": datagram(lambda asked: _another_id(honest(asked))),
        "another question": datagram(lambda asked: _ANOTHER.sub(b"\x07exemple\x00", honest(asked))),
        "another class": datagram(_another_class),
        "another opcode": datagram(lambda asked: _with_flags(honest(asked), _ANSWER | 4 << 11)),
        "no records but a count": datagram(lambda asked: _answered(asked, 65_535, b"")),
        "rubbish behind": datagram(lambda asked: honest(asked) + b"\0"),
        "a CNAME of itself": datagram(lambda asked: _alias(asked, b"\xc0\x0c")),
        "CNAMEs without end": datagram(_endless),
        "a pointer to itself": datagram(_pointer_to_itself),
        "a pointer out of the message": datagram(lambda asked: _alias(asked, b"\xff\xff")),
        "SERVFAIL": datagram(lambda asked: _with_flags(honest(asked), _ANSWER | dns.rcode.SERVFAIL)),
        "REFUSED": datagram(lambda asked: _with_flags(honest(asked), _ANSWER | dns.rcode.REFUSED)),
        "no EDNS, nor without": datagram(lambda asked: asked[:2] + b"\x80\x01" + bytes(8)),
        "cut, TCP closes": stream(lambda asked: b""),
        "cut, TCP hangs": stream(lambda asked: b"", hangs=True),
        "cut, TCP breaks off": stream(lambda asked: framed(honest(asked))[:-1]),
        "cut, TCP sends nothing": stream(lambda asked: framed(b""), hangs=True),
        "cut, TCP is cut": stream(lambda asked: framed(truncated(asked))),
        "cut, TCP sends rubbish": stream(lambda asked: framed(asked[:2] + b"\xff" * 300)),
        "cut, TCP has another id": stream(lambda asked: framed(_another_id(honest(asked)))),
    }


def harmless(honest: Callable[[bytes], bytes]) -> dict[str, Script]:
    """Ways to give the honest answer in odd clothes, by name."""
    return {
        "the answer": datagram(honest),
        "the answer, over TCP": stream(lambda asked: framed(honest(asked)), hangs=True),
        "the answer, behind another id": lambda asked: Reply((_another_id(honest(asked)), b"", honest(asked))),
        "the answer, for ever": datagram(lambda asked: honest(asked).replace(b"\0\0\x0e\x10", b"\x7f\xff\xff\xff")),
    }


def is_made_up(asked: bytes) -> bool:
    """Whether the name in a question stands in no zone: "CNAMEs without end" made it."""
    return _MADE_UP.match(asked, HEADER) is not None


_MADE_UP: Final = re.compile(rb".made-up-(\d+)", re.DOTALL | re.IGNORECASE)
_ANOTHER: Final = re.compile(rb"\x07example\x00", re.IGNORECASE)


def _endless(asked: bytes) -> bytes:
    made = _MADE_UP.match(asked, HEADER)
    name = f"made-up-{int(made[1]) + 1 if made else 0}".encode()
    return _alias(asked, bytes([len(name)]) + name + b"\x07example\x00")


def _another_id(message: bytes) -> bytes:
    return bytes([message[0] ^ 1]) + message[1:]


def _with_flags(message: bytes, flags: int) -> bytes:
    return message[:2] + struct.pack("!H", flags) + message[4:]


def _section(asked: bytes) -> bytes:
    """The question section of a message, behind which an OPT record may stand."""
    return asked[HEADER : len(asked) - (_OPT_SIZE if asked[HEADER - 1] else 0)]


def _answered(asked: bytes, count: int, records: bytes) -> bytes:
    return asked[:2] + struct.pack("!HHHHH", _ANSWER, 1, count, 0, 0) + _section(asked) + records


def _alias(asked: bytes, target: bytes) -> bytes:
    """An answer with a CNAME to what these bytes are, for any type; asked for a CNAME, that would be the answer."""
    if _section(asked)[-4:-2] == struct.pack("!H", CNAME):
        return b""
    return _answered(asked, 1, b"\xc0\x0c" + struct.pack("!HHIH", CNAME, 1, 300, len(target)) + target)


def _pointer_to_itself(asked: bytes) -> bytes:
    rdata_at = HEADER + len(_section(asked)) + 12
    return _alias(asked, struct.pack("!H", 0xC000 | rdata_at))


def _another_class(asked: bytes) -> bytes:
    rdtype = _section(asked)[-4:-2]
    return _answered(asked, 1, b"\xc0\x0c" + rdtype + struct.pack("!HIH", 3, 300, 2) + b"\x01x")
