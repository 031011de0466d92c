"""Tells what a payload holds that no source of Microsoft's names: unknown fields, and unknown values of enumerations.

What belongs here: comparing a payload with what is known (referral_shape.toml, which names its sources). What does not:
what breaks the contract (`contract`; drift breaks nothing, the row loads), keeping what was found (`warehouse.drift`).
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
_MOST_DIGITS: Final = 4
"""A key with more digits is no name of a field but an id or a number, and each referral would bring another."""

_OTHER: Final = "(other)"
"""Stands for a key that is no name, such as an address, and for text that is no code."""


@dataclass(slots=True)
class _Known:
    """An object's known fields: all names, those with fields of their own, those with an enumeration's values."""

    names: set[str] = field(default_factory=set)
    objects: dict[str, "_Known"] = field(default_factory=dict)
    values: dict[str, frozenset[object]] = field(default_factory=dict)

    def at(self, path: str) -> "_Known":
        """The object at a path such as `a.b[].c`, made where it is new; "" is this one."""
        here = self
        for name in path.replace("[]", "").split(".") if path else ():
            here = here.objects.setdefault(name, _Known())
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
        # "" and null say that there is none.
        known.at(parent.removesuffix("[]")).values[name] = frozenset((*members, "", None))
    return known


class DriftWatch:
    """Tells what is unknown in many payloads, each thing once.

    What it told is known to it from then on, so that a field that Microsoft added costs no more than any other.
    """

    def __init__(self) -> None:
        self._known = deepcopy(_known())
        self._told: set[Drift] = set()

    def news(self, referrals: Sequence[tuple[str, dict[str, Any]]]) -> list[NewDrift]:
        """What in these payloads, each beside its referral's id, was not told before, and the first that shows it.

        Sorted; empty for usual payloads. Never raises for what the contract let pass: at most 254 levels deep, numbers
        and text of any size.
        """
        if self._are_usual([payload for _, payload in referrals]):
            return []
        news: dict[Drift, str] = {}
        for referral_id, payload in referrals:
            for found in _of_object(payload, self._known, ""):
                if found.drift not in self._told:
                    news.setdefault(found.drift, referral_id)
                found.learn()
        self._told.update(news)
        return sorted(news.items())

    def _are_usual(self, payloads: list[dict[str, Any]]) -> bool:
        try:
            return _are_usual(payloads, self._known)
        except TypeError:  # a list or an object in a value's place has no hash
            return False


def _are_usual(found: list[dict[str, Any]], known: _Known) -> bool:
    """Whether nothing in these objects, all of the same place, is unknown; nearly always so.

    Field by field over all of them, which is faster than object by object.
    """
    if not set().union(*found) <= known.names:
        return False
    for name, members in known.values.items():
        if not members.issuperset(map(dict.get, found, repeat(name))):
            return False
    for name, inner in known.objects.items():
        inside: list[dict[str, Any]] = []
        for value in map(dict.get, found, repeat(name)):
            # JSON holds no subclasses, and asking for the class itself is faster.
            if value.__class__ is dict:
                inside.append(value)
            elif value.__class__ is list:
                if any(item.__class__ is list for item in value):
                    return False
                inside += [item for item in value if item.__class__ is dict]
        if inside and not _are_usual(inside, inner):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Found:
    """Drift, and where it is unknown: a name to `known`, or a value of the enumeration of that name."""

    drift: Drift
    known: _Known
    name: str
    value: object = None

    def learn(self) -> None:
        """Make it known, unless what it holds may be another in each referral."""
        if self.drift.kind is DriftKind.FIELD and self.drift.path.endswith(self.name):
            self.known.names.add(self.name)
        elif self.drift.kind is DriftKind.VALUE and self.drift.value == self.value:
            self.known.values[self.name] |= {self.value}


def _of_object(found: Mapping[str, Any], known: _Known, before: str) -> Iterator[_Found]:
    if not found.keys() <= known.names:
        for name in found.keys() - known.names:
            yield _Found(Drift(DriftKind.FIELD, before + _shown_name(name)), known, name)
    for name, members in known.values.items():
        value = found.get(name)
        # A list or an object has no hash, and is no member either.
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
    return name if _NAME.fullmatch(name) and sum(map(str.isdigit, name)) <= _MOST_DIGITS else _OTHER


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
