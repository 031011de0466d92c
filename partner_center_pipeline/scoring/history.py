"""Why a score changed: the rules, the signals, a referral or the settings (scoring.md, section 8).

Also, which change of the category people are told at once. Not here: scoring (`evaluate`), storing (`warehouse`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from partner_center_pipeline.scoring.model import EVIDENCE_ONLY, Category
from partner_center_pipeline.vocabulary import TenantSource

TOLD_CATEGORIES: Final = frozenset({Category.P1, Category.P2})
"""The categories that people are told of at once when a company enters them."""

_OF_REFERRALS: Final = frozenset({"open_cosell", "domain_valid"})
_OF_SETTINGS: Final = frozenset({"cosell_bonus", "azure_tenant_score", "tenant_discovery_enabled"})
_OF_EITHER: Final = frozenset({"tenant", "tenant_source"})
_OF_REFERRAL_TENANTS: Final = frozenset(source for source in TenantSource if source.is_of_referral)


class Cause(StrEnum):
    """What made a score change; when several things did, the first of these."""

    FIRST = "first"
    RULES = "rules"
    SIGNALS = "signals"
    REFERRAL = "referral"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Change:
    """Why a score changed: the cause, and each input that differs, `{name: {"before": ..., "after": ...}}`.

    Evidence that differs is listed but is no cause: it has no points.
    """

    cause: Cause
    detail: dict[str, dict[str, Any]]


def change_between(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Change | None:
    """Compare two rows of table `company_scores` (`before` None: the first score of a company).

    Returns None when score, readiness and segment are equal. Where they differ although no input does, the rules were
    edited without a new version.
    """
    if before is None:
        return Change(Cause.FIRST, {})
    if all(before[name] == after[name] for name in ("score", "readiness", "segment")):
        return None
    old, new = before["inputs"], after["inputs"]
    detail = {
        name: {"before": old.get(name), "after": new.get(name)}
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }
    if before["rules_version"] != after["rules_version"]:
        detail["rules_version"] = {"before": before["rules_version"], "after": after["rules_version"]}
        return Change(Cause.RULES, detail)
    causes = {_cause_of(name, old, new) for name in detail.keys() - EVIDENCE_ONLY}
    return Change(next((cause for cause in Cause if cause in causes), Cause.RULES), detail)


def enters_told_category(before: str | None, after: str | None) -> bool:
    """Say whether a company that was in category `before` (None: in none, or not scored) rises to P1 or P2.

    From P2 to P1 it does; from P1 to P2 it falls, which is no news that hurries.
    """
    return after in TOLD_CATEGORIES and (before is None or before > str(after))


def _cause_of(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Cause:
    if name in _OF_SETTINGS:
        return Cause.SETTINGS
    if name in _OF_EITHER:
        sources = {old.get("tenant_source"), new.get("tenant_source")}
        return Cause.REFERRAL if sources & _OF_REFERRAL_TENANTS else Cause.SIGNALS
    return Cause.REFERRAL if name in _OF_REFERRALS else Cause.SIGNALS
