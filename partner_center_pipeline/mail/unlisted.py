"""Counts the mail hosts that nobody in the provider table owns, so that the table can grow from real companies. Pure.

Not here: reading the signals (`warehouse.signals`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from partner_center_pipeline.mail.providers import suffix_of


@dataclass(frozen=True, slots=True)
class UnlistedHost:
    """One owner who is not in the table: the registrable domain of its hosts, whose mail it takes, and since when."""

    suffix: str
    companies: int
    first_seen: datetime
    example: str
    """One of its hosts."""


def count_unlisted(hosts: Iterable[tuple[str, datetime]]) -> list[UnlistedHost]:
    """Group (host, first seen in UTC), one a company, by the registrable domain of the host; the most companies first.

    Several domains of one owner are counted apart: who owns them is what the table is to say.
    """
    found: dict[str, list[tuple[datetime, str]]] = {}
    for host, first_seen in hosts:
        found.setdefault(suffix_of(host), []).append((first_seen, host))
    counted = [UnlistedHost(suffix, len(seen), *min(seen)) for suffix, seen in found.items()]
    return sorted(counted, key=lambda one: (-one.companies, one.suffix))
