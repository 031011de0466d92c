"""The data of scoring: closed sets, the input, the result, and the checks that refuse a wrong shape.

Not here: points, tables and texts (`rules.toml`), and what follows from them (`evaluate`).
"""

from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Final, Protocol

from partner_center_pipeline.vocabulary import DmarcPolicy, Provider, TenantSource

READINESS_MAX: Final = 100
"""Readiness and score are whole numbers from 0 to this (scoring.md, section 1)."""


class Segment(StrEnum):
    """What a company is to a Microsoft partner (scoring.md, section 3). `PENDING`: DNS did not answer (section 2)."""

    EXISTING = "Existing"
    MIGRATION = "Migration"
    COLD = "Cold"
    SKIP = "Skip"
    PENDING = "Pending"


class CommercialSegment(StrEnum):
    """The commercial view of a segment (scoring.md, section 6)."""

    GREENFIELD = "GREENFIELD"
    COMPETITIVE = "COMPETITIVE"
    WEAK_PARTNER = "WEAK_PARTNER"
    RENEWAL = "RENEWAL"
    LOW_INTENT = "LOW_INTENT"
    NO_GO = "NO_GO"


class TechnicalHeat(StrEnum):
    """How near a company's mail set-up is to Microsoft (scoring.md, section 6)."""

    HOT = "Hot"
    WARM = "Warm"
    COLD = "Cold"


class CommercialHeat(StrEnum):
    """How much a call is worth (scoring.md, section 6)."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Category(StrEnum):
    """The sales team's work list, the first the most urgent (scoring.md, section 6)."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"
    P5 = "P5"
    P6 = "P6"


class ReasonCode(StrEnum):
    """Every code a score can give as a reason. Codes are stored: one may be added, none renamed or reused."""

    PROVIDER_M365 = "provider_m365"
    PROVIDER_GOOGLE = "provider_google"
    PROVIDER_YANDEX = "provider_yandex"
    PROVIDER_ZOHO = "provider_zoho"
    PROVIDER_AMAZON = "provider_amazon"
    PROVIDER_SENDGRID = "provider_sendgrid"
    PROVIDER_MAILGUN = "provider_mailgun"
    PROVIDER_HOSTING = "provider_hosting"
    PROVIDER_LOCAL = "provider_local"
    PROVIDER_UNKNOWN = "provider_unknown"
    PROVIDER_UNLISTED = "provider_unlisted"
    PROVIDER_IMPLICIT = "provider_implicit"
    GATEWAY = "gateway"
    MAILBOX_UNANSWERED = "mailbox_unanswered"

    SPF_PRESENT = "spf_present"
    NO_SPF = "no_spf"
    SPF_MULTIPLE_RECORDS = "spf_multiple_records"
    SPF_MANY_INCLUDES = "spf_many_includes"
    SPF_PERMERROR = "spf_permerror"
    SPF_ALLOWS_ALL = "spf_allows_all"
    SPF_TERMS_IGNORED = "spf_terms_ignored"
    DKIM_PRESENT = "dkim_present"
    NO_DKIM = "no_dkim"
    NO_DKIM_FORGERY_RISK = "no_dkim_forgery_risk"
    DKIM_UNKNOWN = "dkim_unknown"
    DMARC_REJECT = "dmarc_reject"
    DMARC_QUARANTINE = "dmarc_quarantine"
    DMARC_NONE = "dmarc_none"
    DMARC_ABSENT = "dmarc_absent"
    DMARC_TESTING = "dmarc_testing"
    HOSTING_UNPROTECTED = "hosting_unprotected"

    INVALID_DOMAIN = "invalid_domain"
    NO_DOMAIN = "no_domain"
    NO_MX = "no_mx"
    SIGNALS_PENDING = "signals_pending"
    MICROSOFT_TENANT = "microsoft_tenant"
    MICROSOFT_TENANT_LOOKUP = "microsoft_tenant_lookup"
    TENANT_LOOKUP_IGNORED = "tenant_lookup_ignored"
    CO_SELL = "co_sell"
    SCORE_LIMIT = "score_limit"
    RESPONSE_DUE = "response_due"
    RESPONSE_WAS_DUE = "response_was_due"
    SALES_QUALIFIED = "sales_qualified"
    MARKETING_QUALIFIED = "marketing_qualified"

    M365_MAIL = "m365_mail"
    READY_TO_MIGRATE = "ready_to_migrate"
    LOCAL_SERVER = "local_server"
    UNLISTED_SERVER = "unlisted_server"
    SOME_READINESS = "some_readiness"
    LOW_READINESS = "low_readiness"


