"""Many companies at once are scored as each alone."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, load_rules, score_domain, score_frame
from partner_center_pipeline.scoring.frame import inputs_frame
from partner_center_pipeline.scoring.model import EVIDENCE_ONLY, FACTS, Score

from .cases import BARE, companies, company, policies


def frame_of(inputs: Sequence[ScoreInput]) -> pd.DataFrame:
    """Companies as a frame."""
    return pd.DataFrame([asdict(one) for one in inputs], columns=[field.name for field in fields(ScoreInput)])


@settings(max_examples=60)
@given(st.lists(companies(), min_size=1, max_size=8), policies)
def test_each_row_is_the_score_of_that_company(inputs: list[ScoreInput], policy: ScorePolicy) -> None:
    scored = score_frame(frame_of(inputs), policy=policy)
    for one, row in zip(inputs, scored.to_dict("records"), strict=True):
        expected = score_domain(one, policy=policy)
        assert json.loads(row.pop("reasons")) == expected.reasons_plain()
        assert row == {field.name: getattr(expected, field.name) for field in fields(Score) if field.name != "reasons"}


def test_the_index_is_kept_and_the_order_with_it() -> None:
    frame = frame_of([company("M365"), company("Local"), company("M365")]).set_index(pd.Index(["b", "a", "b"]))
    scored = score_frame(frame)
    assert list(scored.index) == ["b", "a", "b"]
    assert list(scored["segment"]) == ["Existing", "Skip", "Existing"]


def test_a_lead_without_a_domain_is_not_scored_like_a_company_whose_answer_is_missing() -> None:
    inputs = [company("Unknown", signals_complete=False, domain=domain) for domain in ("firma.com.tr", "", "a.com")]
    for some in (inputs, inputs[::-1]):
        told = [json.loads(text) for text in score_frame(frame_of(some))["reasons"]]
        assert told == [score_domain(one).reasons_plain() for one in some]


def test_no_companies_are_no_scores() -> None:
    scored = score_frame(frame_of([company("M365")]).iloc[:0])
    assert scored.empty
    assert list(scored.columns) == [field.name for field in fields(Score)]


def test_other_rules_can_be_tried() -> None:
    delivered = load_rules()
    generous = delivered.model_copy(
        update={
            "version": "trial",
            "readiness": delivered.readiness.model_copy(update={"spf_includes_max": 9}),
        }
    )
    frame = frame_of([company("Google", spf_present=True, spf_includes=includes) for includes in (3, 9, 10)])
    assert list(score_frame(frame)["readiness"]) == [45, 40, 40]
    assert list(score_frame(frame, generous)["readiness"]) == [45, 45, 40]
    assert set(score_frame(frame, generous)["rules_version"]) == {"trial"}


def test_columns_as_databases_give_them_are_understood() -> None:
    """0 and 1 for flags, nullable types for what may be missing, and no evidence at all."""
    evidence = ["mx_host", "dkim_selector", "cosell_referral"]
    inputs = [company("Google", spf_present=True, dkim_present=None), company("Local", no_mx=True)]
    frame = frame_of(inputs).drop(columns=evidence)
    frame = frame.astype({"no_mx": "int64", "spf_present": "int64", "dkim_present": "boolean", "spf_includes": "Int64"})
    scored = score_frame(frame)
    assert [json.loads(text) for text in scored["reasons"]] == [score_domain(one).reasons_plain() for one in inputs]


@settings(max_examples=60)
@given(st.lists(companies(), max_size=4), policies)
def test_inputs_are_scored_as_the_table_keeps_them(inputs: list[ScoreInput], policy: ScorePolicy) -> None:
    """As JSON, with the policy beside them and what a later version may add; a row older than a field lacks it."""
    kept = [{**asdict(one), **asdict(policy), "added_later": [1]} for one in inputs]
    stored = [
        {name: value for name, value in one.items() if name not in EVIDENCE_ONLY or value is not None} for one in kept
    ]
    scored = score_frame(inputs_frame(json.loads(json.dumps(stored))), policy=policy)
    assert list(scored["score"]) == [score_domain(one, policy=policy).score for one in inputs]
    told = [json.loads(text) for text in scored["reasons"]]
    assert told == [score_domain(one, policy=policy).reasons_plain() for one in inputs]


@pytest.mark.parametrize("column", sorted(FACTS))
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(ValueError, match=f"no column {column}"):
        score_frame(frame_of([BARE]).drop(columns=column))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("no_mx", None, "no_mx is missing in 1 of 2 rows"),
        ("provider", None, "provider is missing in 1 of 2 rows"),
        ("spf_present", "no", "spf_present is 'no'"),
        ("dkim_present", "unknown", "dkim_present is 'unknown'"),
        ("spf_includes", -1, "spf_includes is negative"),
        ("provider", "Gogle", "'Gogle' is no provider"),
        ("dmarc_policy", "monitor", "dmarc_policy is 'monitor'"),
        ("tenant", "contoso", "together"),
    ],
)
def test_a_value_that_is_no_fact_is_refused(column: str, value: object, problem: str) -> None:
    frame = frame_of([BARE, BARE]).assign(**{column: pd.Series([getattr(BARE, column), value], dtype=object)})
    with pytest.raises(ValueError, match=problem):
        score_frame(frame)


def test_one_company_is_scored_without_pandas() -> None:
    """A window often brings a handful of companies; pandas would cost more than all of them."""
    program = (
        "import sys\n"
        "from partner_center_pipeline_tests.scoring.cases import BARE\n"
        "from partner_center_pipeline.scoring import score_domain\n"
        "score_domain(BARE)\n"
        "print(sorted({'pandas', 'numpy', 'dagster', 'sqlalchemy', 'httpx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
