"""From a text to the hosts it names, and from a host to its registrable domain (identity.md, "Normalising a domain").

Not here: the Public Suffix List (`suffixes`), and whether a domain is the customer's (`customer_domain`).
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from itertools import starmap
from typing import Final, NamedTuple

import idna

from partner_center_pipeline.leads.folding import INVISIBLE, fold_letters
from partner_center_pipeline.leads.known_domains import KEP_SUFFIX, TENANT_SUFFIXES
from partner_center_pipeline.leads.platforms import PAGES, has_own_people, may_redirect, target_of
from partner_center_pipeline.leads.suffixes import registrable

MAX_DOMAIN: Final = 253
"""Characters of a whole name (RFC 1035)."""

CACHED_HOSTS: Final = 16_384
"""Hosts remembered, some 4 MB: a company's contacts share their host."""

_MAX_UNMAPPED: Final = 1024
"""Characters of a name before UTS-46 shortens it; idna gives up there too."""

_ACE: Final = "xn--"
_TO_ASCII: Final[dict[int, str | None]] = {
    **INVISIBLE,
    **{0xFF01 + offset: chr(0x21 + offset) for offset in range(94)},  # full-width ASCII, with its dot and @
    0x3002: ".", 0xFF61: ".", 0x3001: ",", ord("İ"): "i",
}  # fmt: skip
_JOINERS: Final[dict[int, None]] = dict.fromkeys((0x200C, 0x200D))

_QUOTES: Final = "“”„‟«»‹›‘’‚‛…•·–—"
_LONE: Final = r"""\s*([^\s@:/\\?#%,;|<>]*@)?(?!-)([^\s@:/\\?#=%,;|<>'"`()\[\]{}*!MARKS]+)\s*"""
_PLAIN: Final = re.compile(_LONE.replace("MARKS", ""))
"""A lone host or e-mail address in ASCII: most texts are one."""

_PLAIN_UNICODE: Final = re.compile(_LONE.replace("MARKS", _QUOTES))
"""The same in any letters, which takes half as long again."""

_SEPARATOR: Final = re.compile(
    r"[,;|<>\r\n\t•]|\s(?:ve|veya|and|or|[/&–—-])(?=\s)"
    r"|:(?=\s)"  # `Web: firma.com.tr`
    r"|(?:^|(?<=\s))[(\[{]|[)\]}](?=\s|\Z)",  # a remark in brackets
    re.IGNORECASE,
)
_WRAPPING: Final = " '\"`()[]{}*" + _QUOTES
AROUND_ADDRESSES: Final = _WRAPPING + ".!?"
"""Marks that stand before or behind an address and are no part of it."""

_PROOF: Final = re.compile(r".@|[/\\]{2}|(?:^|[^\w.])www\d{0,3}\.", re.IGNORECASE)
"""What proves that a word among others is an address: an @ inside, a scheme, or www."""

_LABEL: Final = re.compile(r"[^./\\@]*?(?:(?=https?:[/\\])|[^\w./\\@](?=www\d{0,3}\.))", re.IGNORECASE)
"""What stands before the address in one word: `Web:www.firma.com.tr`, `-https://firma.com.tr`."""

_REMARK: Final = re.compile(f"[{re.escape(_WRAPPING.strip())}!].*", re.DOTALL)
"""What stands behind a host in one word: `firma.com.tr'de`, `firma.com.tr(yeni)`."""

_BARE: Final = re.compile(r"[\w.-]+")
_NAMED: Final = re.compile(r"[^\W\d][\w-]*:(?=.*\.)")
_MENDABLE: Final = re.compile(r"@\s|www\d{0,3}\.\s|[\[({]|xt(?:#|%23)|live\.com#|&amp;|safelinks", re.IGNORECASE)
_GUEST: Final = re.compile(
    r"(?<![^\s,;|<>])([^\s,;|<>]{1,128})_([^\s,;|<>_@#%]{1,253})(?:#|%23)ext(?:#|%23)(?:@[^\s,;|<>]*)?",
    re.IGNORECASE | re.ASCII,
)
"""The name that Entra ID gives to a guest from firma.com.tr: `ali_firma.com.tr#EXT#@ortak.onmicrosoft.com`.

Source: learn.microsoft.com, "Properties of an Azure Active Directory B2B collaboration user".
"""

