"""What the probe asks about, how an answer is judged, and which argument of windows.md the answers leave.

Plain data and one rule over it. Not here: asking (`probe`), printing (`cli.doctor`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Question(StrEnum):
    """What is asked about. The value is shown to a person."""

    DATE = "date in a filter"
    FILTER = "filter on updatedDateTime"
    PRECISION = "comparison of instants"
    ASCENDING = "order by updatedDateTime asc"
    DESCENDING = "order by updatedDateTime desc"
    TOP = "$top"
    PAGE_SIZE = "page size"
    LINK = "next link"
    """How it is written."""
    FOLLOWED = "page behind a next link"
    SKIP = "$skip"
    END = "page without a next link"
    COUNT = "@odata.count"
    COUNT_OPTION = "$count"
    SELECT = "$select"
    CLOCK = "server's clock"
    MFA = "MFA claim"
    ARGUMENT = "argument"
    """Which argument of windows.md, "Why a scan is complete", holds; computed from the other answers."""


class Verdict(StrEnum):
    """How an answer compares with the documentation."""

    DOCUMENTED = "as documented"
    DIFFERS = "differs"
    """The pipeline copes with it."""
    REFUSED = "refused"
    FAILS = "does not work"
    """It is taken without an error, and what comes cannot be used."""
    OPEN = "cannot be told"
    """Too few referrals, or an answer that does not show it."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of one question: what was found, and what the pipeline does about it."""

    subject: Question
    verdict: Verdict
    found: str
    consequence: str


KEYSET: Final = "keyset scan (arguments 2 to 6)"
UNFILTERED: Final = "unfiltered scan (arguments 7 to 10)"

_ASK_MICROSOFT: Final = (
    "no window can be closed as complete here, and none is: send this table to Microsoft's support, and run "
    "`partner-center doctor --probe` again after their answer"
)
_ASK_AGAIN: Final = "checks every page; run this again when there are more referrals"


def argument(verdicts: Mapping[Question, Verdict]) -> Probed:
    """Say which argument of windows.md, "Why a scan is complete", holds on a server with these answers.

    A question that is missing counts as open. The result is FAILS where no argument holds.
    """
    is_filtered = verdicts.get(Question.FILTER) not in (Verdict.REFUSED, Verdict.FAILS)
    ascending = verdicts.get(Question.ASCENDING, Verdict.OPEN)
    if ascending is Verdict.REFUSED:
        return _none("the ascending order is refused, which every query of a window asks for")
    if is_filtered and ascending is not Verdict.DIFFERS:
        return _keyset(verdicts)
    return _unfiltered(verdicts, "the ascending order is not kept" if is_filtered else "the filter cannot be used")


def _keyset(verdicts: Mapping[Question, Verdict]) -> Probed:
    if Verdict.OPEN in (
        verdicts.get(Question.FILTER, Verdict.OPEN),
        verdicts.get(Question.ASCENDING, Verdict.OPEN),
    ):
        return Probed(Question.ARGUMENT, Verdict.OPEN, f"{KEYSET}, as far as can be told", _ASK_AGAIN)
    if _leads_on(verdicts) is False:
        return Probed(
            Question.ARGUMENT,
            Verdict.DIFFERS,
            f"{KEYSET}, where a page holds all referrals of about the same second",
            "a window with more of them ends as incomplete: set HUNTER_PARTNER_CENTER_PAGE_SIZE as large as the "
            "server's pages get, and tell Microsoft",
        )
    if verdicts.get(Question.DESCENDING) in (Verdict.REFUSED, Verdict.DIFFERS):
        return Probed(
            Question.ARGUMENT,
            Verdict.DIFFERS,
            f"{KEYSET}, but the opposite order cannot confirm a window's end",
            "the weekly comparison is what finds a row that the filter leaves out",
        )
    return Probed(Question.ARGUMENT, Verdict.DOCUMENTED, KEYSET, "closes a window when its scan is proven complete")


def _unfiltered(verdicts: Mapping[Question, Verdict], why: str) -> Probed:
    descending, leads_on = verdicts.get(Question.DESCENDING, Verdict.OPEN), _leads_on(verdicts)
    if descending is Verdict.REFUSED:
        return _none(f"{why}, and the descending order is refused")
    if descending is Verdict.DIFFERS:
        return _none(f"{why}, and the descending order is not kept")
    if leads_on is False:
        return _none(f"{why}, and neither next links nor $skip lead past a page")
    if descending is Verdict.OPEN or leads_on is None:
        return Probed(Question.ARGUMENT, Verdict.OPEN, f"{UNFILTERED}, as far as can be told: {why}", _ASK_AGAIN)
    consequence = "reads the list from the newest referral down, until two passes agree; slower, and as complete"
    return Probed(Question.ARGUMENT, Verdict.DIFFERS, f"{UNFILTERED}: {why}", consequence)


def _leads_on(verdicts: Mapping[Question, Verdict]) -> bool | None:
    """Say whether next links or `$skip` lead to what is behind a page; None where the answers do not show it."""
    followed = verdicts.get(Question.FOLLOWED, Verdict.OPEN)
    skip = verdicts.get(Question.SKIP, Verdict.OPEN)
    end = verdicts.get(Question.END, Verdict.OPEN)
    if Verdict.FAILS in (followed, end):
        return False
    if Verdict.DOCUMENTED in (followed, skip):
        return True
    return None if skip is Verdict.OPEN or followed is end is Verdict.OPEN else False


def _none(why: str) -> Probed:
    return Probed(Question.ARGUMENT, Verdict.FAILS, f"none can be proven: {why}", _ASK_MICROSOFT)
