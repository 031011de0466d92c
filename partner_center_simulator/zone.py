"""What the simulated DNS knows: zones from plain records, and the world's zone.

Names, records, and the answer of an authoritative server to a question. Not here: the wire format and sockets
(`dns`), the mail set-ups of the world's companies (`mail_setups`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from partner_center_simulator.faults import DnsFault

Records = Mapping[str, Mapping[str, Any]]
"""Name -> record type -> value(s). MX: (preference, host); TXT: str or bytes, or a sequence of pieces; CNAME, NS, A,
AAAA: str; SOA: (host, mailbox, serial, refresh, retry, expire, minimum). One value or a list of them."""

TTL: Final = 3600
"""TTL of every record, seconds."""

NEGATIVE_TTL: Final = 900
"""How long a negative answer counts: the SOA's minimum, seconds."""

_MAX_CHAIN: Final = 8
_PIECE: Final = 255


class Rcode(StrEnum):
    """The answers of an authoritative server."""

    NOERROR = "NOERROR"
    NXDOMAIN = "NXDOMAIN"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `text` is its data in zone-file form (RFC 1035, section 5.1)."""

    name: str
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a zone answers to one question; a CNAME chain comes first.

    `soa` is there in negative answers only. `fault` is what the server does instead; with DnsFault.TRUNCATE there is an
    answer too, for TCP.
    """

    rcode: Rcode
    records: tuple[Record, ...] = ()
    soa: Record | None = None
    fault: DnsFault | None = None


class Zone:
    """Records of any number of names, asked as one resolver would answer.

    Names are lower-case ASCII without the dot at the end; a question may have either. A name without records between
    existing ones has no data; every other unknown name does not exist.
    """

    def __init__(self) -> None:
        self._records: dict[str, dict[str, tuple[str, ...]]] = {}
        self._parents: set[str] = set()
        self._faults: dict[str, DnsFault] = {}
        self.version = 0
        """Grows with each change."""

    @classmethod
    def from_records(cls, records: Records, faults: Mapping[str, str] | None = None) -> Self:
        """Return a zone of plain dicts, with a fault (a DnsFault value) per name where wanted."""
        zone = cls()
        zone.add(records)
        for name, fault in (faults or {}).items():
            zone.set_fault(name, DnsFault(fault))
        return zone

    def add(self, records: Records) -> None:
        """Add names, or replace them whole. A name with an empty mapping exists without data."""
        for name, types in normalized(records).items():
            self._records[name] = types
            labels = name.split(".")
            self._parents.update(".".join(labels[at:]) for at in range(1, len(labels)))
        self.version += 1

    def remove(self, name: str) -> None:
        """Forget a name's records."""
        self._records.pop(_name(name), None)
        self.version += 1

    def set_fault(self, name: str, fault: DnsFault | None) -> None:
        """Meet questions for exactly this name with a fault; None ends it."""
        if fault is None:
            self._faults.pop(_name(name), None)
        else:
            self._faults[_name(name)] = fault
        self.version += 1

    def lookup(self, qname: str, qtype: str) -> Answer:
        """Return the answer to a question: a name and a record type such as "MX"."""
        name = _name(qname)
        fault = self._fault(name)
        if fault is not None and fault is not DnsFault.TRUNCATE:
            return Answer(Rcode.NOERROR, fault=fault)
        answer = self._answer(name, qtype)
        return answer if fault is None else replace(answer, fault=fault)

    def _answer(self, name: str, qtype: str) -> Answer:
        chain: list[Record] = []
        for _ in range(_MAX_CHAIN):
            found = self._find(name)
            if found is None:
                rcode = Rcode.NOERROR if self._has_below(name) else Rcode.NXDOMAIN
                return Answer(rcode, tuple(chain), self._soa(name))
            if qtype != "CNAME" and "CNAME" in found:
                target = found["CNAME"][0]
                chain.append(Record(name, "CNAME", target))
                name = _name(target)
                continue
            records = tuple(Record(name, qtype, text) for text in found.get(qtype, ()))
            return Answer(Rcode.NOERROR, (*chain, *records), None if records else self._soa(name))
        return Answer(Rcode.NOERROR, tuple(chain))

    def _find(self, name: str) -> Mapping[str, tuple[str, ...]] | None:
        return self._records.get(name)

    def _has_below(self, name: str) -> bool:
        return name in self._parents

    def _fault(self, name: str) -> DnsFault | None:
        return self._faults.get(name)

    def _soa(self, name: str) -> Record:
        """Return the SOA of the zone that a name belongs to.

        It is the nearest ancestor's own, else one for the topmost ancestor with records, else one for the top label.
        """
        topmost = name.rpartition(".")[2]
        at = name
        while at:
            found = self._find(at)
            if found is not None:
                if "SOA" in found:
                    return Record(at, "SOA", found["SOA"][0])
                topmost = at
            at = at.partition(".")[2]
        return Record(topmost, "SOA", f"ns1.{topmost}. hostmaster.{topmost}. 1 7200 3600 1209600 {NEGATIVE_TTL}")


def normalized(records: Records) -> dict[str, dict[str, tuple[str, ...]]]:
    """Names as the zone keeps them, and each value in zone-file form."""
    return {
        _name(name): {
            kind: tuple(_text(kind, value) for value in (values if isinstance(values, list) else [values]))
            for kind, values in types.items()
        }
        for name, types in records.items()
    }


def _name(name: str) -> str:
    return name.rstrip(".").lower()


def _text(kind: str, value: Any) -> str:
    match kind:
        case "MX":
            preference, host = value
            return f"{preference} {_absolute(host)}"
        case "TXT":
            pieces = value if isinstance(value, tuple) else _split(value)
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


def _split(value: str | bytes) -> tuple[bytes, ...]:
    data = value if isinstance(value, bytes) else value.encode()
    return tuple(data[at : at + _PIECE] for at in range(0, len(data), _PIECE)) or (b"",)


def _quoted(piece: str | bytes) -> str:
    data = piece if isinstance(piece, bytes) else piece.encode()
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in data)
    return '"' + "".join(plain) + '"'