OF_LISTS: Final = frozenset(
    {
        ReasonCode.RESPONSE_DUE,
        ReasonCode.RESPONSE_WAS_DUE,
        ReasonCode.SALES_QUALIFIED,
        ReasonCode.MARKETING_QUALIFIED,
    }
)
"""Reasons of 0 points that no score gives: the lists add them to a row for its referral, by the clock of the moment at
which they are read (scoring.md, section 6)."""

PROVIDER_REASON: Final = {provider: ReasonCode(f"provider_{provider.lower()}") for provider in Provider}
"""The reason that carries a provider's points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInput:
    """What is known about one company's domain: plain values, so that `dataclasses.asdict` of it is JSON.

    No fact that an older version stored has a default: a fact that is left out by mistake would be a wrong score. Those
    of LATER_FACTS have one, so that what an older version stored can still be scored anew.

    `domain` is empty for a lead without a company, about which DNS cannot be asked (`evaluate.score_lead`).

    `provider` is a name that `Provider.named` knows. `no_mx` is a fact (NXDOMAIN,
    NODATA, null MX, or a host that is no mail host), never a look-up that failed. `signals_complete`: MX, SPF and
    _dmarc are facts (mail_signals.md, "Outcomes are facts or not facts").

    `spf_present` is one valid record; `spf_multiple` overrules it. `spf_includes` counts includes as written.
    `dkim_present` is None when no selector has a key but not every selector answered. `dmarc_policy` is the `p` of the
    record (a DmarcPolicy), None without a record.

    `tenant` is an id or a name, with the strongest `tenant_source` it was read from (a TenantSource).
    `open_cosell`: a referral of category co-sell is not closed (scoring.md, section 5).

    `local_host` is what a Local provider's mail host is: `own`, `unlisted` or `implicit` (`mail.signals.LocalHost`),
    None where nothing was stored. `gateway` is the filter in front of the mailbox, with its host. `unanswered` are the
    look-ups that could still name the mailbox and had no answer for days. `spf_error` is what makes the SPF record a
    permanent error for receivers, `spf_ignored` its first term that receivers ignore, `spf_allows_all` that it lets
    everybody pass. `dmarc_testing`: the record says `t=y`, so its policy is applied one step weaker.

    The rest is evidence, shown beside the reasons, without points: `mx_host` is the record that decided the provider
    (an MX host, or what shows the mailbox behind it; with `no_mx`: what shows that there is none), `dkim_selector` a
    selector with a key, `cosell_referral` the id of a referral that makes `open_cosell` true.

    Raises ValueError for a value outside its set, a negative count, or a tenant without its source.
    """

    domain: str
    domain_valid: bool
    provider: str
    no_mx: bool
    signals_complete: bool
    spf_present: bool
    spf_multiple: bool
    spf_includes: int
    dkim_present: bool | None
    dmarc_policy: str | None
    tenant: str | None
    tenant_source: str | None
    open_cosell: bool
    local_host: str | None = None
    gateway: str | None = None
    unanswered: str | None = None
    spf_error: str | None = None
    spf_ignored: str | None = None
    spf_allows_all: bool = False
    dmarc_testing: bool = False
    mx_host: str | None = None
    dkim_selector: str | None = None
    cosell_referral: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would give a wrong score without an error."""
        if self.spf_includes < 0:
            raise ValueError(f"{self.domain}: spf_includes is {self.spf_includes}; a count is not negative")
        if self.dmarc_policy is not None and self.dmarc_policy not in _POLICIES:
            raise ValueError(
                f"{self.domain}: dmarc_policy is {self.dmarc_policy!r}; it is one of {', '.join(_POLICIES)}, or None"
            )
        if self.tenant_source is not None and self.tenant_source not in _SOURCES:
            raise ValueError(
                f"{self.domain}: tenant_source is {self.tenant_source!r}; it is one of {', '.join(_SOURCES)}, or None"
            )
        if bool(self.tenant) is not (self.tenant_source is not None):
            raise ValueError(f"{self.domain}: tenant and tenant_source are given together or not at all")


