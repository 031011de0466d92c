"""DNS messages as bytes: a question out, an answer in. Pure; sending and waiting is `resolver`'s.

dnspython reads and writes the names. The message around them is walked here, because `dns.message.from_wire`
builds a tree of objects that the scanner throws away: 300 us for an answer on the machine where this takes
40, which is the difference between 70 domains a second and several hundred.
"""

import struct
from dataclasses import dataclass, replace
from typing import Final

import dns.exception
import dns.name
from dns.rdataclass import IN
from dns.rdatatype import CNAME, DNAME, MX, NS, OPT, RRSIG, SOA, TXT, RdataType

from partner_center_pipeline.mail.signals import Outcome

UDP_PAYLOAD: Final = 1232
"""Bytes of a UDP answer that we take (DNS Flag Day 2020: no fragmentation); longer ones come over TCP."""

CHAIN_LIMIT: Final = 8
"""CNAMEs that are followed in a row."""

NAME_LIMIT: Final = 253
"""Characters of a name (RFC 1035, section 2.3.4: 255 bytes on the wire)."""

_HEADER: Final = struct.Struct("!HHHHHH")
_RR: Final = struct.Struct("!HHIH")
_OPT: Final = b"\0" + _RR.pack(OPT, UDP_PAYLOAD, 0, 0)
_RECURSE: Final = 0x0100
_RESPONSE: Final = 0x8000
_TRUNCATED: Final = 0x0200
_OPCODE: Final = 0x7800
_NXDOMAIN: Final = 3
_FAILURES: Final = {5: Outcome.REFUSED}
_NO_EDNS: Final = (1, 4)
_SHORTEST_SOA: Final = 22
_LONGEST_LABEL: Final = 63
_POINTER: Final = 0xC0

