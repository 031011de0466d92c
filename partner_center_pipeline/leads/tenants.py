"""Which values name the customer's Microsoft tenant: an id or a first name such as firma.onmicrosoft.com.

See scoring.md, section 4, and identity.md, "Tenant in a referral". Not here: which fields are looked at
(`customer_domain`).
"""

import re
from collections.abc import Iterator
from typing import Final

from partner_center_pipeline.leads.domains import Platform, find_hosts, parents
from partner_center_pipeline.leads.known_domains import MICROSOFT_EXAMPLES, MICROSOFT_TENANTS, TENANT_SUFFIXES

_GUID: Final = re.compile(r"\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE)
_TYPED_GUID: Final = re.compile(r"(.)\1{7}(?:-(.)\2{3})(?:-(.)\3{3})(?:-(.)\4{3})-(.)\5{11}|12345678-1234-1234-1234-.*")
"""Ids that a person typed as an example: 11111111-2222-3333-4444-555555555555. Real ones are random."""

_NO_CUSTOMERS: Final = frozenset({"microsoft", *(name.partition(".")[0] for name in MICROSOFT_EXAMPLES)})
_WORD: Final = re.compile(r"[A-Za-z]{1,16}")


def tenant_of(value: str, own: frozenset[str]) -> str | None:
    """Return the id or first name of a customer's tenant that a text is; None where it is none.

    None are the tenant of consumer accounts, Microsoft's own and its examples, ids that a person typed as an example,
    and the partner's own first name (`own`, normalised).
    """
    guid = _GUID.fullmatch(value.strip())
    if guid is None:
        return next(tenant_names(value, own), None)
    found = guid[1].lower()
    return None if found in MICROSOFT_TENANTS or _TYPED_GUID.fullmatch(found) else found


def tenant_names(text: str, own: frozenset[str]) -> Iterator[str]:
    """Yield `firma.onmicrosoft.com` for hosts there and at firma.mail.onmicrosoft.com (Exchange hybrid)."""
    for host in find_hosts(text):
        if host.platform is not Platform.TENANT:
            continue
        suffix = next(name for name in parents(host.name) if name in TENANT_SUFFIXES)
        label = host.name.removesuffix(suffix).rstrip(".").removesuffix(".mail").rpartition(".")[2]
        name = f"{label}.{suffix}"
        if label and label not in _NO_CUSTOMERS and own.isdisjoint((name, host.name)):
            yield name


def shown_as_drift(value: object) -> str:
    """Return what may be shown of a value that names no tenant: a single word, an id of Microsoft's, or its JSON type.

    Anything else a person may have written is `(other)`.
    """
    if not isinstance(value, str):
        return "(boolean)" if isinstance(value, bool) else "(number)" if isinstance(value, int | float) else "(object)"
    word = value.strip()
    return word if _WORD.fullmatch(word) or word.lower() in MICROSOFT_TENANTS else "(other)"
