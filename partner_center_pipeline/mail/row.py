"""The row of table `domain_signals` after a scan: the last facts, and when to scan again.

Not here: which facts are kept, and for how long (`retention`); storing the row (`warehouse`).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from partner_center_pipeline.mail.retention import keep_facts, next_scan_after, retry_is_due
from partner_center_pipeline.mail.signals import MailSignals


def row_of(scanned: MailSignals, stored: Mapping[str, Any] | None, ttl_hours: int) -> dict[str, Any]:
    """Return the row after the scan `scanned`. `stored` is the row before it, None for a domain never scanned."""
    before = MailSignals.from_row(stored["signals"]) if stored else None
    known = keep_facts(before, scanned)
    failures = (stored["failures"] if stored else 0) + 1 if retry_is_due(known) else 0
    return {
        "domain": known.domain,
        "provider": known.provider,
        "provider_name": known.provider_name,
        "gateway": known.gateway,
        "confidence": known.confidence,
        "is_complete": known.is_complete,
        "tenant": known.tenant,
        "tenant_source": known.tenant_source,
        "signals": known.to_row(),
        "scanned_at": known.scanned_at,
        "facts_at": known.facts_from,
        "next_scan_at": known.scanned_at + timedelta(seconds=next_scan_after(known, failures, ttl_hours)),
        "failures": failures,
    }
