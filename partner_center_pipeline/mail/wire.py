"""DNS messages as bytes: writes questions and reads answers. Pure.

Not here: sending questions and waiting for answers (`resolver`).

dnspython reads and writes the names. The rest of a message is read here because `dns.message.from_wire` builds a tree
of objects that the scanner does not need: it takes 300 us for an answer, this module 40 us.
"""

import struct
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address
from typing import Final

import dns.exception
import dns.name
from dns.rdataclass import IN
from dns.rdatatype import AAAA, CNAME, DNAME, MX, NS, OPT, PTR, RRSIG, SOA, SRV, TXT, A, RdataType

from partner_center_pipeline.mail.signals import Outcome

UDP_PAYLOAD: Final = 1232
"""The largest UDP answer in bytes (DNS Flag Day 2020: no fragmentation). Longer ones come over TCP."""

CHAIN_LIMIT: Final = 8
"""The largest number of CNAMEs followed in a row."""

NAME_LIMIT: Final = 253
"""The longest name in characters (RFC 1035, section 2.3.4: 255 bytes in a message)."""

_HEADER: Final = struct.Struct("!HHHHHH")
_RR: Final = struct.Struct("!HHIH")
_OPT: Final = b"\0" + _RR.pack(OPT, UDP_PAYLOAD, 0, 0)
_RECURSION_DESIRED: Final = 0x0100
_RESPONSE: Final = 0x8000
_TRUNCATED: Final = 0x0200
_OPCODE: Final = 0x7800
_NXDOMAIN: Final = 3
_FAILURE_OUTCOMES: Final = {5: Outcome.REFUSED}
_EDNS_REJECTIONS: Final = (1, 4)
_MIN_SOA_BYTES: Final = 22
_MAX_LABEL_BYTES: Final = 63
_POINTER: Final = 0xC0
_LETTERS: Final = bytes(0x20 if chr(byte).islower() and byte < 0x80 else 0 for byte in range(256))
"""For each byte, the bit by which it differs from its capital; a length is less than any letter."""