_CONSUMER_GUEST: Final = re.compile(r"\blive\.com#(?=[^\s@#]+@)", re.IGNORECASE)
"""What Entra ID writes before the address of a guest with a consumer account: `live.com#ali@firma.com.tr`."""

_RECIPIENT: Final = re.compile(r"(?<=safelinks\.protection\.)(outlook\.com/[^\s?]*\?[^\s]*?&)data=[^\s&]*")
"""What a safe link says of the person who received it."""

_WRITTEN_AT: Final = re.compile(r"(?<!\s)\s*[\[({]\s*(?:at|@)\s*[\])}]\s*", re.IGNORECASE)
_WRITTEN_DOT: Final = re.compile(r"(?<=\w)\s*[\[({]\s*(?:dot|nokta|\.)\s*[\])}]\s*(?=\w)", re.IGNORECASE)
_TORN_AT: Final = re.compile(r"(?<=[^\s@])(?:@\s+|\s+@\s+)(?=[^\s@.]+\.)")
_TORN_WWW: Final = re.compile(r"(?<!\w)(www\d{0,3}\.)\s+(?=\w)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"(?:[a-z][a-z0-9+-]*:[/\\]{2}|(?:https?|mailto):[/\\]*)+", re.IGNORECASE | re.ASCII)
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
_SLASH: Final = re.compile(r"[/\\]")
_PORT: Final = re.compile(r":[0-9]*\Z")
_LDH: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))+")
_TURKISH: Final = re.compile("[a-z0-9çğıöşü.-]+")
_HYPHEN_FAULT: Final = re.compile(r"^-|-$|^..--")
_DOTTED_I: Final = re.compile("i\u0307+")
_MAX_REDIRECTS: Final = 8
"""Addresses within addresses: a safe link to a result of Google to an archived page."""

_CONFUSABLE_SCRIPTS: Final = frozenset({"LATIN", "GREEK", "CYRILLIC"})


class Platform(StrEnum):
    """Who owns a host that never belongs to its user."""

    TENANT = "tenant"
    """`x.onmicrosoft.com`: the name of an Entra ID tenant, not a web domain."""
    KEP = "kep"
    """`*.kep.tr`: registered e-mail; the domain is the mail provider's."""
    SOCIAL = "social"
    """A social network, a site builder or a hoster: the page is the user's, the host is not."""


_PLATFORMS: Final = {
    **dict.fromkeys(PAGES.names, Platform.SOCIAL),
    **dict.fromkeys(TENANT_SUFFIXES, Platform.TENANT),
    KEP_SUFFIX: Platform.KEP,
}


_PAGE_LABELS: Final = PAGES.labels


class Host(NamedTuple):
    """A host that a text names, in lower-case punycode; `domain` is the registrable part of `name`."""

    name: str
    domain: str
    platform: Platform | None


def normalize_domain(text: str | None) -> str | None:
    """Return the registrable domain that a text names, in lower-case punycode, or None.

    The text may be a host, a URL, an e-mail address or several of them; the first host that can belong to a company
    counts. None without a valid name under a known suffix, and for hosts that never belong to their user (`Platform`).
    Consumer mail is a domain like any other here. Never raises; idempotent.
    """
    if not isinstance(text, str):
        return None
    for host in find_hosts(text):
        if host.platform is None:
            return host.domain
    return None


def find_hosts(text: str) -> Iterator[Host]:
    """Return the hosts that a text names, in its order."""
    pattern = _PLAIN
    if not text.isascii():
        text, pattern = text.translate(_TO_ASCII), _PLAIN_UNICODE
    plain = pattern.fullmatch(text)
    if plain is None:
        return filter(None, starmap(_host, _places(mended(text))))
    host = _host(plain[2], plain.start(1) >= 0)
    return iter(() if host is None else (host,))


