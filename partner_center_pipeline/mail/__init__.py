"""What DNS says about a company's mail (mail_signals.md).

DNS look-ups (and, behind a switch, one OpenID look-up over HTTPS) are the only I/O; reading and classifying records is
pure. Not here: what the signals are worth (`scoring`), and where they are kept (`warehouse`).
"""

from partner_center_pipeline.mail.mx import classify_provider
from partner_center_pipeline.mail.resolver import ResolverError
from partner_center_pipeline.mail.scanner import scan
from partner_center_pipeline.mail.signals import Lookup, MailSignals
from partner_center_pipeline.mail.tenant import TenantDiscovery, with_tenant

__all__ = [
    "Lookup",
    "MailSignals",
    "ResolverError",
    "TenantDiscovery",
    "classify_provider",
    "scan",
    "with_tenant",
]
