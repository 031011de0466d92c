"""Reading a report's workbook back: what a salesperson filled in, and which decisions that means.

A workbook in Turkish or English is understood, whatever has been sorted, filtered or left out of it. Each row has what
was exported in a hidden column, so only what somebody wrote counts as filled in, not what changed in the warehouse
since. Not here: which leads there are, and keeping decisions (`warehouse.decisions`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

from partner_center_pipeline.leads.customer_domain import DomainReason, read_domain
from partner_center_pipeline.leads.decisions import Decision, DecisionKind, DomainChoice, LeadState, Mark
from partner_center_pipeline.leads.domains import normalize_domain
from partner_center_pipeline.leads.folding import fold_key
from partner_center_pipeline.reports.model import LeadRow, ListName, ReportError
from partner_center_pipeline.reports.words import own_texts
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.windows import datetime_of, ticks_of

FILLED_IN: Final = ("decision", "decision_until", "domain")
"""The columns that a salesperson fills in."""

_LISTS: Final = (ListName.DUE_FIRST, ListName.LEADS, ListName.WITHOUT_COMPANY)
_KEYS: Final = (*FILLED_IN, "referral_id", "exported")
_DAY_FORMS: Final = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y")


def exported(row: LeadRow) -> str:
    """Return what the hidden column of a row holds: its referral, mark, day and domain, as they were exported."""
    until = None if row.decision_until is None else row.decision_until.date().isoformat()
    return json.dumps([row.referral_id, row.decision, until, row.domain], ensure_ascii=True)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a workbook: its sheet, its place (`C7`) and its value, None where it is empty."""

    sheet: str
    place: str
    value: Any


@dataclass(frozen=True, slots=True)
class FilledRow:
    """A row of a list: its referral and its cells by key; `was` are mark, day and domain as exported, if that is known.

    `of_company`: the row stands for a company, not for its referral alone.
    """

    referral_id: str
    of_company: bool
    cells: Mapping[str, Cell]
    was: "Was | None"


@dataclass(frozen=True, slots=True)
class Filled:
    """What a workbook holds: its rows, and when (UTC) it was exported, if it still says so."""

    rows: tuple[FilledRow, ...]
    exported_at: datetime | None


def read_workbook(path: Path) -> Filled:
    """Read the lists of a workbook. Raises ReportError for a file that is no workbook, or has none of the lists."""
    from openpyxl import load_workbook  # takes too long for --help
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (OSError, BadZipFile, KeyError, ValueError, InvalidFileException) as error:
        raise ReportError(
            f"{path} is no Excel workbook that can be read ({type(error).__name__}); give a file that "
            "`partner-center export --format xlsx` wrote, saved as .xlsx"
        ) from None
    try:
        titles = {_text(f"list.{name}", language): name for name in _LISTS for language in Language}
        rows: list[FilledRow] = []
        found = False
        for sheet in book.worksheets:
            name = titles.get(sheet.title)
            if name is not None:
                found = True
                rows.extend(_rows_of(sheet, name))
        if not found:
            raise ReportError(
                f"{path} has none of the sheets {', '.join(sorted(titles))}; give a file that "
                "`partner-center export --format xlsx` wrote"
            )
        return Filled(tuple(rows), _exported_at(book))
    finally:
        book.close()


def _rows_of(sheet: Any, name: ListName) -> Iterator[FilledRow]:
    from openpyxl.utils import get_column_letter

    headings = {_text(f"heading.{key}", language): key for key in _KEYS for language in Language}
    places: dict[str, int] | None = None
    for number, row in enumerate(sheet.iter_rows(), 1):
        if places is None:
            places = {headings[cell.value]: at for at, cell in enumerate(row) if cell.value in headings}
            missing = {"decision", "referral_id"} - places.keys()
            if missing:
                named = ", ".join(_text(f"heading.{key}", Language.EN) for key in sorted(missing))
                raise ReportError(f"the sheet {sheet.title!r} has no column {named} in its first row; export it anew")
            continue
        cells = {  # a cell without any content knows no place, and is left out at the end of a row
            key: Cell(sheet.title, f"{get_column_letter(at + 1)}{number}", row[at].value if at < len(row) else None)
            for key, at in places.items()
        }
        was = _was(cells["exported"].value) if "exported" in cells else None
        referral = cells.get("referral_id")
        referral_id = was[0] if was else referral.value if referral else None
        if isinstance(referral_id, str) and referral_id.strip():
            yield FilledRow(referral_id.strip(), name is ListName.LEADS, cells, was[1:] if was else None)