# Control characters, except tab and line ends: they mean nothing in a TXT record, and PostgreSQL cannot store NUL.
_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F) if code not in (0x09, 0x0A, 0x0D)}


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a question.

    `records` are in presentation form, as in `signals.Lookup`. `cnames` are the CNAME targets before them, in order,
    also when the last one has no records. `ttl` is how many seconds the answer may be reused: the lowest of the chain
    and the records, or of the chain and the SOA for a negative answer (RFC 2308, section 5); 0 means never. `open_end`
    means that the server did not look up the last CNAME target, so it must be asked for.
    """

    outcome: Outcome
    records: tuple[str, ...] = ()
    ttl: int = 0
    cnames: tuple[str, ...] = ()
    open_end: bool = False


def impossible(name: str) -> Answer:
    """Return the answer for a name that `question` refuses: NXDOMAIN, or MALFORMED for a name that is not ASCII."""
    return Answer(Outcome.NXDOMAIN if name.isascii() else Outcome.MALFORMED)


@dataclass(frozen=True, slots=True)
class Question:
    """A question ready to send: `section` is the question section as bytes, `name` is in lower case.

    `letters` has, in the section as one number, the bits by which the letters of the name differ from capitals.
    """

    name: str
    rdtype: RdataType
    section: bytes
    letters: int = 0

    def message(self, ident: int, *, edns: bool = True, capitals: int = 0) -> bytes:
        """Return the whole message with this 16-bit id, recursion desired.

        `capitals`, a number with eight bits for each byte of the section, says which letters of the name are capitals.
        A server repeats the name as it came, so random bits are one more thing that a forger would have to guess.
        """
        mixed = int.from_bytes(self.section, "big") ^ (capitals & self.letters)
        section = mixed.to_bytes(len(self.section), "big")
        return _HEADER.pack(ident, _RECURSION_DESIRED, 1, 0, 0, int(edns)) + section + (_OPT if edns else b"")


def question(name: str, rdtype: RdataType) -> Question | None:
    """Return the question for `name` (ASCII, with or without final dot), or None when DNS cannot have such a name."""
    name = name.lower().rstrip(".")
    try:
        wire = _name_to_wire(name)
    except (dns.exception.DNSException, ValueError):
        return None
    letters = int.from_bytes(wire.translate(_LETTERS) + bytes(4), "big")  # none in type and class
    return Question(name, rdtype, wire + struct.pack("!HH", rdtype, IN), letters)


def _name_to_wire(name: str) -> bytes:
    if "\\" in name:
        return dns.name.from_text(name).to_wire() or b""
    labels = name.encode("ascii").split(b".")
    if not all(0 < len(label) < 64 for label in labels) or len(name) > NAME_LIMIT:
        raise ValueError("not a name that DNS can hold")
    return b"".join(len(label).to_bytes() + label for label in labels) + b"\0"


class Fit(Enum):
    """Whether a message that came is the answer to a message that was sent."""

    WHOLE = 1
    """It has the id and repeats the question letter for letter; or it has the id and says why nothing is repeated."""

    IN_OTHER_CAPITALS = 2
    """It has the id, and the question in other capitals: a server that does not keep them, or a forged answer."""

    ID_ONLY = 3
    """It has the id, and another question or half of one."""

    NOT_AT_ALL = 4


def fit(message: bytes, sent: bytes, asked: Question) -> Fit:
    """Say whether `message` answers `sent`, a message of the question `asked`."""
    if message[:2] != sent[:2] or len(message) < 2:
        return Fit.NOT_AT_ALL
    if len(message) < _HEADER.size:
        return Fit.ID_ONLY
    end = _HEADER.size + len(asked.section)
    _, flags, questions, *_ = _HEADER.unpack_from(message)
    if questions == 0 and flags & _RESPONSE and flags & 0xF not in (0, _NXDOMAIN):
        return Fit.WHOLE
    if message[_HEADER.size : end] == sent[_HEADER.size : end]:
        return Fit.WHOLE
    return Fit.IN_OTHER_CAPITALS if _repeats_question(message, asked) else Fit.ID_ONLY


def ident_of(message: bytes) -> int | None:
    """Return the id of a message, or None when it is too short to have one."""
    return int.from_bytes(message[:2], "big") if len(message) >= 2 else None


def is_truncated(message: bytes) -> bool:
    """Say whether the answer was cut short, so that the question must be repeated over TCP."""
    return len(message) >= _HEADER.size and bool(_HEADER.unpack_from(message)[1] & _TRUNCATED)


def rejects_edns(message: bytes) -> bool:
    """Say whether the server did not understand the question, which may be due to EDNS (RFC 6891, section 7)."""
    return len(message) >= _HEADER.size and _HEADER.unpack_from(message)[1] & 0xF in _EDNS_REJECTIONS


def decode_text(pieces: bytes) -> str:
    """Return joined TXT pieces as text. Bytes that are not UTF-8 and control characters are escaped as `\\xff`."""
    return pieces.decode("utf-8", "backslashreplace").translate(_ESCAPES)


ASK_OVER_TCP: Final = _HEADER.pack(0, _RESPONSE | _TRUNCATED, 0, 0, 0, 0)
"""A message that says: ask again over TCP."""


def read_answer(message: bytes, asked: Question) -> Answer:
    """Return the answer in a server's whole message. Never raises: what cannot be read to the end is MALFORMED.

    MALFORMED is also a message that is truncated (over TCP nothing can follow), and a negative answer with records that
    do not belong to the question: a negative answer erases what is known, so it must be beyond doubt.
    """
    try:
        return _Reader(message).read(asked)
    except (dns.exception.DNSException, struct.error, IndexError, ValueError):
        return Answer(Outcome.MALFORMED)


def _failure(rcode: int) -> Answer:
    return Answer(_FAILURE_OUTCOMES.get(rcode, Outcome.SERVFAIL))


def _repeats_question(message: bytes, asked: Question) -> bool:
    end = _HEADER.size + len(asked.section)
    return message[_HEADER.size : end].lower() == asked.section.lower()


class _Reader:
    """Reads one message from start to end. Raises the exceptions that `read_answer` catches where it is malformed."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._offset = _HEADER.size
        self._names: dict[int, str] = {}

    def read(self, asked: Question) -> Answer:
        _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(self._message)
        rcode = flags & 0xF
        if not flags & _RESPONSE or flags & _OPCODE:
            raise ValueError("no answer to a question")
        if rcode not in (0, _NXDOMAIN):
            return _failure(rcode)
        if questions != 1 or not _repeats_question(self._message, asked) or flags & _TRUNCATED:
            raise ValueError("an answer to another question, or half an answer")
        self._offset += len(asked.section)
        self._names[_HEADER.size] = asked.name

        aliases: dict[str, tuple[str, int]] = {}
        records: dict[str, list[tuple[str, int]]] = {}
        has_unrelated = False
        for _ in range(answers):
            owner = self._read_name()
            rdtype, ttl, end = self._read_record_header()
            if rdtype == asked.rdtype:
                records.setdefault(owner, []).append((self._read_rdata(rdtype, end), ttl))
            elif rdtype == CNAME:
                aliases[owner] = (self._read_rdata(rdtype, end), ttl)
            else:
                has_unrelated = has_unrelated or rdtype not in (DNAME, RRSIG)
            self._offset = end
        negative_ttl, is_referral = self._read_authority(authorities)
        rcode |= self._read_additional(additional)
        if self._offset != len(self._message):
            raise ValueError("bytes behind the last record")
        if rcode not in (0, _NXDOMAIN):
            return _failure(rcode)
        # A referral says nothing about the name: this server does not look further (RFC 2308, section 2.2).
        if is_referral and not answers and rcode != _NXDOMAIN:
            return Answer(Outcome.SERVFAIL)
        answer = _follow_cnames(asked.name, aliases, records, negative_ttl, nxdomain=rcode == _NXDOMAIN)
        if answer.outcome in (Outcome.NODATA, Outcome.NXDOMAIN) and answers:
            in_chain = bool(answer.cnames) and aliases.keys() <= {asked.name, *answer.cnames}
            if has_unrelated or records or not in_chain:
                raise ValueError("records that have nothing to do with the question")
        return answer

    def _read_record_header(self) -> tuple[int, int, int]:
        """Return type (0 for a class other than IN), TTL and end of a record. The offset is behind its owner name."""
        rdtype, rdclass, ttl, length = _RR.unpack_from(self._message, self._offset)
        self._offset += _RR.size
        end = self._offset + length
        if end > len(self._message):
            raise ValueError("a record runs over the message's end")
        # RFC 2181, section 8: a TTL with the top bit set is 0.
        return rdtype if rdclass == IN else 0, ttl if ttl < 1 << 31 else 0, end

    def _read_rdata(self, rdtype: int, end: int) -> str:
        if rdtype == TXT:
            return self._read_text(end)
        if rdtype in (A, AAAA):
            if end - self._offset != (4 if rdtype == A else 16):
                raise ValueError("an address's length is wrong")
            return str(ip_address(self._message[self._offset : end]))
        preference = ""
        if rdtype == MX:
            preference = f"{struct.unpack_from('!H', self._message, self._offset)[0]} "
            self._offset += 2
        if rdtype == SRV:
            preference = "{} {} {} ".format(*struct.unpack_from("!HHH", self._message, self._offset))
            self._offset += 6
        host = self._read_name()
        if self._offset != end:
            raise ValueError("a record's length is wrong")
        return preference + host

    def _read_text(self, end: int) -> str:
        pieces = bytearray()
        while self._offset < end:
            stop = self._offset + 1 + self._message[self._offset]
            if stop > end:
                raise ValueError("a piece of text runs over its record's end")
            pieces += self._message[self._offset + 1 : stop]
            self._offset = stop
        return decode_text(bytes(pieces))

    def _read_authority(self, authorities: int) -> tuple[int | None, bool]:
        """Return the negative TTL of the SOA, or None, and whether the section only refers to other servers."""
        negative_ttl: int | None = None
        has_ns = False
        for _ in range(authorities):
            self._skip_name()
            rdtype, ttl, end = self._read_record_header()
            if rdtype == SOA:
                if end - self._offset < _MIN_SOA_BYTES:
                    raise ValueError("an SOA that is too short")
                negative_ttl = min(ttl, int(struct.unpack_from("!I", self._message, end - 4)[0]))
            has_ns = has_ns or rdtype == NS
            self._offset = end
        return negative_ttl, has_ns and negative_ttl is None

    def _read_additional(self, additional: int) -> int:
        """Return the upper bits of the response code, which are in the OPT record (RFC 6891, section 6.1.3)."""
        upper = 0
        for _ in range(additional):
            self._skip_name()
            if int.from_bytes(self._message[self._offset : self._offset + 2], "big") == OPT:
                upper = self._message[self._offset + 4] << 4
            _, _, self._offset = self._read_record_header()
        return upper

    def _skip_name(self) -> None:
        while 0 < (size := self._message[self._offset]) <= _MAX_LABEL_BYTES:
            self._offset += 1 + size
        if 0 < size < _POINTER:
            raise ValueError("neither a label nor a pointer")
        self._offset += 2 if size else 1

    def _read_name(self) -> str:
        start = self._offset
        pointer = start
        if self._message[start] >= _POINTER:
            pointer = struct.unpack_from("!H", self._message, start)[0] & 0x3FFF
            if pointer in self._names:
                self._offset += 2
                return self._names[pointer]
        name, used = dns.name.from_wire(self._message, start)
        self._offset += used
        text = "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()
        self._names[pointer] = text
        return text


