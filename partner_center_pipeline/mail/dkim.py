"""Reading DKIM: is there a key, and which Microsoft tenant does a selector's CNAME name. No look-up happens here."""

import re
from collections.abc import Iterable
from typing import Final

_TAG: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=(.*)", re.IGNORECASE | re.DOTALL)

# selector1-contoso-com._domainkey.contoso.onmicrosoft.com (until May 2025, and the national clouds), and
# selector1-contoso-com._domainkey.contoso.n-v1.dkim.mail.microsoft (since).
_TENANT: Final = re.compile(
    r"(?:.+\.)?_domainkey\.([a-z0-9][a-z0-9-]*)\."
    r"(?:onmicrosoft\.(?:com|us|de)|partner\.onmschina\.cn|[a-z0-9]+-v1\.dkim\.mail\.microsoft)",
)


def key_of(text: str) -> str | None:
    """The value of the tag `p` without blanks, '' for a revoked key, None when the text is no key record."""
    for number, part in enumerate(text.split(";")):
        tag = _TAG.fullmatch(part)
        if tag is None:
            continue
        name, value = tag[1].lower(), "".join(tag[2].split())
        if name == "v" and (number or value != "DKIM1"):
            return None
        if name == "p":
            return value
    return None


def has_key(texts: Iterable[str]) -> bool:
    """Whether one of a selector's TXT records holds a key that is not revoked (RFC 6376, section 3.6.1)."""
    return any(key_of(text) for text in texts)


def is_revoked(texts: Iterable[str]) -> bool:
    """Whether a selector holds key records and every one is revoked."""
    keys = [key for text in texts if (key := key_of(text)) is not None]
    return bool(keys) and not any(keys)


def tenant_of(target: str) -> str | None:
    """The tenant's first name in a CNAME target of a Microsoft DKIM selector, or None (mail_signals.md,
    "Behind a
    gateway"). It is a name, not an id."""
    found = _TENANT.fullmatch(target.lower().rstrip("."))
    return found[1] if found else None
