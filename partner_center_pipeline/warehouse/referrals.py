"""Tables raw_referrals and quarantined_referrals: stores the rows of pages, and reads the newest versions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from partner_center_pipeline.referral import ReferralVersion, RejectedRow
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending
from partner_center_pipeline.warehouse.bulk import insert_absent, present, upsert
from partner_center_pipeline.warehouse.database import JsonText
from partner_center_pipeline.warehouse.schema import quarantined_referrals, raw_referrals


@dataclass(frozen=True, slots=True)
class Placed:
    """A version and the window (start in ticks) that it is stored under; `late` as in raw_referrals."""

    row: ReferralVersion
    window_start: int
    late: bool


def dated(row: ReferralVersion, now: int) -> ReferralVersion:
    """Return a version with the instant that orders it: its `updatedDateTime`, but not later than `now` (ticks).

    A date in the future is wrong. Kept as it is, it would win over every later version of the referral.
    """
    return row if row.updated_ticks <= now else replace(row, updated_ticks=now)


def store(connection: Connection, placed: Sequence[Placed], now: datetime) -> list[Placed]:
    """Store the versions that are not stored yet, by (id, version), for leads to be made of. Return the new ones."""
    fresh: dict[tuple[str, ...], Placed] = {}
    for item in placed:
        fresh.setdefault((item.row.referral_id, item.row.version), item)
    for key in present(connection, raw_referrals, fresh):
        del fresh[key]
    new = list(fresh.values())
    insert_absent(
        connection,
        raw_referrals,
        [
            {
                "referral_id": item.row.referral_id,
                "version": item.row.version,
                "etag": item.row.etag,
                "updated_ticks": item.row.updated_ticks,
                "updated_text": item.row.updated_text,
                "window_start": item.window_start,
                "late": item.late,
                "content_hash": item.row.content_hash,
                "payload": JsonText(item.row.canonical),
                "fetched_at": now,
            }
            for item in new
        ],
    )
    pending.add(connection, Task.LEADS, (item.row.referral_id for item in new), now)
    return new


def quarantine(connection: Connection, rejected: Sequence[RejectedRow], window_start: int, now: datetime) -> None:
    """Store rows that break the contract. For a row that is stored already, `attempts` goes up by one."""
    if not rejected:
        return
    table = quarantined_referrals
    known = {
        row.fingerprint: row
        for row in connection.execute(
            select(table).where(table.c.fingerprint.in_(sorted(item.fingerprint for item in rejected)))
        )
    }
    rows = {
        item.fingerprint: {
            "fingerprint": item.fingerprint,
            "referral_id": item.referral_id,
            "reason": str(item.reason),
            "path": item.path,
            "payload_text": item.payload_text,
            "window_start": known[item.fingerprint].window_start if item.fingerprint in known else window_start,
            "first_seen": known[item.fingerprint].first_seen if item.fingerprint in known else now,
            "last_seen": now,
            "attempts": known[item.fingerprint].attempts + 1 if item.fingerprint in known else 1,
        }
        for item in rejected
    }
    upsert(connection, table, list(rows.values()))


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest stored version of a referral."""

    referral_id: str
    version: str
    updated_ticks: int
    updated_text: str
    payload: dict[str, Any]


def brought_in(start: int, end: int) -> ColumnElement[bool]:
    """Return the condition for rows of raw_referrals that windows in `[start, end)` (ticks) fetched."""
    return and_(raw_referrals.c.window_start >= start, raw_referrals.c.window_start < end)


def newest(connection: Connection, referral_ids: Sequence[str]) -> list[Newest]:
    """Return the newest stored version of each of these referrals, in order of their ids.

    Of several versions with the same `updatedDateTime`, the one that was fetched last.
    """
    table = raw_referrals
    place = (
        func.row_number()
        .over(
            partition_by=table.c.referral_id,
            order_by=(table.c.updated_ticks.desc(), table.c.fetched_at.desc(), table.c.version),
        )
        .label("place")
    )
    ranked = select(table, place).where(table.c.referral_id.in_(referral_ids)).subquery()
    rows = connection.execute(select(ranked).where(ranked.c.place == 1).order_by(ranked.c.referral_id))
    return [Newest(row.referral_id, row.version, row.updated_ticks, row.updated_text, row.payload) for row in rows]
