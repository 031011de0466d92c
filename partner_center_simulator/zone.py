"""Zones: names, records, and the answer to a DNS question.

Not here: the wire format and sockets (`dns`), the records of the simulated world (`mail_setups`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from partner_center_simulator.faults import DnsFault

Records = Mapping[str, Mapping[str, Any]]
"""Name -> record type -> one value or a list of values. MX: (preference, host); TXT: str, bytes, or a tuple of pieces;
CNAME, NS, A, AAAA: str; SOA: (host, mailbox, serial, refresh, retry, expire, minimum)."""

TTL: Final = 3600
"""TTL of every record, in seconds."""

_NEGATIVE_TTL: Final = 900
"""TTL of a negative answer in seconds, unless the zone has an SOA of its own."""

_MAX_CHAIN: Final = 8
_PIECE: Final = 255


class Rcode(StrEnum):
    """The response codes of a zone. The others are faults."""

    NOERROR = "NOERROR"
    NXDOMAIN = "NXDOMAIN"


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record. `text` is its data in zone-file form (RFC 1035, section 5.1)."""

    name: str
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A zone's answer to a question. CNAME records come first; only negative answers have `soa`.

    `fault` is what the server does instead. With DnsFault.TRUNCATE there are records, too, for TCP.
    """

    rcode: Rcode
    records: tuple[Record, ...] = ()
    soa: Record | None = None
    fault: DnsFault | None = None


class Zone:
    """The records of any number of names. It answers like a resolver, for all names at once.

    Names are stored as lower-case ASCII without the final dot; questions may have other forms. An unknown name above an
    existing one has no data (NOERROR); every other unknown name does not exist (NXDOMAIN).
    """

    def __init__(self) -> None:
        self._records: dict[str, dict[str, tuple[str, ...]]] = {}
        self._parents: set[str] = set()
        self._faults: dict[str, DnsFault] = {}
        self.version = 0
        """A number that grows with each change."""

    @classmethod
    def from_records(cls, records: Records, faults: Mapping[str, str] | None = None) -> Self:
        """Return a zone with these records. `faults` maps names to DnsFault values."""
        zone = cls()
        zone.add(records)
        for name, fault in (faults or {}).items():
            zone.set_fault(name, DnsFault(fault))
        return zone

    def add(self, records: Records) -> None:
        """Add names, or replace all records of a name. A name with an empty mapping exists without data."""
        for name, types in normalized(records).items():
            self._records[name] = types
            labels = name.split(".")
            self._parents.update(".".join(labels[at:]) for at in range(1, len(labels)))
        self.version += 1

    def remove(self, name: str) -> None:
        """Remove a name's records."""
        self._records.pop(_stored_name(name), None)
        self.version += 1

    def set_fault(self, name: str, fault: DnsFault | None) -> None:
        """Set the fault of questions for exactly this name; None ends it."""
        if fault is None:
            self._faults.pop(_stored_name(name), None)
        else:
            self._faults[_stored_name(name)] = fault
        self.version += 1

    def lookup(self, qname: str, qtype: str) -> Answer:
        """Return the answer to a question: a name and a record type such as "MX"."""
        name = _stored_name(qname)
        fault = self._fault(name)
        if fault is not None and fault is not DnsFault.TRUNCATE:
            return Answer(Rcode.NOERROR, fault=fault)
        answer = self._answer(name, qtype)
        return answer if fault is None else replace(answer, fault=fault)

    def _answer(self, name: str, qtype: str) -> Answer:
        chain: list[Record] = []
        for _ in range(_MAX_CHAIN):
            records = self._find(name)
            if records is None:
                rcode = Rcode.NOERROR if self._has_below(name) else Rcode.NXDOMAIN
                return Answer(rcode, tuple(chain), self._soa(name))
            if qtype != "CNAME" and "CNAME" in records:
                target = records["CNAME"][0]
                chain.append(Record(name, "CNAME", target))
                name = _stored_name(target)
                continue
            answers = tuple(Record(name, qtype, text) for text in records.get(qtype, ()))
            return Answer(Rcode.NOERROR, (*chain, *answers), None if answers else self._soa(name))
        return Answer(Rcode.NOERROR, tuple(chain))

    def _find(self, name: str) -> Mapping[str, tuple[str, ...]] | None:
        return self._records.get(name)

    def _has_below(self, name: str) -> bool:
        return name in self._parents

    def _fault(self, name: str) -> DnsFault | None:
        return self._faults.get(name)

    def _soa(self, name: str) -> Record:
        """Return the nearest ancestor's SOA, else make one for the topmost ancestor with records or the top label."""
        topmost = name.rpartition(".")[2]
        ancestor = name
        while ancestor:
            records = self._find(ancestor)
            if records is not None:
                if "SOA" in records:
                    return Record(ancestor, "SOA", records["SOA"][0])
                topmost = ancestor
            ancestor = ancestor.partition(".")[2]
        return Record(topmost, "SOA", f"ns1.{topmost}. hostmaster.{topmost}. 1 7200 3600 1209600 {_NEGATIVE_TTL}")


def normalized(records: Records) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the names as the zone stores them, and each value in zone-file form."""
    return {
        _stored_name(name): {
            kind: tuple(_text(kind, value) for value in (values if isinstance(values, list) else [values]))
            for kind, values in types.items()
        }
        for name, types in records.items()
    }


def _stored_name(name: str) -> str:
    return name.rstrip(".").lower()


def _text(kind: str, value: Any) -> str:
    match kind:
        case "MX":
            preference, host = value
            return f"{preference} {_absolute(host)}"
        case "TXT":
            pieces = value if isinstance(value, tuple) else _txt_pieces(value)
            return " ".join(_quoted(piece) for piece in pieces)
        case "CNAME" | "NS":
            return _absolute(value)
        case "SOA":
            host, mailbox, *numbers = value
            return " ".join((_absolute(host), _absolute(mailbox), *map(str, numbers)))
        case _:
            return str(value)


def _absolute(host: str) -> str:
    return host.rstrip(".") + "."


def _txt_pieces(value: str | bytes) -> tuple[bytes, ...]:
    data = value if isinstance(value, bytes) else value.encode()
    return tuple(data[at : at + _PIECE] for at in range(0, len(data), _PIECE)) or (b"",)


def _quoted(piece: str | bytes) -> str:
    data = piece if isinstance(piece, bytes) else piece.encode()
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in data)
    return '"' + "".join(plain) + '"'
