"""Companies to score: one to begin from, and any that there can be."""

from dataclasses import replace
from typing import Any, Final

from hypothesis import strategies as st

from partner_center_pipeline.scoring import ScoreInput, ScorePolicy
from partner_center_pipeline.vocabulary import DmarcPolicy, Provider, TenantSource

BARE: Final = ScoreInput(
    domain="firma.com.tr",
    domain_valid=True,
    provider=Provider.UNKNOWN,
    no_mx=False,
    signals_complete=True,
    spf_present=False,
    spf_multiple=False,
    spf_includes=0,
    dkim_present=False,
    dmarc_policy=None,
    tenant=None,
    tenant_source=None,
    open_cosell=False,
)
"""DNS answered everything, and there is an unknown mail host and nothing else."""


def company(provider: str = Provider.UNKNOWN, **facts: Any) -> ScoreInput:
    """A company with a mail host and no more than the facts given."""
    return replace(BARE, provider=provider, **facts)


evidence = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Any text that UTF-8 can hold; percent signs, quotes and Turkish letters among it."""

tenants = st.none() | st.tuples(st.text("ab%\"'ğ", min_size=1, max_size=8), st.sampled_from(TenantSource))

policies = st.builds(
    ScorePolicy,
    cosell_bonus=st.integers(0, 100),
    azure_tenant_score=st.integers(0, 100),
    tenant_discovery_enabled=st.booleans(),
)


@st.composite
def companies(draw: st.DrawFn) -> ScoreInput:
    """Any company that can be described, most often one with a mail host and complete signals."""
    usually, rarely = st.sampled_from([True, True, True, False]), st.sampled_from([False, False, False, True])
    tenant, source = draw(tenants) or (None, None)
    return ScoreInput(
        domain="firma.com.tr",
        domain_valid=draw(usually),
        provider=draw(st.sampled_from(Provider)),
        no_mx=draw(rarely),
        signals_complete=draw(usually),
        spf_present=draw(st.booleans()),
        spf_multiple=draw(rarely),
        spf_includes=draw(st.integers(0, 12)),
        dkim_present=draw(st.none() | st.booleans()),
        dmarc_policy=draw(st.none() | st.sampled_from(DmarcPolicy)),
        tenant=tenant,
        tenant_source=source,
        open_cosell=draw(st.booleans()),
        local_host=draw(st.none() | st.sampled_from(["own", "unlisted", "implicit"])),
        gateway=draw(evidence),
        unanswered=draw(evidence),
        spf_error=draw(evidence),
        spf_ignored=draw(evidence),
        spf_allows_all=draw(rarely),
        dmarc_testing=draw(rarely),
        mx_host=draw(evidence),
        dkim_selector=draw(evidence),
        cosell_referral=draw(evidence),
    )
