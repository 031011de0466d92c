"""Closed sets of values that several packages share. A value is stored and compared as its text.

Not here: sets that one package uses, Microsoft's open sets (they stay strings).
"""

from enum import StrEnum
from typing import Final


class Asset(StrEnum):
    """The assets of the chain, in the order in which they run."""

    RAW_REFERRALS = "raw_referrals"
    NORMALIZED_LEADS = "normalized_leads"
    COMPANIES = "companies"
    DOMAIN_SIGNALS = "domain_signals"
    SCORED_SEGMENTS = "scored_segments"


class Task(StrEnum):
    """What is still to be derived from rows that changed (windows.md, "What a later asset owes").

    The item of a task is a referral's id for LEADS and LEAD_MATCHES, otherwise a company's domain.
    """

    LEADS = "leads"
    COMPANIES = "companies"
    COMPANY_MATCHES = "company_matches"
    LEAD_MATCHES = "lead_matches"
    SIGNALS = "signals"
    SCORES = "scores"


ASSET_OF_TASK: Final = {
    Task.LEADS: Asset.NORMALIZED_LEADS,
    Task.COMPANIES: Asset.COMPANIES,
    Task.COMPANY_MATCHES: Asset.COMPANIES,
    Task.LEAD_MATCHES: Asset.COMPANIES,
    Task.SIGNALS: Asset.DOMAIN_SIGNALS,
    Task.SCORES: Asset.SCORED_SEGMENTS,
}
"""Which asset works a task off."""


class Language(StrEnum):
    """The languages every text for people who sell exists in."""

    EN = "en"
    TR = "tr"


class Provider(StrEnum):
    """Who hosts a domain's mailboxes, as far as scoring distinguishes them (scoring.md, section 1).

    UNKNOWN are a gateway with an unknown provider behind it, consumer Outlook, and all other providers.
    """

    M365 = "M365"
    GOOGLE = "Google"
    YANDEX = "Yandex"
    ZOHO = "Zoho"
    AMAZON = "Amazon"
    SENDGRID = "SendGrid"
    MAILGUN = "Mailgun"
    HOSTING = "Hosting"
    LOCAL = "Local"
    UNKNOWN = "Unknown"

    @classmethod
    def named(cls, name: str) -> "Provider":
        """Return the provider with this name, in upper or lower case.

        Raises ValueError for any other name, instead of UNKNOWN: a spelling mistake would cost a company 50 points.
        """
        found = _PROVIDERS.get(name.casefold())
        if found is None:
            raise ValueError(
                f"{name!r} is no provider that scoring knows; it is one of {', '.join(cls)}, and every other provider "
                f"is given as {cls.UNKNOWN}"
            )
        return found


_PROVIDERS: Final = {provider.casefold(): provider for provider in Provider}


class TenantSource(StrEnum):
    """Where a Microsoft tenant was found, the strongest evidence first (scoring.md, section 4)."""

    PAYLOAD = "payload"
    EMAIL_DOMAIN = "email_domain"
    DKIM_TARGET = "dkim_target"
    OIDC_METADATA = "oidc_metadata"
    """A public look-up. It proves a relationship with Microsoft, not a mailbox."""

    @property
    def is_of_referral(self) -> bool:
        """Whether a referral names the tenant, not DNS or a public look-up."""
        return self in (TenantSource.PAYLOAD, TenantSource.EMAIL_DOMAIN)


class DmarcPolicy(StrEnum):
    """The `p` of a DMARC record. No record at all is None, which is not `NONE`."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"
