"""The plain data of this package: what was asked, what was answered, and what it says about a domain's mail.

Here belong the records that other packages read and store. What does not: how answers are got (`resolver`,
`scanner`), how they are weighed (`judge`), how long they hold (`facts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import TypeAdapter

from partner_center_pipeline.mail.dmarc import Dmarc
from partner_center_pipeline.mail.providers import Provider
from partner_center_pipeline.mail.spf import Spf


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
        """Whether the DNS said something about the domain, and not only about itself."""
        return self in _FACTS


_FACTS: Final = frozenset({Outcome.FOUND, Outcome.NODATA, Outcome.NXDOMAIN})

MX: Final = "mx"
MX_HOSTS: Final = "mx_hosts"
TXT: Final = "txt"
SPF_NESTED: Final = "spf_nested"
DMARC: Final = "dmarc"
DMARC_ABOVE: Final = "dmarc_above"
AUTODISCOVER: Final = "autodiscover"
ENTERPRISE_REGISTRATION: Final = "enterpriseregistration"
LYNCDISCOVER: Final = "lyncdiscover"
NS: Final = "ns"
TENANT: Final = "tenant"
_DKIM: Final = "dkim:"

NEEDED: Final = (MX, TXT, DMARC)
"""The look-ups without which there is no score."""


def dkim_lookup(selector: str) -> str:
    """The name of the look-up of one DKIM selector."""
    return _DKIM + selector


def selector_of(lookup: str) -> str | None:
    """The DKIM selector of a look-up's name, or None when it is another look-up."""
    return lookup.removeprefix(_DKIM) if lookup.startswith(_DKIM) else None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known from one look-up of one domain.

    `outcome` and `records` are the last fact; a look-up that never brought one has the outcome of the last
    attempt, and at most the part of the records that was answered (`spf_nested`, `mx_hosts`, `dmarc_above`
    take several). `answered_at` (UTC) is when the fact was brought, None without one. `missed` is the outcome
    of a later attempt that brought no fact; None when the last attempt did. `records` are in presentation
    form:

    * `mx`: `10 mail.example.com`; the null MX is `0` and a blank. `ns`, and CNAMEs: a host.
    * `txt`, `dmarc`: a TXT record's pieces joined, bytes that are not UTF-8 as `\\xff`.
    * `dkim:<selector>`: as TXT. `targets` are the CNAME targets on the way there, in order.
    * `mx_hosts`: a host and the CNAME targets it leads to, blank between. `spf_nested`: a host that the SPF
      record draws on at some depth. `tenant`: a tenant id (HTTPS, not DNS). `dmarc_above`: a domain above, a
      blank, its DMARC record.
    """

    outcome: Outcome
    records: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    answered_at: datetime | None = None
    missed: Outcome | None = None

    @property
    def is_fact(self) -> bool:
        """Whether there is an answer to go by, however old."""
        return self.outcome.is_fact


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that says whose a domain's mail is.

    `kind` is `mx`, `mx_cname`, `dkim`, `spf`, `autodiscover`, `ns` (hints at the mailbox, strongest first),
    `gateway`, `sender` (a service for programs: never a hint), or `microsoft` (a Microsoft relation that is
    no mailbox). `detail` is what was seen: a host, with the selector before it for DKIM. `points_to` is a
    Provider's value; for `gateway` and for a mailbox that scores as Unknown it is the owner's name.
    """

    kind: str
    detail: str
    points_to: str


@dataclass(frozen=True, slots=True)
class MailSignals:
    """What DNS said about one domain, and what follows from it.

    domain          the domain asked about, as given, lower-case
    scanned_at      UTC, when the last scan of it ended
    provider        who keeps the mailboxes, as the mail records say; a tenant does not change it
    provider_name   a person's word for it: `Natro`, `consumer Outlook`; None for Local and when nothing is
                    known
    gateway         name of the filtering service the MX points at, or None
    confidence      0 to 100, how sure `provider` is; 0 when nothing names one
    evidence        what `provider`, `gateway` and `tenant` rest on, strongest first
    notes           stable codes of what a person may want to know (judge.py lists them)
    mx              (preference, host) in the order of trying; empty without a record
    mx_outcome      outcome of the MX look-up
    no_mx_reason    why there is *as a fact* no mail host: `nxdomain`, `nodata`, `null_mx`, `localhost`,
                    `parking`
    spf, dmarc      the records as parsed; dmarc is None when absent or not known
    dkim_present    True, False only when every selector answered, else None
    dkim_selectors  selectors that hold a key
    dkim_targets    (selector, CNAME target) of selectors that are CNAMEs, with or without a key behind
    tenant          Microsoft tenant, or None; `tenant_source` says from where: `dkim_target` (then it is the
                    tenant's first name) or `oidc_metadata` (then it is its id)
    autodiscover    the CNAME target, or None
    ns              name servers
    verifications   TXT records by which services made the domain's owner prove the domain
    lookups         every look-up by name, see Lookup
    """

    domain: str
    scanned_at: datetime
    provider: Provider = Provider.Unknown
    provider_name: str | None = None
    gateway: str | None = None
    confidence: int = 0
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    mx: tuple[tuple[int, str], ...] = ()
    mx_outcome: Outcome = Outcome.TIMEOUT
    no_mx_reason: str | None = None
    spf: Spf = field(default_factory=Spf)
    dmarc: Dmarc | None = None
    dkim_present: bool | None = None
    dkim_selectors: tuple[str, ...] = ()
    dkim_targets: tuple[tuple[str, str], ...] = ()
    tenant: str | None = None
    tenant_source: str | None = None
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
        """The record's `p`: none, quarantine or reject; None when there is no record or it is not known."""
        return self.dmarc.policy if self.dmarc else None

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Look-up -> outcome of what is known from it: the last fact, or else the last attempt."""
        return {name: lookup.outcome for name, lookup in self.lookups.items()}

    @property
    def missed(self) -> dict[str, Outcome]:
        """Look-up -> outcome of the last attempt, for those where the last attempt brought no fact."""
        return {name: lookup.missed for name, lookup in self.lookups.items() if lookup.missed}

    @property
    def is_complete(self) -> bool:
        """Whether MX, SPF and _dmarc are facts, so that there can be a score. Facts may be old: see `facts_from`."""
        return all(name in self.lookups and self.lookups[name].is_fact for name in NEEDED)

    @property
    def facts_from(self) -> datetime | None:
        """UTC of the oldest fact that a score rests on; the signals' age counts from here. None when incomplete."""
        times = [self.lookups[name].answered_at for name in NEEDED if name in self.lookups]
        known = [time for time in times if time is not None]
        return min(known) if len(known) == len(NEEDED) else None

    def to_row(self) -> dict[str, Any]:
        """Every field as plain JSON types: instants as ISO 8601 text, tuples as lists, nested records as
        dicts; and `no_mx`, `dmarc_policy`, `is_complete`, `facts_from`, which `from_row` ignores."""
        row: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        row["no_mx"] = self.no_mx
        row["dmarc_policy"] = self.dmarc_policy
        row["is_complete"] = self.is_complete
        facts_from = self.facts_from
        row["facts_from"] = facts_from and facts_from.isoformat().replace("+00:00", "Z")
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The signals that `to_row` made the row from. Raises pydantic.ValidationError for anything else."""
        return _ADAPTER.validate_python({k: v for k, v in row.items() if k not in _DERIVED})  # type: ignore[return-value]  # cls is never subclassed


_DERIVED: Final = frozenset({"no_mx", "dmarc_policy", "is_complete", "facts_from"})
_ADAPTER: Final = TypeAdapter(MailSignals)
