"""Which changes of a company's mail set-up make a row of history.

Not here: what a change does to a score (`scoring.history`).
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

SHOWN: Final = (
    "provider", "provider_name", "gateway", "tenant", "tenant_source", "mx", "no_mx_reason", "spf", "dmarc",
    "dkim_present", "dkim_selectors", "is_complete",
)  # fmt: skip
"""The fields of `MailSignals.to_row` that are compared. Left out is what changes with every scan (times, outcomes of
single look-ups) and what no rule uses (name servers, verifications)."""


def is_known(row: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Say whether a row of `domain_signals` holds a set-up: DNS has answered once what a score needs."""
    return row is not None and row["facts_at"] is not None


def change_between(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Return the differences between two rows of table `domain_signals` as `{field: {"before": ..., "after": ...}}`.

    The values are plain JSON. Returns {} for the first set-up that is known, and None when nothing differs. As long as
    DNS has not answered what a score needs, there is no set-up: not answering changes none (`facts_at`).
    """
    if after["facts_at"] is None:
        return None
    if not is_known(before):
        return {}
    old, new = before["signals"], after["signals"]
    detail = {
        name: {"before": old.get(name), "after": new.get(name)}
        for name in SHOWN
        if _differ(old.get(name), new.get(name))
    }
    return detail or None


def _differ(before: Any, after: Any) -> bool:
    """Say whether two values differ. Of records, only what both versions of the program have stored is compared."""
    if isinstance(before, dict) and isinstance(after, dict):
        return any(before[name] != after[name] for name in before.keys() & after.keys())
    return bool(before != after)
