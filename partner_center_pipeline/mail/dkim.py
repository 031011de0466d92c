"""Reads DKIM records: whether there is a key, and which Microsoft tenant a selector's CNAME names. Pure."""

import re
from collections.abc import Iterable
from typing import Final

_TAG: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=(.*)", re.IGNORECASE | re.DOTALL)

# Until May 2025, and in the national clouds: selector1-contoso-com._domainkey.contoso.onmicrosoft.com
# Since May 2025: selector1-contoso-com._domainkey.contoso.n-v1.dkim.mail.microsoft
_TENANT: Final = re.compile(
    r"(?:.+\.)?_domainkey\.([a-z0-9][a-z0-9-]*)\."
    r"(?:onmicrosoft\.(?:com|us|de)|partner\.onmschina\.cn|[a-z0-9]+-v1\.dkim\.mail\.microsoft)",
)


def key_of(text: str) -> str | None:
    """Return the value of the tag `p` without white space: '' for a revoked key, None when `text` is no key record.

    A tag `v` must be the first one where there is one (RFC 6376, section 3.6.1).
    """
    key: str | None = None
    for number, part in enumerate(text.split(";")):
        tag = _TAG.fullmatch(part)
        if tag is None:
            continue
        name, value = tag[1].lower(), "".join(tag[2].split())
        if name == "v" and (number or value != "DKIM1"):
            return None
        if name == "p" and key is None:
            key = value
    return key


def has_key(texts: Iterable[str]) -> bool:
    """Say whether one of a selector's TXT records holds a key that is not revoked (RFC 6376, section 3.6.1)."""
    return any(key_of(text) for text in texts)


def is_revoked(texts: Iterable[str]) -> bool:
    """Say whether a selector holds key records and all of them are revoked."""
    keys = [key for text in texts if (key := key_of(text)) is not None]
    return bool(keys) and not any(keys)


def tenant_of(target: str) -> str | None:
    """Return the tenant's name (no id) in a Microsoft DKIM target, or None (mail_signals.md, "Behind a gateway")."""
    match = _TENANT.fullmatch(target.lower().rstrip("."))
    return match[1] if match else None
