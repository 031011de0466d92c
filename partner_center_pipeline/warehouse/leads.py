"""Table leads: writes leads in any order of windows, and reads which domains a window's leads name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, select, tuple_

from partner_center_pipeline.leads import LeadFacts
from partner_center_pipeline.warehouse.bulk import CHUNK, upsert
from partner_center_pipeline.warehouse.referrals import Newest, brought_in
from partner_center_pipeline.warehouse.schema import CENT, columns_of, leads, raw_referrals, row_dict
from partner_center_pipeline.windows import parse_ticks

SOURCE: Final = "partnercenter"
"""The value of the column `source`."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows a write found new, changed and unchanged."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    @property
    def rows(self) -> int:
        """The number of rows written."""
        return self.new + self.changed

    def shown(self) -> dict[str, int]:
        """Return the counts under the names that people read."""
        return {"new": self.new, "changed": self.changed, "unchanged": self.unchanged}

    def __add__(self, other: "Written") -> "Written":
        return Written(self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged)


def row_of(newest: Newest, facts: LeadFacts) -> dict[str, Any]:
    """Return the row of a lead: `facts` and the version that they were read from.

    An expiry that is not an instant has a text and no ticks. A deal value is rounded to the column's cents, so that a
    row read back equals the row written.
    """
    try:
        expires = parse_ticks(facts.expires_text) if facts.expires_text else None
    except ValueError:
        expires = None
    return {
        **asdict(facts),
        "deal_value": facts.deal_value if facts.deal_value is None else facts.deal_value.quantize(CENT),
        "referral_id": newest.referral_id,
        "version": newest.version,
        "updated_ticks": newest.updated_ticks,
        "updated_text": newest.updated_text,
        "expires_ticks": expires,
        "products": list(facts.products),
    }


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Written:
    """Write leads, one row per referral with all columns but `source` and `former_domains`. Return the counts.

    A stored lead is replaced only by a newer version, or by the same version read with other rules. So the order in
    which windows run does not matter, and a repeated write changes nothing.
    """
    stored = _stored(connection, [row["referral_id"] for row in rows])
    to_write: list[dict[str, Any]] = []
    new = 0
    for facts in rows:
        before = stored.get(facts["referral_id"])
        row = {**facts, "source": SOURCE, "former_domains": []}
        if before is None:
            new += 1
        else:
            if _age(row) < _age(before):
                continue
            row["former_domains"] = _former_domains(before, facts["domain"])
            if all(before[name] == row[name] for name in columns_of(leads)):
                continue
        to_write.append(row)
    upsert(
        connection,
        leads,
        to_write,
        guard=lambda new_row: (
            tuple_(new_row.updated_ticks, new_row.version) >= tuple_(leads.c.updated_ticks, leads.c.version)
        ),
    )
    return Written(new, len(to_write) - new, len(rows) - len(to_write))


def _age(row: Mapping[str, Any]) -> tuple[int, str]:
    return row["updated_ticks"], row["version"]


def _former_domains(before: Mapping[str, Any], domain: str | None) -> list[str]:
    """Return the companies that this lead no longer belongs to: their figures must not count it any more."""
    return sorted({*before["former_domains"], *filter(None, [before["domain"]])} - {domain})


def _stored(connection: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    rows = connection.execute(select(leads).where(leads.c.referral_id.in_(ids)))
    return {row.referral_id: row_dict(row) for row in rows}


def domains_of_span(connection: Connection, start: int, end: int) -> list[str]:
    """Return, sorted, the domains that leads of windows in `[start, end)` (ticks) name now or named before."""
    brought = select(raw_referrals.c.referral_id).where(brought_in(start, end)).distinct().subquery()
    domains: set[str] = set()
    rows = connection.execute(
        select(leads.c.domain, leads.c.former_domains)
        .join(brought, brought.c.referral_id == leads.c.referral_id)
        .execution_options(yield_per=CHUNK)
    )
    for domain, former in rows:
        domains.update(former)
        if domain is not None:
            domains.add(domain)
    return sorted(domains)


def of_domains(connection: Connection, domains: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Return all leads of these domains by domain, the newest first."""
    leads_by_domain: dict[str, list[Mapping[str, Any]]] = {domain: [] for domain in domains}
    rows = connection.execute(
        select(leads)
        .where(leads.c.domain.in_(domains))
        .order_by(leads.c.domain, leads.c.updated_ticks.desc(), leads.c.version.desc(), leads.c.referral_id)
    )
    for row in rows:
        leads_by_domain[row.domain].append(row_dict(row))
    return leads_by_domain
