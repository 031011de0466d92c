"""The provider table (providers.toml): loads it, checks it, and finds the owner of a host.

Not here: weighing several hints against each other (`classification`).
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from partner_center_pipeline.mail.spf import parse_network
from partner_center_pipeline.vocabulary import Provider

if TYPE_CHECKING:
    import tldextract


class Kind(StrEnum):
    """What an owner does with mail; providers.toml explains each."""

    MAILBOX = "mailbox"
    SENDER = "sender"
    GATEWAY = "gateway"
    PARKING = "parking"


class Place(StrEnum):
    """The kind of record that named a host. The table's `mx` suffixes count in every place."""

    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    AUTODISCOVER = "autodiscover"
    NS = "ns"


class ProviderTableError(Exception):
    """The provider table cannot be used. The message names the entry."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One service of the table. One that `forwards` passes all mail on to a mailbox at another service."""

    name: str
    kind: Kind
    provider: Provider
    forwards: bool = False


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind
    provider: Provider = Provider.UNKNOWN
    mx: tuple[str, ...] = ()
    spf: tuple[str, ...] = ()
    dkim: tuple[str, ...] = ()
    autodiscover: tuple[str, ...] = ()
    ns: tuple[str, ...] = ()
    selectors: tuple[str, ...] = ()
    key_selectors: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    forwards: bool = False
    source: str | None = None

    @model_validator(mode="after")
    def _provider_fits_kind(self) -> "_Entry":
        if self.provider is Provider.LOCAL:
            raise ValueError("Local is what is left when no entry matches; it cannot be an entry")
        if self.kind in (Kind.GATEWAY, Kind.PARKING) and self.provider is not Provider.UNKNOWN:
            raise ValueError(f"a {self.kind} keeps no mailbox, so it has no provider")
        if wrong := next((text for text in self.networks if parse_network(text) is None), None):
            raise ValueError(f"{wrong!r} is no range of addresses: write ip4:192.0.2.0/24 or ip6:2001:db8::/32")
        return self

    def suffixes(self) -> Iterator[tuple[Place, str]]:
        for place in Place:
            for suffix in getattr(self, place.value):
                yield place, suffix


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    owner: tuple[dict[str, object], ...]


_LABEL: Final = r"[a-z0-9_-]+"
_SUFFIX: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.(?:{_LABEL}|\*)|{_LABEL}\.\*(?:\.{_LABEL})+")


@cache
def _public_suffix_list() -> "tldextract.TLDExtract":
    import tldextract  # takes 0.1 s; only suffixes that end in `*` need it

    # Use the list that comes with the library: download nothing, write nothing.
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def _with_suffix_wildcard(host: str) -> str | None:
    suffix = _public_suffix_list()(host).suffix
    return f"{host.removesuffix(suffix)}*" if suffix and host != suffix else None


