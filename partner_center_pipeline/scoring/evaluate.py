"""From what is known about one company to its score: the rules' order of application (scoring.md, sections 1 to 6).

Not here: numbers, tables and texts (`rules.toml`), and many companies at a time (`frame`).
"""

from collections.abc import Iterator
from operator import index
from typing import Final

from partner_center_pipeline.scoring.model import (
    PROVIDER_REASON,
    READINESS_MAX,
    Reason,
    ReasonCode,
    Score,
    ScoreInput,
    ScorePolicy,
    Segment,
)
from partner_center_pipeline.scoring.rules import Rules, SignalCode, load_rules
from partner_center_pipeline.vocabulary import DmarcPolicy, Provider, TenantSource

DEFAULT_POLICY: Final = ScorePolicy()
"""The policy of an installation that sets nothing."""

EVIDENCE: Final = {
    **dict.fromkeys(PROVIDER_REASON.values(), "mx_host"),
    ReasonCode.PROVIDER_UNLISTED: "mx_host",
    ReasonCode.PROVIDER_IMPLICIT: "mx_host",
    ReasonCode.NO_MX: "mx_host",
    ReasonCode.GATEWAY: "gateway",
    ReasonCode.MAILBOX_UNANSWERED: "unanswered",
    ReasonCode.SPF_PERMERROR: "spf_error",
    ReasonCode.SPF_TERMS_IGNORED: "spf_ignored",
    ReasonCode.SPF_MANY_INCLUDES: "spf_includes",
    ReasonCode.DKIM_PRESENT: "dkim_selector",
    ReasonCode.MICROSOFT_TENANT: "tenant",
    ReasonCode.MICROSOFT_TENANT_LOOKUP: "tenant",
    ReasonCode.TENANT_LOOKUP_IGNORED: "tenant",
    ReasonCode.CO_SELL: "cosell_referral",
}
"""The field of ScoreInput that a reason shows as its evidence."""

_DMARC: Final[dict[str | None, SignalCode]] = {
    DmarcPolicy.REJECT: ReasonCode.DMARC_REJECT,
    DmarcPolicy.QUARANTINE: ReasonCode.DMARC_QUARANTINE,
    DmarcPolicy.NONE: ReasonCode.DMARC_NONE,
    None: ReasonCode.DMARC_ABSENT,
}


_ONE_STEP_WEAKER: Final[dict[SignalCode, SignalCode]] = {
    ReasonCode.DMARC_REJECT: ReasonCode.DMARC_QUARANTINE,
    ReasonCode.DMARC_QUARANTINE: ReasonCode.DMARC_NONE,
}
"""What a policy is applied as while it is tested (RFC 9989, tag `t`)."""


_UNKNOWN: Final = (ReasonCode.SIGNALS_PENDING, ReasonCode.NO_DOMAIN)
"""The obstacles that are no fact about the company."""


def determine_segment(
    score: int, provider: str, azure_tenant_id: str | None = None, rules: Rules | None = None
) -> tuple[Segment, ReasonCode]:
    """Return the segment and why (scoring.md, sections 3 and 4). `score` is the *readiness*, without the co-sell bonus.

    With a tenant id (not empty) the segment is Existing, reason `microsoft_tenant`, whatever the provider; otherwise
    the first matching row of the segment table decides and gives its reason. Raises ValueError for a score outside 0 to
    100 and for a provider that scoring does not know (`Provider.named`), TypeError for a score that is no integer.
    """
    rules = rules or load_rules()
    readiness = index(score)
    if not 0 <= readiness <= READINESS_MAX:
        raise ValueError(f"readiness is {readiness}; it is a whole number from 0 to {READINESS_MAX}")
    row = rules.segment_row(Provider.named(provider), readiness)
    if azure_tenant_id:
        return Segment.EXISTING, ReasonCode.MICROSOFT_TENANT
    return row.segment, row.reason


