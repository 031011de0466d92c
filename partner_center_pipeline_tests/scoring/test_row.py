"""A score as columns of the warehouse: plain values, and its account in English and in Turkish."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, load_rules, score_domain, score_frame
from partner_center_pipeline.scoring.model import ReasonCode
from partner_center_pipeline.scoring.row import explain, frame_columns, score_columns
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.warehouse.schema import columns_of, company_scores

from .cases import companies, company, policies
from .test_frame import frame_of

RULES = load_rules()
KEPT_BESIDE = {"domain", "inputs", "referral_ids", "signals_at", "scored_at", "derived_with"}


def columns(inputs: ScoreInput, policy: ScorePolicy | None = None) -> dict[str, Any]:
    return score_columns(score_domain(inputs, RULES, policy or ScorePolicy()), RULES)


def test_every_column_is_there_that_the_caller_does_not_add() -> None:
    assert set(columns(company("Google"))) == set(columns_of(company_scores)) - KEPT_BESIDE


@given(companies(), policies)
def test_the_columns_are_plain_values_and_those_of_the_score(inputs: ScoreInput, policy: ScorePolicy) -> None:
    scored, plain = score_domain(inputs, RULES, policy), columns(inputs, policy)
    assert json.loads(json.dumps(plain)) == plain
    assert {type(value) for value in leaves(plain)} <= {str, int, type(None)}
    assert plain["reasons"] == scored.reasons_plain()
    assert all(plain[name] == getattr(scored, name) for name in plain if name not in {"reasons", *EXPLANATIONS})


@settings(max_examples=60)
@given(st.lists(companies(), min_size=1, max_size=6), policies)
def test_many_scores_have_the_columns_of_each_alone(inputs: list[ScoreInput], policy: ScorePolicy) -> None:
    found = list(frame_columns(score_frame(frame_of(inputs), RULES, policy), RULES))
    assert found == [columns(one, policy) for one in inputs]
    assert {type(value) for value in leaves(found)} <= {str, int, type(None)}


def test_an_account_reads_from_the_segment_to_the_last_reason() -> None:
    told = columns(
        company(
            "Google",
            spf_present=True,
            dkim_present=True,
            dmarc_policy="none",
            mx_host="aspmx.l.google.com",
            open_cosell=True,
        )
    )
    assert told["explanation_en"] == (
        "Mail runs elsewhere and is well kept: ready to migrate. Mail runs on Google Workspace (+50, "
        "aspmx.l.google.com); SPF is published (+10); DKIM key is published (+10); DMARC only watches (p=none) (-10); "
        "An open co-sell referral (+15)"
    )
    assert told["explanation_tr"].startswith(
        "E-posta başka bir sağlayıcıda ve ayarları düzgün: geçişe hazır. E-posta Google"
    )
    assert told["explanation_tr"].endswith("; Açık bir ortak satış fırsatı (co-sell) var (+15)")


def test_a_segment_that_a_reason_explains_is_not_explained_twice() -> None:
    assert (
        columns(company(no_mx=True, mx_host="NXDOMAIN"))["explanation_en"] == "The domain receives no mail (NXDOMAIN)"
    )
    assert columns(company(signals_complete=False))["explanation_en"] == "DNS has not answered yet"


@given(companies(), policies, st.sampled_from(Language))
def test_every_reason_and_the_segment_are_in_the_account_in_order(
    inputs: ScoreInput, policy: ScorePolicy, language: Language
) -> None:
    plain = columns(inputs, policy)
    told = plain[f"explanation_{language}"]
    assert RULES.text(plain["segment_reason"], language) in told
    at = 0
    for reason in plain["reasons"]:
        at = told.index(RULES.text(reason["code"], language), at)
        assert str(reason["evidence"] or "") in told[at:]


def test_only_the_language_asked_for_is_spoken() -> None:
    """No word of the code's own: rules with other texts give an account of those alone."""
    reasons = [{"code": code, "points": 0, "evidence": None} for code in ReasonCode]
    swapped = RULES.model_copy(
        update={
            "reasons": {
                code: text.model_copy(update={"en": text.tr, "tr": text.en}) for code, text in RULES.reasons.items()
            }
        }
    )
    assert explain("no_mx", reasons, swapped, "en") == explain("no_mx", reasons, RULES, "tr")


def test_an_account_in_a_language_that_the_rules_do_not_speak_is_refused() -> None:
    with pytest.raises(ValueError, match="de"):
        explain("no_mx", [{"code": "no_mx", "points": 0, "evidence": None}], RULES, "de")


EXPLANATIONS = {f"explanation_{language}" for language in Language}


def leaves(value: Any) -> Iterator[Any]:
    """The values inside lists and dicts."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value
