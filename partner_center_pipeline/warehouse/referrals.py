"""Tables raw_referrals and quarantined_referrals: stores the rows of pages, and reads the newest versions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, update

from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, fingerprint, payload_text
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import erasures, pending
from partner_center_pipeline.warehouse.bulk import among, insert_absent, present, upsert
from partner_center_pipeline.warehouse.database import JsonText
from partner_center_pipeline.warehouse.schema import Resolution, leads, quarantined_referrals, raw_referrals


@dataclass(frozen=True, slots=True)
class Placed:
    """A version and the window (start in ticks) that it is stored under; `late` as in raw_referrals."""

    row: ReferralVersion
    window_start: int
    late: bool


def dated(connection: Connection, rows: Sequence[ReferralVersion], now: int) -> list[ReferralVersion]:
    """Return versions with the instant that orders them: their `updatedDateTime`, where it is not later than `now`.

    A date in the future is wrong. Kept as it is, it would win over every later version of the referral. Such a version
    is ordered at the instant of the stored one that it replaces, or at `now` (ticks) where none is stored.
    """
    in_future = [row.referral_id for row in rows if row.updated_ticks > now]
    replaced = {row.referral_id: row.updated_ticks for row in newest(connection, in_future)} if in_future else {}
    return [
        row if row.updated_ticks <= now else replace(row, updated_ticks=replaced.get(row.referral_id, now))
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Kept:
    """What rows of the API are to be compared with, as a rule nothing.

    That is the digest of the key of erased persons, and whether any row is in quarantine and any lead has vanished.
    """

    key_digest: str | None
    is_any_open: bool
    is_any_vanished: bool


def kept(connection: Connection) -> Kept:
    """Return what a page's rows are to be compared with, by one statement, as it runs with each page."""
    return Kept(*connection.execute(_KEPT).one())


_KEPT: Final = select(
    erasures.KEY_DIGEST,
    exists().where(quarantined_referrals.c.resolved_at.is_(None)),
    exists().where(leads.c.vanished_at.is_not(None)),
)


def store(
    connection: Connection, placed: Sequence[Placed], now: datetime, compared_with: Kept | None = None
) -> list[Placed]:
    """Store the versions that are not stored yet, by (id, version), for leads to be made of. Return the new ones.

    Of persons who were erased nothing is stored (`erasures`). `compared_with`: what `kept` returned in this
    transaction. Raises WarehouseError where the key of erased persons is missing.
    """
    if not placed:
        return []
    there = compared_with or kept(connection)
    erasing = erasures.with_key(connection, there.key_digest, now)
    fresh: dict[tuple[str, ...], Placed] = {}
    for item in placed:
        fresh.setdefault((item.row.referral_id, item.row.version), item)
    for key in _known(connection, fresh, erasing):
        del fresh[key]
    new = list(fresh.values())
    rows = [_row(item.row, item, now) for item in new]
    if erasing is not None:
        emptied = [erasing.version(item.row) for item in new]
        rows = [
            {**(row if one is None else _row(one, item, now)), "erased_at": None if one is None else now}
            for row, one, item in zip(rows, emptied, new, strict=True)
        ]
    insert_absent(connection, raw_referrals, rows)
    pending.add(connection, Task.LEADS, (item.row.referral_id for item in new), now)
    if there.is_any_open:
        _release(connection, placed, new, now, erasing)
    return new


def _row(version: ReferralVersion, item: Placed, now: datetime) -> dict[str, Any]:
    return {
        "referral_id": version.referral_id,
        "version": version.version,
        "etag": version.etag,
        "updated_ticks": version.updated_ticks,
        "updated_text": version.updated_text,
        "window_start": item.window_start,
        "late": item.late,
        "content_hash": version.content_hash,
        "payload": JsonText(version.canonical),
        "fetched_at": now,
    }


def unknown(connection: Connection, versions: Sequence[ReferralVersion], now: datetime) -> list[ReferralVersion]:
    """Return those of these versions that raw_referrals does not hold, as received or without an erased person."""
    keys = {(row.referral_id, row.version) for row in versions}
    known = _known(connection, keys, erasures.of(connection, now) if versions else None)
    return [row for row in versions if (row.referral_id, row.version) not in known]


def _known(
    connection: Connection, keys: Collection[tuple[str, ...]], erasing: erasures.Erasing | None
) -> set[tuple[str, ...]]:
    """Return those of the received (id, version) that are stored, also those under the name that erasing gave them."""
    if erasing is None:
        return present(connection, raw_referrals, keys)
    renamed: dict[tuple[str, ...], tuple[str, ...]] = {
        (referral_id, erasing.known_version(version)): (referral_id, version) for referral_id, version in keys
    }
    return {renamed.get(key, key) for key in present(connection, raw_referrals, [*keys, *renamed])}


