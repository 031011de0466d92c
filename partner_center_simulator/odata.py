"""The part of OData that `GET /referrals` understands: $filter, $orderby (partner_center_api.md, sections 2 and 9).

Not here: finding referrals (`world`), the other query options (`paging`).
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, Protocol

from partner_center_simulator.instants import TICKS_PER_SECOND, parse_ticks, render_ticks, ticks_or_none


class QueryError(ValueError):
    """A query option that the server refuses with 400 invalidRequest. Its message goes into the error's body."""


class DateLiteral(StrEnum):
    """Which form of a date in $filter the server accepts. Microsoft documents none (section 2, "Date literal")."""

    EITHER = "either"
    BARE = "bare"
    QUOTED = "quoted"
    REFUSED = "refused"
    """No filter on any date."""


class DateComparison(StrEnum):
    """How the server compares `updatedDateTime`, in $filter and in $orderby. Microsoft documents none."""

    EXACT = "exact"
    """To the 100 nanoseconds that it prints."""
    MILLISECONDS_ROUNDED = "milliseconds_rounded"
    MILLISECONDS_CUT = "milliseconds_cut"
    SECONDS_CUT = "seconds_cut"
    TEXT = "text"
    """As it is printed: `00:00:00.5Z` is before `00:00:00Z`."""

    def key(self, ticks: int) -> int:
        """Return the number that stands for an instant (ticks) where this server compares."""
        match self:
            case DateComparison.EXACT:
                return ticks
            case DateComparison.MILLISECONDS_ROUNDED:
                return (ticks + _MILLISECOND // 2) // _MILLISECOND
            case DateComparison.MILLISECONDS_CUT:
                return ticks // _MILLISECOND
            case DateComparison.SECONDS_CUT:
                return ticks // TICKS_PER_SECOND
            case DateComparison.TEXT:
                return int.from_bytes(render_ticks(ticks).encode().ljust(_LONGEST_INSTANT, b"\0"))


_MILLISECOND: Final = TICKS_PER_SECOND // 1000
_LONGEST_INSTANT: Final = len("2026-03-01T00:00:00.1234567Z")
_COARSENESS: Final = TICKS_PER_SECOND
"""No comparison takes two instants that are further apart (ticks) in the wrong order, or for equal."""


class Order(StrEnum):
    """The two fields that $orderby accepts."""

    CREATED = "createdDateTime"
    UPDATED = "updatedDateTime"


_DATE_FIELDS: Final = (
    "createdDateTime", "updatedDateTime", "expirationDateTime", "acceptedDateTime", "closedDateTime",
    "details/closingDateTime",
)  # fmt: skip
_TEXT_FIELDS: Final = (
    "id", "engagementId", "name", "organizationId", "organizationName", "externalReferenceId", "status", "substatus",
    "statusReason", "qualification", "type", "direction", "quality", "campaignId", "referralProgram", "mpnId",
    "salesStage", "referralSource", "callToAction", "dealSensitivity", "registrationStatus", "eTag",
    "customerProfile/name", "customerProfile/size", "customerProfile/address/city", "customerProfile/address/state",
    "customerProfile/address/postalCode", "customerProfile/address/country", "customerProfile/address/region",
    "details/currency", "details/notes", "inviteContext/assistanceRequestCode",
    "inviteContext/invitedBy/organizationId",
)  # fmt: skip
_FLAG_FIELDS: Final = ("isSpam", "favorite", "details/customerRequestedContact")
_NUMBER_FIELDS: Final = ("details/dealValue",)
_FIELDS: Final = frozenset((*_DATE_FIELDS, *_TEXT_FIELDS, *_FLAG_FIELDS, *_NUMBER_FIELDS))
_MEMBER_FIELDS: Final = ("email", "firstName", "lastName", "phoneNumber")
_COLLECTIONS: Final = ("team", "customerProfile/team")

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": eq, "ne": ne, "gt": gt, "ge": ge, "lt": lt, "le": le,
}  # fmt: skip

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<date>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,7})?(?:Z|[+-]00:00))
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<text>'(?:[^']|'')*')
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<sign>[():])
    )""",
    re.VERBOSE,
)


class Condition(Protocol):
    """A node of a parsed $filter."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Say whether one referral (or one member of a collection) fulfils the condition."""
        ...


