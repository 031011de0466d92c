"""Hosts that are nobody's domain: social networks, market places, shop and site builders, short links, redirects.

Read from platforms.toml, which has a source for each. Not here: reading a text (`domains`), tenant names, KEP and mail.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs, unquote

_ANY_SUFFIX: Final = ".*"
_URL: Final = re.compile(r"https?:[/\\]+[^&]+", re.IGNORECASE)
_PROOFPOINT_V2: Final = "/v2/url"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts that cover their sub-domains; of `labels`, that name under every public suffix."""

    names: frozenset[str]
    labels: frozenset[str]

    @classmethod
    def of(cls, hosts: list[str]) -> "Hosts":
        """Make them of entries as platforms.toml writes them."""
        return cls(
            frozenset(host for host in hosts if not host.endswith(_ANY_SUFFIX)),
            frozenset(host.removesuffix(_ANY_SUFFIX) for host in hosts if host.endswith(_ANY_SUFFIX)),
        )

    def cover(self, name: str, domain: str) -> bool:
        """Say whether a host (lower-case punycode) with this registrable domain is one of them, or below one."""
        if domain.partition(".")[0] in self.labels:
            return True
        while name:
            if name in self.names:
                return True
            name = name.partition(".")[2]
        return False


@dataclass(frozen=True, slots=True)
class _Redirect:
    hosts: Hosts
    paths: tuple[str, ...]
    parameters: tuple[str, ...]
    in_path: bool


_LISTED: Final[dict[str, list[dict[str, Any]]]] = tomllib.loads(
    files("partner_center_pipeline.leads").joinpath("platforms.toml").read_text(encoding="utf-8")
)
_REDIRECTS: Final = tuple(
    _Redirect(Hosts.of(each["hosts"]), tuple(each["paths"]), tuple(each["parameters"]), each["in_path"])
    for each in _LISTED["redirect"]
)
_REDIRECTING_LABELS: Final = frozenset(
    label for each in _LISTED["redirect"] for host in each["hosts"] for label in host.split(".")
) - {"*", "com", "net", "org", "us", "is", "ru", "io", "to", "ph", "today"}
_WITH_PEOPLE: Final = Hosts.of([host for group in _LISTED["group"] if group["people"] for host in group["hosts"]])

PAGES: Final = Hosts.of(
    [host for group in _LISTED["group"] for host in group["hosts"]]
    + [host for each in _LISTED["redirect"] if not each["paths"] for host in each["hosts"]]
)
"""The hosts that are platforms'."""


def has_own_people(name: str, domain: str) -> bool:
    """Say whether e-mail addresses at a platform's host are those of the platform's own people."""
    return name == domain and _WITH_PEOPLE.cover(name, domain)


def may_redirect(name: str) -> bool:
    """Say whether a host, as it is written, has a label that a redirecting one has. Most have none, which is quick."""
    return not _REDIRECTING_LABELS.isdisjoint(name.lower().split("."))


def target_of(name: str, domain: str, rest: str) -> str | None:
    """Return the text that names the page behind a redirect.

    `rest` is the address behind its host: path and query. None where the address is no redirect; "" where the target
    cannot be read.
    """
    found = False
    for redirect in _REDIRECTS:
        if redirect.hosts.cover(name, domain) and (not redirect.paths or rest.startswith(redirect.paths)):
            found = True
            target = next(filter(None, _targets(redirect, rest)), None)
            if target is not None:
                return target
    return "" if found else None


def _targets(redirect: _Redirect, rest: str) -> Iterator[str]:
    path, _, query = rest.partition("?")
    values = parse_qs(query.partition("#")[0].replace("&amp;", "&"))
    for parameter in redirect.parameters:
        for value in values.get(parameter, ()):
            if path == _PROOFPOINT_V2:  # its own writing of %3A and /
                value = unquote(value.replace("-", "%").replace("_", "/"))
            yield value.removeprefix("cache:").rpartition(":")[2] if value.startswith("cache:") else value
    if redirect.in_path:
        pieces = unquote(path).split("/")
        yield next((piece.strip("_") for piece in pieces if "." in piece.strip("_.")), "")
    if written_out := _URL.search(unquote(rest)):
        yield written_out[0]