def _release(
    connection: Connection,
    placed: Sequence[Placed],
    new: Sequence[Placed],
    now: datetime,
    erasing: erasures.Erasing | None,
) -> None:
    """Resolve the open rows of the quarantine that came clean with these versions.

    That is a row of the same referral which is not known to be newer; one without a usable id whose content is taken in
    now; and an unreadable one, when a version is new at an instant that it may have.
    """
    table = quarantined_referrals
    instants = {item.row.referral_id: item.row.updated_ticks for item in placed}
    fresh = [item.row.updated_ticks for item in new]
    columns = table.c.fingerprint, table.c.referral_id, table.c.reason, table.c.earliest_ticks, table.c.latest_ticks
    rows = connection.execute(
        select(*columns).where(
            table.c.resolved_at.is_(None), or_(table.c.referral_id.is_(None), among(table.c.referral_id, instants))
        )
    ).all()
    nameless = any(row.referral_id is None and row.reason != Breach.UNREADABLE for row in rows)
    contents = {fingerprint(payload_text(item.row.payload)) for item in new} if nameless else set()
    if erasing is not None:
        contents |= {erasing.known_fingerprint(content) for content in contents}
    clean = [
        row.fingerprint
        for row in rows
        if row.fingerprint in contents
        or (row.referral_id in instants and (row.latest_ticks or 0) <= instants[row.referral_id])
        or (
            row.reason == Breach.UNREADABLE
            and any(_may_have(row.earliest_ticks, row.latest_ticks, ticks) for ticks in fresh)
        )
    ]
    resolve(connection, clean, Resolution.CLEAN, now)


def _may_have(earliest: int | None, latest: int | None, ticks: int) -> bool:
    return (earliest is None or earliest <= ticks) and (latest is None or ticks <= latest)


def resolve(
    connection: Connection,
    fingerprints: Sequence[str],
    resolution: Resolution,
    now: datetime,
    by: str | None = None,
    because: str | None = None,
) -> None:
    """Mark rows of the quarantine as no longer open, with how, when, and for discarded ones by whom and why."""
    if fingerprints:
        connection.execute(
            update(quarantined_referrals)
            .where(among(quarantined_referrals.c.fingerprint, fingerprints))
            .values(resolution=str(resolution), resolved_at=now, resolved_by=by, resolved_because=because)
        )


def quarantine(connection: Connection, rejected: Sequence[RejectedRow], window_start: int, now: datetime) -> None:
    """Store rows that break the contract. For a row that is stored already, `attempts` goes up by one.

    A row that had come clean, or was replayed, is open again; one that a person discarded stays discarded. Of persons
    who were erased nothing is stored. Raises WarehouseError where their key is missing.
    """
    if not rejected:
        return
    table = quarantined_referrals
    erasing = erasures.of(connection, now)
    names = {item.fingerprint for item in rejected}
    if erasing is not None:
        names |= {erasing.known_fingerprint(name) for name in names}
    known = {row.fingerprint: row for row in connection.execute(select(table).where(among(table.c.fingerprint, names)))}
    rows = {}
    for received in rejected:
        item, erased_at = received, None
        if erasing is not None:
            before = known.get(erasing.known_fingerprint(received.fingerprint))
            emptied = erasing.rejected(received)
            if before is not None:
                item = replace(received, fingerprint=before.fingerprint, payload_text=before.payload_text)
                erased_at = before.erased_at
            elif emptied is not None:
                item, erased_at = emptied, now
        stored = known.get(item.fingerprint)
        discarded = stored is not None and stored.resolution == Resolution.DISCARDED
        rows[item.fingerprint] = {
            "fingerprint": item.fingerprint,
            "referral_id": item.referral_id,
            "reason": str(item.reason),
            "path": item.path,
            "payload_text": item.payload_text,
            "window_start": stored.window_start if stored is not None else window_start,
            "first_seen": stored.first_seen if stored is not None else now,
            "last_seen": now,
            "attempts": stored.attempts + 1 if stored is not None else 1,
            "earliest_ticks": item.earliest,
            "latest_ticks": item.latest,
            "resolution": stored.resolution if stored is not None and discarded else None,
            "resolved_at": stored.resolved_at if stored is not None and discarded else None,
            "resolved_by": stored.resolved_by if stored is not None and discarded else None,
            "resolved_because": stored.resolved_because if stored is not None and discarded else None,
            "erased_at": erased_at,
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
    # Without the payloads, which would be carried through the sorting.
    key = (table.c.referral_id, table.c.version)
    ranked = select(*key, place).where(among(table.c.referral_id, referral_ids)).subquery()
    rows = connection.execute(
        select(*key, table.c.updated_ticks, table.c.updated_text, table.c.payload)
        .join(ranked, and_(ranked.c.referral_id == table.c.referral_id, ranked.c.version == table.c.version))
        .where(ranked.c.place == 1)
        .order_by(table.c.referral_id)
    )
    return [Newest(row.referral_id, row.version, row.updated_ticks, row.updated_text, row.payload) for row in rows]
