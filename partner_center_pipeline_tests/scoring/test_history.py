"""Every change of a score says what made it: the rules, the signals, a referral, or the settings."""

from dataclasses import asdict
from typing import Any

import pytest

from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, score_domain
from partner_center_pipeline.scoring.history import Cause, Change, change_between

from .cases import company

GOOGLE: dict[str, Any] = {"provider": "Google", "spf_present": True}
PAYLOAD: dict[str, Any] = {"tenant": "contoso", "tenant_source": "payload"}
LOOK_UP: dict[str, Any] = {"tenant": "contoso", "tenant_source": "oidc_metadata"}


def row(inputs: ScoreInput, version: str = "1", **policy: Any) -> dict[str, Any]:
    """The columns of `company_scores` that a change is told from, really scored."""
    chosen = ScorePolicy(**policy)
    scored = score_domain(inputs, policy=chosen)
    return {
        "score": scored.score,
        "readiness": scored.readiness,
        "segment": str(scored.segment),
        "rules_version": version,
        "inputs": {**asdict(inputs), **asdict(chosen)},
    }


def cause(before: dict[str, Any], after: dict[str, Any]) -> Cause:
    found = change_between(before, after)
    assert found is not None
    return found.cause


def test_a_first_score_is_its_own_cause_with_nothing_before_it() -> None:
    assert change_between(None, row(company(**GOOGLE))) == Change(Cause.FIRST, {})


@pytest.mark.parametrize(
    "facts",
    [
        {"mx_host": "aspmx2.l.google.com", "dkim_selector": "google", "cosell_referral": "r-2"},
        {"spf_includes": 3},
    ],
    ids=["other evidence", "what costs nothing"],
)
def test_where_neither_score_nor_segment_changed_there_is_nothing_to_explain(facts: dict[str, Any]) -> None:
    before = row(company(**GOOGLE))
    assert change_between(before, row(company(**GOOGLE, **facts))) is None
    assert change_between(before, {**row(company(**GOOGLE, **facts)), "rules_version": "2"}) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (row(company(**GOOGLE)), row(company(**GOOGLE, dmarc_policy="reject")), Cause.SIGNALS),
        (row(company(signals_complete=False)), row(company(**GOOGLE)), Cause.SIGNALS),
        (row(company(**GOOGLE)), row(company(**GOOGLE, open_cosell=True)), Cause.REFERRAL),
        (row(company(**GOOGLE)), row(company(**GOOGLE, domain_valid=False)), Cause.REFERRAL),
        (row(company(**GOOGLE)), row(company(**GOOGLE, **PAYLOAD)), Cause.REFERRAL),
        (row(company(**GOOGLE, **PAYLOAD)), row(company(**GOOGLE)), Cause.REFERRAL),
        (row(company(**GOOGLE)), row(company(**GOOGLE, tenant="contoso", tenant_source="email_domain")),
         Cause.REFERRAL),
        (row(company(**GOOGLE)), row(company(**GOOGLE, tenant="contoso", tenant_source="dkim_target")),
         Cause.SIGNALS),
        (row(company(**GOOGLE)), row(company(**GOOGLE, **LOOK_UP), tenant_discovery_enabled=True), Cause.SIGNALS),
        (row(company(**GOOGLE, **LOOK_UP)), row(company(**GOOGLE, **LOOK_UP), tenant_discovery_enabled=True),
         Cause.SETTINGS),
        (row(company(**GOOGLE, open_cosell=True)), row(company(**GOOGLE, open_cosell=True), cosell_bonus=20),
         Cause.SETTINGS),
        (row(company(**GOOGLE, **PAYLOAD)), row(company(**GOOGLE, **PAYLOAD), azure_tenant_score=60), Cause.SETTINGS),
        (row(company(**GOOGLE)), {**row(company(**GOOGLE), "2"), "score": 50}, Cause.RULES),
        (row(company(**GOOGLE)), {**row(company(**GOOGLE)), "score": 50}, Cause.RULES),
    ],
    ids=[
        "a record", "an answer at last", "a co-sell opened", "the domain", "a tenant in a payload", "a tenant gone",
        "a tenant in an e-mail", "a tenant behind DKIM", "a tenant looked up", "look-ups switched on", "the bonus",
        "the baseline", "the rules", "the rules without a new version",
    ],
)  # fmt: skip
def test_a_change_names_its_cause(before: dict[str, Any], after: dict[str, Any], expected: Cause) -> None:
    assert cause(before, after) is expected


def test_a_change_tells_every_input_that_differs_before_and_after() -> None:
    before = row(company("Local", mx_host="mail.firma.com.tr"))
    after = row(company("Google", mx_host="aspmx.l.google.com", spf_present=True), cosell_bonus=20)
    assert change_between(before, after) == Change(
        Cause.SIGNALS,
        {
            "cosell_bonus": {"before": 15, "after": 20},
            "mx_host": {"before": "mail.firma.com.tr", "after": "aspmx.l.google.com"},
            "provider": {"before": "Local", "after": "Google"},
            "spf_present": {"before": False, "after": True},
        },
    )


def test_of_several_causes_the_first_of_rules_signals_referral_settings_is_named() -> None:
    before = row(company(**GOOGLE))
    changes: list[tuple[Cause, dict[str, Any], dict[str, Any]]] = [
        (Cause.SETTINGS, {}, {"cosell_bonus": 20}),
        (Cause.REFERRAL, {"open_cosell": True}, {}),
        (Cause.SIGNALS, {"dmarc_policy": "reject"}, {}),
        (Cause.RULES, {}, {"version": "2"}),
    ]
    facts, others = dict(GOOGLE), dict[str, Any]()
    for expected, more_facts, more in changes:
        facts |= more_facts
        others |= more
        assert cause(before, {**row(company(**facts), **others), "score": 99}) is expected


def test_new_rules_are_told_with_both_versions_and_whatever_else_differs() -> None:
    found = change_between(row(company(**GOOGLE)), row(company(**GOOGLE, dmarc_policy="reject"), "2"))
    assert found == Change(
        Cause.RULES,
        {
            "dmarc_policy": {"before": None, "after": "reject"},
            "rules_version": {"before": "1", "after": "2"},
        },
    )


def test_evidence_is_told_and_never_blamed() -> None:
    """Another mail host of the same provider did not make the score that another bonus made."""
    before = row(company(**GOOGLE, open_cosell=True, cosell_referral="r-1", mx_host="a"))
    seen = {"cosell_referral": "r-2", "mx_host": "b", "dkim_selector": "s1"}
    found = change_between(before, row(company(**GOOGLE, open_cosell=True, **seen), cosell_bonus=20))
    assert found is not None
    assert found.cause is Cause.SETTINGS
    assert set(found.detail) == {"cosell_bonus", *seen}


def test_a_field_that_the_older_row_did_not_have_counts_as_none() -> None:
    before = row(company(**GOOGLE))
    del before["inputs"]["dkim_selector"]
    found = change_between(before, row(company(**GOOGLE, dmarc_policy="reject")))
    assert found is not None
    assert set(found.detail) == {"dmarc_policy"}


def test_another_tenant_of_the_same_source_came_with_a_referral() -> None:
    before = row(company(**GOOGLE, **PAYLOAD))
    after = row(company(**GOOGLE, **{**PAYLOAD, "tenant": "fabrikam"}), azure_tenant_score=60)
    assert cause(before, after) is Cause.REFERRAL
