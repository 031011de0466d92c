"""What a score promises, whatever the company."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.scoring import (
    ScoreInput,
    ScorePolicy,
    Segment,
    determine_segment,
    load_rules,
    score_domain,
)
from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY, score_lead
from partner_center_pipeline.scoring.model import OF_LISTS, Reason, ReasonCode
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Provider, TenantSource

from .cases import companies, company, policies, tenants

FIRM_SOURCES = [source for source in TenantSource if source is not TenantSource.OIDC_METADATA]


def _codes(inputs: ScoreInput, policy: ScorePolicy | None = None) -> list[str]:
    return [reason.code for reason in score_domain(inputs, policy=policy or ScorePolicy()).reasons]


@given(companies(), policies)
def test_score_and_readiness_stay_between_0_and_100(inputs: ScoreInput, policy: ScorePolicy) -> None:
    scored = score_domain(inputs, policy=policy)
    if scored.segment is not Segment.PENDING:
        assert scored.score is not None
        assert scored.readiness is not None
        assert 0 <= scored.readiness <= scored.score <= 100


@given(companies(), policies)
def test_the_points_of_the_reasons_add_up_to_the_score(inputs: ScoreInput, policy: ScorePolicy) -> None:
    scored = score_domain(inputs, policy=policy)
    assert sum(reason.points for reason in scored.reasons) == (scored.score or 0)


@given(companies(), policies)
def test_a_company_has_a_category_or_is_pending(inputs: ScoreInput, policy: ScorePolicy) -> None:
    scored = score_domain(inputs, policy=policy)
    view = (scored.score, scored.commercial_segment, scored.technical_heat, scored.commercial_heat, scored.category)
    if scored.segment is Segment.PENDING:
        assert (*view, scored.readiness, scored.label, scored.act) == (None,) * 8
    else:
        assert None not in view
        assert scored.label


@given(companies(), policies)
def test_only_unanswered_dns_without_tenant_is_pending(inputs: ScoreInput, policy: ScorePolicy) -> None:
    counts = inputs.tenant_source in FIRM_SOURCES or (inputs.tenant is not None and policy.tenant_discovery_enabled)
    scored = score_domain(inputs, policy=policy)
    unanswered = inputs.domain_valid and not inputs.no_mx and not inputs.signals_complete
    assert (scored.segment is Segment.PENDING) is (unanswered and not counts)
    assert (scored.segment_reason is ReasonCode.SIGNALS_PENDING) is unanswered


@given(companies(), policies, tenants)
def test_a_tenant_never_lowers_a_score(
    inputs: ScoreInput, policy: ScorePolicy, tenant: tuple[str, TenantSource] | None
) -> None:
    name, source = tenant or (None, None)
    without = score_domain(replace(inputs, tenant=None, tenant_source=None), policy=policy)
    scored = score_domain(replace(inputs, tenant=name, tenant_source=source), policy=policy)
    if without.score is not None and without.readiness is not None:
        assert scored.score is not None
        assert scored.readiness is not None
        assert scored.score >= without.score
        assert scored.readiness >= without.readiness


@given(companies(), policies)
def test_an_open_co_sell_moves_only_the_score(inputs: ScoreInput, policy: ScorePolicy) -> None:
    closed = score_domain(replace(inputs, open_cosell=False), policy=policy)
    boosted = score_domain(replace(inputs, open_cosell=True), policy=policy)
    assert replace(boosted, score=closed.score, reasons=closed.reasons) == closed
    if closed.readiness is not None:
        assert boosted.score == min(100, closed.readiness + policy.cosell_bonus)
        assert closed.score == closed.readiness
    else:
        assert boosted.score is None


# Each list goes from what weighs least to what weighs most.
BETTER: dict[str, list[dict[str, Any]]] = {
    "DMARC": [{"dmarc_policy": policy, "dmarc_testing": False} for policy in ("none", None, "quarantine", "reject")],
    "DMARC in test mode": [{"dmarc_policy": "reject", "dmarc_testing": testing} for testing in (True, False)],
    "DKIM": [{"dkim_present": present} for present in (False, None, True)],
    "SPF": [{"spf_present": False}, {"spf_present": True, "spf_multiple": False}],
    "SPF includes": [{"spf_includes": count} for count in (4, 3, 0)],
    "one SPF record": [{"spf_multiple": True}, {"spf_multiple": False}],
}


@pytest.mark.parametrize("signal", BETTER)
@given(inputs=companies(), policy=policies)
def test_a_better_signal_never_lowers_the_readiness(signal: str, inputs: ScoreInput, policy: ScorePolicy) -> None:
    scores = [score_domain(replace(inputs, **better), policy=policy).readiness or 0 for better in BETTER[signal]]
    assert scores == sorted(scores)


@pytest.mark.parametrize("provider", Provider)
def test_a_higher_readiness_never_means_a_worse_segment(provider: Provider) -> None:
    order = [Segment.SKIP, Segment.COLD, Segment.MIGRATION, Segment.EXISTING]
    ranks = [order.index(determine_segment(readiness, provider)[0]) for readiness in range(101)]
    assert all(lower <= higher for lower, higher in pairwise(ranks))


@given(companies(), policies)
def test_a_company_that_could_be_scored_has_the_segment_of_its_readiness(
    inputs: ScoreInput, policy: ScorePolicy
) -> None:
    inputs = replace(inputs, domain_valid=True, no_mx=False, signals_complete=True, tenant=None, tenant_source=None)
    scored = score_domain(inputs, policy=policy)
    assert scored.readiness is not None
    assert (scored.segment, scored.segment_reason) == determine_segment(scored.readiness, inputs.provider)


@given(companies(), policies)
def test_evidence_is_shown_and_never_weighed(inputs: ScoreInput, policy: ScorePolicy) -> None:
    scored = score_domain(inputs, policy=policy)
    bare = score_domain(replace(inputs, mx_host=None, dkim_selector=None, cosell_referral=None), policy=policy)
    assert [(reason.code, reason.points) for reason in scored.reasons] == [
        (reason.code, reason.points) for reason in bare.reasons
    ]
    assert replace(scored, reasons=()) == replace(bare, reasons=())


@given(st.booleans(), st.booleans(), policies)
def test_a_lead_without_a_company_is_scored_by_its_tenant_alone(
    has_tenant: bool, is_cosell: bool, policy: ScorePolicy
) -> None:
    scored = score_lead(
        tenant="firma.onmicrosoft.com" if has_tenant else None,
        tenant_source=TenantSource.EMAIL_DOMAIN if has_tenant else None,
        cosell_referral="r-1" if is_cosell else None,
        policy=policy,
    )
    assert scored.reasons[0] == Reason(ReasonCode.NO_DOMAIN, 0)
    if not has_tenant:
        assert (scored.segment, scored.segment_reason) == (Segment.PENDING, ReasonCode.NO_DOMAIN)
        assert (scored.score, scored.readiness, scored.category) == (None, None, None)
        return
    assert (scored.segment, scored.segment_reason) == (Segment.EXISTING, ReasonCode.MICROSOFT_TENANT)
    assert scored.readiness == policy.azure_tenant_score
    assert scored.score == min(100, policy.azure_tenant_score + (policy.cosell_bonus if is_cosell else 0))
    assert sum(reason.points for reason in scored.reasons) == scored.score
    assert scored.reasons[1] == Reason(ReasonCode.MICROSOFT_TENANT, policy.azure_tenant_score, "firma.onmicrosoft.com")


@given(companies(), policies)
def test_no_score_gives_a_reason_that_depends_on_a_clock(inputs: ScoreInput, policy: ScorePolicy) -> None:
    """A deadline passes without anything being scored: the lists add it when they are read."""
    assert not OF_LISTS & {reason.code for reason in score_domain(inputs, policy=policy).reasons}


def test_reasons_are_told_in_order_with_their_evidence() -> None:
    scored = score_domain(
        company(
            "Google",
            spf_present=True,
            spf_includes=5,
            dkim_present=True,
            dmarc_policy="quarantine",
            open_cosell=True,
            mx_host="smtp.google.com",
            dkim_selector="google",
            cosell_referral="r-1",
        )
    )
    assert scored.reasons_plain() == [
        {"code": "provider_google", "points": 50, "evidence": "smtp.google.com"},
        {"code": "spf_present", "points": 10, "evidence": None},
        {"code": "spf_many_includes", "points": -5, "evidence": "5"},
        {"code": "dkim_present", "points": 10, "evidence": "google"},
        {"code": "dmarc_quarantine", "points": 15, "evidence": None},
        {"code": "co_sell", "points": 15, "evidence": "r-1"},
    ]
    assert (scored.label, scored.act) == ("Competitive Takeover", "discovery within 3 days")
    assert scored.rules_version == load_rules().version


def test_the_scores_act_is_none_where_there_is_nothing_to_do() -> None:
    archived = score_domain(company(no_mx=True))
    assert (archived.category, archived.label, archived.act) == ("P6", "No-Go / Archive", None)


@pytest.mark.parametrize(
    ("provider", "readiness_signals", "heat"),
    [
        ("M365", False, "Hot"),
        ("Google", True, "Warm"),
        ("Zoho", True, "Warm"),
        ("Yandex", True, "Warm"),
        ("Hosting", True, "Cold"),
        ("Google", False, "Cold"),
        ("Local", True, "Cold"),
    ],
)
def test_technical_heat_follows_the_segment_and_for_migration_the_provider(
    provider: str, readiness_signals: bool, heat: str
) -> None:
    signals: dict[str, Any] = (
        {"spf_present": True, "dkim_present": True, "dmarc_policy": "reject"} if readiness_signals else {}
    )
    assert score_domain(company(provider, **signals)).technical_heat == heat


def test_an_invalid_domain_is_skip_even_with_a_tenant() -> None:
    scored = score_domain(company("M365", domain_valid=False, tenant="contoso", tenant_source="payload"))
    assert (scored.score, scored.segment, scored.segment_reason) == (0, "Skip", "invalid_domain")


def test_no_mail_host_as_a_fact_is_skip_even_when_other_answers_are_missing() -> None:
    scored = score_domain(company(no_mx=True, signals_complete=False))
    assert (scored.score, scored.segment, scored.segment_reason) == (0, "Skip", "no_mx")


@pytest.mark.parametrize("source", FIRM_SOURCES)
@pytest.mark.parametrize("facts", [{"no_mx": True}, {"signals_complete": False}, {}])
def test_a_tenant_beats_no_mail_host_and_pending(facts: dict[str, Any], source: TenantSource) -> None:
    scored = score_domain(company(**facts, tenant="contoso", tenant_source=source))
    assert (scored.readiness, scored.score, scored.segment) == (55, 55, "Existing")
    pending = "signals_complete" in facts
    assert scored.segment_reason == ("signals_pending" if pending else "microsoft_tenant")
    assert ReasonCode.MICROSOFT_TENANT in [reason.code for reason in scored.reasons]


def test_while_dns_is_silent_a_tenant_stands_at_the_baseline_whatever_is_half_known() -> None:
    half_known = company("Google", signals_complete=False, spf_present=True, tenant="contoso", tenant_source="payload")
    assert score_domain(half_known).readiness == 55
    assert score_domain(half_known, policy=ScorePolicy(azure_tenant_score=30)).readiness == 30


def test_a_tenant_only_from_the_public_look_up_counts_only_if_that_is_switched_on() -> None:
    found = company("Google", spf_present=True, tenant="contoso", tenant_source="oidc_metadata")
    ignored = score_domain(found)
    assert (ignored.segment, ignored.readiness) == ("Cold", 45)
    assert "tenant_lookup_ignored" in _codes(found)

    counted = score_domain(found, policy=ScorePolicy(tenant_discovery_enabled=True))
    assert (counted.segment, counted.readiness) == ("Existing", 55)
    assert counted.segment_reason == "microsoft_tenant_lookup"
    assert counted.reasons[-1].evidence == "contoso"


def test_an_ignored_look_up_leaves_a_silent_domain_pending_and_says_so() -> None:
    silent = company(signals_complete=False, tenant="contoso", tenant_source="oidc_metadata")
    assert score_domain(silent).segment == "Pending"
    assert _codes(silent) == ["signals_pending", "tenant_lookup_ignored"]


def test_unknown_dkim_neither_adds_nor_costs() -> None:
    unknown = score_domain(company("Hosting", dkim_present=None))
    assert [(reason.code, reason.points) for reason in unknown.reasons] == [
        ("provider_hosting", 20),
        ("no_spf", -10),
        ("dkim_unknown", 0),
        ("dmarc_absent", 0),
    ]


def test_two_spf_records_are_scored_as_none_under_their_own_name() -> None:
    two = company("Hosting", spf_present=True, spf_multiple=True, spf_includes=9)
    none = company("Hosting")
    assert score_domain(two).readiness == score_domain(none).readiness
    assert [code.replace("spf_multiple_records", "no_spf") for code in _codes(two)] == _codes(none)


@pytest.mark.parametrize(("includes", "costs"), [(0, False), (3, False), (4, True)])
def test_more_than_three_spf_includes_cost_points(includes: int, costs: bool) -> None:
    inputs = company("Google", spf_present=True, spf_includes=includes)
    assert (ReasonCode.SPF_MANY_INCLUDES in _codes(inputs)) is costs
    assert score_domain(inputs).readiness == (40 if costs else 45)


def test_a_boost_that_would_pass_100_says_what_it_lost() -> None:
    best = company("M365", spf_present=True, dkim_present=True, dmarc_policy="reject", open_cosell=True)
    scored = score_domain(best)
    assert scored.score == 100
    assert [(reason.code, reason.points) for reason in scored.reasons[-2:]] == [("co_sell", 15), ("score_limit", -5)]


@given(st.sampled_from(Provider), st.sampled_from([str.lower, str.upper, str.title]))
def test_a_providers_name_is_known_in_any_case(provider: Provider, spelling: Any) -> None:
    assert determine_segment(60, spelling(provider.value)) == determine_segment(60, provider)


def test_an_unknown_provider_is_refused_by_name_not_scored_as_unknown() -> None:
    with pytest.raises(ValueError, match=r"'Gogle' is no provider .* M365, Google, .* given as Unknown"):
        determine_segment(60, "Gogle")
    with pytest.raises(ValueError, match="'Gogle'"):
        score_domain(company("Gogle"))


@pytest.mark.parametrize("readiness", [-1, 101])
def test_a_readiness_off_the_scale_is_refused(readiness: int) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        determine_segment(readiness, "Google")


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"spf_includes": -1}, "spf_includes"),
        ({"dmarc_policy": "monitor"}, "dmarc_policy"),
        ({"tenant": "contoso", "tenant_source": "hearsay"}, "tenant_source"),
        ({"tenant": "contoso"}, "together"),
        ({"tenant_source": "payload"}, "together"),
    ],
)
def test_facts_that_would_be_scored_wrongly_are_refused(facts: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        company(**facts)


@pytest.mark.usefixtures("home")
def test_the_policy_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ScorePolicy.of(Settings.load()) == ScorePolicy() == DEFAULT_POLICY
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_COSELL_BONUS", "7")
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_AZURE_TENANT_SCORE", "80")
    monkeypatch.setenv("HUNTER_TENANT_DISCOVERY_ENABLED", "true")
    chosen = ScorePolicy(cosell_bonus=7, azure_tenant_score=80, tenant_discovery_enabled=True)
    assert ScorePolicy.of(Settings.load()) == chosen


@pytest.mark.parametrize("choice", [{"cosell_bonus": -1}, {"azure_tenant_score": 101}])
def test_a_policy_off_the_scale_is_refused(choice: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(choice))):
        ScorePolicy(**choice)  # type: ignore[arg-type]  # mypy reads the values into the bool, too


def _reasons(inputs: ScoreInput) -> list[tuple[str, int, str | None]]:
    return [(reason.code.value, reason.points, reason.evidence) for reason in score_domain(inputs).reasons]


@pytest.mark.parametrize(
    ("local_host", "code", "segment_reason"),
    [
        (None, "provider_local", "local_server"),
        ("own", "provider_local", "local_server"),
        ("unlisted", "provider_unlisted", "unlisted_server"),
        ("implicit", "provider_implicit", "local_server"),
    ],
)
def test_a_local_provider_is_called_what_its_mail_host_is(
    local_host: str | None, code: str, segment_reason: str
) -> None:
    inputs = company(Provider.LOCAL, spf_present=True, local_host=local_host, mx_host="mx.x.example")
    scored = score_domain(inputs)
    assert _reasons(inputs)[0] == (code, 10, "mx.x.example")
    assert (scored.segment, scored.segment_reason) == (Segment.COLD, segment_reason)


def test_an_unlisted_host_and_the_implicit_mx_have_points_of_their_own_in_the_rules() -> None:
    rules = load_rules()
    readiness = rules.readiness.model_copy(update={"unlisted_host": 3, "implicit_mx": 4})
    edited = rules.model_copy(update={"readiness": readiness})
    for local_host, points in (("own", 10), ("unlisted", 3), ("implicit", 4)):
        inputs = company(Provider.LOCAL, local_host=local_host)
        assert score_domain(inputs, edited).reasons[0].points == points


def test_a_gateway_is_a_reason_of_its_own_beside_the_evidence_that_decided() -> None:
    inputs = company(Provider.M365, gateway="Proofpoint: mxa.pphosted.com", mx_host="autodiscover.outlook.com")
    assert _reasons(inputs)[:2] == [
        ("provider_m365", 50, "autodiscover.outlook.com"),
        ("gateway", 0, "Proofpoint: mxa.pphosted.com"),
    ]


def test_what_is_not_known_of_the_mailbox_is_a_reason_that_names_the_look_ups() -> None:
    assert ("mailbox_unanswered", 0, "autodiscover, dkim:selector1") in _reasons(
        company(unanswered="autodiscover, dkim:selector1")
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, [("spf_present", 10, None)]),
        ({"spf_error": "ipv4:192.0.2.1"}, [("spf_permerror", -10, "ipv4:192.0.2.1")]),
        ({"spf_allows_all": True}, [("spf_allows_all", -10, None)]),
        ({"spf_ignored": "mx"}, [("spf_present", 10, None), ("spf_terms_ignored", 0, "mx")]),
        ({"spf_error": "x", "spf_multiple": True}, [("spf_multiple_records", -10, None)]),
        ({"spf_error": "x", "spf_present": False}, [("no_spf", -10, None)]),
    ],
)
def test_an_spf_record_that_does_not_work_is_never_called_just_published(
    facts: dict[str, Any], expected: list[tuple[str, int, str | None]]
) -> None:
    inputs = company(**{"spf_present": True, **facts})
    assert [reason for reason in _reasons(inputs) if "spf" in reason[0]] == expected


@pytest.mark.parametrize(
    ("policy", "testing", "expected"),
    [
        ("reject", False, ("dmarc_reject", 20)),
        ("reject", True, ("dmarc_testing", 15)),
        ("quarantine", True, ("dmarc_testing", -10)),
        ("none", True, ("dmarc_none", -10)),
        (None, True, ("dmarc_absent", 0)),
    ],
)
def test_a_policy_that_is_being_tested_earns_what_the_next_weaker_one_earns(
    policy: str | None, testing: bool, expected: tuple[str, int]
) -> None:
    reasons = _reasons(company(dmarc_policy=policy, dmarc_testing=testing))
    assert [(code, points) for code, points, _ in reasons if "dmarc" in code] == [expected]