def _value_at(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = row
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator value`. The value of a date field is in ticks, and is compared by `compares`."""

    path: tuple[str, ...]
    operator: str
    value: str | int | float | bool | None
    is_date: bool = False
    compares: DateComparison = DateComparison.EXACT

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Compare by OData's rules: null equals only null, and `gt`, `ge`, `lt` and `le` with null are false.

        A date field that holds no date counts as null.
        """
        value = _value_at(row, self.path)
        if self.is_date:
            value = ticks_or_none(value)
        if value is None or self.value is None:
            return _OPERATORS[self.operator](value, self.value) if self.operator in ("eq", "ne") else False
        if self.compares is not DateComparison.EXACT and isinstance(self.value, int):
            return _OPERATORS[self.operator](self.compares.key(value), self.compares.key(self.value))
        return _OPERATORS[self.operator](value, self.value)


@dataclass(frozen=True, slots=True)
class Not:
    """`not condition`."""

    inner: Condition

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Say whether the inner condition is false."""
        return not self.inner.matches(row)


@dataclass(frozen=True, slots=True)
class AllOf:
    """`a and b and ...`. Without parts it is true."""

    parts: tuple[Condition, ...]

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Say whether every part is true."""
        return all(part.matches(row) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`a or b or ...`."""

    parts: tuple[Condition, ...]

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Say whether at least one part is true."""
        return any(part.matches(row) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Exists:
    """`collection/any(x: condition on x)`."""

    path: tuple[str, ...]
    inner: Condition

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Say whether at least one member of the collection fulfils the condition."""
        members = _value_at(row, self.path)
        return isinstance(members, list) and any(self.inner.matches(member) for member in members)


@dataclass(frozen=True, slots=True)
class Filter:
    """A $filter in the parts that a search in the world's order needs.

    `lower` (inclusive) and `upper` (exclusive) limit `updatedDateTime` in ticks; None is no limit. `id` and
    `engagement_id` are required values; None allows any. `rest` is the rest of the condition.
    """

    lower: int | None
    upper: int | None
    id: str | None
    engagement_id: str | None
    rest: AllOf


def parse_filter(
    text: str,
    dates: DateLiteral = DateLiteral.EITHER,
    refused: Collection[str] = (),
    compares: DateComparison = DateComparison.EXACT,
    *,
    without_updated: bool = False,
) -> Filter:
    """Parse a $filter. Raises QueryError for a syntax or a property that is unknown, or is in `refused`.

    `compares` is how `updatedDateTime` is compared; `without_updated` passes its comparisons over.
    """
    condition = _Parser(text, dates, refused).parse()
    parts = condition.parts if isinstance(condition, AllOf) else (condition,)
    lower: int | None = None
    upper: int | None = None
    keys: dict[str, str] = {}
    rest: list[Condition] = []
    slack = 0 if compares is DateComparison.EXACT else 2 * _COARSENESS
    for part in parts:
        if slack and not without_updated and isinstance(part, Comparison) and part.path == ("updatedDateTime",):
            rest.append(replace(part, compares=compares))  # the bounds below only make the search short
        match part:
            case Comparison(("updatedDateTime",)) if without_updated:
                pass
            case Comparison(("updatedDateTime",), "ge" | "gt" as operator, int(value)):
                bound = value + (operator == "gt") - slack
                lower = bound if lower is None else max(lower, bound)
            case Comparison(("updatedDateTime",), "lt" | "le" as operator, int(value)):
                bound = value + (operator == "le") + slack
                upper = bound if upper is None else min(upper, bound)
            case Comparison(("updatedDateTime",)) if slack:
                pass
            case Comparison((("id" | "engagementId") as field,), "eq", str(value)) if field not in keys:
                keys[field] = value
            case _:
                rest.append(part)
    return Filter(lower, upper, keys.get("id"), keys.get("engagementId"), AllOf(tuple(rest)))


EVERYTHING: Final = Filter(None, None, None, None, AllOf(()))
"""The condition of a request without $filter."""


def parse_orderby(text: str) -> tuple[Order, bool]:
    """Return the field and whether the order is descending. Raises QueryError for another field (section 2)."""
    words = text.split()
    if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise QueryError(f"The $orderby expression '{text}' is not valid.")
    try:
        order = Order(words[0])
    except ValueError:
        raise QueryError(f"Ordering by '{words[0]}' is not supported.") from None
    return order, len(words) == 2 and words[1].lower() == "desc"


class _Parser:
    """A recursive descent parser: or, and, not, (), comparison, any."""

    def __init__(self, text: str, dates: DateLiteral, refused: Collection[str]) -> None:
        self._dates = dates
        self._refused = refused
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None or token.lastgroup is None:
                raise QueryError(f"Syntax error at position {position} in the $filter expression.")
            self._tokens.append((token.lastgroup, token[token.lastgroup]))
            position = token.end()
        self._next_token = 0
        self._variable: str | None = None

    def parse(self) -> Condition:
        condition = self._or()
        if self._next_token != len(self._tokens):
            raise QueryError(f"Unexpected '{self._peek()[1]}' in the $filter expression.")
        return condition

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next_token] if self._next_token < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._next_token += 1
        return token

    def _accept(self, token: str) -> bool:
        if self._peek()[1] == token and self._peek()[0] in ("word", "sign"):
            self._next_token += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise QueryError(f"Expected '{token}' in the $filter expression.")

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._accept("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _and(self) -> Condition:
        parts = [self._unary()]
        while self._accept("and"):
            parts.append(self._unary())
        flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, AllOf) else (part,)))
        return flat[0] if len(flat) == 1 else AllOf(flat)

    def _unary(self) -> Condition:
        if self._accept("not"):
            return Not(self._unary())
        if self._accept("("):
            inner = self._or()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        kind, word = self._next()
        if kind != "word":
            raise QueryError("Expected a property name in the $filter expression.")
        if self._variable is None and word.endswith("/any"):
            return self._any(word.removesuffix("/any"))
        path = self._path(word)
        operator = self._next()[1]
        if operator not in _OPERATORS:
            raise QueryError(f"Unknown operator '{operator}' in the $filter expression.")
        is_date = self._variable is None and word in _DATE_FIELDS
        return Comparison(path, operator, self._literal(word, is_date=is_date), is_date)

    def _any(self, collection: str) -> Condition:
        if collection not in _COLLECTIONS:
            raise QueryError(f"'{collection}' is not a collection that can be filtered.")
        self._expect("(")
        self._variable = self._next()[1]
        self._expect(":")
        inner = self._or()
        self._variable = None
        self._expect(")")
        return Exists(tuple(collection.split("/")), inner)

    def _path(self, word: str) -> tuple[str, ...]:
        if self._variable is not None:
            variable, _, field = word.partition("/")
            if variable == self._variable and field in _MEMBER_FIELDS:
                return (field,)
        elif word in _FIELDS and word not in self._refused:
            return tuple(word.split("/"))
        raise QueryError(f"Could not find a filterable property named '{word}' on type 'Referral'.")

    def _literal(self, field: str, *, is_date: bool) -> str | int | float | bool | None:
        kind, text = self._next()
        if kind == "word" and text == "null":
            return None
        if is_date:
            return self._date(field, kind, text)
        if field in _FLAG_FIELDS:
            if text in ("true", "false"):
                return text == "true"
        elif field in _NUMBER_FIELDS:
            if kind == "number":
                return float(text)
        elif kind == "text":
            return text[1:-1].replace("''", "'")
        raise QueryError(f"The value '{text}' does not fit the property '{field}'.")

    def _date(self, field: str, kind: str, text: str) -> int:
        accepted = {
            DateLiteral.EITHER: ("date", "text"),
            DateLiteral.BARE: ("date",),
            DateLiteral.QUOTED: ("text",),
            DateLiteral.REFUSED: (),
        }[self._dates]
        if kind not in accepted:
            raise QueryError(f"The value '{text}' cannot be compared with the property '{field}'.")
        try:
            return parse_ticks(text.strip("'"))
        except ValueError:
            raise QueryError(f"The value '{text}' is not a date.") from None
