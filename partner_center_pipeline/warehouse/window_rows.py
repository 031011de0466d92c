"""What each window holds of the assets' tables: the rows that follow from what is stored under it in raw_referrals.

Not here: what a run did to them (`ledger.Figures` for raw_referrals, `Written` for the others).
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.schema import company_scores, domain_signals, leads, raw_referrals
from partner_center_pipeline.windows import SyncWindow


@cache
def _rows(asset: Asset) -> tuple[Any, Any]:
    """Return the key of an asset's rows, and the join from raw_referrals to them."""
    raw = raw_referrals
    if asset is Asset.RAW_REFERRALS:
        return raw.c.version, raw
    of_leads = raw.join(leads, leads.c.referral_id == raw.c.referral_id)
    if asset is Asset.NORMALIZED_LEADS:
        return leads.c.referral_id, of_leads
    if asset is Asset.COMPANIES:
        return leads.c.domain, of_leads
    table = domain_signals if asset is Asset.DOMAIN_SIGNALS else company_scores
    return table.c.domain, of_leads.join(table, table.c.domain == leads.c.domain)


def _select(asset: Asset, *columns: Any) -> Select[Any]:
    start = raw_referrals.c.window_start
    _, joined = _rows(asset)
    return select(*columns).select_from(joined).where(start >= bindparam("low"), start < bindparam("high"))


@cache
def _count(asset: Asset) -> Select[Any]:
    key, _ = _rows(asset)
    return _select(asset, func.count() if asset is Asset.RAW_REFERRALS else func.count(key.distinct()))


@cache
def _pairs(asset: Asset) -> Select[Any]:
    key, _ = _rows(asset)
    return _select(asset, raw_referrals.c.window_start, key).where(key.is_not(None)).distinct()


def count(connection: Connection, asset: Asset, window: SyncWindow) -> int:
    """Return how many rows of the asset's table a window holds: versions, leads, companies, signals or scores.

    A company that leads of several windows name is held by each of them.
    """
    held: int = connection.execute(_count(asset), {"low": window.start, "high": window.end}).scalar_one()
    return held


def keys(connection: Connection, asset: Asset, windows: Sequence[SyncWindow]) -> Iterator[tuple[SyncWindow, str]]:
    """Yield the key of each row, with the window that holds it. `windows` are contiguous and of one width."""
    first, last = windows[0], windows[-1]
    width = first.end - first.start
    for start, key in connection.execute(_pairs(asset), {"low": first.start, "high": last.end}):
        yield windows[(start - first.start) // width], key


def counts(connection: Connection, windows: Sequence[SyncWindow]) -> dict[SyncWindow, int]:
    """Return how many versions of referrals each of the windows holds, which are contiguous and of one width."""
    first, last = windows[0], windows[-1]
    width = first.end - first.start
    held = dict.fromkeys(windows, 0)
    start = raw_referrals.c.window_start
    query = _select(Asset.RAW_REFERRALS, start, func.count()).group_by(start)
    for began, number in connection.execute(query, {"low": first.start, "high": last.end}):
        held[windows[(began - first.start) // width]] += number
    return held