FACTS: Final = frozenset(field.name for field in fields(ScoreInput) if field.default is MISSING)
"""What a score needs to know of a company: the fields of ScoreInput that have no default."""

EVIDENCE_ONLY: Final = frozenset({"mx_host", "dkim_selector", "cosell_referral"})
"""What a score shows and gives no points for."""

LATER_FACTS: Final = frozenset(field.name for field in fields(ScoreInput)) - FACTS - EVIDENCE_ONLY
"""Facts that versions before 3 of the rules did not store."""

_POLICIES: Final = tuple(DmarcPolicy)
_SOURCES: Final = tuple(TenantSource)


class PolicySettings(Protocol):
    """The settings a policy is made of, under their names in `settings.Settings`."""

    @property
    def partner_center_cosell_bonus(self) -> int: ...
    @property
    def partner_center_azure_tenant_score(self) -> int: ...
    @property
    def tenant_discovery_enabled(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePolicy:
    """The operator's choices, from the settings; the rest of the rules is `rules.toml`.

    `cosell_bonus` (points, 0 to 100), `azure_tenant_score` (readiness, 0 to 100), `tenant_discovery_enabled`: the
    settings HUNTER_PARTNER_CENTER_COSELL_BONUS, HUNTER_PARTNER_CENTER_AZURE_TENANT_SCORE and
    HUNTER_TENANT_DISCOVERY_ENABLED (scoring.md, sections 4 and 5). Raises ValueError outside those ranges.
    """

    cosell_bonus: int = 15
    azure_tenant_score: int = 55
    tenant_discovery_enabled: bool = False

    @classmethod
    def of(cls, settings: PolicySettings) -> "ScorePolicy":
        """Return the policy that the settings choose."""
        return cls(
            cosell_bonus=settings.partner_center_cosell_bonus,
            azure_tenant_score=settings.partner_center_azure_tenant_score,
            tenant_discovery_enabled=settings.tenant_discovery_enabled,
        )

    def __post_init__(self) -> None:
        """Refuse numbers off the scale."""
        for name in ("cosell_bonus", "azure_tenant_score"):
            if not 0 <= getattr(self, name) <= READINESS_MAX:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a whole number from 0 to {READINESS_MAX}")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a score: `points` (0 for a remark) and what was seen, if anything."""

    code: ReasonCode
    points: int
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score and its reasons (scoring.md, section 8). The caller stores its age and its referrals beside it.

    `readiness` decides segment and category, `score` (with the co-sell bonus) ranks. The points of `reasons`, in the
    order in which they were given, add up to `score`. A segment of Pending has nothing but its reasons.
    """

    score: int | None
    readiness: int | None
    segment: Segment
    segment_reason: ReasonCode
    reasons: tuple[Reason, ...]
    commercial_segment: CommercialSegment | None = None
    technical_heat: TechnicalHeat | None = None
    commercial_heat: CommercialHeat | None = None
    category: Category | None = None
    label: str | None = None
    act: str | None = None
    rules_version: str

    def reasons_plain(self) -> list[dict[str, str | int | None]]:
        """Return the reasons as JSON types: `[{"code": ..., "points": ..., "evidence": ...}, ...]`."""
        return [
            {"code": reason.code.value, "points": reason.points, "evidence": reason.evidence} for reason in self.reasons
        ]
