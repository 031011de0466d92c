"""Persons who were erased: what is stored is asked for them when it comes in, and emptied where it is there already.

`of` gives a transaction what it asks; `referrals.store` and `referrals.quarantine`, through which every row of Partner
Center enters, ask it. An erased version has the identity of the one that was received, through the key (`Erasing`), so
a scan and a comparison know it, and nobody without the key can try out what was taken away. Not here: what is a
person's (`privacy`), where the key is (`erasure_key`).
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    insert,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)

from partner_center_pipeline.privacy import (
    Blanked,
    Change,
    Identifier,
    Keyed,
    Kind,
    Tombstone,
    Tombstones,
    stones_in_referral,
    stones_of,
)
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, payload_text
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import copies, pending
from partner_center_pipeline.warehouse.bulk import CHUNK, among, chunks, insert_new
from partner_center_pipeline.warehouse.database import KEEPING, Warehouse, WarehouseError
from partner_center_pipeline.warehouse.erasure_key import ErasureKeeping, ErasureKeyError
from partner_center_pipeline.warehouse.schema import (
    breakers,
    companies,
    company_scores,
    decisions,
    domain_signals,
    erasure_key,
    erasures,
    leads,
    outbox,
    quarantined_referrals,
    raw_referrals,
    reconciliations,
    row_dict,
    score_changes,
    signal_changes,
    sync_attempts,
    tombstones,
)
from partner_center_pipeline.windows import TICKS_PER_SECOND, parse_ticks, ticks_of

LOG_KEPT: Final = timedelta(days=3 * 365 + 1)
"""How long an act of erasing is kept."""

_TICKS_PER_DAY: Final = 86_400 * TICKS_PER_SECOND
_VERSION_LENGTH: Final = 32
_BUSY_SECONDS: Final = 30.0
_ESCAPED: Final = re.compile(r"\\u(?!00[0-7])([0-9a-f]{4})")
"""A letter that is not ASCII, as JSON text in ASCII has it."""
_LOCAL_KEY: Final = 32
"""Bytes of a key for looking only, where nobody was erased yet."""


@dataclass(frozen=True, slots=True)
class Erasing:
    """What a transaction asks about each row that it stores.

    `closed_before` (ticks): of referrals that were closed before, every contact is emptied.
    """

    keyed: Keyed
    stones: Tombstones
    closed_before: int | None = None

    def version(self, row: ReferralVersion) -> ReferralVersion | None:
        """Return a version as it may be stored, where that is not as it was received; else None."""
        is_old = self.closed_before is not None and _closed_at(row.payload, row.updated_ticks) < self.closed_before
        if not (is_old or self.stones):
            return None
        payload = orjson.loads(row.canonical)
        if not self.stones.blank(payload, row.referral_id, everybody=is_old).changes and not is_old:
            return None
        return replace(
            row,
            version=self.known_version(row.version),
            content_hash=self.keyed.digest("content", row.content_hash),
            payload=payload,
            canonical=orjson.dumps(payload, option=orjson.OPT_SORT_KEYS).decode(),
        )

    def known_version(self, version: str) -> str:
        """Return the version that an erased row has in place of the one that was received."""
        return self.keyed.digest("version", version)[:_VERSION_LENGTH]

    def rejected(self, row: RejectedRow) -> RejectedRow | None:
        """Return a row for the quarantine as it may be stored, where that is not as it was received; else None."""
        if row.reason is Breach.UNREADABLE or not self.stones:
            return None
        after = _without(self.stones, row.payload_text, row.referral_id).after
        if after is None:
            return None
        return replace(row, fingerprint=self.known_fingerprint(row.fingerprint), payload_text=after)

    def document(self, content: Any) -> Any:
        """Return a JSON document that belongs to no referral, without erased persons."""
        if not self.stones:
            return content
        copied = orjson.loads(orjson.dumps(content))
        return copied if self.stones.blank([copied], any_name=True).changes else content

    def known_fingerprint(self, fingerprint: str) -> str:
        """Return the fingerprint that an erased row has in place of the one that was received."""
        return self.keyed.digest("fingerprint", fingerprint)


def of(connection: Connection, now: datetime) -> Erasing | None:
    """Return what this transaction has to ask about rows; None as long as nobody was ever erased.

    Raises WarehouseError without the key: what is stored then would bring erased persons back.
    """
    return with_key(connection, connection.execute(_KEY_KNOWN).scalar_one_or_none(), now)


def with_key(connection: Connection, stored: str | None, now: datetime) -> Erasing | None:
    """Do the same where the stored digest of the key, or None, was read by `KEY_DIGEST` already."""
    if stored is None:
        return None
    keeping: ErasureKeeping | None = connection.get_execution_options().get(KEEPING)
    keyed = _the_key(keeping, stored)
    days = keeping.closed_days if keeping is not None else None
    closed_before = None if days is None else ticks_of(now) - days * _TICKS_PER_DAY
    return Erasing(keyed, Tombstones(keyed, _load(connection)), closed_before)


_KEY_KNOWN: Final = select(erasure_key.c.digest)
KEY_DIGEST: Final = _KEY_KNOWN.scalar_subquery()
"""The digest as a part of another query; NULL as long as nobody was ever erased."""


def _the_key(keeping: ErasureKeeping | None, stored: str) -> Keyed:
    with _as_warehouse_error():
        keyed = keeping.keyed() if keeping is not None else None
    where = keeping.where if keeping is not None else "the settings"
    if keyed is None:
        raise WarehouseError(
            "persons were erased from this warehouse, and the key by which they are known again is not in "
            f"{where}; nothing is stored without it, as they would come back. Put the key back from a backup or from "
            "the machine that erased them, or set HUNTER_ERASURE_KEY to it"
        )
    if _check(keyed) != stored:
        raise WarehouseError(
            f"the key in {where} is not the one by which this warehouse knows erased persons; nothing is stored with "
            "it, as they would come back. Put the right key back from a backup"
        )
    return keyed


def _check(keyed: Keyed) -> str:
    return keyed.digest("check", "erasures")


@contextmanager
def _as_warehouse_error() -> Iterator[None]:
    try:
        yield
    except ErasureKeyError as error:
        raise WarehouseError(str(error)) from None


def _load(connection: Connection) -> list[Tombstone]:
    rows = connection.execute(select(tombstones))
    return [Tombstone(row.person, Kind(row.kind), row.digest, row.words) for row in rows]


def _closed_at(payload: Mapping[str, Any], updated_ticks: int) -> int:
    """Return when a referral was closed (ticks): in the far future for an open one."""
    status = payload.get("status")
    if not isinstance(status, str) or status.strip().lower() != "closed":
        return 2**62
    closed = payload.get("closedDateTime")
    try:
        return parse_ticks(closed) if isinstance(closed, str) else updated_ticks
    except ValueError:
        return updated_ticks


@dataclass(frozen=True, slots=True)
class _Text:
    """A row's JSON text after a person was taken out of it: None where nothing was."""

    after: str | None
    blanked: Blanked


