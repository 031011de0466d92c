"""Readiness, segment, commercial view and their reasons, as pure functions over `rules.toml` (scoring.md).

Not here: where the facts come from (`mail`, `leads`), where scores are kept and in which order they are listed
(`warehouse`), and any I/O but the reading of a rules file.
"""

from partner_center_pipeline.scoring.evaluate import determine_segment, score_domain, score_lead
from partner_center_pipeline.scoring.frame import score_frame
from partner_center_pipeline.scoring.model import Category, ScoreInput, ScorePolicy, Segment
from partner_center_pipeline.scoring.rules import Rules, RulesError, load_rules

__all__ = [
    "Category",
    "Rules",
    "RulesError",
    "ScoreInput",
    "ScorePolicy",
    "Segment",
    "determine_segment",
    "load_rules",
    "score_domain",
    "score_frame",
    "score_lead",
]
