"""Turning a score into columns of table `company_scores`, in JSON types, with its reasons as text.

Not here: what a score follows from (`evaluate`), the texts (`rules.toml`), the columns that say what it was made from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from partner_center_pipeline.code_digest import digest_of
from partner_center_pipeline.scoring.model import Score, ScorePolicy
from partner_center_pipeline.scoring.rules import Rules
from partner_center_pipeline.vocabulary import Language

if TYPE_CHECKING:
    import pandas as pd

_PLAIN: Final = tuple(field.name for field in fields(Score) if field.name != "reasons")


def score_columns(score: Score, rules: Rules) -> dict[str, Any]:
    """Return a column for every field of Score, `reasons` as `Score.reasons_plain`, and the explanation per language.

    `rules` are those the score was made under: they hold the texts.
    """
    return _columns([getattr(score, name) for name in _PLAIN], score.reasons_plain(), rules)


def frame_columns(scored: "pd.DataFrame", rules: Rules) -> Iterator[dict[str, Any]]:
    """Yield `score_columns` of each row of a result of `frame.score_frame`, in its order."""
    rows = zip(scored["reasons"], *(scored[name] for name in _PLAIN), strict=True)
    return (_columns(values, orjson.loads(reasons), rules) for reasons, *values in rows)


def score_digest(rules: Rules, policy: ScorePolicy) -> str:
    """Return the digest of all that a score is made with besides its input: code, rules and settings."""
    return digest_of("partner_center_pipeline.scoring", rules.model_dump_json(), repr(policy))


def explain(segment_reason: str, reasons: Sequence[Mapping[str, Any]], rules: Rules, language: str) -> str:
    """Explain a score in the texts of the rules: why this segment, then each reason in order.

    For example `Readiness is too low. No SPF record (-10); DKIM key is published (+10, google)`: after a reason come
    its points, if any, and what was seen. `reasons` are as from `Score.reasons_plain`; a segment that one of them
    explains gets no sentence of its own. Raises ValueError for an unknown code or language.
    """
    listed = "; ".join(_explain_reason(reason, rules, language) for reason in reasons)
    if any(reason["code"] == segment_reason for reason in reasons):
        return listed
    return f"{rules.text(segment_reason, language)}. {listed}"


def _explain_reason(reason: Mapping[str, Any], rules: Rules, language: str) -> str:
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