def _without(stones: Tombstones, kept_text: str, referral_id: str | None, *, everybody: bool = False) -> _Text:
    """Take persons out of the JSON text of a row in quarantine. One that cannot be read as JSON is taken as a text."""
    try:
        document: Any = json.loads(kept_text)
    except (ValueError, RecursionError):
        unread = {"text": _ESCAPED.sub(lambda found: chr(int(found[1], 16)), kept_text)}
        blanked = stones.blank(unread, referral_id, any_name=True)
        after = "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in unread["text"])
        return _Text(after if blanked.changes else None, blanked)
    root = [document]  # a row may be a text
    blanked = stones.blank(
        root if not isinstance(document, dict | list) else document, referral_id, everybody=everybody
    )
    return _Text(payload_text(root[0]) if blanked.changes else None, blanked)


# What is stored already -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that holds something of a person: its table, its key, and what is to be taken out. `values` replace it."""

    table: Table
    key: Mapping[str, Any]
    values: Mapping[str, Any]
    referral_id: str | None
    blanked: Blanked
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> list[Change]:
        """What is to be taken out."""
        return self.blanked.changes


@dataclass(frozen=True, slots=True)
class _Source:
    """A table in which something of a person may be: the columns to read, how a row is looked at, and which rows."""

    table: Table
    columns: Sequence[str]
    look: Callable[[Tombstones, Keyed, Mapping[str, Any], bool], Hit | None]
    where: ColumnElement[bool] = field(default_factory=true)