def _was(value: object) -> tuple[str, str | None, str | None, str | None] | None:
    try:
        referral_id, mark, until, domain = json.loads(str(value))
    except ValueError:  # somebody wrote over it: the row is compared with what is known now
        return None
    return referral_id, mark, until, domain


def _exported_at(book: Any) -> datetime | None:
    for one in book.custom_doc_props.props:
        if one.name == "made_at_utc":
            try:
                return datetime.fromisoformat(str(one.value)).astimezone(UTC)
            except ValueError:
                return None
    return None


# From cells to decisions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A cell that cannot be taken: which, and the text (`fault.*`) that says why, with its values."""

    cell: Cell
    code: str
    values: Mapping[str, object] = field(default_factory=dict)

    def told(self, language: Language) -> str:
        """Return where the cell is and what is wrong with it."""
        why = _text(f"fault.{self.code}", language).format(**self.values)
        return f"{self.cell.sheet}!{self.cell.place}: {why}"


@dataclass(slots=True)
class Plan:
    """What a workbook would change: decisions with the cells that say so, or faults; `same` are decided already."""

    decisions: list[tuple[Decision, Cell]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    same: int = 0


Was = tuple[str | None, str | None, str | None]
"""Mark, day and domain as they were exported."""

Wish = tuple[DecisionKind, Mark | DomainChoice, str | None, int | None]


class Planner:
    """Turns filled-in rows into decisions, by what the leads are now."""

    def __init__(
        self,
        states: Mapping[str, LeadState],
        of_company: Mapping[str, Sequence[str]],
        own_domains: frozenset[str],
        now: datetime,
        language: Language,
    ) -> None:
        """`states` by referral id; `of_company`: a company's open leads by its domain; `now` is UTC."""
        self._states = states
        self._of_company = of_company
        self._own = own_domains
        self._now = now
        self._language = language
        self._wished: dict[tuple[str, DecisionKind], tuple[Wish, Cell]] = {}

    def plan(self, filled: Filled) -> Plan:
        """Return what the rows would change, with every fault that they have."""
        plan = Plan()
        for row in filled.rows:
            state = self._states.get(row.referral_id)
            wishes = []
            for read in (self._mark, self._domain):
                found = read(row, state)
                if isinstance(found, Fault):
                    plan.faults.append(found)
                elif found is not None:
                    wishes.append(found)
            for wish, cell in wishes:
                if state is None:
                    plan.faults.append(Fault(cell, "unknown_lead", {"referral": row.referral_id}))
                    continue
                for referral_id in self._meant(row, state):
                    fault = self._add(referral_id, wish, cell, row.was, filled.exported_at, plan)
                    if fault is not None:
                        plan.faults.append(fault)
        return plan

    def _meant(self, row: FilledRow, state: LeadState) -> Iterable[str]:
        """Return the leads that a row stands for: a company's open ones, else its referral alone."""
        if row.of_company and state.lead["domain"]:
            return self._of_company.get(state.lead["domain"]) or [row.referral_id]
        return [row.referral_id]

    def _add(
        self, referral_id: str, wish: Wish, cell: Cell, was: Was | None, exported_at: datetime | None, plan: Plan
    ) -> Fault | None:
        kind, choice, domain, until = wish
        other = self._wished.setdefault((referral_id, kind), (wish, cell))
        if other[1] is not cell:
            if other[0] == wish:
                return None
            return Fault(cell, "two_wishes", {"sheet": other[1].sheet, "place": other[1].place})
        state = self._states.get(referral_id)
        newest = None if state is None else state.mark if kind is DecisionKind.MARK else state.domain
        if newest is not None:
            if (newest["choice"], newest["domain"], newest["until_ticks"]) == (choice, domain, until):
                plan.same += 1
                return None
            is_newer = exported_at is not None and newest["decided_at"] > exported_at
            if is_newer and not (was is not None and _is_exported(newest, was)):
                return Fault(cell, "decided_since", {"by": newest["decided_by"], "what": self._word(newest["choice"])})
        decision = Decision(kind=kind, subject=referral_id, choice=choice, domain=domain, until_ticks=until)
        plan.decisions.append((decision, cell))
        return None

    def _word(self, choice: str) -> str:
        return Texts(self._language).word("decision", choice)

    def _mark(self, row: FilledRow, state: LeadState | None) -> tuple[Wish, Cell] | Fault | None:
        cell, day_cell = row.cells.get("decision"), row.cells.get("decision_until")
        if cell is None:
            return None
        mark = _read_mark(cell.value)
        if mark is None and not _is_empty(cell.value):
            return Fault(cell, "no_mark", {"given": _shown(cell.value), "marks": self._offered()})
        day = None if day_cell is None else _read_day(day_cell.value)
        if day_cell is not None and day is None and not _is_empty(day_cell.value):
            return Fault(day_cell, "no_day", {"given": _shown(day_cell.value)})
        was_mark, was_day = self._was(row, state)
        given_day = None if day is None else day.date().isoformat()
        if (mark, given_day) == (was_mark, was_day):
            return None
        if day is not None and mark is not Mark.SNOOZED:
            if given_day == was_day:  # the day of an earlier snooze, left there
                day = None
            else:
                return Fault(day_cell or cell, "day_without_snooze", {"snoozed": self._word(Mark.SNOOZED)})
        if mark is None:
            return None if was_mark in (None, Mark.REOPENED) else ((DecisionKind.MARK, Mark.REOPENED, None, None), cell)
        if mark is not Mark.SNOOZED:
            return None if mark == was_mark else ((DecisionKind.MARK, mark, None, None), cell)
        if day is None:
            return Fault(day_cell or cell, "snooze_without_day")
        if day <= self._now:
            return Fault(day_cell or cell, "day_has_begun", {"given": Texts(self._language).day(day)})
        return (DecisionKind.MARK, mark, None, ticks_of(day)), cell

    def _offered(self) -> str:
        return ", ".join(map(self._word, Mark))

    @staticmethod
    def _was(row: FilledRow, state: LeadState | None) -> tuple[str | None, str | None]:
        if row.was is not None:
            return row.was[0], row.was[1]
        if state is None or state.mark is None:
            return None, None
        until = state.mark["until_ticks"]
        return state.mark["choice"], None if until is None else datetime_of(until).date().isoformat()

    def _domain(self, row: FilledRow, state: LeadState | None) -> tuple[Wish, Cell] | Fault | None:
        cell = row.cells.get("domain")
        if cell is None:
            return None
        was = row.was[2] if row.was is not None else state and state.lead["domain"]
        by_hand = state.by_hand if state else None
        if _is_empty(cell.value):
            if was is None:
                return None
            if by_hand is None:
                return Fault(cell, "domain_emptied", {"none": _text("word.none", self._language)})
            return (DecisionKind.DOMAIN, DomainChoice.CLEARED, None, None), cell
        given = str(cell.value).strip()
        if fold_key(given) in _NOTHING:
            return (DecisionKind.DOMAIN, DomainChoice.REFUSED, None, None), cell
        if was is not None and normalize_domain(given) == was:
            return None
        domain = read_domain(given, self._own)
        if isinstance(domain, DomainReason):
            why = Texts(self._language).word("domain_reason", domain)
            return Fault(cell, "no_domain", {"given": _shown(given), "why": why})
        return None if domain == was else ((DecisionKind.DOMAIN, DomainChoice.SET, domain, None), cell)


def _is_exported(decision: Mapping[str, Any], was: Was) -> bool:
    """Return whether a decision is what was exported: the file's instant is kept in whole seconds only."""
    if decision["kind"] == DecisionKind.DOMAIN:
        return bool(decision["domain"] == was[2])
    return bool(decision["choice"] == was[0])


def _text(key: str, language: Language) -> str:
    return own_texts()[key][language]


_NOTHING: Final = {fold_key(own_texts()["word.none"][language]) for language in Language}
_MARKS: Final = {
    fold_key(word): mark
    for mark in Mark
    for word in (mark, *(Texts(language).word("decision", mark) for language in Language))
}


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_mark(value: object) -> Mark | None:
    return _MARKS.get(fold_key(value)) if isinstance(value, str) else None


def _read_day(value: object) -> datetime | None:
    """Return the beginning (UTC) of a day: of a date of Excel's, or of a text."""
    if isinstance(value, datetime):
        return value.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str):
        for form in _DAY_FORMS:
            try:
                return datetime.strptime(value.strip(), form).replace(tzinfo=UTC)
            except ValueError:
                continue
    return None


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
