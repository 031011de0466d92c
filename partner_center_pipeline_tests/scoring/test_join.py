"""The join of a table's rows with the rules: each row of a frame is scored by its own columns."""

import json
from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest

from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, score_domain, score_frame
from partner_center_pipeline.vocabulary import TenantSource

from .cases import company

OFF = ScorePolicy(tenant_discovery_enabled=False)
"""A public look-up does not count, a tenant of any other source does."""


def _told(inputs: list[ScoreInput], policy: ScorePolicy = OFF) -> list[list[dict[str, Any]]]:
    frame = pd.DataFrame([asdict(one) for one in inputs])
    return [json.loads(text) for text in score_frame(frame, policy=policy)["reasons"]]


@pytest.mark.parametrize("source", TenantSource)
def test_a_row_is_scored_by_its_own_tenant_and_source(source: TenantSource) -> None:
    inputs = [
        company("Google", tenant=f"{each}.onmicrosoft.com", tenant_source=each) for each in (*TenantSource, source)
    ]
    told = _told(inputs)
    assert told == [score_domain(one, policy=OFF).reasons_plain() for one in inputs]
    (tenant,) = [reason for reason in told[-1] if "tenant" in reason["code"]]
    ignored = source is TenantSource.OIDC_METADATA
    assert tenant["code"] == ("tenant_lookup_ignored" if ignored else "microsoft_tenant")
    assert tenant["evidence"] == f"{source}.onmicrosoft.com"


def test_each_row_shows_its_own_host_selector_tenant_and_referral() -> None:
    evidence = {"mx_host": "provider_google", "dkim_selector": "dkim_present", "cosell_referral": "co_sell"}
    inputs = [
        company(
            "Google", domain=f"{name}.com", dkim_present=True, open_cosell=True, mx_host=f"mx.{name}.com",
            dkim_selector=f"s-{name}", cosell_referral=f"r-{name}",
        )
        for name in "abc"
    ]  # fmt: skip
    for one, reasons in zip(inputs, _told(inputs), strict=True):
        shown = {reason["code"]: reason["evidence"] for reason in reasons}
        assert {column: shown[code] for column, code in evidence.items()} == {
            column: getattr(one, column) for column in evidence
        }
