"""Which findings operators are told of, and when: once, again when it becomes worse, and when it is over. Pure rules.

Not here: finding them (`health`), and where conditions are kept (`warehouse.conditions`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.health import EXIT_CODES, Grade, Item
from partner_center_pipeline.warehouse.conditions import Condition
from partner_center_pipeline.warehouse.outbox import Change

WARNED: Final = frozenset({"quarantine", "sign-in", "disk", "reconcile, full", "reconcile, recent", "referrals come"})
"""Of these a warning is told, too: nothing else would say it before it is too late. Of the others what is wrong is."""

TOLD_BY_ANOTHER: Final = frozenset({"flag", "last failure"})
"""Never told by themselves: while the flag is off nobody is told, and what a failure stops is told with its text."""

EXPLAINED_BY_FAILURE: Final = frozenset({"sync", "open windows", "breaker"})
"""With these the last failure is told, if nothing was done since then."""

SIZES: Final[Mapping[str, str]] = {"quarantine": "open", "reconcile, full": "missed", "reconcile, recent": "missed"}
"""By subject the figure that says how much of it there is: what doubles has become worse."""

PATIENCE: Final = timedelta(days=1)
"""What went back to a warning, and what grows, is told as worse at most once in this time."""


@dataclass(frozen=True, slots=True)
class Told:
    """A condition that changed: what is to be told of it."""

    condition: Condition
    change: Change


def explained(items: Iterable[Item]) -> list[Item]:
    """Return the findings, with the last failure in the text of what it stops."""
    found = list(items)
    failed = next((item for item in found if item.subject == "last failure" and item.grade is not Grade.OK), None)
    return [
        replace(item, text=f"{item.text}. Last failure: {failed.text}")
        if failed is not None and item.subject in EXPLAINED_BY_FAILURE and item.grade is not Grade.OK
        else item
        for item in found
    ]


def is_told(item: Item) -> bool:
    """Say whether a finding makes a condition."""
    if item.subject in TOLD_BY_ANOTHER:
        return False
    return item.grade is Grade.WRONG or (item.grade is Grade.WARNING and item.subject in WARNED)


def judged(
    known: Mapping[str, Condition], items: Iterable[Item], now: datetime
) -> tuple[list[Told], dict[str, Condition]]:
    """Return what is to be told, and the conditions from then on. `known` are those that are open, `now` is UTC.

    A condition is open from the finding that makes one until its subject is `ok`: a warning in between does not end it,
    so a lag that goes up and down around its limit is told once. What is not among `items` could not be found out and
    stays as it is.
    """
    told: list[Told] = []
    conditions = dict(known)
    for item in items:
        before = known.get(item.subject)
        size = _size(item)
        if before is None:
            if is_told(item):
                condition = Condition(item.subject, item.grade, size, item.text, now, now)
                conditions[item.subject] = condition
                told.append(Told(condition, Change.RAISED))
            continue
        if item.grade is Grade.OK:
            del conditions[item.subject]
            told.append(Told(replace(before, text=item.text), Change.CLEARED))
            continue
        is_long_ago = now - before.told_at >= PATIENCE
        if _is_worse(item, before) or (is_long_ago and _has_grown(size, before)):
            condition = replace(before, grade=item.grade, size=size, text=item.text, told_at=now)
            conditions[item.subject] = condition
            told.append(Told(condition, Change.WORSE))
        elif is_long_ago and (item.grade is not before.grade or size < before.size):
            conditions[item.subject] = replace(before, grade=item.grade, size=min(size, before.size))
    return told, conditions


def _is_worse(item: Item, before: Condition) -> bool:
    return EXIT_CODES[item.grade] > EXIT_CODES[before.grade]


def _has_grown(size: int, before: Condition) -> bool:
    return 0 < 2 * before.size <= size


def _size(item: Item) -> int:
    size = item.figures.get(SIZES.get(item.subject, ""))
    return size if isinstance(size, int) else 0