def _follow_cnames(
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
    if own_records := records.get(name):
        ttl = min([*ttls, *(ttl for _, ttl in own_records)])
        return Answer(Outcome.FOUND, tuple(text for text, _ in own_records), ttl, tuple(chain))
    if chain and not nxdomain and negative_ttl is None:
        return Answer(Outcome.NODATA, ttl=min(ttls), cnames=tuple(chain), open_end=True)
    outcome = Outcome.NXDOMAIN if nxdomain else Outcome.NODATA
    return Answer(outcome, ttl=min([*ttls, negative_ttl or 0]), cnames=tuple(chain))


def continue_chain(so_far: Answer, rest: Answer) -> Answer:
    """Return `so_far`, an answer with an open end, joined with `rest`, the answer for its last CNAME target.

    A loop (an error: RFC 1034, section 5.2.2) and a chain longer than CHAIN_LIMIT are SERVFAIL, as for most resolvers.
    """
    if not rest.outcome.is_fact:
        return rest
    chain = (*so_far.cnames, *rest.cnames)
    if len(set(chain)) < len(chain) or len(chain) > CHAIN_LIMIT:
        return Answer(Outcome.SERVFAIL)
    return replace(rest, cnames=chain, ttl=min(so_far.ttl, rest.ttl))


__all__ = [
    "AAAA",
    "ASK_OVER_TCP",
    "CHAIN_LIMIT",
    "CNAME",
    "MX",
    "NS",
    "PTR",
    "SRV",
    "TXT",
    "A",
    "Answer",
    "Fit",
    "Question",
    "RdataType",
    "continue_chain",
    "decode_text",
    "fit",
    "ident_of",
    "impossible",
    "is_truncated",
    "question",
    "read_answer",
    "rejects_edns",
]