def _look_at_raw(stones: Tombstones, keyed: Keyed, row: Mapping[str, Any], everybody: bool) -> Hit | None:
    payload = row["payload"]
    blanked = stones.blank(payload, row["referral_id"], everybody=everybody)
    if not blanked.changes and not (everybody and row["erased_at"] is None):
        return Hit(raw_referrals, {}, {}, None, blanked) if blanked.spared else None
    values: dict[str, Any] = {"payload": payload, "version": row["version"], "content_hash": row["content_hash"]}
    if row["erased_at"] is None:
        values["version"] = keyed.digest("version", row["version"])[:_VERSION_LENGTH]
        values["content_hash"] = keyed.digest("content", row["content_hash"])
    about = {name: row[name] for name in ("referral_id", "updated_text", "fetched_at")}
    key = {"referral_id": row["referral_id"], "version": row["version"]}
    return Hit(raw_referrals, key, values, row["referral_id"], blanked, about)


def _look_at_quarantine(stones: Tombstones, keyed: Keyed, row: Mapping[str, Any], everybody: bool) -> Hit | None:
    payload = _without(stones, row["payload_text"], row["referral_id"], everybody=everybody)
    people = {"resolved_by": row["resolved_by"], "resolved_because": row["resolved_because"]}
    said = stones.blank(people, row["referral_id"], any_name=True)
    blanked = Blanked(payload.blanked.changes + said.changes, payload.blanked.known, payload.blanked.spared)
    if not blanked.changes:
        return None
    is_new = payload.after is not None and row["erased_at"] is None
    fingerprint = row["fingerprint"]
    values = {
        **people,
        "payload_text": payload.after if payload.after is not None else row["payload_text"],
        "fingerprint": keyed.digest("fingerprint", fingerprint) if is_new else fingerprint,
    }
    about = {name: row[name] for name in ("referral_id", "reason", "first_seen", "last_seen")}
    return Hit(quarantined_referrals, {"fingerprint": fingerprint}, values, row["referral_id"], blanked, about)


_LEAD_TEXTS: Final = ("name", "company_name", "company_name_original", "notes")
_OF_A_COMPANYS_NAME: Final = ("company_name_key", "company_name_block")


def _look_at_lead(stones: Tombstones, _: Keyed, row: Mapping[str, Any], everybody: bool) -> Hit | None:
    contact = {
        "firstName": row["contact_name"], "lastName": None,
        "email": row["contact_email"], "phoneNumber": row["contact_phone"],
    }  # fmt: skip
    document = {**{name: row[name] for name in _LEAD_TEXTS}, "team": [contact]}
    blanked = stones.blank(document, row["referral_id"], everybody=everybody)
    if not blanked.changes:
        return None
    values: dict[str, Any] = {name: document[name] for name in _LEAD_TEXTS}
    keeps_name = document["company_name"] == row["company_name"]
    values |= {name: row[name] if keeps_name else None for name in _OF_A_COMPANYS_NAME}
    is_person = any(change.path == "team[0]" for change in blanked.changes)
    values |= {name: None if is_person else row[name] for name in ("contact_name", "contact_email", "contact_phone")}
    about = {"referral_id": row["referral_id"], "domain": row["domain"]}
    return Hit(leads, {"referral_id": row["referral_id"]}, values, row["referral_id"], blanked, about)


def _look_at_company(stones: Tombstones, _: Keyed, row: Mapping[str, Any], __: bool) -> Hit | None:
    document = {"company_name": row["name"]}
    blanked = stones.blank(document, any_name=True)
    if not blanked.changes:
        return None
    is_gone = document["company_name"] is None
    values = {"name": document["company_name"]}
    values |= {name: None if is_gone else row[name] for name in ("name_key", "name_block")}
    return Hit(companies, {"domain": row["domain"]}, values, None, blanked, {"domain": row["domain"]})


