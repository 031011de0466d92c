"""Column leads.vanished_at: the leads whose referral Partner Center shows no more, found by full comparisons.

Such a lead stays, and is in no sales list and no figure of a company. Not here: finding out (`reconciling`).
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select, update

from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import list_order, pending
from partner_center_pipeline.warehouse.bulk import CHUNK, among, chunks
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.leads import domains_of
from partner_center_pipeline.warehouse.schema import leads

FEW: Final = 10
"""So many leads may vanish at once however few there are."""

PERCENT: Final = 5
"""So many percent of the leads may vanish at once. Microsoft deletes no referral (partner_center_api.md, section 2): a
few change hands, and many at once mean that the account sees less than before."""


def limit(held: int) -> int:
    """Return how many of `held` leads may be marked as vanished at once, without a person's word."""
    return max(FEW, held * PERCENT // 100)


def count_held(connection: Connection) -> int:
    """Count the leads that are not marked."""
    return connection.execute(select(func.count()).where(leads.c.vanished_at.is_(None))).scalar_one()


def unseen(db: Warehouse, shows: Callable[[str], bool]) -> Iterator[str]:
    """Yield the ids of leads that are not marked and that `shows` denies. A chunk of ids is in memory at a time."""
    after = ""
    query = select(leads.c.referral_id).where(leads.c.vanished_at.is_(None)).order_by(leads.c.referral_id).limit(CHUNK)
    while True:
        with db.read() as connection:
            ids = connection.execute(query.where(leads.c.referral_id > after)).scalars().all()
        if not ids:
            return
        yield from (each for each in ids if not shows(each))
        after = ids[-1]


def mark(connection: Connection, referral_ids: Collection[str], now: datetime) -> None:
    """Mark leads as vanished, for their companies to be made without them."""
    for chunk in chunks(sorted(referral_ids)):
        connection.execute(update(leads).where(among(leads.c.referral_id, chunk)).values(vanished_at=now))
    _make_again(connection, referral_ids, now)


def marked_among(connection: Connection, referral_ids: Collection[str]) -> list[str]:
    """Return those of these referrals whose lead is marked. As a rule none is, which a small index tells at once."""
    if not referral_ids or connection.execute(_ANY_MARKED).first() is None:
        return []
    query = select(leads.c.referral_id).where(
        leads.c.vanished_at.is_not(None), among(leads.c.referral_id, referral_ids)
    )
    return list(connection.execute(query).scalars())


_ANY_MARKED: Final = select(leads.c.referral_id).where(leads.c.vanished_at.is_not(None)).limit(1)


def seen_again(connection: Connection, referral_ids: Collection[str], now: datetime) -> int:
    """Take the mark from those of these referrals that Partner Center shows again; return how many had it."""
    again = marked_among(connection, referral_ids)
    if again:
        connection.execute(update(leads).where(among(leads.c.referral_id, again)).values(vanished_at=None))
        _make_again(connection, again, now)
    return len(again)


def _make_again(connection: Connection, referral_ids: Collection[str], now: datetime) -> None:
    for chunk in chunks(sorted(referral_ids)):
        domains = domains_of(connection, chunk)
        pending.add(connection, Task.COMPANIES, domains, now)
        list_order.renew(connection, domains)
    pending.add(connection, Task.LEAD_MATCHES, referral_ids, now)
