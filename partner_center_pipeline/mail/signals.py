"""The plain data of this package: look-ups, their answers, and what they say about a domain's mail.

Not here: getting answers (`resolver`, `scanner`), weighing them (`classification`), keeping them (`retention`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import TypeAdapter

from partner_center_pipeline.mail.dmarc import Dmarc
from partner_center_pipeline.mail.spf import Spf
from partner_center_pipeline.vocabulary import Provider, TenantSource


class Outcome(StrEnum):
    """How a look-up ended (mail_signals.md, "Outcomes are facts or not facts")."""

    FOUND = "found"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    TIMEOUT = "timeout"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    MALFORMED = "malformed"

    @property
    def is_fact(self) -> bool:
        """Whether the outcome says something about the domain, not only about the servers."""
        return self in _FACTS


class LocalHost(StrEnum):
    """What a mail host is that has no owner in the provider table."""

    OWN = "own"
    """A host under the company's own domain, or an address."""
    UNLISTED = "unlisted"
    """A host under a domain of somebody who is not in the table."""
    IMPLICIT = "implicit"
    """The domain itself, which has no MX record and an address (RFC 5321, section 5.1)."""


class Doubt(StrEnum):
    """Why an old fact, whose look-up brings none today, may not be true any more (`retention`)."""

    OTHER_MX = "other_mx"
    """It was given when the domain had another MX."""
    OTHERS_CHANGED = "others_changed"
    """Other records that name the mailbox have changed since."""


_FACTS: Final = frozenset({Outcome.FOUND, Outcome.NODATA, Outcome.NXDOMAIN})

MX: Final = "mx"
MX_HOSTS: Final = "mx_hosts"
MX_ADDRESSES: Final = "mx_addresses"
ADDRESS: Final = "address"
TXT: Final = "txt"
SPF_NESTED: Final = "spf_nested"
SPF_ERROR: Final = "spf_error"
DMARC: Final = "dmarc"
DMARC_ABOVE: Final = "dmarc_above"
AUTODISCOVER: Final = "autodiscover"
AUTODISCOVER_SRV: Final = "autodiscover_srv"
ENTERPRISE_REGISTRATION: Final = "enterpriseregistration"
LYNCDISCOVER: Final = "lyncdiscover"
NS: Final = "ns"
TENANT: Final = "tenant"
_DKIM: Final = "dkim:"
"""Names of look-ups; `_DKIM` is the beginning of the name."""

NEEDED: Final = (MX, TXT, DMARC)
"""The look-ups that a score needs as facts."""


def dkim_lookup(selector: str) -> str:
    """Return the name of the look-up of one DKIM selector."""
    return _DKIM + selector


def selector_of(lookup: str) -> str | None:
    """Return the DKIM selector in a look-up's name, or None for another look-up."""
    return lookup.removeprefix(_DKIM) if lookup.startswith(_DKIM) else None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known from one look-up of one domain.

    `outcome` and `records` are the last fact. Without any fact, `outcome` is that of the last attempt, and `records`
    are the part that was answered (`spf_nested`, `mx_hosts` and `dmarc_above` ask several questions). `answered_at` is
    the time of the fact in UTC, None without one. `missed` is the outcome of the last attempt if it brought no fact,
    else None; `missed_since` is when the first such attempt in a row was made. `cut` is the number of
    records that were not kept (`scanner.keep_within_limits`). `targets` are the CNAME targets before
    the records, in order. `doubt` is why an old fact may not be true any more, if other records say so. `records` are
    in presentation form:

    * `mx`: `10 mail.example.com`; a null MX is `0` and a space
    * `txt`, `dmarc`, `dkim:<selector>`: the joined pieces of a TXT record, bytes that are not UTF-8 as `\\xff`
    * `mx_addresses`: an MX host, an address of it and a name of that address (PTR), separated by spaces
    * `address`: an IPv4 or IPv6 address of the domain itself, asked for where it has no MX record
    * `ns`, `autodiscover`, `enterpriseregistration`, `lyncdiscover`: a host
    * `autodiscover_srv`: priority, weight, port and host, separated by spaces
    * `mx_hosts`: an MX host and its CNAME targets, separated by spaces
    * `spf_nested`: what the SPF records of included hosts let pass, at any depth: a host, or a range of addresses
      (`ip4:...`, `ip6:...`) of an owner in the provider table
    * `spf_error`: what in the included records, or in all together, makes receivers give up; `host: SPF?` is a host
      without exactly one SPF record
    * `dmarc_above`: a domain above, a space, its DMARC record
    * `tenant`: a tenant id (over HTTPS, not DNS)
    """

    outcome: Outcome
    records: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    answered_at: datetime | None = None
    missed: Outcome | None = None
    cut: int = 0
    missed_since: datetime | None = field(default=None, compare=False)
    doubt: Doubt | None = None

    @property
    def is_fact(self) -> bool:
        """Whether there is a fact, however old."""
        return self.outcome.is_fact


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation about who handles a domain's mail.

    `kind` is `mx`, `mx_cname`, `mx_other` (a mail service at another preference), `dkim`, `spf`, `autodiscover`, `ptr`
    (the name of an MX host's address), `dkim_key` (a key at a selector that one provider uses), `missing_dot` (a CNAME
    target that was meant for a provider, written without the dot at its end), `ns` (for the mailbox), `gateway`,
    `sender` (a service for mail from programs: never a hint) or `microsoft` and `tenant` (the domain uses Microsoft
    services, not necessarily mail). `detail` is the host; for DKIM the selector is before it. `points_to` is
    the value of a Provider, or the owner's name when the provider is Unknown.
    """

    kind: str
    detail: str
    points_to: str


