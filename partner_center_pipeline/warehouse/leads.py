"""Table leads: writes leads in any order of windows, and reads which domains they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from partner_center_pipeline.leads import LeadFacts
from partner_center_pipeline.leads.company import LEAD_COLUMNS
from partner_center_pipeline.warehouse.bulk import among, upsert
from partner_center_pipeline.warehouse.referrals import Newest, brought_in
from partner_center_pipeline.warehouse.schema import CENT, leads, raw_referrals, row_dict
from partner_center_pipeline.windows import parse_ticks

SOURCE: Final = "partnercenter"
"""The value of the column `source`."""


Keys = Mapping[str, set[str]]
"""The keys of rows by what a run did to them, such as `new`, noted where it has several windows to tell about."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows a write found new, changed and unchanged; `keys` are those of the new and the changed ones.

    `new_keys` are those of the new ones, `compared_keys` those in which something changed that matches are looked for
    by: they may match other rows than before.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    keys: tuple[str, ...] = field(default=(), compare=False)
    new_keys: tuple[str, ...] = field(default=(), compare=False)
    compared_keys: tuple[str, ...] = field(default=(), compare=False)

    @property
    def rows(self) -> int:
        """The number of rows that are new or changed."""
        return self.new + self.changed

    @property
    def seen(self) -> int:
        """The number of rows that were derived."""
        return self.rows + self.unchanged

    def shown(self) -> dict[str, int]:
        """Return the counts under the names that people read."""
        return {"new": self.new, "changed": self.changed, "unchanged": self.unchanged}

    def __add__(self, other: "Written") -> "Written":
        """Return the sum of both counts; it has no keys, so that sums of many writes stay small."""
        return Written(self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged)

    def note(self, keys: Keys | None) -> None:
        """Add the keys to those of the whole run, where they are noted: `new` and `changed`."""
        if keys is not None:
            keys["new"].update(self.new_keys)
            keys["changed"].update(set(self.keys).difference(self.new_keys))


_FACTS: Final = tuple(one.name for one in fields(LeadFacts))


def row_of(newest: Newest, facts: LeadFacts, derived_with: str) -> dict[str, Any]:
    """Return the row of a lead: `facts`, the version that they were read from, and the digest of the code that read it.

    An expiry or a creation that is not an instant has a text and no ticks. A deal value is rounded to the column's
    cents, so that a row read back equals the row written.
    """
    return {
        **{name: getattr(facts, name) for name in _FACTS},
        "deal_value": facts.deal_value if facts.deal_value is None else facts.deal_value.quantize(CENT),
        "referral_id": newest.referral_id,
        "version": newest.version,
        "updated_ticks": newest.updated_ticks,
        "updated_text": newest.updated_text,
        "expires_ticks": _ticks(facts.expires_text),
        "created_ticks": _ticks(facts.created_text),
        "products": list(facts.products),
        "derived_with": derived_with,
    }


def _ticks(instant: str | None) -> int | None:
    try:
        return parse_ticks(instant) if instant else None
    except ValueError:
        return None


def write(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Written:
    """Write leads, one row per referral with all columns but `source` and `former_domains`. Return the counts.

    A stored lead is replaced only by a version that is not older by `updatedDateTime` (`referrals.newest` chooses among
    equal ones). So the order in which windows run does not matter, and a repeated write changes nothing. A row in which
    only `derived_with` differs is written and counts as unchanged: nothing follows from it.
    """
    stored = _stored(connection, [row["referral_id"] for row in rows])
    to_write: list[dict[str, Any]] = []
    keys: list[str] = []
    new: list[str] = []
    compared: list[str] = []
    for facts in rows:
        before = stored.get(facts["referral_id"])
        row = {**facts, "source": SOURCE, "former_domains": []}
        if before is None:
            new.append(facts["referral_id"])
        else:
            if row["updated_ticks"] < before["updated_ticks"]:
                continue
            row["former_domains"] = _former_domains(before, facts["domain"])
            if before == row:
                continue
        to_write.append(row)
        if not same_content(before, row):
            keys.append(row["referral_id"])
            if _compared(before) != _compared(row):
                compared.append(row["referral_id"])
    upsert(
        connection,
        leads,
        to_write,
        guard=_is_not_older,
    )
    return Written(len(new), len(keys) - len(new), len(rows) - len(keys), tuple(keys), tuple(new), tuple(compared))


def _is_not_older(new_row: Any) -> ColumnElement[bool]:
    is_not_older: ColumnElement[bool] = new_row.updated_ticks >= leads.c.updated_ticks
    return is_not_older


def _compared(row: Mapping[str, Any] | None) -> tuple[object, ...] | None:
    """Return what a lead without a domain is compared with companies by; None for any other."""
    if row is None or row["domain"] is not None:
        return None
    return row["company_name_key"], row["company_name_block"], row["country"]


_WRITTEN: Final = [column for column in leads.columns if column.name != "vanished_at"]
"""The columns of a row that is written; whether the referral is still shown is not read from its payload."""


def same_content(before: Mapping[str, Any] | None, row: Mapping[str, Any]) -> bool:
    """Say whether a stored row and the row to be written differ in nothing but what they were derived with."""
    return before is not None and {**before, "derived_with": ""} == {**row, "derived_with": ""}


def _former_domains(before: Mapping[str, Any], domain: str | None) -> list[str]:
    """Return the companies that this lead no longer belongs to: their figures must not count it any more."""
    return sorted({*before["former_domains"], *filter(None, [before["domain"]])} - {domain})


def _stored(connection: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    rows = connection.execute(select(*_WRITTEN).where(among(leads.c.referral_id, ids)))
    return {row.referral_id: row_dict(row) for row in rows}


def outdated(start: int, end: int, derived_with: str | None) -> Select[str]:
    """Select the referrals of windows in `[start, end)` (ticks) with a lead that was not derived with this digest.

    With None, all referrals of the windows. One without a lead is always among them.
    """
    raw = raw_referrals
    query = select(raw.c.referral_id).distinct().where(brought_in(start, end))
    if derived_with is None:
        return query
    query = query.outerjoin_from(raw, leads, leads.c.referral_id == raw.c.referral_id)
    return query.where(or_(leads.c.referral_id.is_(None), leads.c.derived_with != derived_with))


def named_by(start: int, end: int) -> Select[str]:
    """Select the domains that leads of windows in `[start, end)` (ticks) name."""
    brought = select(raw_referrals.c.referral_id).where(brought_in(start, end))
    return select(leads.c.domain).distinct().where(leads.c.referral_id.in_(brought), leads.c.domain.is_not(None))


def domains_of(connection: Connection, referral_ids: Sequence[str]) -> set[str]:
    """Return the domains that these leads name now or named before."""
    rows = connection.execute(
        select(leads.c.domain, leads.c.former_domains).where(among(leads.c.referral_id, referral_ids))
    )
    return {domain for row in rows for domain in (row.domain, *row.former_domains) if domain is not None}


def of_domains(connection: Connection, domains: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Return all leads of these domains that did not vanish, by domain, the newest first: LEAD_COLUMNS of each."""
    leads_by_domain: dict[str, list[Mapping[str, Any]]] = {domain: [] for domain in domains}
    rows = connection.execute(
        select(*(leads.c[name] for name in LEAD_COLUMNS))
        .where(among(leads.c.domain, domains), leads.c.vanished_at.is_(None))
        .order_by(leads.c.domain, leads.c.updated_ticks.desc(), leads.c.version.desc(), leads.c.referral_id)
    )
    for row in rows:
        leads_by_domain[row.domain].append(row_dict(row))
    return leads_by_domain
