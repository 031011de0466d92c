"""Consumer mail by rule: services under every public suffix, and misspellings of the largest ones.

Not here: the lists (`known_domains`), and what follows for a referral (`customer_domain`).
"""

from typing import Final

from rapidfuzz.distance import OSA

from partner_center_pipeline.leads.known_domains import CONSUMER_FAMILIES, CONSUMER_MAIL

_OFTEN_MISSPELT: Final = (
    "gmail", "googlemail", "hotmail", "icloud", "outlook", "protonmail", "windowslive", "yahoo", "yandex",
)  # fmt: skip
"""The largest services in Turkey and the world whose name is long enough that one wrong letter still shows it.

live, msn, aol, mail and mynet are not here: other companies' names are one letter away from them.
"""

_SUFFIXES: Final = frozenset({"com", "com.tr", "tr", "co", "cm", "net"})
"""Suffixes under which a misspelt name is taken for one; others only where the service uses them (hotmial.fr)."""

_WRONG_SUFFIXES: Final = frozenset({"tr", "co", "cm", "net"})
"""Suffixes that people write for com and com.tr. Under others a service may be its own: yandex.kz, hotmail.gr."""

_COMPANIES: Final = frozenset({"gail", "iccloud", "idcloud", "iloud", "iocloud", "ourlook", "yadex"})
"""Names one letter away that other companies have or may well have: GAIL (India), iLoud (IK Multimedia), OurLook."""

_LONG: Final = 7
"""Letters from which a stray key beside a letter still shows the name; in shorter ones it makes other names."""

_VOWELS: Final = frozenset("aeiou")
_ROWS: Final = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_LOOK_ALIKE: Final = frozenset({frozenset("1l"), frozenset("1i"), frozenset("0o")})


def meant_service(domain: str) -> str | None:
    """Return the consumer mail service that a registrable domain is a misspelling of, such as gmail.com for gnail.com.

    None where it is none: also for a service's own name, and for a name that a company has.
    """
    if domain in CONSUMER_MAIL:
        return None
    label, _, suffix = domain.partition(".")
    if label in CONSUMER_FAMILIES:
        return f"{label}.com" if f"{label}.com" in CONSUMER_MAIL and suffix in _WRONG_SUFFIXES else None
    for service in _OFTEN_MISSPELT:
        if _is_misspelt(label, service):
            own = f"{service}.{suffix}"
            if own in CONSUMER_MAIL and suffix not in _WRONG_SUFFIXES:
                return own
            return f"{service}.com" if suffix in _SUFFIXES else None
    return None


def meant_by(name: str) -> str | None:
    """Return the consumer mail service that is meant by a name without a known suffix: gmail.con, hotmailcom, gmail."""
    label, dot, suffix = name.rstrip(".").partition(".")
    if not dot:
        label = label.removesuffix("com")
    elif all(OSA.distance(suffix, right) > 1 for right in ("com", "com.tr")):
        return None
    for service in _OFTEN_MISSPELT:
        if label == service or (dot and _is_misspelt(label, service)):
            return f"{service}.com"
    return None


def is_consumer(domain: str) -> bool:
    """Say whether a registrable domain is a consumer mail service by its name alone, or a misspelling of one."""
    return domain.partition(".")[0] in CONSUMER_FAMILIES or meant_service(domain) is not None


def _is_misspelt(label: str, service: str) -> bool:
    """Say whether a label is a service's name with one typing error.

    An error is a letter left out, or exchanged with the next; one too many, which occurs in the name; or in the place
    of a letter a neighbouring key, and of a vowel another one. The first letter is right, but may be left out or be
    another vowel in a long name. Any other letter makes another word.
    """
    if abs(len(label) - len(service)) > 1 or label in _COMPANIES:
        return False
    if OSA.distance(label, service, score_cutoff=1) != 1:
        return False
    if label[:1] != service[:1] and (
        len(service) < _LONG or (label != service[1:] and not {label[0], service[0]} <= _VOWELS)
    ):
        return False
    if len(label) < len(service):
        return True
    if len(label) == len(service):
        wrong = [pair for pair in zip(label, service, strict=True) if pair[0] != pair[1]]
        return len(wrong) == 2 or _is_slip(*wrong[0]) or {*wrong[0]} <= _VOWELS
    added = [place for place in range(1, len(label)) if label[:place] + label[place + 1 :] == service]
    return any(label[place] in service or _is_slip_beside(label, place, service) for place in added)


def _is_slip_beside(label: str, place: int, service: str) -> bool:
    """Say whether a letter too many is the key beside the one before or behind it, in a long name."""
    beside = (label[place - 1], label[place + 1 : place + 2])
    return len(service) >= _LONG and any(_is_slip(label[place], near) for near in beside if near)


def _is_slip(typed: str, meant: str) -> bool:
    """Say whether two keys are neighbours on a keyboard (Q layout), or look alike."""
    if frozenset((typed, meant)) in _LOOK_ALIKE:
        return True
    places = {key: (row, column) for row, keys in enumerate(_ROWS) for column, key in enumerate(keys)}
    if typed not in places or meant not in places:
        return False
    (row, column), (other_row, other_column) = places[typed], places[meant]
    if row == other_row:
        return abs(column - other_column) == 1
    return abs(row - other_row) == 1 and (column - other_column) * (row - other_row) in (0, -1)
