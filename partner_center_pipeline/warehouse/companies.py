"""Table companies: each row is made anew from all leads of a company, so that a repeated write changes nothing."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from partner_center_pipeline.leads.company import largest_deal
from partner_center_pipeline.warehouse import list_order
from partner_center_pipeline.warehouse.bulk import among, upsert
from partner_center_pipeline.warehouse.leads import Written, named_by, of_domains, same_content
from partner_center_pipeline.warehouse.schema import companies, leads, row_dict


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the companies of these domains, by domain."""
    rows = connection.execute(select(companies).where(among(companies.c.domain, domains)))
    return {row.domain: row_dict(row) for row in rows}


def write(connection: Connection, rows: Sequence[Mapping[str, Any]], derived_with: str = "") -> Written:
    """Write companies (rows of `company_of`); rows equal to the stored ones are not written. Return the counts.

    `derived_with` is the digest of the code that made the rows. A row in which only that differs counts as unchanged.
    """
    stored = load(connection, [row["domain"] for row in rows])
    made = [{**row, "derived_with": derived_with} for row in rows]
    upsert(connection, companies, [row for row in made if stored.get(row["domain"]) != row])
    # Of all: which lead speaks for a company may change while its row stays the same.
    list_order.renew(connection, [row["domain"] for row in rows])
    keys = tuple(row["domain"] for row in made if not same_content(stored.get(row["domain"]), row))
    new = tuple(domain for domain in keys if domain not in stored)
    by_domain = {row["domain"]: row for row in made}
    compared = tuple(domain for domain in keys if _compared(stored.get(domain)) != _compared(by_domain[domain]))
    return Written(len(new), len(keys) - len(new), len(rows) - len(keys), keys, new, compared)


def _compared(row: Mapping[str, Any] | None) -> tuple[object, ...] | None:
    """Return what a company is compared with others and with leads by; None for one that no lead names."""
    if row is None or not row["referrals"]:
        return None
    return row["domain_ascii_key"], row["name_key"], row["name_block"], row["country"]


def outdated(start: int, end: int, derived_with: str | None) -> Select[str]:
    """Select the domains of windows in `[start, end)` (ticks) with a company that was not derived with this digest.

    With None, all domains of the windows. One without a company is always among them.
    """
    query = named_by(start, end)
    if derived_with is None:
        return query
    query = query.outerjoin_from(leads, companies, companies.c.domain == leads.c.domain)
    return query.where(or_(companies.c.domain.is_(None), companies.c.derived_with != derived_with))


def with_several_currencies(connection: Connection, after: str, size: int) -> list[str]:
    """Return up to `size` domains after `after` whose open leads have deal values in more than one currency."""
    rows = connection.execute(
        select(leads.c.domain)
        .where(
            leads.c.domain > after,
            leads.c.is_open,
            leads.c.vanished_at.is_(None),
            leads.c.deal_value.is_not(None),
        )
        .group_by(leads.c.domain)
        .having(func.count(func.distinct(func.coalesce(leads.c.currency, ""))) > 1)
        .order_by(leads.c.domain)
        .limit(size)
    )
    return [str(domain) for domain in rows.scalars()]


def choose_deals(connection: Connection, domains: Sequence[str], rates: Mapping[str, Decimal]) -> int:
    """Choose the largest deal of these companies anew, by other rates. Return how many companies changed."""
    stored = load(connection, domains)
    changed: list[Mapping[str, Any]] = []
    for domain, of_it in of_domains(connection, sorted(stored)).items():
        deal = largest_deal([lead for lead in of_it if lead["is_open"]], rates)
        chosen = {name: deal and deal[name] for name in ("deal_value", "currency")}
        if chosen != {name: stored[domain][name] for name in chosen}:
            changed.append({**stored[domain], **chosen})
    upsert(connection, companies, changed)
    list_order.renew(connection, [row["domain"] for row in changed])
    return len(changed)
