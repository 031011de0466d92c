"""What the warehouse keeps no longer: old attempts one by one, and old versions of closed referrals.

What is left explains every list still: the sums of old attempts by day, and the version that a lead was read from. Not
here: a person's data (`erasures`), and what Dagster keeps (`defs.pruning`).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, or_, select, tuple_

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.bulk import CHUNK, chunks, upsert
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    leads,
    pending_work,
    raw_referrals,
    sync_attempts,
    sync_days,
    sync_windows,
)
from partner_center_pipeline.windows import ticks_of

CLOSED_FOR: Final = timedelta(days=30)
"""For how long a referral must not have changed since it was closed, for its old versions to go."""

_ATTEMPTS: Final = 5_000
"""Attempts that one transaction folds: other writers wait for it."""

_SUMS: Final = ("pages", "fetched", "new_versions", "unchanged", "late", "quarantined", "seconds_waited")


def forget(warehouse: Warehouse, settings: Settings, now: datetime, *, dry_run: bool = False) -> dict[str, int]:
    """Delete what HUNTER_ATTEMPTS_KEPT_DAYS and HUNTER_CLOSED_VERSIONS_KEPT keep no longer. `now` is UTC.

    Returns how many attempts were folded into their days' sums, and how many versions were deleted; with `dry_run`,
    how many would be.
    """
    before = now - timedelta(days=settings.attempts_kept_days)
    kept = settings.closed_versions_kept
    if dry_run:
        with warehouse.read() as connection:
            attempts = connection.scalar(select(func.count()).select_from(sync_attempts).where(_is_old(before))) or 0
            versions = 0 if kept is None else sum(1 for _ in _old_versions(connection, kept, now))
        return {"attempts_folded": attempts, "versions_deleted": versions}
    return {
        "attempts_folded": _fold_attempts(warehouse, before),
        "versions_deleted": 0 if kept is None else _delete_versions(warehouse, kept, now),
    }


def _is_old(before: datetime) -> ColumnElement[bool]:
    """Return the condition for attempts that began before an instant (UTC), and that nothing asks for any more.

    Attempts at a window that is not done say when it is tried again. The newest attempt is what `sync_health` shows.
    """
    table = sync_attempts
    is_open = exists().where(
        sync_windows.c.window_start == table.c.window_start,
        sync_windows.c.window_end == table.c.window_end,
        or_(*(sync_windows.c[f"{asset}_at"].is_(None) for asset in Asset)),
    )
    newest = select(func.max(table.c.id)).scalar_subquery()
    return and_(table.c.started_at < before, table.c.state != AttemptState.RUNNING, table.c.id < newest, ~is_open)


def _fold_attempts(warehouse: Warehouse, before: datetime) -> int:
    folded = 0
    while True:
        with warehouse.write() as connection:
            old = select(sync_attempts).where(_is_old(before)).order_by(sync_attempts.c.id).limit(_ATTEMPTS)
            rows = connection.execute(old).all()
            if rows:
                upsert(connection, sync_days, _added(connection, rows))
                ids = [row.id for row in rows]
                connection.execute(delete(sync_attempts).where(sync_attempts.c.id.in_(ids)))
        folded += len(rows)
        if len(rows) < _ATTEMPTS:
            return folded


def _added(connection: Connection, attempts: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return the rows of `sync_days` with these attempts added to what is stored."""

    def key(attempt: Row[Any]) -> tuple[str, str]:
        return f"{attempt.started_at:%Y-%m-%d}", attempt.state

    by_day = {which: list(of_it) for which, of_it in groupby(sorted(attempts, key=key), key)}
    stored = {
        (row.day, row.state): row
        for row in connection.execute(select(sync_days).where(sync_days.c.day.in_({day for day, _ in by_day})))
    }
    added = []
    for (day, state), of_it in sorted(by_day.items()):
        before = stored.get((day, state))
        all_rows = [*of_it, before] if before is not None else of_it
        late = [row.latest_late_seconds for row in all_rows if row.latest_late_seconds is not None]
        added.append(
            {
                "day": day,
                "state": state,
                "attempts": len(of_it) + (before.attempts if before is not None else 0),
                **{name: sum(getattr(row, name) for row in all_rows) for name in _SUMS},
                "latest_late_seconds": max(late, default=None),
            }
        )
    return added


def _delete_versions(warehouse: Warehouse, kept: int, now: datetime) -> int:
    with warehouse.read() as connection:
        keys = list(_old_versions(connection, kept, now))
    for start in range(0, len(keys), CHUNK):
        key = tuple_(raw_referrals.c.referral_id, raw_referrals.c.version)
        with warehouse.write() as connection:
            connection.execute(delete(raw_referrals).where(key.in_(keys[start : start + CHUNK])))
    return len(keys)


def _old_versions(connection: Connection, kept: int, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the keys of the versions of closed referrals beyond the newest `kept`.

    In the order in which a lead takes the newest (`referrals.newest`). A referral with a version that no lead was made
    of yet is left alone.
    """
    table = raw_referrals
    closed_for_long = and_(~leads.c.is_open, leads.c.updated_ticks < ticks_of(now - CLOSED_FOR))
    is_waiting = exists().where(pending_work.c.item == leads.c.referral_id)
    several = (
        select(table.c.referral_id)
        .join(leads, leads.c.referral_id == table.c.referral_id)
        .where(closed_for_long, ~is_waiting)
        .group_by(table.c.referral_id)
        .having(func.count() > kept)
        .order_by(table.c.referral_id)
    )
    place = func.row_number().over(
        partition_by=table.c.referral_id,
        order_by=(table.c.updated_ticks.desc(), table.c.fetched_at.desc(), table.c.version),
    )
    for ids in chunks(connection.execute(several).scalars().all()):
        ranked = (
            select(table.c.referral_id, table.c.version, place.label("place"))
            .where(table.c.referral_id.in_(ids))
            .subquery()
        )
        old = select(ranked.c.referral_id, ranked.c.version).where(ranked.c.place > kept)
        for row in connection.execute(old):
            yield row.referral_id, row.version
