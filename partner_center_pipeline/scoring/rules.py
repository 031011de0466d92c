"""Reading a rules file: its shape, errors by line, the proof that its tables cover every company, and look-ups.

Not here: the numbers and texts (`rules.toml`), and the order in which they are applied (`evaluate`).
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictInt,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from partner_center_pipeline.scoring.model import (
    READINESS_MAX,
    Category,
    CommercialHeat,
    CommercialSegment,
    ReasonCode,
    Segment,
    TechnicalHeat,
)
from partner_center_pipeline.vocabulary import Language, Provider

DEFAULT_RULES: Final = Path(__file__).with_name("rules.toml")
"""The rules the product is delivered with."""

SignalCode = Literal[
    ReasonCode.SPF_PRESENT,
    ReasonCode.NO_SPF,
    ReasonCode.SPF_MANY_INCLUDES,
    ReasonCode.SPF_PERMERROR,
    ReasonCode.SPF_ALLOWS_ALL,
    ReasonCode.DKIM_PRESENT,
    ReasonCode.NO_DKIM,
    ReasonCode.NO_DKIM_FORGERY_RISK,
    ReasonCode.DMARC_REJECT,
    ReasonCode.DMARC_QUARANTINE,
    ReasonCode.DMARC_NONE,
    ReasonCode.DMARC_ABSENT,
    ReasonCode.HOSTING_UNPROTECTED,
]
"""The reasons with points in the rules. SPF_MULTIPLE_RECORDS takes the points of NO_SPF."""

# Pending is in no table: it says that DNS did not answer.
_TableSegment = Literal[Segment.EXISTING, Segment.MIGRATION, Segment.COLD, Segment.SKIP]
_TABLE_SEGMENTS: Final = (Segment.EXISTING, Segment.MIGRATION, Segment.COLD, Segment.SKIP)

_Readiness = Annotated[StrictInt, Field(ge=0, le=READINESS_MAX)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
_RateOf = Annotated[Decimal, Field(ge=Decimal("1e-8"), le=Decimal("1e9"), allow_inf_nan=False)]
_Location = tuple[int | str, ...]


class RulesError(Exception):
    """A rules file that cannot be used. `line` counts from 1; it is None for an error of the whole file."""

    def __init__(self, file: Path, line: int | None, problem: str, next_step: str) -> None:
        self.file = file
        self.line = line
        self.problem = problem
        self.next_step = next_step
        where = f"{file}, line {line}" if line is not None else str(file)
        super().__init__(f"{where}: {problem}. {next_step}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ReadinessRow(_Strict):
    readiness_min: _Readiness = 0
    readiness_max: _Readiness = READINESS_MAX

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.readiness_min > self.readiness_max:
            raise ValueError(f"readiness_min {self.readiness_min} is above readiness_max {self.readiness_max}")
        return self

    def _spans(self, readiness: int) -> bool:
        return self.readiness_min <= readiness <= self.readiness_max


class SegmentRow(_ReadinessRow):
    """A row of the segment table (scoring.md, section 3). `reason` says why this row."""

    segment: _TableSegment
    reason: ReasonCode
    provider: Annotated[tuple[Provider, ...], Field(min_length=1)] = tuple(Provider)

    def matches(self, provider: Provider, readiness: int) -> bool:
        """Say whether the row is for this company."""
        return provider in self.provider and self._spans(readiness)


class CommercialSegmentRow(_ReadinessRow):
    """A row of the commercial table (scoring.md, section 6)."""

    commercial_segment: CommercialSegment
    segment: Annotated[tuple[_TableSegment, ...], Field(min_length=1)] = _TABLE_SEGMENTS
    provider: Annotated[tuple[Provider, ...], Field(min_length=1)] = tuple(Provider)

    def matches(self, segment: Segment, provider: Provider, readiness: int) -> bool:
        """Say whether the row is for this company."""
        return segment in self.segment and provider in self.provider and self._spans(readiness)


class TechnicalHeatRow(_Strict):
    """A row of the technical heat (scoring.md, section 6)."""

    technical_heat: TechnicalHeat
    segment: Annotated[tuple[_TableSegment, ...], Field(min_length=1)] = _TABLE_SEGMENTS
    provider: Annotated[tuple[Provider, ...], Field(min_length=1)] = tuple(Provider)

    def matches(self, segment: Segment, provider: Provider) -> bool:
        """Say whether the row is for this company."""
        return segment in self.segment and provider in self.provider


class CommercialHeatRow(_ReadinessRow):
    """A row of the commercial heat (scoring.md, section 6)."""

    commercial_heat: CommercialHeat
    commercial_segment: Annotated[tuple[CommercialSegment, ...], Field(min_length=1)] = tuple(CommercialSegment)

    def matches(self, commercial_segment: CommercialSegment, readiness: int) -> bool:
        """Say whether the row is for this company."""
        return commercial_segment in self.commercial_segment and self._spans(readiness)


class CategoryRow(_Strict):
    """A row of the category table (scoring.md, section 6). Without `act` there is nothing to do.

    A file of one's own may leave out the Turkish texts; then the others are shown in their place.
    """

    category: Category
    label: _Text
    label_tr: _Text | None = None
    commercial_segment: Annotated[tuple[CommercialSegment, ...], Field(min_length=1)]
    act: _Text | None = None
    act_tr: _Text | None = None

    @model_validator(mode="after")
    def _act_in_both(self) -> Self:
        if self.act is None and self.act_tr is not None:
            raise ValueError("act_tr is the Turkish text of `act`, which is missing")
        return self

    def matches(self, commercial_segment: CommercialSegment) -> bool:
        """Say whether the row is for this company."""
        return commercial_segment in self.commercial_segment


class ReasonText(_Strict):
    """A reason in each `Language`."""

    en: _Text
    tr: _Text


class MoneyRules(_Strict):
    """By what rates deal values in different currencies are compared (scoring.md, section 6, "Money").

    `rates` says what one unit is worth in the reporting currency on `rates_date`.
    """

    reporting_currency: _Currency
    rates_date: date
    rates: dict[_Currency, _RateOf]

    @model_validator(mode="after")
    def _reporting_is_one(self) -> Self:
        if self.rates.get(self.reporting_currency, 1) != 1:
            raise ValueError(f"the rate of {self.reporting_currency}, the reporting currency, is 1")
        return self


_POINTS_OF: Final[Mapping[SignalCode, SignalCode]] = {
    ReasonCode.SPF_PERMERROR: ReasonCode.NO_SPF,
    ReasonCode.SPF_ALLOWS_ALL: ReasonCode.NO_SPF,
}
"""Signals that came with version 3, and whose points they have in a file that does not name them."""


class ReadinessRules(_Strict):
    """The points of scoring.md, section 1.

    What came with version 3 may be left out: an unlisted host and the implicit MX then have the points of Local, and
    the new signals those of `_POINTS_OF`.
    """

    spf_includes_max: Annotated[StrictInt, Field(ge=0)]
    unlisted_host: StrictInt | None = None
    implicit_mx: StrictInt | None = None
    provider: dict[Provider, StrictInt]
    signal: dict[SignalCode, StrictInt]

    @field_validator("provider")
    @classmethod
    def _every_provider(cls, points: dict[Provider, int]) -> dict[Provider, int]:
        _refuse_missing(Provider, points)
        return points

    @field_validator("signal")
    @classmethod
    def _every_signal(cls, points: dict[SignalCode, int]) -> dict[SignalCode, int]:
        points = {**{new: points[old] for new, old in _POINTS_OF.items() if old in points}, **points}
        _refuse_missing(SignalCode.__args__, points)  # type: ignore[attr-defined]  # a Literal's members
        return points


class CommercialView(NamedTuple):
    """All that follows from segment, provider and readiness (scoring.md, section 6)."""

    commercial_segment: CommercialSegment
    technical_heat: TechnicalHeat
    commercial_heat: CommercialHeat
    category: Category
    label: str
    act: str | None


class Rules(_Strict):
    """A checked rules file: each look-up below has exactly one answer for every possible company.

    The proof tries every provider with every readiness 0 to 100, and for the commercial tables every reachable
    combination: the table's segment; Existing at any readiness (a tenant, whatever its baseline); Skip at 0 (an
    invalid domain, no mail host). Its answers are kept, so a look-up costs one dictionary access.
    """

    version: _Text
    readiness: ReadinessRules
    segments: tuple[SegmentRow, ...]
    commercial_segments: tuple[CommercialSegmentRow, ...]
    technical_heats: tuple[TechnicalHeatRow, ...]
    commercial_heats: tuple[CommercialHeatRow, ...]
    categories: tuple[CategoryRow, ...]
    reasons: dict[ReasonCode, ReasonText]
    money: MoneyRules | None = None

    _segments: dict[tuple[Provider, int], SegmentRow] = PrivateAttr(default_factory=dict)
    _views: dict[tuple[Segment, Provider, int], CommercialView] = PrivateAttr(default_factory=dict)

    @field_validator("reasons")
    @classmethod
    def _every_reason(cls, texts: dict[ReasonCode, ReasonText]) -> dict[ReasonCode, ReasonText]:
        delivered = _delivered_texts()
        texts = {**delivered, **texts}
        _refuse_missing(ReasonCode, texts)
        return texts

    @model_validator(mode="after")
    def _is_total(self) -> Self:
        holes: dict[tuple[str, str], list[int]] = defaultdict(list)
        for provider in Provider:
            for readiness in range(READINESS_MAX + 1):
                row = next((row for row in self.segments if row.matches(provider, readiness)), None)
                if row is None:
                    holes["segments", f"provider {provider}"].append(readiness)
                    continue
                self._segments[provider, readiness] = row
                hard_failed = {Segment.SKIP} if readiness == 0 else set()
                for segment in sorted({row.segment, Segment.EXISTING} | hard_failed):
                    view = self._view(segment, provider, readiness)
                    if isinstance(view, CommercialView):
                        self._views[segment, provider, readiness] = view
                    else:
                        holes[view, f"segment {segment} with provider {provider}"].append(readiness)
        for (table, company), where in holes.items():
            raise PydanticCustomError(
                "hole",
                "no row of {table} matches {company} at readiness {span}",
                {"table": table, "company": company, "span": _span(where)},
            )
        return self

    def _view(self, segment: Segment, provider: Provider, readiness: int) -> CommercialView | str:
        """Return the view, or the name of the table that has no row for it."""
        technical = next((row for row in self.technical_heats if row.matches(segment, provider)), None)
        if technical is None:
            return "technical_heats"
        commercial = next((row for row in self.commercial_segments if row.matches(segment, provider, readiness)), None)
        if commercial is None:
            return "commercial_segments"
        name = commercial.commercial_segment
        heat = next((row for row in self.commercial_heats if row.matches(name, readiness)), None)
        if heat is None:
            return "commercial_heats"
        category = next((row for row in self.categories if row.matches(name)), None)
        if category is None:
            return "categories"
        return CommercialView(
            name, technical.technical_heat, heat.commercial_heat, category.category, category.label, category.act
        )

    def local_points(self, local_host: str | None) -> tuple[ReasonCode, int]:
        """Return the reason and the points of a Local provider, by what its mail host is (scoring.md, section 1)."""
        local = self.readiness.provider[Provider.LOCAL]
        if local_host == "unlisted":
            own = self.readiness.unlisted_host
            return ReasonCode.PROVIDER_UNLISTED, local if own is None else own
        if local_host == "implicit":
            own = self.readiness.implicit_mx
            return ReasonCode.PROVIDER_IMPLICIT, local if own is None else own
        return ReasonCode.PROVIDER_LOCAL, local

    def segment_row(self, provider: Provider, readiness: int) -> SegmentRow:
        """Return the first matching row of the segment table (scoring.md, section 3)."""
        return self._segments[provider, readiness]

    def view(self, segment: Segment, provider: Provider, readiness: int) -> CommercialView:
        """Return the commercial view of a segment that this provider and readiness can have (scoring.md, section 6)."""
        return self._views[segment, provider, readiness]

    @property
    def rates(self) -> dict[str, Decimal]:
        """What one unit of each currency is worth in the reporting currency; empty where the file names no rates."""
        return {} if self.money is None else {**self.money.rates, self.money.reporting_currency: Decimal(1)}

    def texts(self) -> dict[str, ReasonText]:
        """Return every text in both languages: of a reason by its code, of a category's label and act by the English.

        A label or an act without a Turkish text has the other one in its place.
        """
        labels = {row.label: row.label_tr for row in self.categories}
        acts = {row.act: row.act_tr for row in self.categories if row.act}
        named = {text: ReasonText(en=text, tr=turkish or text) for text, turkish in {**labels, **acts}.items()}
        return {**named, **{code.value: text for code, text in self.reasons.items()}}

    def text(self, code: str, language: str = Language.EN) -> str:
        """Return the text of a reason. Raises ValueError for an unknown code or language."""
        text: str = getattr(self.reasons[ReasonCode(code)], Language(language))
        return text


def load_rules(path: Path | None = None) -> Rules:
    """Read the rules of a file; without `path` return the delivered ones, which are read once.

    Raises RulesError for a file that cannot be read, is not TOML, has an unknown key or a value outside its set, lacks
    a point or a text, or has a table that does not cover every company.
    """
    return _read(path) if path is not None else _delivered()


_SINCE_VERSION_2: Final = (
    ReasonCode.NO_DOMAIN,
    ReasonCode.RESPONSE_WAS_DUE,
    ReasonCode.SALES_QUALIFIED,
    ReasonCode.MARKETING_QUALIFIED,
)
_SINCE_VERSION_3: Final = (
    ReasonCode.PROVIDER_UNLISTED,
    ReasonCode.PROVIDER_IMPLICIT,
    ReasonCode.GATEWAY,
    ReasonCode.MAILBOX_UNANSWERED,
    ReasonCode.SPF_PERMERROR,
    ReasonCode.SPF_ALLOWS_ALL,
    ReasonCode.SPF_TERMS_IGNORED,
    ReasonCode.DMARC_TESTING,
    ReasonCode.UNLISTED_SERVER,
)
_LATER_CODES: Final = (*_SINCE_VERSION_2, *_SINCE_VERSION_3)
"""Reasons that an older file of one's own has no texts for: it takes the delivered ones."""