def _texts(
    table: Table, names: Sequence[str], about: Sequence[str], referral: str | None = None, *, addresses: bool = False
) -> _Source:
    """Return a table with texts or JSON in the columns `names`, about the referral in the column `referral`.

    `addresses`: what comes from DNS and from rules, which name people by an address only.
    """
    keys = [column.name for column in table.primary_key]
    columns = [table.c[name] for name in names]

    def look(stones: Tombstones, _: Keyed, row: Mapping[str, Any], __: bool) -> Hit | None:
        document = {name: row[name] for name in names}
        referral_id = row[referral] if referral is not None else None
        blanked = stones.blank(document, referral_id, any_name=not addresses)
        if not blanked.changes:
            return None
        context = {name: row[name] for name in about}
        return Hit(table, {name: row[name] for name in keys}, document, referral_id, blanked, context)

    where = or_(*(cast(column, Text).contains("@") if addresses else column.is_not(None) for column in columns))
    return _Source(table, list(dict.fromkeys((*keys, *names, *about, *filter(None, [referral])))), look, where)


_SOURCES: Final = (
    _Source(raw_referrals, [column.name for column in raw_referrals.columns], _look_at_raw),
    _Source(quarantined_referrals, [column.name for column in quarantined_referrals.columns], _look_at_quarantine),
    _Source(
        leads,
        ["referral_id", "domain", "contact_name", "contact_email", "contact_phone", *_LEAD_TEXTS, *_OF_A_COMPANYS_NAME],
        _look_at_lead,
    ),
    _Source(companies, ["domain", "name", "name_key", "name_block"], _look_at_company),
    _texts(decisions, ["decided_by", "note"], ["kind", "subject", "choice", "decided_at"], "subject"),
    _texts(domain_signals, ["signals"], ["scanned_at"], addresses=True),
    _texts(signal_changes, ["detail"], ["domain", "changed_at"], addresses=True),
    _texts(company_scores, ["reasons", "inputs", "explanation_en", "explanation_tr"], ["scored_at"], addresses=True),
    _texts(score_changes, ["detail"], ["domain", "changed_at"], addresses=True),
    _texts(outbox, ["reason"], ["kind", "happened_at"]),
    _texts(sync_attempts, ["error"], ["started_at"]),
    _texts(reconciliations, ["error"], ["started_at"]),
    _texts(breakers, ["reason"], []),
)
"""Every table in which something of a person may be. The others hold ids, times, figures and digests only."""


def _rows(connection: Connection, source: _Source, after: Sequence[Any] | None) -> list[Mapping[str, Any]]:
    """Return the next CHUNK rows of a table by their key, after a key."""
    keys = list(source.table.primary_key.columns)
    query = select(*(source.table.c[name] for name in source.columns)).where(source.where).order_by(*keys).limit(CHUNK)
    if after is not None:
        last = (bindparam(None, value, type_=key.type) for key, value in zip(keys, after, strict=True))
        query = query.where(tuple_(*keys) > tuple_(*last))
    return [row_dict(row) for row in connection.execute(query)]


def _walk(warehouse: Warehouse, stones: Tombstones, keyed: Keyed, *, writing: bool) -> Iterator[tuple[Connection, Hit]]:
    """Yield every row that holds something of a person, in a transaction of each CHUNK rows."""
    for source in _SOURCES:
        names = [column.name for column in source.table.primary_key]
        after: list[Any] | None = None
        while True:
            with warehouse.write() if writing else warehouse.read() as connection:
                rows = _rows(connection, source, after)
                for row in rows:
                    hit = source.look(stones, keyed, row, False)
                    if hit is not None:
                        yield connection, hit
            if len(rows) < CHUNK:
                break
            after = [rows[-1][name] for name in names]