@dataclass(frozen=True, slots=True)
class MailSignals:
    """What DNS said about one domain, and what follows from it.

    domain          the domain asked about, in lower case
    scanned_at      UTC, the end of the last scan
    provider        who keeps the mailboxes, by the mail records; a tenant does not change it
    provider_name   its name for people: `Natro`, `consumer Outlook`; None for Local and when nothing is known
    gateway         name of the filtering service that the MX names, or None
    confidence      0 to 100 percent, how sure `provider` is; 0 when nothing names one
    evidence        the reasons for `provider`, `gateway` and `tenant`, strongest first, then other observations
    decided_by      the evidence that named `provider`: the MX, or the strongest hint; None if nothing did
    notes           stable codes of what a person may want to know (`classification` lists them)
    mx              (preference, host) in the order of trying; empty without a record
    mx_outcome      outcome of the MX look-up
    undecided       look-ups without an answer that could still change the provider or the tenant; empty when none could
    unanswered      the same after the time that is waited for them (`classification.WAIT_HOURS`)
    local_host      of a Local provider: what the mail host is, a LocalHost; else None
    no_mx_reason    why it is a fact that there is no mail host: `nxdomain`, `nodata`, `null_mx`, `localhost`, `parking`
    spf, dmarc      the records as parsed; dmarc is None when absent or not known
    spf_error       what makes the SPF record a permanent error for receivers (RFC 7208, section 2.6.7), or None
    dkim_present    True; False only when every selector answered; else None
    dkim_selectors  selectors that have a key
    dkim_targets    (selector, CNAME target) of selectors that are CNAMEs, with or without a key
    tenant          Microsoft tenant, or None: its name (`tenant_source` is `dkim_target`) or its id (`oidc_metadata`)
    autodiscover    the CNAME target, or None
    ns              name servers
    verifications   TXT records by which the domain's owner proved the ownership to services
    lookups         every look-up by name, see Lookup
    """

    domain: str
    scanned_at: datetime
    provider: Provider = Provider.UNKNOWN
    provider_name: str | None = None
    gateway: str | None = None
    confidence: int = 0
    evidence: tuple[Evidence, ...] = ()
    decided_by: Evidence | None = None
    notes: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    local_host: LocalHost | None = None
    mx: tuple[tuple[int, str], ...] = ()
    mx_outcome: Outcome = Outcome.TIMEOUT
    no_mx_reason: str | None = None
    spf: Spf = field(default_factory=Spf)
    spf_error: str | None = None
    dmarc: Dmarc | None = None
    dkim_present: bool | None = None
    dkim_selectors: tuple[str, ...] = ()
    dkim_targets: tuple[tuple[str, str], ...] = ()
    tenant: str | None = None
    tenant_source: TenantSource | None = None
    autodiscover: str | None = None
    ns: tuple[str, ...] = ()
    verifications: tuple[str, ...] = ()
    lookups: Mapping[str, Lookup] = field(default_factory=dict)

    @property
    def no_mx(self) -> bool:
        """Whether it is a fact that the domain has no mail host."""
        return self.no_mx_reason is not None

    @property
    def dmarc_policy(self) -> str | None:
        """The record's `p`: none, quarantine or reject; None when there is no record or none is known."""
        return self.dmarc.policy if self.dmarc else None

    @property
    def missed(self) -> dict[str, Outcome]:
        """The outcome of the last attempt by look-up, only where that attempt brought no fact."""
        return {name: lookup.missed for name, lookup in self.lookups.items() if lookup.missed}

    @property
    def is_complete(self) -> bool:
        """Whether a score is possible: MX, SPF and _dmarc are facts, and nothing is `undecided`.

        Facts may be old: see `facts_from`.
        """
        return not self.undecided and all(name in self.lookups and self.lookups[name].is_fact for name in NEEDED)

    @property
    def facts_from(self) -> datetime | None:
        """The time (UTC) of the oldest fact that a score needs: the age of the signals. None when one is missing."""
        times = [self.lookups[name].answered_at for name in NEEDED if name in self.lookups]
        known = [time for time in times if time is not None]
        return min(known) if len(known) == len(NEEDED) else None

    def to_row(self) -> dict[str, Any]:
        """Return every field and the properties of `_DERIVED` as plain JSON types (instants as ISO 8601 text)."""
        row: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        row["no_mx"] = self.no_mx
        row["dmarc_policy"] = self.dmarc_policy
        row["is_complete"] = self.is_complete
        facts_from = self.facts_from
        row["facts_from"] = facts_from and facts_from.isoformat().replace("+00:00", "Z")
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the signals of a row that `to_row` made. Raises pydantic.ValidationError for anything else."""
        return _ADAPTER.validate_python({k: v for k, v in row.items() if k not in _DERIVED})  # type: ignore[return-value]  # cls is never subclassed


_DERIVED: Final = frozenset({"no_mx", "dmarc_policy", "is_complete", "facts_from"})
_ADAPTER: Final = TypeAdapter(MailSignals)