def behind_at(text: str) -> Iterator[str]:
    """Yield what stands behind the @ of each address in a text, in lower case, whether it is a host or not."""
    for word in _SEPARATOR.sub(" ", mended(text.translate(_TO_ASCII))).split():
        if "@" in word:
            yield word.rpartition("@")[2].strip(AROUND_ADDRESSES).lower()


def mended(text: str) -> str:
    """Return a text with its addresses in one piece: `ali@ firma.com.tr`, `ali [at] firma.com.tr`.

    In the place of the address that Entra ID gives to a guest stands the guest's own.
    """
    if not _MENDABLE.search(text):
        return text
    if "xt#" in (lower := text.lower()) or "xt%23" in lower:
        text = _GUEST.sub(r"\1@\2", text)
    text = _RECIPIENT.sub(r"\1", _CONSUMER_GUEST.sub("", text).replace("&amp;", "&"))
    text = _WRITTEN_DOT.sub(".", _WRITTEN_AT.sub("@", text))
    return _TORN_WWW.sub(r"\1", _TORN_AT.sub("@", text))


def unicode_domain(domain: str) -> str:
    """Return the Unicode form of a normalised domain; a label without one stays as it is."""
    return ".".join(map(_unicode_label, domain.split(".")))


def ascii_key(domain: str) -> str:
    """Return a normalised domain in ASCII letters, such as `isik.com.tr` for ışık.com.tr: its alternate key.

    For search and suggestions only: it may be somebody else's domain. A label of another script stays punycode.
    """
    folded = ((label, fold_letters(_unicode_label(label))) for label in domain.split("."))
    return ".".join(key if key.isascii() else label for label, key in folded)


def parents(name: str) -> Iterator[str]:
    """Yield a host name and every name above it: a.b.c, b.c, c."""
    while name:
        yield name
        name = name.partition(".")[2]


class _Place(NamedTuple):
    """What is in the place of a host; `of_mail` where it is behind the @ of an e-mail address."""

    name: str
    of_mail: bool


_UNREAD: Final = _Place("safelinks.protection.outlook.com", False)
"""Stands for a redirect whose target cannot be read: a platform's page, whichever."""


def _places(text: str) -> Iterator[_Place]:
    """Yield what is in the place of a host, for each value of a text."""
    for part in _SEPARATOR.split(text):
        words = part.split()
        if len(words) > 1:
            words = [word for word in words if any(map(str.isalnum, word))]  # `- firma.com.tr`
        # Values may be next to each other. Among other words a dot proves nothing (`firma .com`, `a b.com`).
        if len(words) > 1 and not all("." in word[1:-1] for word in words):
            words = [word for word in words if _PROOF.search(word[:-1])]
        yield from map(_place_in, words)


def _place_in(value: str) -> _Place:
    """Return what is in the place of a host in one value: a host, a URL or an e-mail address.

    For a URL that leads to another page, the place in that page's URL.
    """
    for _ in range(_MAX_REDIRECTS):
        scheme, address = _without_scheme(value)
        pieces = _SLASH.split(_QUERY.sub("", address) if "?" in address or "#" in address else address)
        # A host comes before its path. Without a scheme, a text without a dot is no host: `n/a`, `yok/firma.com`.
        authority = pieces[0] if scheme else next((piece for piece in pieces if "." in piece.strip(".")), "")
        _, at, name = authority.rpartition("@")
        if not _BARE.fullmatch(name):
            name = _PORT.sub("", _NAMED.sub("", _REMARK.sub("", name).lstrip(":"), count=1))
        place = _Place(name, bool(at) and scheme.lower() in ("", "mailto:"))
        if at or not may_redirect(name):
            return place
        rest = address.partition(authority)[2].replace("\\", "/")
        host = _host(*place) if len(rest) > 1 else None
        if host is None:
            return place
        target = target_of(host.name, host.domain, rest)
        if target is None:
            return place
        if not target:
            return _UNREAD
        value = target
    return _UNREAD