def _empty(connection: Connection, hit: Hit, now: datetime) -> None:
    """Write a row without what is a person's, and let what follows from it be derived again."""
    table = hit.table
    same = and_(*(table.c[name] == value for name, value in hit.key.items()))
    values = dict(hit.values)
    if table in (raw_referrals, quarantined_referrals):
        (name,) = hit.values.keys() & {"version", "fingerprint"}
        renamed = and_(*(table.c[key] == {**hit.key, **hit.values}[key] for key in hit.key))
        if hit.values[name] != hit.key[name]:
            values["erased_at"] = now
            if connection.execute(select(table.c[name]).where(renamed)).first():
                connection.execute(delete(table).where(same))  # it is stored without the person already
                return
    connection.execute(update(table).where(same).values(values))
    if table is raw_referrals:
        of_version = and_(leads.c.referral_id == hit.referral_id, leads.c.version == hit.key["version"])
        connection.execute(update(leads).where(of_version).values(version=hit.values["version"]))
    if table in (raw_referrals, leads) and hit.referral_id is not None:
        pending.add(connection, Task.LEADS, [hit.referral_id], now)


@dataclass(slots=True)
class Found:
    """What is held about a person. `hits` are personal data, `stones` tell whether a text names the person.

    `spared` counts contacts that share a number or a name with the person but have another address or name; `erased`
    says whether somebody with one of these identifiers was erased before.
    """

    stones: Tombstones
    hits: list[Hit] = field(default_factory=list)
    spared: int = 0
    erased: bool = False

    def rows(self) -> dict[str, int]:
        """Count the rows by table."""
        return dict(Counter(str(hit.table.name) for hit in self.hits))

    def names(self, text: str) -> bool:
        """Say whether a text names the person."""
        return bool(self.stones.blank([text], any_name=True).changes)

    def referral_ids(self) -> list[str]:
        """Return the referrals that name the person, in order."""
        return sorted({hit.referral_id for hit in self.hits if hit.referral_id is not None})


def search(warehouse: Warehouse, identifiers: Sequence[Identifier]) -> Found:
    """Find all that is held about a person. Changes nothing. Raises WarehouseError as `of` does."""
    with warehouse.read() as connection:
        stored = connection.execute(_KEY_KNOWN).scalar_one_or_none()
        keyed = Keyed(token_bytes(_LOCAL_KEY)) if stored is None else _the_key(warehouse.keeping, stored)
        known = {stone.digest for stone in _load(connection)}
    stones = stones_of(keyed, identifiers)
    named = _named(warehouse, keyed, stones)
    whole = Tombstones(keyed, [*stones, *_in_referrals(keyed, named)])
    # A file does not say of which referral a line is. A number may be that of a switchboard.
    also = (one for _, _, one in named if one.kind is not Kind.PHONE)
    anywhere = stones_of(keyed, [*identifiers, *also])
    found = Found(Tombstones(keyed, anywhere), erased=any(stone.digest in known for stone in stones))
    for _, hit in _walk(warehouse, whole, keyed, writing=False):
        found.spared += hit.blanked.spared
        if hit.changes:
            found.hits.append(hit)
    return found


_Named = tuple[str, str, Identifier]
"""A referral, a person, and what the person's contact has there."""


def _named(warehouse: Warehouse, keyed: Keyed, stones: Sequence[Tombstone]) -> list[_Named]:
    """Return what a person's contacts have, with the referrals, in order."""
    looked_for = Tombstones(keyed, stones)
    found = {
        (hit.referral_id, person, known)
        for _, hit in _walk(warehouse, looked_for, keyed, writing=False)
        if hit.referral_id is not None
        for person, known in hit.blanked.known
    }
    return sorted(found, key=lambda one: (one[0], one[1], one[2].kind, one[2].key))


