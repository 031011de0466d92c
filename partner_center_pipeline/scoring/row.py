"""The columns of table `company_scores` that come from a score, in types that JSON knows, and its account in words.

Belongs here: turning scores into columns. Not here: what a score follows from (`evaluate`), its words (`rules.toml`),
the columns that say what it was made from and when, storing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from partner_center_pipeline.scoring.model import Language, Score
from partner_center_pipeline.scoring.rules import Rules

if TYPE_CHECKING:
    import pandas as pd

_PLAIN: Final = tuple(field.name for field in fields(Score) if field.name != "reasons")


def score_columns(score: Score, rules: Rules) -> dict[str, Any]:
    """A column for every field of Score, `reasons` as `Score.reasons_plain`, and `explanation_en`, `explanation_tr`.

    `rules` are those the score was made under: they have its words.
    """
    return _columns([getattr(score, name) for name in _PLAIN], score.reasons_plain(), rules)


def frame_columns(scored: "pd.DataFrame", rules: Rules) -> Iterator[dict[str, Any]]:
    """`score_columns` of each row of what `frame.score_frame` gave, in its order."""
    rows = zip(scored["reasons"], *(scored[name] for name in _PLAIN), strict=True)
    return (_columns(values, orjson.loads(reasons), rules) for reasons, *values in rows)


def explain(segment_reason: str, reasons: Sequence[Mapping[str, Any]], rules: Rules, language: str) -> str:
    """The account of a score for people, in the words of the rules: why this segment, then each reason in order.

    `Readiness is too low. No SPF record (-10); DKIM key is published (+10, google); ...`: behind a reason its points,
    if it has any, and what was seen. `reasons` are as `Score.reasons_plain` gives them; a segment that one of them
    explains gets no sentence of its own. Raises ValueError for an unknown code or language.
    """
    told = "; ".join(_told(reason, rules, language) for reason in reasons)
    if any(reason["code"] == segment_reason for reason in reasons):
        return told
    return f"{rules.text(segment_reason, language)}. {told}"


def _told(reason: Mapping[str, Any], rules: Rules, language: str) -> str:
    seen = [f"{reason['points']:+}"] if reason["points"] else []
    if reason["evidence"]:
        seen.append(reason["evidence"])
    text = rules.text(reason["code"], language)
    return f"{text} ({', '.join(seen)})" if seen else text


def _columns(values: Sequence[Any], reasons: list[dict[str, Any]], rules: Rules) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: str(value) if isinstance(value, str) else value for name, value in zip(_PLAIN, values, strict=True)
    }
    columns["reasons"] = reasons
    for language in Language:
        columns[f"explanation_{language}"] = explain(columns["segment_reason"], reasons, rules, language)
    return columns
