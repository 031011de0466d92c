"""What other rules or another policy would change: counts, moves between segments, companies that move most.

Compares stored scores with those of `frame.score_frame`, page by page. Not here: scoring (`evaluate`), reading and
writing scores (`warehouse`), showing the outcome (`cli.rescore`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

import orjson

from partner_center_pipeline.scoring.model import ScorePolicy

if TYPE_CHECKING:
    import pandas as pd

Moves = Counter[tuple[str | None, str | None]]
"""How many companies went from one value to another; one that did not change has the same value twice."""


@dataclass(frozen=True, slots=True)
class ReasonChange:
    """A reason whose points differ. None: it was not given, or is no longer given."""

    code: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Mover:
    """A company whose score, readiness or segment changes, and the reasons that change, in their order."""

    domain: str
    score_before: int | None
    score_after: int | None
    segment_before: str
    segment_after: str
    reasons: tuple[ReasonChange, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What changes: `companies` were compared, `changed` of them in score, readiness or segment.

    `unversioned` of those have the rules version and the policy that they had before: the rules were edited without a
    new version, so history cannot say what changed. `segments` and `categories` count all companies. `movers` are
    sorted by the change of the score, largest first (no score counts as 0); among equal changes those with another
    segment come first, then by domain.
    """

    companies: int = 0
    changed: int = 0
    unversioned: int = 0
    segments: Moves = field(default_factory=Counter)
    categories: Moves = field(default_factory=Counter)
    movers: tuple[Mover, ...] = ()

    def joined(self, other: "Preview", top: int) -> "Preview":
        """Return both together, with no more than `top` movers."""
        return Preview(
            companies=self.companies + other.companies,
            changed=self.changed + other.changed,
            unversioned=self.unversioned + other.unversioned,
            segments=self.segments + other.segments,
            categories=self.categories + other.categories,
            movers=tuple(nsmallest(top, (*self.movers, *other.movers), key=_rank_of_mover)),
        )


def compare(stored: Sequence[Mapping[str, Any]], scored: "pd.DataFrame", policy: ScorePolicy, top: int) -> Preview:
    """Compare rows of table `company_scores` with their new scores; list no more than `top` movers.

    `scored` is what `score_frame` gave for the rows, in their order, under `policy`.
    """
    after = list(zip(scored["score"], scored["readiness"], scored["segment"], strict=True))
    changed = [
        at
        for at, (row, new) in enumerate(zip(stored, after, strict=True))
        if (row["score"], row["readiness"], row["segment"]) != new
    ]
    versions, new_reasons = scored["rules_version"].to_numpy(), scored["reasons"].to_numpy()
    chosen = asdict(policy).items()

    def rank(at: int) -> tuple[int, bool, str]:
        row, (score, _, segment) = stored[at], after[at]
        return _rank(row["score"], score, row["segment"] == segment, row["domain"])

    def mover(at: int) -> Mover:
        row, (score, _, segment) = stored[at], after[at]
        reasons = _differences(row["reasons"], orjson.loads(new_reasons[at]))
        return Mover(row["domain"], row["score"], score, row["segment"], str(segment), reasons)

    return Preview(
        companies=len(stored),
        changed=len(changed),
        unversioned=sum(
            stored[at]["rules_version"] == versions[at] and chosen <= stored[at]["inputs"].items() for at in changed
        ),
        segments=_moves((row["segment"] for row in stored), scored["segment"]),
        categories=_moves((row["category"] for row in stored), scored["category"]),
        movers=tuple(mover(at) for at in nsmallest(top, changed, key=rank)),
    )


def sides(moves: Moves) -> tuple[Counter[str | None], Counter[str | None]]:
    """Return how many companies had each value before, and have it after."""
    before, after = Counter[str | None](), Counter[str | None]()
    for (old, new), companies in moves.items():
        before[old] += companies
        after[new] += companies
    return before, after


def _rank(score_before: int | None, score_after: int | None, same_segment: bool, domain: str) -> tuple[int, bool, str]:
    return -abs((score_after or 0) - (score_before or 0)), same_segment, domain


def _rank_of_mover(mover: Mover) -> tuple[int, bool, str]:
    return _rank(mover.score_before, mover.score_after, mover.segment_before == mover.segment_after, mover.domain)


def _moves(before: Iterable[str | None], after: Iterable[str | None]) -> Moves:
    """Count the moves. The values of `after` may be enums, which count as their text."""
    found: Moves = Counter()
    for (old, new), companies in Counter(zip(before, after, strict=True)).items():
        found[old, None if new is None else str(new)] += companies
    return found


def _differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> tuple[ReasonChange, ...]:
    old, new = _points(before), _points(after)
    return tuple(
        ReasonChange(code, old.get(code), new.get(code))
        for code in dict.fromkeys((*old, *new))
        if old.get(code) != new.get(code)
    )


def _points(reasons: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the points of each code; `score_limit` may occur twice, for the readiness and for the score."""
    points: dict[str, int] = {}
    for reason in reasons:
        points[reason["code"]] = points.get(reason["code"], 0) + reason["points"]
    return points