def _in_referrals(keyed: Keyed, named: Iterable[_Named]) -> list[Tombstone]:
    return [
        stone for referral_id, person, name in named for stone in stones_in_referral(keyed, person, referral_id, name)
    ]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was emptied: rows by table."""

    rows: Mapping[str, int]


def erase(warehouse: Warehouse, identifiers: Sequence[Identifier], by: str, now: datetime) -> Erased:
    """Take a person out of all that is stored, and let nothing that comes in bring the person back.

    The tombstones are written first; so a person who is fetched meanwhile is not stored either, and the same call
    again finishes one that was killed. What follows from the rows is pending (`pending_work`). Raises WarehouseError.
    """
    keeping = _keeping(warehouse)
    keyed = _note_key(warehouse, keeping)
    stones = stones_of(keyed, identifiers)
    stones += _in_referrals(keyed, _named(warehouse, keyed, stones))
    with _as_warehouse_error():
        keeping.copy(stones)
    with warehouse.write() as connection:
        _add(connection, stones)
    rows = _empty_all(warehouse, Tombstones(keyed, stones), keyed, now)
    with warehouse.write() as connection:
        connection.execute(
            insert(erasures).values(erased_at=now, erased_by=by, person=stones[0].person, rows_emptied=rows)
        )
    return Erased(rows)


def _keeping(warehouse: Warehouse) -> ErasureKeeping:
    if warehouse.keeping is None:
        raise WarehouseError("the warehouse was opened without settings, so there is no place for the erasure key")
    return warehouse.keeping


def _note_key(warehouse: Warehouse, keeping: ErasureKeeping) -> Keyed:
    """Return the key, made where nobody was erased yet; note in the warehouse which one it is."""
    with warehouse.write() as connection, _as_warehouse_error():
        stored = connection.execute(_KEY_KNOWN).scalar_one_or_none()
        if stored is not None:
            return _the_key(keeping, stored)
        keyed = keeping.make()
        connection.execute(insert(erasure_key).values(id=1, digest=_check(keyed)))
        return keyed


def _add(connection: Connection, stones: Iterable[Tombstone]) -> None:
    rows = [
        {"person": one.person, "digest": one.digest, "kind": str(one.kind), "words": one.words}
        for one in dict.fromkeys(stones)
    ]
    insert_new(connection, tombstones, rows)


def _empty_all(warehouse: Warehouse, stones: Tombstones, keyed: Keyed, now: datetime) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for connection, hit in _walk(warehouse, stones, keyed, writing=True):
        if hit.changes:
            _empty(connection, hit, now)
            rows[str(hit.table.name)] += 1
    return dict(rows)


def reapply_erasures(warehouse: Warehouse, now: datetime) -> dict[str, int]:
    """Empty what is stored of persons who were erased, as after a restore; return the rows by table.

    Persons who were erased after the backup was made are known from the copy of the tombstones beside the key. Does
    nothing where nobody was ever erased. Raises WarehouseError as `of` does.
    """
    keeping = _keeping(warehouse)
    with _as_warehouse_error():
        copied = keeping.copied()
    with warehouse.read() as connection:
        stored = connection.execute(_KEY_KNOWN).scalar_one_or_none()
    if stored is None and not copied:
        return {}
    if stored is None:
        with _as_warehouse_error():
            if keeping.keyed() is None:
                raise WarehouseError(
                    f"there are tombstones of erased persons in {keeping.folder}, and no key in {keeping.where}; put "
                    "the key back from a backup"
                )
    keyed = _note_key(warehouse, keeping)
    with warehouse.write() as connection:
        _add(connection, copied)
        stones = _load(connection)
    with _as_warehouse_error():
        keeping.copy(stones)
    return _empty_all(warehouse, Tombstones(keyed, stones), keyed, now)


# Contacts of closed referrals -----------------------------------------------------------------------------------------


def empty_closed(warehouse: Warehouse, now: datetime, *, dry_run: bool = False) -> int:
    """Empty the contacts of referrals that were closed more than HUNTER_CLOSED_CONTACTS_DAYS ago.

    Returns how many referrals that were; 0 where the setting is off. All versions of such a referral are emptied, and
    marked, so that each is looked at once.
    """
    keeping = warehouse.keeping
    if keeping is None or keeping.closed_days is None:
        return 0
    before = ticks_of(now) - keeping.closed_days * _TICKS_PER_DAY
    if dry_run:
        with warehouse.read() as connection:
            return sum(1 for _ in _closed(connection, before, None))
    keyed = _note_key(warehouse, keeping)
    nobody = Tombstones(keyed, ())
    count, after = 0, ""
    while True:
        with warehouse.write() as connection:
            ids, after = _next_closed(connection, before, after)
            for source in _SOURCES[:3]:
                for row in _of_referrals(connection, source, ids):
                    hit = source.look(nobody, keyed, row, True)
                    if hit is not None:
                        _empty(connection, hit, now)
        count += len(ids)
        if not after:
            return count


def _closed(connection: Connection, before: int, after: str | None) -> Iterator[str]:
    while after != "":
        ids, after = _next_closed(connection, before, after or "")
        yield from ids


def _next_closed(connection: Connection, before: int, after: str) -> tuple[list[str], str]:
    """Return those of the next CHUNK leads to look at that were closed before, and where to go on ("" at the end)."""
    is_kept = select(raw_referrals.c.referral_id).where(
        raw_referrals.c.referral_id == leads.c.referral_id, raw_referrals.c.erased_at.is_(None)
    )
    query = (
        select(leads.c.referral_id, leads.c.status, leads.c.closed_text, leads.c.updated_ticks)
        .where(leads.c.is_open.is_(False), leads.c.referral_id > after, is_kept.exists())
        .order_by(leads.c.referral_id)
        .limit(CHUNK)
    )
    rows = connection.execute(query).all()
    ids = [
        row.referral_id
        for row in rows
        if _closed_at({"status": row.status, "closedDateTime": row.closed_text}, row.updated_ticks) < before
    ]
    return ids, rows[-1].referral_id if len(rows) == CHUNK else ""


def _of_referrals(connection: Connection, source: _Source, ids: Sequence[str]) -> list[Mapping[str, Any]]:
    columns = [source.table.c[name] for name in source.columns]
    return [
        row_dict(row)
        for chunk in chunks(ids)
        for row in connection.execute(select(*columns).where(among(source.table.c.referral_id, chunk)))
    ]


def prune_personal_data(warehouse: Warehouse, now: datetime, *, dry_run: bool = False) -> dict[str, int | str]:
    """Do what time asks for: empty contacts of referrals closed long ago, and forget old acts of erasing.

    Returns both counts, for people, and why free space of the database still holds what was emptied, or "". Raises
    WarehouseError.
    """
    emptied = empty_closed(warehouse, now, dry_run=dry_run)
    with warehouse.read() if dry_run else warehouse.write() as connection:
        forgotten = prune_log(connection, now, dry_run=dry_run)
    reason = forget_deleted(warehouse) if emptied and not dry_run else None
    return {
        "closed_referrals_emptied": emptied,
        "acts_of_erasing_forgotten": forgotten,
        "warehouse_not_written_anew": reason or "",
    }


# The log, and what a database leaves behind ---------------------------------------------------------------------------


def prune_log(connection: Connection, now: datetime, *, dry_run: bool = False) -> int:
    """Delete the acts of erasing that are older than LOG_KEPT; return how many. The tombstones stay."""
    old = erasures.c.erased_at < now - LOG_KEPT
    if dry_run:
        return len(connection.execute(select(erasures.c.id).where(old)).all())
    return connection.execute(delete(erasures).where(old)).rowcount


def forget_deleted(warehouse: Warehouse) -> str | None:
    """Let the database keep nothing of what was replaced: SQLite's file is written anew, PostgreSQL vacuumed.

    Copies of a SQLite file from before its migrations are deleted. Returns why that was not done, or None. Needs the
    space of the file once more for a moment.
    """
    if warehouse.file is None:
        return _vacuum_postgresql(warehouse)
    warehouse.close()
    copies.delete_copies(warehouse.file)
    with closing(sqlite3.connect(warehouse.file, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("VACUUM")
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            return f"{warehouse.file.name}: {error}"
    return f"{warehouse.file.name}: another program reads it" if busy else None


def _vacuum_postgresql(warehouse: Warehouse) -> str | None:
    unhurried = Warehouse(warehouse.url, replace(warehouse.limits, statement_seconds=0))
    names = ", ".join(source.table.name for source in _SOURCES)
    try:
        with unhurried.read() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(f"VACUUM {names}"))
    except WarehouseError as error:
        return str(error)
    finally:
        unhurried.close()
    return None
