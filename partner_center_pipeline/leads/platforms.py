"""Hosts that are nobody's domain: social networks, market places, shop and site builders, short links, redirects.

Read from platforms.toml, which has a source for each. Not here: reading a text (`domains`), tenant names, KEP and mail.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs, unquote

_ANY_SUFFIX: Final = ".*"
_URL: Final = re.compile(r"https?:[/\\]+[^&]+", re.IGNORECASE)
_PROOFPOINT_V2: Final = "/v2/url"


@dataclass(frozen=True, slots=True)
class _Hosts:
    """Hosts that cover their sub-domains; of `labels`, that name under every public suffix."""

    names: frozenset[str]
    labels: frozenset[str]

    @classmethod
    def of(cls, hosts: list[str]) -> "_Hosts":
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
    hosts: _Hosts
    paths: tuple[str, ...]
    parameters: tuple[str, ...]
    in_path: bool


@dataclass(frozen=True, slots=True)
class _Platforms:
    pages: _Hosts
    with_people: _Hosts
    redirects: tuple[_Redirect, ...]
    redirecting: _Hosts


@cache
def _platforms() -> _Platforms:
    text = files("partner_center_pipeline.leads").joinpath("platforms.toml").read_text(encoding="utf-8")
    listed: dict[str, list[dict[str, Any]]] = tomllib.loads(text)
    groups, redirects = listed["group"], listed["redirect"]
    nothing_else = [host for each in redirects if not each["paths"] for host in each["hosts"]]
    return _Platforms(
        pages=_Hosts.of([host for group in groups for host in group["hosts"]] + nothing_else),
        with_people=_Hosts.of([host for group in groups if group["people"] for host in group["hosts"]]),
        redirects=tuple(
            _Redirect(_Hosts.of(each["hosts"]), tuple(each["paths"]), tuple(each["parameters"]), each["in_path"])
            for each in redirects
        ),
        redirecting=_Hosts.of([host for each in redirects for host in each["hosts"]]),
    )


def is_page(name: str, domain: str) -> bool:
    """Say whether a host (lower-case punycode, with its registrable domain) is a platform's."""
    return _platforms().pages.cover(name, domain)


def has_own_people(name: str, domain: str) -> bool:
    """Say whether e-mail addresses at a platform's host are those of the platform's own people."""
    return name == domain and _platforms().with_people.cover(name, domain)


def redirects(name: str, domain: str) -> bool:
    """Say whether addresses at a host may lead to a page of somebody else."""
    return _platforms().redirecting.cover(name, domain)


def target_of(name: str, domain: str, rest: str) -> str | None:
    """Return the text that names the page behind a redirect.

    `rest` is the address behind its host: path and query. None where the address is no redirect; "" where the target
    cannot be read.
    """
    found = False
    for redirect in _platforms().redirects:
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