def score_domain(inputs: ScoreInput, rules: Rules | None = None, policy: ScorePolicy = DEFAULT_POLICY) -> Score:
    """Score one company (scoring.md, sections 1 to 6), under `rules` (None: the delivered ones).

    An invalid domain is Skip even with a tenant. A domain without a mail host is Skip even when other look-ups got no
    answer, as no answer could change it. The co-sell bonus is added to a readiness of 0 like to any other.

    Raises ValueError for a provider that scoring does not know (`Provider.named`).
    """
    rules = rules or load_rules()
    provider = Provider.named(inputs.provider)
    obstacle = _obstacle(inputs)
    reasons = [(obstacle, 0)] if obstacle else list(_signal_reasons(inputs, provider, rules))
    readiness = _limit(sum(points for _, points in reasons), reasons)

    tenant, counted = _tenant_reason(inputs, policy), None
    if tenant is ReasonCode.TENANT_LOOKUP_IGNORED:
        reasons.append((tenant, 0))
    elif tenant and obstacle is not ReasonCode.INVALID_DOMAIN:
        counted = tenant
        raised = max(readiness, policy.azure_tenant_score)
        reasons.append((tenant, raised - readiness))
        readiness = raised

    segment, segment_reason = _segment(inputs, readiness, obstacle, counted, rules)
    if segment is Segment.PENDING:
        return Score(
            score=None,
            readiness=None,
            segment=segment,
            segment_reason=segment_reason,
            reasons=_with_evidence(reasons, inputs),
            rules_version=rules.version,
        )

    score = readiness
    if inputs.open_cosell:
        reasons.append((ReasonCode.CO_SELL, policy.cosell_bonus))
        score = _limit(readiness + policy.cosell_bonus, reasons)

    view = rules.view(segment, provider, readiness)
    return Score(
        score=score,
        readiness=readiness,
        segment=segment,
        segment_reason=segment_reason,
        reasons=_with_evidence(reasons, inputs),
        commercial_segment=view.commercial_segment,
        technical_heat=view.technical_heat,
        commercial_heat=view.commercial_heat,
        category=view.category,
        label=view.label,
        act=view.act,
        rules_version=rules.version,
    )


def score_lead(
    *,
    tenant: str | None,
    tenant_source: TenantSource | None,
    cosell_referral: str | None,
    rules: Rules | None = None,
    policy: ScorePolicy = DEFAULT_POLICY,
) -> Score:
    """Score an open lead that no company holds (scoring.md, section 4, "A lead without a company").

    It has no domain that DNS could be asked about. With a tenant it is Existing at the baseline; without one it is
    Pending. `cosell_referral` is the lead's own id where it is a co-sell referral, which adds the bonus.
    """
    inputs = ScoreInput(
        domain="",
        domain_valid=True,
        provider=Provider.UNKNOWN,
        no_mx=False,
        signals_complete=False,
        spf_present=False,
        spf_multiple=False,
        spf_includes=0,
        dkim_present=None,
        dmarc_policy=None,
        tenant=tenant,
        tenant_source=tenant_source,
        open_cosell=cosell_referral is not None,
        cosell_referral=cosell_referral,
    )
    return score_domain(inputs, rules, policy)


def _obstacle(inputs: ScoreInput) -> ReasonCode | None:
    """Return what prevents a sum (scoring.md, section 2), or None."""
    if not inputs.domain_valid:
        return ReasonCode.INVALID_DOMAIN
    if not inputs.domain:
        return ReasonCode.NO_DOMAIN
    if inputs.no_mx:
        return ReasonCode.NO_MX
    return None if inputs.signals_complete else ReasonCode.SIGNALS_PENDING


def _tenant_reason(inputs: ScoreInput, policy: ScorePolicy) -> ReasonCode | None:
    """Return what the tenant evidence counts as (scoring.md, section 4), or None."""
    if not inputs.tenant:
        return None
    if inputs.tenant_source != TenantSource.OIDC_METADATA:
        return ReasonCode.MICROSOFT_TENANT
    if policy.tenant_discovery_enabled:
        return ReasonCode.MICROSOFT_TENANT_LOOKUP
    return ReasonCode.TENANT_LOOKUP_IGNORED