class ProviderTable:
    """The suffixes and their owners. Construction raises ProviderTableError for a table that contradicts itself."""

    def __init__(self, text: str) -> None:
        """Read a table from TOML text of the form that providers.toml documents."""
        try:
            table = _Table.model_validate(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise ProviderTableError(f"the provider table cannot be read: {error}") from None
        self.version: Final = table.version
        self._owners: Final[dict[tuple[Place, str], Owner]] = {}
        self._label_wildcards: Final[set[str]] = set()
        self._suffix_wildcards: Final[set[str]] = set()
        self._networks: Final[list[tuple[IPv4Network | IPv6Network, Owner]]] = []
        self._key_selectors: Final[dict[str, Owner]] = {}
        self._selectors: Final[dict[str, Owner]] = {}
        for raw in table.owner:
            self._add_owner(raw)

    def _add_owner(self, raw: dict[str, object]) -> None:
        try:
            entry = _Entry.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "entry"
            raise ProviderTableError(f"provider table, owner {raw.get('name')!r}: {where}: {first['msg']}") from None
        owner = Owner(entry.name, entry.kind, entry.provider, entry.forwards)
        self._networks.extend((network, owner) for text in entry.networks if (network := parse_network(text)))
        self._selectors.update(dict.fromkeys(entry.selectors, owner))
        self._key_selectors.update(dict.fromkeys(entry.key_selectors, owner))
        for place, suffix in entry.suffixes():
            if not _SUFFIX.fullmatch(suffix):
                raise ProviderTableError(f"provider table, owner {owner.name!r}: {suffix!r} is not a host suffix")
            for other in Place if place is Place.MX else (place, Place.MX):
                if (known := self._owners.get((other, suffix))) is not None:
                    raise ProviderTableError(
                        f"provider table, owner {owner.name!r}: {suffix!r} is already listed under {known.name!r}"
                    )
            self._owners[place, suffix] = owner
            labels = suffix.split(".")
            if labels[-1] == "*":
                self._suffix_wildcards.add(labels[-2])
            elif "*" in labels:
                self._label_wildcards.add(labels[-1])

    def owner(self, host: str, place: Place = Place.MX) -> Owner | None:
        """Return the owner of `host` (lower case, no final dot), or None. The longest suffix of whole labels wins."""
        owner = self._owner_by_longest_suffix(host, place)
        if owner is None and not self._suffix_wildcards.isdisjoint(host.split(".")):
            wildcard_host = _with_suffix_wildcard(host)
            owner = self._owner_by_longest_suffix(wildcard_host, place) if wildcard_host else None
        return owner

    @property
    def selectors(self) -> tuple[str, ...]:
        """The DKIM selectors that only one service of the table uses, each once."""
        return tuple(dict.fromkeys((*self._selectors, *self._key_selectors)))

    def owner_of_selector(self, selector: str) -> Owner | None:
        """Return the service that has its customers publish a CNAME at `selector`, or None."""
        return self._selectors.get(selector)

    def owner_of_key(self, selector: str) -> Owner | None:
        """Return the service that has its customers publish a key, not a CNAME, at `selector`, or None."""
        return self._key_selectors.get(selector)

    def owner_of_network(self, term: str) -> Owner | None:
        """Return the owner of the addresses that an SPF term (`ip4:...`, `ip6:...`) names, or None."""
        network = parse_network(term)
        if network is None:
            return None
        return next((owner for own, owner in self._networks if _is_within(network, own)), None)

    def _owner_by_longest_suffix(self, host: str, place: Place) -> Owner | None:
        labels = host.split(".")
        has_label_wildcards = labels[-1] in self._label_wildcards
        for start in range(len(labels)):
            suffix = ".".join(labels[start:])
            owner = self._get(suffix, place)
            if owner is None and has_label_wildcards:
                # A `*` inside a suffix is always its second label.
                owner = self._get(".".join([labels[start], "*", *labels[start + 2 :]]), place)
            if owner is not None:
                return owner
        return None

    def _get(self, suffix: str, place: Place) -> Owner | None:
        return self._owners.get((Place.MX, suffix)) or self._owners.get((place, suffix))


def _is_within(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
        return network.subnet_of(other)
    if isinstance(network, IPv6Network) and isinstance(other, IPv6Network):
        return network.subnet_of(other)
    return False


@cache
def provider_table() -> ProviderTable:
    """Return the table that comes with the product, read once. Raises ProviderTableError."""
    return ProviderTable(files("partner_center_pipeline.mail").joinpath("providers.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=4096)
def owner_of(host: str, place: Place = Place.MX) -> Owner | None:
    """Return the owner of `host`, named by a record of kind `place`, or None. Case and a final dot do not matter."""
    return provider_table().owner(host.lower().rstrip("."), place)


@lru_cache(maxsize=4096)
def owner_of_network(term: str) -> Owner | None:
    """Return the owner of the addresses that an SPF term (`ip4:...` or `ip6:...`) names, or None."""
    return provider_table().owner_of_network(term) if term.startswith(("ip4:", "ip6:")) else None


def suffix_of(host: str) -> str:
    """Return the registrable domain of a mail host, which its owner's entry in the table would name; else the host."""
    return _public_suffix_list()(host).top_domain_under_public_suffix or host
