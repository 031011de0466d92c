"""Readiness, segment, commercial view and their account, as pure functions over `rules.toml` (scoring.md).

Belongs here: what a company's facts are worth, and the order of a sales list. Not here: where the facts come from
(`mail`, `leads`), where scores are kept (`warehouse`), and any I/O but the reading of a rules file.
"""

from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY, determine_segment, score_domain
from partner_center_pipeline.scoring.frame import score_frame
from partner_center_pipeline.scoring.model import (
    Category,
    CommercialHeat,
    CommercialSegment,
    DmarcPolicy,
    Language,
    Provider,
    Reason,
    ReasonCode,
    Score,
    ScoreInput,
    ScorePolicy,
    Segment,
    TechnicalHeat,
    TenantSource,
)
from partner_center_pipeline.scoring.rank import RANK_ORDER, rank_key
from partner_center_pipeline.scoring.row import score_columns
from partner_center_pipeline.scoring.rules import Rules, RulesError, load_rules, reason_text

__all__ = [
    "DEFAULT_POLICY",
    "RANK_ORDER",
    "Category",
    "CommercialHeat",
    "CommercialSegment",
    "DmarcPolicy",
    "Language",
    "Provider",
    "Reason",
    "ReasonCode",
    "Rules",
    "RulesError",
    "Score",
    "ScoreInput",
    "ScorePolicy",
    "Segment",
    "TechnicalHeat",
    "TenantSource",
    "determine_segment",
    "load_rules",
    "rank_key",
    "reason_text",
    "score_columns",
    "score_domain",
    "score_frame",
]