# Control characters other than these mean nothing in a TXT record, and PostgreSQL cannot store the first of them.
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A, 0x0D)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a look-up of (name, type) brought.

    `records` are in presentation form, as in signals.Lookup. `cnames` are the CNAME targets on the way, in
    order, also when nothing is at their end. `ttl` (seconds) is how long the answer may be used again: the
    lowest on the way, for a negative answer the SOA's (RFC 2308, section 5); 0 when it may not. `open_end`
    means that the chain's last target was not looked up by the server and must be asked for.
    """

    outcome: Outcome
    records: tuple[str, ...] = ()
    ttl: int = 0
    cnames: tuple[str, ...] = ()
    open_end: bool = False


def impossible(name: str) -> Answer:
    """The answer for a name that is no question. What DNS cannot hold does not exist, and nobody needs to be asked;
    a name that is not in ASCII was written wrongly and proves nothing."""
    return Answer(Outcome.NXDOMAIN if name.isascii() else Outcome.MALFORMED)


@dataclass(frozen=True, slots=True)
class Question:
    """A question ready to send; `section` is its question section, `name` the name it asks for, in lower case."""

    name: str
    rdtype: RdataType
    section: bytes

    def message(self, ident: int, *, edns: bool = True) -> bytes:
        """The whole message with this 16-bit id, recursion desired."""
        return _HEADER.pack(ident, _RECURSE, 1, 0, 0, int(edns)) + self.section + (_OPT if edns else b"")


def question(name: str, rdtype: RdataType) -> Question | None:
    """The question for `name` (ASCII, with or without the final dot), or None when DNS cannot hold such a name."""
    name = name.lower().rstrip(".")
    try:
        wire = _name_to_wire(name)
    except (dns.exception.DNSException, ValueError):
        return None
    return Question(name, rdtype, wire + struct.pack("!HH", rdtype, IN))


def _name_to_wire(name: str) -> bytes:
    if "\\" in name:
        return dns.name.from_text(name).to_wire() or b""
    labels = name.encode("ascii").split(b".")
    if not all(0 < len(label) < 64 for label in labels) or len(name) > NAME_LIMIT:
        raise ValueError("not a name that DNS can hold")
    return b"".join(len(label).to_bytes() + label for label in labels) + b"\0"


def ident_of(message: bytes) -> int | None:
    """The id of a message, or None when it is too short to have one."""
    return int.from_bytes(message[:2], "big") if len(message) >= 2 else None


def is_truncated(message: bytes) -> bool:
    """Whether the server asks to come again over TCP."""
    return len(message) >= _HEADER.size and bool(_HEADER.unpack_from(message)[1] & _TRUNCATED)


def rejects_edns(message: bytes) -> bool:
    """Whether the server could not read the question, so that it is asked without EDNS (RFC 6891, section 7)."""
    return len(message) >= _HEADER.size and _HEADER.unpack_from(message)[1] & 0xF in _NO_EDNS


def decode_text(pieces: bytes) -> str:
    """TXT bytes, pieces joined, as text. Bytes that are not UTF-8 and control characters are escaped as `\\xff`."""
    return pieces.decode("utf-8", "backslashreplace").translate(_ESCAPES)


def read_answer(message: bytes, asked: Question) -> Answer:
    """The answer in a server's whole message. Never raises: what cannot be read to its last byte is Outcome.MALFORMED.

    So is a message that is cut short although it is the last resort (`is_truncated` over TCP), and one that would
    prove an absence by records nobody asked for: an absence erases what is known.
    """
    try:
        return _Reader(message).answer(asked)
    except (dns.exception.DNSException, struct.error, IndexError, ValueError):
        return Answer(Outcome.MALFORMED)


def _failure(rcode: int) -> Answer:
    return Answer(_FAILURES.get(rcode, Outcome.SERVFAIL))


def _matches(message: bytes, asked: Question) -> bool:
    end = _HEADER.size + len(asked.section)
    return message[_HEADER.size : end].lower() == asked.section.lower()


class _Reader:
    """Walks one message. Raises ValueError and its like where the bytes make no sense."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = _HEADER.size
        self._names: dict[int, str] = {}

    def answer(self, asked: Question) -> Answer:
        _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(self._message)
        rcode = flags & 0xF
        if not flags & _RESPONSE or flags & _OPCODE:
            raise ValueError("no answer to a question")
        if rcode not in (0, _NXDOMAIN):
            return _failure(rcode)
        if questions != 1 or not _matches(self._message, asked) or flags & _TRUNCATED:
            raise ValueError("an answer to another question, or half an answer")
        self._at += len(asked.section)
        self._names[_HEADER.size] = asked.name

        aliases: dict[str, tuple[str, int]] = {}
        records: dict[str, list[tuple[str, int]]] = {}
        strange = False
        for _ in range(answers):
            owner = self._name()
            rdtype, ttl, end = self._record()
            if rdtype == asked.rdtype:
                records.setdefault(owner, []).append((self._rdata(rdtype, end), ttl))
            elif rdtype == CNAME:
                aliases[owner] = (self._rdata(rdtype, end), ttl)
            else:
                strange = strange or rdtype not in (DNAME, RRSIG)
            self._at = end
        negative_ttl, refers = self._authority(authorities)
        rcode |= self._additional(additional)
        if self._at != len(self._message):
            raise ValueError("bytes behind the last record")
        if rcode not in (0, _NXDOMAIN):
            return _failure(rcode)
        if refers and not answers and rcode != _NXDOMAIN:
            return Answer(Outcome.SERVFAIL)
        found = _follow(asked.name, aliases, records, negative_ttl, nxdomain=rcode == _NXDOMAIN)
        if found.outcome in (Outcome.NODATA, Outcome.NXDOMAIN) and answers:
            in_chain = bool(found.cnames) and aliases.keys() <= {asked.name, *found.cnames}
            if strange or records or not in_chain:
                raise ValueError("records that have nothing to do with the question")
        return found

    def _record(self) -> tuple[int, int, int]:
        """Type (0 in any class but IN), TTL and end of a record, once its owner is read."""
        rdtype, rdclass, ttl, length = _RR.unpack_from(self._message, self._at)
        self._at += _RR.size
        end = self._at + length
        if end > len(self._message):
            raise ValueError("a record runs over the message's end")
        # RFC 2181, section 8: a TTL with the top bit set is 0.
        return rdtype if rdclass == IN else 0, ttl if ttl < 1 << 31 else 0, end

    def _rdata(self, rdtype: int, end: int) -> str:
        if rdtype == TXT:
            return self._text(end)
        preference = ""
        if rdtype == MX:
            preference = f"{struct.unpack_from('!H', self._message, self._at)[0]} "
            self._at += 2
        host = self._name()
        if self._at != end:
            raise ValueError("a record's length is wrong")
        return preference + host

    def _text(self, end: int) -> str:
        pieces = bytearray()
        while self._at < end:
            stop = self._at + 1 + self._message[self._at]
            if stop > end:
                raise ValueError("a piece of text runs over its record's end")
            pieces += self._message[self._at + 1 : stop]
            self._at = stop
        return decode_text(bytes(pieces))

    def _authority(self, authorities: int) -> tuple[int | None, bool]:
        """The negative TTL of the SOA, None without one; and whether the answer only refers to other servers (RFC 2308,
        section 2.2): a server that does not look further for us says nothing about the name."""
        negative_ttl: int | None = None
        refers = False
        for _ in range(authorities):
            self._skip_name()
            rdtype, ttl, end = self._record()
            if rdtype == SOA:
                if end - self._at < _SHORTEST_SOA:
                    raise ValueError("an SOA that is too short")
                negative_ttl = min(ttl, int(struct.unpack_from("!I", self._message, end - 4)[0]))
            refers = refers or rdtype == NS
            self._at = end
        return negative_ttl, refers and negative_ttl is None

    def _additional(self, additional: int) -> int:
        """The upper bits of the response code, which stand in the OPT record (RFC 6891, section 6.1.3)."""
        upper = 0
        for _ in range(additional):
            self._skip_name()
            if int.from_bytes(self._message[self._at : self._at + 2], "big") == OPT:
                upper = self._message[self._at + 4] << 4
            _, _, self._at = self._record()
        return upper

    def _skip_name(self) -> None:
        while 0 < (size := self._message[self._at]) <= _LONGEST_LABEL:
            self._at += 1 + size
        if 0 < size < _POINTER:
            raise ValueError("neither a label nor a pointer")
        self._at += 2 if size else 1

    def _name(self) -> str:
        start = self._at
        pointer = start
        if self._message[start] >= _POINTER:
            pointer = struct.unpack_from("!H", self._message, start)[0] & 0x3FFF
            if pointer in self._names:
                self._at += 2
                return self._names[pointer]
        name, used = dns.name.from_wire(self._message, start)
        self._at += used
        text = "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()
        self._names[pointer] = text
        return text


