"""How a switch changes the rows that are sent: other forms, undocumented values, rows that break the contract.

Not here: choosing rows (`paging`), the switches (`faults`).
"""

import html
import re
from collections.abc import Callable
from typing import Any, Final

from partner_center_simulator.faults import CorruptRow, Faults, IdsShape
from partner_center_simulator.payloads import Payload
from partner_center_simulator.seeded_random import guid

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z")
_DEPTH: Final = 400
_HUGE: Final = 10**400


def as_sent(row: Payload, faults: Faults) -> Payload:
    """Return the row as it is sent while these switches are on. The world's row is not changed."""
    if faults.unknown_values:
        unknown = {"substatus": "Paused", "qualification": "AssistantQualified"} if row["id"][0] in "02468ace" else {}
        row = row | unknown | {"forecastCategory": {"id": "fc-1", "confidence": 0.5}}
    if faults.ids_shape is not None:
        row = _with_field(row, "customerProfile", "ids", _ids(row, faults.ids_shape))
    if faults.html_names:
        customer = row.get("customerProfile") or {}
        row = _with_field(row, "customerProfile", "name", _entities(customer.get("name")))
        row = row | {"name": _entities(row["name"])} if "name" in row else row
    if faults.padded_fractions:
        row = _map_texts(row, _padded)
    return row


def make_corrupt(row: Payload, kind: CorruptRow) -> Any:
    """Return a copy of the row under another id that breaks the contract in one way."""
    broken = row | {"id": guid("corrupt", kind, row["id"])}
    match kind:
        case CorruptRow.NO_ID:
            del broken["id"]
        case CorruptRow.NUMBER_ID:
            broken["id"] = 4711
        case CorruptRow.NO_DATE:
            del broken["updatedDateTime"]
        case CorruptRow.BAD_DATE:
            broken["updatedDateTime"] = "yesterday"
        case CorruptRow.NUL:
            return _with_field(broken, "customerProfile", "name", "Bozuk\x00Kayıt")
        case CorruptRow.LONE_SURROGATE:
            return _with_field(broken, "customerProfile", "name", "Bozuk \ud83d Kayıt")
        case CorruptRow.HUGE_NUMBER:
            return _with_field(broken, "details", "dealValue", _HUGE)
        case CorruptRow.TOO_DEEP:
            deep: Payload = {}
            for _ in range(_DEPTH):
                deep = {"inner": deep}
            return _with_field(broken, "details", "requirements", deep)
        case CorruptRow.NOT_AN_OBJECT:
            return f"referral {broken['id']}"
    return broken


def _with_field(row: Payload, part: str, field: str, value: object) -> Payload:
    return row | {part: (row.get(part) or {}) | {field: value}}


def _ids(row: Payload, shape: IdsShape) -> object:
    match shape:
        case IdsShape.EMPTY_OBJECT:
            return {}
        case IdsShape.EMPTY_LIST:
            return []
        case IdsShape.NULL:
            return None
        case IdsShape.LIST:
            return [{"profileType": "External", "id": f"EX-{row['id'][:8]}"}, {"profileType": "Duns", "id": ""}]


def _entities(text: str | None) -> str | None:
    if text is None:
        return None
    return html.escape(html.unescape(text)).encode("ascii", "xmlcharrefreplace").decode()


def _padded(text: str) -> str:
    instant = _INSTANT.fullmatch(text)
    return text if instant is None else f"{instant[1]}.{(instant[2] or '').ljust(7, '0')}Z"


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _map_texts(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_map_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