def _without_scheme(value: str) -> tuple[str, str]:
    """Return the scheme of a value and what follows it, without the marks and labels around."""
    value = value.strip(_WRAPPING).rstrip(AROUND_ADDRESSES)
    if label := _LABEL.match(value):
        value = value[label.end() :]
    scheme = _SCHEME.match(value)
    return (scheme[0], value[scheme.end() :]) if scheme else ("", value)


def _host(name: str, of_mail: bool) -> Host | None:
    if len(name) > _MAX_UNMAPPED:
        return None
    host = _read_host(name.rstrip(".").lower() if name.isascii() else name)
    if of_mail and host is not None and host.platform is Platform.SOCIAL and has_own_people(host.name, host.domain):
        return host._replace(platform=None)
    return host


@lru_cache(maxsize=CACHED_HOSTS)
def _read_host(name: str) -> Host | None:
    """Return the host of a name (lower-case if it is ASCII), or None when it has no known suffix."""
    if not name.isascii() or _ACE in name:
        encoded = _encode(name)
        if encoded is None:
            return None
        name = encoded
    if len(name) > MAX_DOMAIN or not _LDH.fullmatch(name):
        return None
    found = registrable(name)
    if found is None:
        return None
    for above in parents(name):
        if above in _PLATFORMS:
            return Host(name, found.domain, _PLATFORMS[above])
    hosted = found.hosted or found.domain.partition(".")[0] in _PAGE_LABELS
    return Host(name, found.domain, Platform.SOCIAL if hosted else None)


def _encode(name: str) -> str | None:
    """Return the punycode form of a name with non-ASCII letters or punycode, or None when it has none."""
    try:
        mapped = name.lower()
        if not _TURKISH.fullmatch(mapped):  # UTS-46 changes Turkish letters in no other way
            mapped = _undot(idna.uts46_remap(name))
        return ".".join(map(_ascii_label, mapped.rstrip(".").split(".")))
    except ValueError:  # idna's errors are UnicodeErrors; unicodedata adds plain ones for unassigned letters
        return None


def _ascii_label(label: str) -> str:
    """Return the A-label of a label that UTS-46 has mapped. Raises ValueError when there is none."""
    if label.isascii():
        if not label.startswith(_ACE):
            return label
        decoded = _decode(label)
        text = _undot(decoded)
        if text != decoded:
            return _ascii_label(text)
        _refuse_mixed_script(text)
        return label
    if _TURKISH.fullmatch(label) and not _HYPHEN_FAULT.search(label):
        return _ACE + _punycode(label)  # idna's own answer in half the time: no rule restricts these letters
    _refuse_mixed_script(label)
    try:
        return idna.alabel(label).decode("ascii")
    except idna.InvalidCodepointContext:
        bare = label.translate(_JOINERS)  # a joiner without effect, from copied text
        if bare == label:
            raise
        return _ascii_label(_undot(unicodedata.normalize("NFC", bare)))


def _decode(label: str) -> str:
    """Return the U-label of an A-label. Raises ValueError when there is none."""
    text = label.removeprefix(_ACE).encode("ascii").decode("punycode")
    plain = not text.isascii() and _TURKISH.fullmatch(text) and not _HYPHEN_FAULT.search(text)
    return text if plain and _ACE + _punycode(text) == label else idna.ulabel(label)


def _unicode_label(label: str) -> str:
    try:
        return _decode(label) if label.startswith(_ACE) else label
    except ValueError:
        return label


def _punycode(text: str) -> str:
    return text.encode("punycode").decode("ascii")


def _undot(text: str) -> str:
    """Drop U+0307 after an i: `'İ'.lower()` and UTS-46 leave it there, which would be another domain."""
    return unicodedata.normalize("NFC", _DOTTED_I.sub("i", text)) if "\u0307" in text else text


def _refuse_mixed_script(label: str) -> None:
    """Raise ValueError for letters of look-alike scripts in one label: registries refuse those."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in label if letter.isalpha()}
    if len(scripts & _CONFUSABLE_SCRIPTS) > 1:
        raise ValueError("a label of mixed script")
