"""What other rules or settings would change is counted for every company, and told for those that move most."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.scoring import Rules, ScoreInput, ScorePolicy, load_rules, score_domain, score_frame
from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY
from partner_center_pipeline.scoring.preview import Mover, Preview, ReasonChange, compare, sides
from partner_center_pipeline.scoring.row import score_columns

from .cases import companies, company, policies
from .test_frame import frame_of

RULES = load_rules()


def stored(
    inputs: Sequence[ScoreInput], rules: Rules = RULES, policy: ScorePolicy = DEFAULT_POLICY
) -> list[dict[str, Any]]:
    """Rows of `company_scores` as the product writes them, as far as a comparison looks at them."""
    return [
        {
            "domain": one.domain,
            **score_columns(score_domain(one, rules, policy), rules),
            "inputs": {**asdict(one), **asdict(policy)},
        }
        for one in inputs
    ]


def rules_with(**points: int) -> Rules:
    """The delivered rules with other points for providers or signals, and version 4."""
    readiness = RULES.readiness
    signal = {code: points.get(code, value) for code, value in readiness.signal.items()}
    provider = {name: points.get(name, value) for name, value in readiness.provider.items()}
    return RULES.model_copy(
        update={"version": "4", "readiness": readiness.model_copy(update={"signal": signal, "provider": provider})}
    )


def preview(
    inputs: Sequence[ScoreInput], rules: Rules = RULES, policy: ScorePolicy = DEFAULT_POLICY, top: int = 10
) -> Preview:
    """What scoring these companies under these rules and policy changes of their delivered scores."""
    return compare(stored(inputs), score_frame(frame_of(inputs), rules, policy), policy, top)


COMPANIES = [
    company("Google", domain="a.com", spf_present=True),  # 45 Cold
    company("Google", domain="b.com", spf_present=True, dkim_present=True, dmarc_policy="reject"),  # 90 Migration
    company("Local", domain="c.com"),  # 0 Skip
    company("Yandex", domain="d.com", spf_present=True, dkim_present=True, dmarc_policy="reject"),  # 70 Migration
    company("Google", domain="e.com", signals_complete=False),  # Pending
]


def test_the_same_rules_and_policy_change_nothing() -> None:
    found = preview(COMPANIES)
    assert (found.companies, found.changed, found.movers) == (5, 0, ())
    assert found.segments == Counter(
        {("Cold", "Cold"): 1, ("Migration", "Migration"): 2, ("Skip", "Skip"): 1, ("Pending", "Pending"): 1}
    )
    assert found.categories[None, None] == 1


def test_each_company_is_counted_from_where_it_was_to_where_it_goes() -> None:
    found = preview(COMPANIES, rules_with(Google=20))
    assert found.segments == Counter(
        {
            ("Cold", "Skip"): 1,
            ("Migration", "Migration"): 2,
            ("Skip", "Skip"): 1,
            ("Pending", "Pending"): 1,
        }
    )
    assert found.categories[("P5", "P6")] == 1
    before, after = sides(found.segments)
    assert before == {"Cold": 1, "Migration": 2, "Skip": 1, "Pending": 1}
    assert after == {"Skip": 2, "Migration": 2, "Pending": 1}
    assert {type(name) for name in (*before, *after)} == {str}


def test_a_mover_names_the_reasons_that_differ_and_no_other() -> None:
    found = preview(COMPANIES, rules_with(Google=20, spf_present=15))
    assert found.changed == 3
    assert found.movers[0] == Mover(
        "a.com",
        45,
        20,
        "Cold",
        "Skip",
        (ReasonChange("provider_google", 50, 20), ReasonChange("spf_present", 10, 15)),
    )
    assert [mover.domain for mover in found.movers] == ["a.com", "b.com", "d.com"]


def test_a_reason_that_comes_or_goes_is_told_as_such() -> None:
    """The score was held at 0 before, and a look-up counts that did not."""
    found = preview([company("Local", domain="c.com")], rules_with(Local=30))
    assert found.movers[0].reasons == (ReasonChange("provider_local", 10, 30), ReasonChange("score_limit", 15, None))
    silent = company(signals_complete=False, tenant="contoso", tenant_source="oidc_metadata")
    found = preview([silent], policy=ScorePolicy(tenant_discovery_enabled=True))
    assert found.movers == (
        Mover(
            "firma.com.tr",
            None,
            55,
            "Pending",
            "Existing",
            (ReasonChange("tenant_lookup_ignored", 0, None), ReasonChange("microsoft_tenant_lookup", None, 55)),
        ),
    )


def test_limits_of_readiness_and_of_score_are_told_as_one() -> None:
    best = company("M365", spf_present=True, dkim_present=True, dmarc_policy="reject", open_cosell=True)
    found = preview([best], rules_with(M365=70), ScorePolicy(cosell_bonus=20))
    assert found.movers[0].reasons[-1] == ReasonChange("score_limit", -5, -30)
    assert found.movers[0].score_after == found.movers[0].score_before == 100  # its readiness changed


def test_the_largest_step_comes_first_then_another_segment_then_the_domain() -> None:
    inputs = [
        company("Google", domain="z.com", spf_present=True, dkim_present=True),  # 70, stays Migration
        company("Google", domain="y.com", spf_present=True, dkim_present=True, dmarc_policy="reject"),  # the same
        company("Google", domain="x.com", spf_present=True),  # 45, goes from Cold to Skip
        company("Local", domain="w.com"),  # stays at 0
    ]
    found = preview(inputs, rules_with(Google=44))
    assert [mover.domain for mover in found.movers] == ["x.com", "y.com", "z.com"]
    assert [mover.domain for mover in preview(inputs, rules_with(Google=44), top=2).movers] == ["x.com", "y.com"]
    assert preview(inputs, rules_with(Google=44), top=0).changed == 3


def test_rules_edited_without_a_new_version_are_noticed() -> None:
    edited = rules_with(Google=20)
    assert preview(COMPANIES, edited).unversioned == 0
    same_name = edited.model_copy(update={"version": RULES.version})
    assert preview(COMPANIES, same_name).unversioned == 2
    assert preview(COMPANIES, same_name, ScorePolicy(cosell_bonus=20)).unversioned == 0  # the settings say why


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(companies(), max_size=8), policies, st.integers(0, 8), st.integers(0, 4))
def test_pages_add_up_to_the_whole(inputs: list[ScoreInput], policy: ScorePolicy, cut: int, top: int) -> None:
    numbered = [replace(one, domain=f"{number}.com") for number, one in enumerate(inputs)]
    rules = rules_with(Google=20, no_dkim=0, dmarc_reject=5)
    first, second = (preview(part, rules, policy, top) for part in (numbered[:cut], numbered[cut:]))
    assert first.joined(second, top) == second.joined(first, top) == preview(numbered, rules, policy, top)


@settings(max_examples=60)
@given(st.lists(companies(), max_size=6), policies)
def test_every_company_whose_score_changes_is_a_mover_and_no_other(
    inputs: list[ScoreInput], policy: ScorePolicy
) -> None:
    numbered = [replace(one, domain=f"{number}.com") for number, one in enumerate(inputs)]
    rules = rules_with(Google=20, no_dkim=0)
    expected = set()
    for one in numbered:
        before, after = score_domain(one), score_domain(one, rules, policy)
        if (before.score, before.readiness, before.segment) != (after.score, after.readiness, after.segment):
            expected.add(one.domain)
    found = preview(numbered, rules, policy)
    assert {mover.domain for mover in found.movers} == expected
    assert (found.changed, found.companies) == (len(expected), len(inputs))
    assert found.segments.total() == found.categories.total() == len(inputs)
