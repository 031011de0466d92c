"""Reads MX records: which host decides, who owns it, and whether there is a mail host at all. Pure.

Not here: finding the mailbox behind a gateway (`classification`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NamedTuple

from partner_center_pipeline.mail.providers import Kind, Owner, owner_of
from partner_center_pipeline.vocabulary import Provider

_LOCALHOST: Final = ("localhost", "localdomain")

NULL_MX: Final = "null_mx"
LOCALHOST: Final = "localhost"
PARKING: Final = "parking"
"""The three values of `MxReading.no_mail`."""


@dataclass(frozen=True, slots=True)
class MxReading:
    """What a set of MX records says.

    `host` decides: it has the lowest preference, `preference`. At equal preference a known mailbox comes first, then a
    gateway, then an unknown host; of several mailboxes the one with the most support in the other records, then a mail
    service before a hoster. `name` is the name by which `owner` was recognised: the host or one of its CNAME targets.
    `no_mail` is None, or why these records name no mail host: `null_mx` (RFC 7505), `localhost`, `parking`. `gateway`
    is the filtering service at the deciding preference, or None. `others` are the recognised hosts of other preferences
    with their owners, in the order of trying. `tie` means that hosts of different owners share the
    deciding preference, `mixed` that a host of a higher preference value has another owner.
    """

    preference: int | None
    host: str | None
    name: str | None
    owner: Owner | None
    gateway: str | None
    no_mail: str | None
    tie: bool
    mixed: bool
    others: tuple[tuple[str, Owner], ...] = ()


class _Host(NamedTuple):
    preference: int
    host: str
    name: str
    owner: Owner | None


_NOTHING: Final = MxReading(None, None, None, None, None, None, tie=False, mixed=False)


def host_key(host: str) -> str:
    """Return `host` in the form for comparisons: lower case, without surrounding white space and final dot."""
    return host.strip().lower().rstrip(".")


def sort_mx(mx: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Return the (preference, host) pairs in the order in which senders try them; the host of a null MX is ''."""
    return tuple(sorted({(preference, host_key(host)) for preference, host in mx}))


def _is_localhost(host: str) -> bool:
    if host.split(".")[-1] in _LOCALHOST:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Say whether a host is written as an IP address, which no MX record may (RFC 1035, section 3.3.9)."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _find_owner(host: str, targets: Iterable[str]) -> tuple[str, Owner | None]:
    for name in (host, *targets):
        owner = owner_of(name)
        if owner is not None:
            return name, owner
    return host, None


def _rank(owner: Owner | None, weights: Mapping[Owner, int]) -> tuple[int, int, bool]:
    """Return the sort key of a host among those of equal preference: the order that MxReading describes."""
    if owner is None:
        return 3, 0, False
    if owner.kind is Kind.GATEWAY:
        return 2, 0, False
    if owner.kind is Kind.PARKING:
        return 4, 0, False
    hosting = owner.provider is Provider.HOSTING
    return 1 if owner.provider is Provider.UNKNOWN else 0, -weights.get(owner, 0), hosting


def read_mx(
    mx: Iterable[tuple[int, str]],
    targets: Mapping[str, tuple[str, ...]] | None = None,
    weights: Mapping[Owner, int] | None = None,
) -> MxReading:
    """Read (preference, host) pairs (mail_signals.md, "Provider table").

    `targets` maps a host to its CNAME targets, in order. `weights` maps an owner to the support for it in the domain's
    other records, in percent. Without any pair the reading has no host, which `classify_provider` calls Unknown.
    """
    pairs = sort_mx(mx)
    if not pairs:
        return _NOTHING
    usable = [(preference, host) for preference, host in pairs if host and not _is_localhost(host)]
    if not usable:
        return _no_mail(LOCALHOST if any(host for _, host in pairs) else NULL_MX, None)
    hosts = [_Host(p, host, *_find_owner(host, (targets or {}).get(host, ()))) for p, host in usable]
    lowest = hosts[0].preference
    deciding = [h for h in hosts if h.preference == lowest]
    deciding.sort(key=lambda h: (*_rank(h.owner, weights or {}), h.host))
    _, host, name, owner = deciding[0]
    if owner is not None and owner.kind is Kind.PARKING:
        return _no_mail(PARKING, host)
    gateways = [h.owner.name for h in deciding if h.owner is not None and h.owner.kind is Kind.GATEWAY]
    return MxReading(
        preference=lowest,
        host=host,
        name=name,
        owner=owner,
        gateway=gateways[0] if gateways else None,
        no_mail=None,
        tie=len({h.owner and h.owner.name for h in deciding}) > 1,
        mixed=any((h.owner and h.owner.name) != (owner and owner.name) for h in hosts if h.preference > lowest),
        others=tuple((h.name, h.owner) for h in hosts if h.preference > lowest and h.owner is not None),
    )


def _no_mail(reason: str, host: str | None) -> MxReading:
    return MxReading(None, host, host, None, None, reason, tie=False, mixed=False)


def classify_provider(mx: MxReading | str | Iterable[str | tuple[int, str]] | None) -> Provider:
    """Return the provider that MX records name (mail_signals.md, "Provider table").

    `mx` is a reading, one host, several hosts or (preference, host) pairs, or None. Hosts without a preference have
    equal preference. The lowest preference decides. Suffixes match whole labels, never substrings. Gateways, consumer
    Outlook, other mailbox providers, the null MX and None are Unknown; a host that is not in the table is Local.
    """
    reading = mx if isinstance(mx, MxReading) else read_mx(_as_pairs(mx))
    if reading.host is None or reading.no_mail is not None:
        return Provider.UNKNOWN
    return Provider.LOCAL if reading.owner is None else reading.owner.provider


def _as_pairs(mx: str | Iterable[str | tuple[int, str]] | None) -> list[tuple[int, str]]:
    entries: Iterable[str | tuple[int, str]] = () if mx is None else (mx,) if isinstance(mx, str) else mx
    return [(0, entry) if isinstance(entry, str) else (entry[0], entry[1]) for entry in entries]
