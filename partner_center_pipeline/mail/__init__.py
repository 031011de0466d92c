"""Mail signals: what DNS says about a company's mail.

DNS look-ups (and, behind a switch, one OIDC look-up) are the only I/O; parsing and judging are pure. What
does not belong here: what the signals are worth (`scoring`), and where they are kept (`warehouse`).
"""

from partner_center_pipeline.mail.facts import keep_facts, next_scan_after, retry_is_due
from partner_center_pipeline.mail.mx import classify_provider
from partner_center_pipeline.mail.providers import Provider
from partner_center_pipeline.mail.resolver import ResolverError
from partner_center_pipeline.mail.scanner import scan
from partner_center_pipeline.mail.signals import Evidence, Lookup, MailSignals, Outcome
from partner_center_pipeline.mail.tenant import TenantDiscovery, with_tenant

__all__ = [
    "Evidence",
    "Lookup",
    "MailSignals",
    "Outcome",
    "Provider",
    "ResolverError",
    "TenantDiscovery",
    "classify_provider",
    "keep_facts",
    "next_scan_after",
    "retry_is_due",
    "scan",
    "with_tenant",
]
