"""What the MX records alone say: which host decides, whose it is, and whether there is any mail host at all.

Here belongs the reading of MX records. What does not: looking behind a gateway (`judge`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from partner_center_pipeline.mail.providers import Kind, Owner, Provider, owner_of

_LOCALHOST: Final = ("localhost", "localdomain")

NULL_MX: Final = "null_mx"
LOCALHOST: Final = "localhost"
PARKING: Final = "parking"


@dataclass(frozen=True, slots=True)
class MxReading:
    """What a set of MX records says.

    `host`, at `preference`, decides: the lowest preference, and at equal preference a known mailbox before a
    gateway before an unknown host; of several mailboxes the one that the other records say more for, and when they say
    the same a mail service before a hoster. `name` is what `owner` was recognised by: the host, or the CNAME target it
    leads to. `no_mail` is None, or why these records name no mail host: `null_mx` (RFC 7505), `localhost`, `parking`.
    `gateway` is a filtering service at the deciding preference. `tie` means that the deciding preference has hosts of
    different owners, `mixed` that some other preference has.
    """

    preference: int | None
    host: str | None
    name: str | None
    owner: Owner | None
    provider: Provider
    gateway: str | None
    no_mail: str | None
    tie: bool
    mixed: bool


_NOTHING: Final = MxReading(None, None, None, None, Provider.Unknown, None, None, tie=False, mixed=False)


def host_key(host: str) -> str:
    """The form in which hosts are compared: lower-case, no blanks around, no final dot."""
    return host.strip().lower().rstrip(".")


def sort_mx(mx: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """(preference, host) pairs as a domain's MX in the order in which they are tried; the null MX's host is ''."""
    return tuple(sorted({(preference, host_key(host)) for preference, host in mx}))


def _is_localhost(host: str) -> bool:
    if host.split(".")[-1] in _LOCALHOST:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _recognise(host: str, targets: Iterable[str]) -> tuple[str, Owner | None]:
    for name in (host, *targets):
        owner = owner_of(name)
        if owner is not None:
            return name, owner
    return host, None


def _rank(owner: Owner | None, weights: Mapping[Owner, int]) -> tuple[int, int, bool]:
    """What sorts hosts of one preference: the kind of owner, then the weight, then mail services before hosters."""
    if owner is None:
        return 3, 0, False
    if owner.kind is Kind.GATEWAY:
        return 2, 0, False
    if owner.kind is Kind.PARKING:
        return 4, 0, False
    hosting = owner.provider is Provider.Hosting
    return 1 if owner.provider is Provider.Unknown else 0, -weights.get(owner, 0), hosting


def read_mx(
    mx: Iterable[tuple[int, str]],
    targets: Mapping[str, tuple[str, ...]] | None = None,
    weights: Mapping[Owner, int] | None = None,
) -> MxReading:
    """Read (preference, host) pairs (mail_signals.md, "Provider table").

    `targets` maps a host to the CNAME targets it leads to, `weights` an owner to what the domain's other records say
    for it, in percent. No pair at all reads as provider Unknown with no host.
    """
    pairs = sort_mx(mx)
    if not pairs:
        return _NOTHING
    usable = [(preference, host) for preference, host in pairs if host and not _is_localhost(host)]
    if not usable:
        return _no_mail(LOCALHOST if any(host for _, host in pairs) else NULL_MX, None)
    hosts = [(p, host, *_recognise(host, (targets or {}).get(host, ()))) for p, host in usable]
    lowest = hosts[0][0]
    deciding = sorted((h for h in hosts if h[0] == lowest), key=lambda h: (*_rank(h[3], weights or {}), h[1]))
    _, host, name, owner = deciding[0]
    if owner is not None and owner.kind is Kind.PARKING:
        return _no_mail(PARKING, host)
    gateways = [o.name for _, _, _, o in deciding if o is not None and o.kind is Kind.GATEWAY]
    return MxReading(
        preference=lowest,
        host=host,
        name=name,
        owner=owner,
        provider=Provider.Local if owner is None else owner.provider,
        gateway=gateways[0] if gateways else None,
        no_mail=None,
        tie=len({o.name if o else None for _, _, _, o in deciding}) > 1,
        mixed=any((o.name if o else None) != (owner.name if owner else None) for p, _, _, o in hosts if p > lowest),
    )


def _no_mail(reason: str, host: str | None) -> MxReading:
    return MxReading(None, host, host, None, Provider.Unknown, None, reason, tie=False, mixed=False)


def classify_provider(mx: str | Iterable[str | tuple[int, str]] | None) -> Provider:
    """The provider that MX records name (mail_signals.md, "Provider table").

    Takes nothing, one host, or any number of hosts or (preference, host) pairs; hosts without a preference are equals.
    The lowest preference decides; suffixes match whole labels, never substrings. Gateways, consumer Outlook, other
    mailbox providers, the null MX and nothing at all are Unknown; any other host is Local.
    """
    if mx is None:
        return Provider.Unknown
    entries: Iterable[str | tuple[int, str]] = (mx,) if isinstance(mx, str) else mx
    pairs = [(0, entry) if isinstance(entry, str) else (entry[0], entry[1]) for entry in entries]
    return read_mx(pairs).provider