def _follow(
    name: str,
    aliases: dict[str, tuple[str, int]],
    records: dict[str, list[tuple[str, int]]],
    negative_ttl: int | None,
    *,
    nxdomain: bool,
) -> Answer:
    chain: list[str] = []
    ttls: list[int] = []
    while name in aliases and name not in records:
        name, ttl = aliases[name]
        ttls.append(ttl)
        if name in chain or len(chain) == CHAIN_LIMIT:
            return Answer(Outcome.SERVFAIL)
        chain.append(name)
    if found := records.get(name):
        ttl = min([*ttls, *(ttl for _, ttl in found)])
        return Answer(Outcome.FOUND, tuple(text for text, _ in found), ttl, tuple(chain))
    if chain and not nxdomain and negative_ttl is None:
        return Answer(Outcome.NODATA, ttl=min(ttls), cnames=tuple(chain), open_end=True)
    outcome = Outcome.NXDOMAIN if nxdomain else Outcome.NODATA
    return Answer(outcome, ttl=min([*ttls, negative_ttl or 0]), cnames=tuple(chain))


def continue_chain(so_far: Answer, rest: Answer) -> Answer:
    """`so_far`, whose end was open, joined with the answer for its last CNAME target.

    A loop is an error (RFC 1034, section 5.2.2), and where a chain longer than CHAIN_LIMIT ends is not known: both are
    SERVFAIL, which most resolvers say themselves.
    """
    if not rest.outcome.is_fact:
        return rest
    chain = (*so_far.cnames, *rest.cnames)
    if len(set(chain)) < len(chain) or len(chain) > CHAIN_LIMIT:
        return Answer(Outcome.SERVFAIL)
    return replace(rest, cnames=chain, ttl=min(so_far.ttl, rest.ttl))


__all__ = [
    "CHAIN_LIMIT",
    "CNAME",
    "MX",
    "NS",
    "TXT",
    "Answer",
    "Question",
    "RdataType",
    "continue_chain",
    "decode_text",
    "ident_of",
    "impossible",
    "is_truncated",
    "question",
    "read_answer",
    "rejects_edns",
]