@cache
def _delivered_texts() -> dict[ReasonCode, ReasonText]:
    texts = tomllib.loads(DEFAULT_RULES.read_text(encoding="utf-8"))["reasons"]
    return {code: ReasonText(**texts[code]) for code in _LATER_CODES if code in texts}


@cache
def _delivered() -> Rules:
    return _read(DEFAULT_RULES)


def _read(path: Path) -> Rules:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RulesError(path, None, f"cannot be read ({error.strerror})", "Check the path.") from None
    except UnicodeDecodeError:
        raise RulesError(path, None, "is not UTF-8", "Save it as UTF-8.") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else None
        raise RulesError(path, line, f"is not TOML: {error}", "Correct that line.") from None
    try:
        return Rules.model_validate(data)
    except ValidationError as error:
        # A misspelt key is also a missing one, and its own line is the one to show.
        worst = min(error.errors(include_url=False), key=lambda one: not _is_unknown_key(one))
    raise _explained(path, text, data, worst)


def _is_unknown_key(error: ErrorDetails) -> bool:
    """Say whether the error is an unknown key of a table; pydantic marks one of a dict by "[key]"."""
    return error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)


def _explained(path: Path, text: str, data: dict[str, Any], error: ErrorDetails) -> RulesError:
    kind = "unknown_key" if _is_unknown_key(error) else error["type"]
    location: _Location = error["loc"][:-1] if error["loc"][-1:] == ("[key]",) else error["loc"]
    context = error.get("ctx", {})
    known = _known_part(data, (context["table"],) if kind == "hole" else location)
    line = _line_of(text, known)
    where = ".".join(str(part + 1) if isinstance(part, int) else part for part in known)
    if kind == "unknown_key":
        return RulesError(path, line, f"unknown key {where}", "Correct its spelling or remove it.")
    if kind == "hole":
        step = "Add a row for it; a last row that names nothing matches whatever is left."
        return RulesError(path, line, str(error["msg"]), step)
    if kind == "missing":
        missing = ".".join(str(part) for part in location[len(known) :])
        return RulesError(path, line, f"{missing} is missing{f' in {where}' if where else ''}", "Add it.")
    if kind == "incomplete":
        return RulesError(path, line, f"{where} {error['msg']}", "Add it.")
    problem = str(error["msg"]).removeprefix("Value error, ")
    return RulesError(path, line, f"{where}: {problem}", "Correct the value.")


def _known_part(data: object, location: _Location) -> _Location:
    """Return the longest beginning of `location` that exists in `data`."""
    for depth, part in enumerate(location):
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
        if data is None:  # which no TOML value is
            return location[:depth]
    return location


def _line_of(text: str, location: _Location) -> int | None:
    """Return the line (from 1) on which a value begins; None for the whole file.

    tomllib keeps no lines, so the file is parsed with more and more of them: the value begins after the last part of
    the file that is TOML without it.
    """
    if not location:
        return None
    lines = text.split("\n")
    start = 1
    for end in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # the beginning ends inside a value of several lines
        if _known_part(data, location) == location:
            break
        start = end + 1
    return start


def _refuse_missing(expected: Iterable[str], given: Mapping[Any, object]) -> None:
    missing = ", ".join(name for name in expected if name not in given)
    if missing:
        raise PydanticCustomError("incomplete", "lacks {names}", {"names": missing})


def _span(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