def _segment(
    inputs: ScoreInput, readiness: int, obstacle: ReasonCode | None, tenant: ReasonCode | None, rules: Rules
) -> tuple[Segment, ReasonCode]:
    """Return the segment and why (scoring.md, sections 2 to 4); `tenant` is None for evidence that does not count."""
    if tenant:
        segment, _ = determine_segment(readiness, inputs.provider, inputs.tenant, rules)
        return segment, obstacle if obstacle is ReasonCode.SIGNALS_PENDING else tenant
    if obstacle:
        return Segment.PENDING if obstacle in _UNKNOWN else Segment.SKIP, obstacle
    segment, reason = determine_segment(readiness, inputs.provider, rules=rules)
    if reason is ReasonCode.LOCAL_SERVER and inputs.local_host == "unlisted":
        reason = ReasonCode.UNLISTED_SERVER
    return segment, reason


def _limit(total: int, reasons: list[tuple[ReasonCode, int]]) -> int:
    """Return the total within 0 to READINESS_MAX; add the difference, if any, to the reasons."""
    limited = min(max(total, 0), READINESS_MAX)
    if limited != total:
        reasons.append((ReasonCode.SCORE_LIMIT, limited - total))
    return limited


def _signal_reasons(inputs: ScoreInput, provider: Provider, rules: Rules) -> Iterator[tuple[ReasonCode, int]]:
    """Yield the reasons of readiness with their points (scoring.md, section 1)."""
    points = rules.readiness.signal
    if provider is Provider.LOCAL:
        yield rules.local_points(inputs.local_host)
    else:
        yield PROVIDER_REASON[provider], rules.readiness.provider[provider]
    if inputs.gateway:
        yield ReasonCode.GATEWAY, 0
    if inputs.unanswered:
        yield ReasonCode.MAILBOX_UNANSWERED, 0

    has_spf = inputs.spf_present and not inputs.spf_multiple and not inputs.spf_error
    if inputs.spf_multiple:
        yield ReasonCode.SPF_MULTIPLE_RECORDS, points[ReasonCode.NO_SPF]
    elif inputs.spf_present and inputs.spf_error:
        yield ReasonCode.SPF_PERMERROR, points[ReasonCode.SPF_PERMERROR]
    elif not has_spf:
        yield ReasonCode.NO_SPF, points[ReasonCode.NO_SPF]
    elif inputs.spf_allows_all:
        yield ReasonCode.SPF_ALLOWS_ALL, points[ReasonCode.SPF_ALLOWS_ALL]
    else:
        yield ReasonCode.SPF_PRESENT, points[ReasonCode.SPF_PRESENT]
        if inputs.spf_includes > rules.readiness.spf_includes_max:
            yield ReasonCode.SPF_MANY_INCLUDES, points[ReasonCode.SPF_MANY_INCLUDES]
        if inputs.spf_ignored:
            yield ReasonCode.SPF_TERMS_IGNORED, 0

    if inputs.dkim_present is None:
        yield ReasonCode.DKIM_UNKNOWN, 0
    elif inputs.dkim_present:
        yield ReasonCode.DKIM_PRESENT, points[ReasonCode.DKIM_PRESENT]
    else:
        yield ReasonCode.NO_DKIM, points[ReasonCode.NO_DKIM]
        yield ReasonCode.NO_DKIM_FORGERY_RISK, points[ReasonCode.NO_DKIM_FORGERY_RISK]

    dmarc = _DMARC[inputs.dmarc_policy]
    if inputs.dmarc_testing and dmarc in _ONE_STEP_WEAKER:
        yield ReasonCode.DMARC_TESTING, points[_ONE_STEP_WEAKER[dmarc]]
    else:
        yield dmarc, points[dmarc]

    if provider is Provider.HOSTING and not has_spf and inputs.dkim_present is False:
        yield ReasonCode.HOSTING_UNPROTECTED, points[ReasonCode.HOSTING_UNPROTECTED]


def _with_evidence(reasons: list[tuple[ReasonCode, int]], inputs: ScoreInput) -> tuple[Reason, ...]:
    return tuple(Reason(code, points, _evidence(code, inputs)) for code, points in reasons)


def _evidence(code: ReasonCode, inputs: ScoreInput) -> str | None:
    field = EVIDENCE.get(code)
    value = getattr(inputs, field) if field else None
    return None if value is None or value == "" else str(value)
