"""Drift: fields, and values of enumerations, that are in a payload but in no source of Microsoft's.

What is known is in referral_shape.toml, with its sources. A row with drift is loaded like any other. Not here: what
breaks the contract (`contract`), storing what was found (`warehouse.drift`).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import repeat
from typing import Any, Final

from partner_center_pipeline.referral import Drift, DriftKind, NewDrift

_NAME: Final = re.compile(r"[A-Za-z_$][\w$-]{0,63}(?:@odata\.[A-Za-z.]{1,30})?|@odata\.[A-Za-z.]{1,30}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_MAX_DIGITS: Final = 4
"""A key with more digits is not a field's name but an id or a number, which differs from referral to referral."""

_OTHER: Final = "(other)"
"""Shown for a key that is not a name, such as an address, and for text that is not a code."""


@dataclass(slots=True)
class _Known:
    """An object's known fields: all names, those that hold objects, and those that hold an enumeration's values.

    `path` is where the documents have the object, as `Drift.path` begins with it, e.g. `team[].`.
    """

    path: str = ""
    names: set[str] = field(default_factory=set)
    objects: dict[str, "_Known"] = field(default_factory=dict)
    values: dict[str, frozenset[object]] = field(default_factory=dict)

    def at(self, path: str) -> "_Known":
        """Return the object at a path such as `a.b[].c`, created where it is missing; "" is this one."""
        here = self
        for part in path.split(".") if path else ():
            here = here.objects.setdefault(part.replace("[]", ""), _Known(f"{here.path}{part}."))
        return here


@cache
def _known() -> _Known:
    text = files("partner_center_pipeline.partner_center").joinpath("referral_shape.toml").read_text(encoding="utf-8")
    shape: dict[str, dict[str, list[str]]] = tomllib.loads(text)
    values = shape.pop("values")
    known = _Known()
    for source in shape.values():
        for path, names in source.items():
            known.at(path).names.update(names)
    for path, members in values.items():
        parent, _, name = path.rpartition(".")
        # "" and null mean that there is no value.
        known.at(parent).values[name] = frozenset((*members, "", None))
    return known


class DriftWatch:
    """Finds the drift in many payloads, and reports each once.

    What was reported counts as known from then on, so that a field that Microsoft added costs no more than any other.
    """

    def __init__(self) -> None:
        self._known = deepcopy(_known())
        self._reported: set[Drift] = set()

    def new_drift(self, referrals: Sequence[tuple[str, dict[str, Any]]]) -> list[NewDrift]:
        """Return the drift not reported before, sorted, each with the id of the first referral that shows it.

        `referrals` are pairs of id and payload. Never raises for payloads that pass the contract: at most 254 levels
        deep, numbers and text of any size.
        """
        if self._are_usual([payload for _, payload in referrals]):
            return []
        new: dict[Drift, str] = {}
        for referral_id, payload in referrals:
            for found in _of_object(payload, self._known, ""):
                if found.drift not in self._reported:
                    new.setdefault(found.drift, referral_id)
                found.learn()
        self._reported.update(new)
        return sorted(new.items())

    def _are_usual(self, payloads: list[dict[str, Any]]) -> bool:
        try:
            return _are_usual(payloads, self._known)
        except TypeError:  # a list or an object in the place of a value has no hash
            return False


def _are_usual(found: list[dict[str, Any]], known: _Known) -> bool:
    """Say whether these objects, all from the same path, hold nothing unknown, which is nearly always so.

    It compares field by field over all objects, which is faster than object by object.
    """
    if not set().union(*found) <= known.names:
        return False
    for name, members in known.values.items():
        if not members.issuperset(map(dict.get, found, repeat(name))):
            return False
    for name, inner in known.objects.items():
        inside: list[Any] = []
        for value in map(dict.get, found, repeat(name)):
            # Decoded JSON has no subclasses, and comparing the class itself is faster.
            if value.__class__ is dict:
                inside.append(value)
            elif value.__class__ is list:
                inside += value
        classes = set(map(type, inside))
        if list in classes:
            return False
        objects = inside if classes <= {dict} else [item for item in inside if item.__class__ is dict]
        if objects and not _are_usual(objects, inner):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Found:
    """Drift, with what `learn` needs: `known` lacks `name`, or the enumeration of that name lacks `value`."""

    drift: Drift
    known: _Known
    name: str
    value: object = None

    def learn(self) -> None:
        """Add it to what is known, where another referral with the same would have the same path and value.

        This is not so for a name or value that is shown as `(other)`, nor where an object is in the place of a list.
        """
        if self.drift.path != self.known.path + self.name:
            return
        if self.drift.kind is DriftKind.FIELD:
            self.known.names.add(self.name)
        elif self.drift.value == self.value:
            self.known.values[self.name] |= {self.value}


def _of_object(found: Mapping[str, Any], known: _Known, before: str) -> Iterator[_Found]:
    if not found.keys() <= known.names:
        for name in found.keys() - known.names:
            yield _Found(Drift(DriftKind.FIELD, before + _shown_name(name)), known, name)
    for name, members in known.values.items():
        value = found.get(name)
        # A list or an object has no hash, and is never a member.
        if isinstance(value, list | dict) or value not in members:
            yield _Found(Drift(DriftKind.VALUE, before + name, _shown_value(value)), known, name, value)
    for name, inner in known.objects.items():
        value = found.get(name)
        if value:
            yield from _of_value(value, inner, before + name)


def _of_value(value: object, known: _Known, path: str) -> Iterator[_Found]:
    if isinstance(value, dict):
        yield from _of_object(value, known, path + ".")
    elif isinstance(value, list):
        for item in value:
            yield from _of_value(item, known, path + "[]")


def _shown_name(name: str) -> str:
    return name if _NAME.fullmatch(name) and sum(map(str.isdigit, name)) <= _MAX_DIGITS else _OTHER


def _shown_value(value: object) -> str:
    match value:
        case str():
            return value if _CODE.fullmatch(value) else _OTHER
        case bool():
            return "(boolean)"
        case int() | float():
            return "(number)"
        case list():
            return "(list)"
        case _:
            return "(object)"
