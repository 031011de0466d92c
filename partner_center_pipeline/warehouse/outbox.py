"""Table outbox: events that people are to be told, each until it was told, so that none is lost or doubled.

An event is added in the transaction that brings it about. What sends it claims it first: the id of its message is
stored before the message is sent, so whoever sends it again, after a crash, sends the same id. Not here: which changes
are events (`scoring.history`, `alerts.events`), and sending (`alerts.delivery`).
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from partner_center_pipeline.warehouse.bulk import among, chunks, insert_new, present
from partner_center_pipeline.warehouse.schema import OutboxState, outbox
from partner_center_pipeline.windows import counts_until

SALES: Final = "sales"
"""The channel of the sales team's events."""

LEASE: Final = "outbox"
OPERATORS_LEASE: Final = "outbox, operators"
"""The names of the leases for sending, to the sales team and to operators: one sender of each at a time."""

COOL_DOWN: Final = timedelta(days=7)
"""A company that comes back to a category within this time after it entered it is no news."""

GIVE_UP_AFTER: Final = timedelta(hours=48)
"""How long an event is tried to be told."""

LONGEST_PAUSE: Final = timedelta(hours=6)
"""The longest wait after a failure, whatever the receiver asks for."""

KEPT: Final = timedelta(days=90)
"""How long an event is kept after it ended: longer than COOL_DOWN, and than a deadline is near."""

_NAMESPACE: Final = UUID("6f1b6c0e-5f5e-4c53-9d0a-6c1e1c5b8a52")


class Kind(StrEnum):
    """What happened."""

    CATEGORY = "category"
    DEADLINE = "deadline"
    CONDITION = "condition"


class Change(StrEnum):
    """How a condition changed."""

    RAISED = "raised"
    WORSE = "worse"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell: `subject` is a company's domain or a referral's id, `detail` the category or the deadline.

    Of a condition they are what is not well and the Change, and it has `grade`, `text` and `since` as they were then.
    `id` is the same whenever the same event is found again.
    """

    id: str
    kind: Kind
    subject: str
    detail: str
    happened_at: datetime
    channel: str = SALES
    grade: str | None = None
    text: str | None = None
    since: datetime | None = None


def entered(domain: str, category: str, scored_at: datetime) -> Event:
    """Return the event of a company that entered a category with the score made at `scored_at`."""
    return Event(
        _id(Kind.CATEGORY, domain, category, scored_at.isoformat()), Kind.CATEGORY, domain, category, scored_at
    )


def came_near(referral_id: str, deadline: datetime, now: datetime) -> Event:
    """Return the event of a lead whose deadline came near. Another deadline of the same lead is another event."""
    text = deadline.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Event(_id(Kind.DEADLINE, referral_id, text), Kind.DEADLINE, referral_id, text, now)


def changed(subject: str, change: Change, grade: str, text: str, since: datetime, now: datetime, channel: str) -> Event:
    """Return the event of a condition that changed, for one channel: each is told by itself.

    A condition that is known since an instant is raised and cleared once, and may become worse more often.
    """
    when = now.isoformat() if change is Change.WORSE else ""
    id_ = _id(Kind.CONDITION, subject, change, since.isoformat(), when, channel)
    return Event(id_, Kind.CONDITION, subject, change, now, channel, grade, text, since)


def digest_id(ids: Collection[str]) -> str:
    """Return the id of a message that tells several events."""
    return _id("digest", *sorted(ids))


def _id(*parts: str) -> str:
    return str(uuid5(_NAMESPACE, "\n".join(parts)))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    id: str
    kind: str
    subject: str
    detail: str
    happened_at: datetime
    state: str
    message_id: str | None
    attempts: int
    next_try_at: datetime
    reason: str | None
    ended_at: datetime | None
    channel: str
    grade: str | None
    text: str | None
    since: datetime | None

    def shown(self) -> dict[str, Any]:
        """Return the row as JSON shows it."""
        return asdict(self)


def add_entered(connection: Connection, events: Sequence[Event]) -> None:
    """Add events of companies that entered a category, but none of a company that was in it a moment ago.

    Within COOL_DOWN after an entry that was told, or still waits to be, the same entry is no news: a mail set-up whose
    answers come and go would otherwise tell the same every hour.
    """
    if not events:
        return
    known: set[tuple[str, str]] = set()
    for chunk in chunks([event.subject for event in events]):
        rows = connection.execute(
            select(outbox.c.subject, outbox.c.detail).where(
                outbox.c.kind == Kind.CATEGORY,
                among(outbox.c.subject, chunk),
                outbox.c.state.in_((OutboxState.WAITING, OutboxState.SENT)),
                outbox.c.happened_at > min(event.happened_at for event in events) - COOL_DOWN,
            )
        )
        known.update((row.subject, row.detail) for row in rows)
    add(connection, [event for event in events if (event.subject, event.detail) not in known])


def add(connection: Connection, events: Sequence[Event]) -> None:
    """Add events that are not known yet, to be told at once."""
    insert_new(
        connection,
        outbox,
        [
            {
                **asdict(event),
                "state": OutboxState.WAITING,
                "message_id": None,
                "attempts": 0,
                "next_try_at": event.happened_at,
                "reason": None,
                "ended_at": None,
            }
            for event in events
        ],
    )


def unknown(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """Return those of these events that are not in the table."""
    known = present(connection, outbox, [(event.id,) for event in events])
    return [event for event in events if (event.id,) not in known]


def waiting(connection: Connection, channel: str) -> list[Row]:
    """Return the events to be told by a channel, the oldest first."""
    is_waiting = and_(outbox.c.state == OutboxState.WAITING, outbox.c.channel == channel)
    query = select(outbox).where(is_waiting).order_by(outbox.c.happened_at, outbox.c.id)
    return [Row(**row._asdict()) for row in connection.execute(query)]


def paused_until(connection: Connection, channel: str, now: datetime) -> datetime | None:
    """Return until when a channel sends nothing because a message failed; None when it may send at `now` (UTC).

    A failure holds all messages back, as it is the receiver's. A pause longer than LONGEST_PAUSE was written by a clock
    that was wrong, and is void.
    """
    failed = and_(outbox.c.state == OutboxState.WAITING, outbox.c.channel == channel, outbox.c.reason.is_not(None))
    until = connection.execute(select(func.max(outbox.c.next_try_at)).where(failed)).scalar_one()
    return until if until is not None and counts_until(until, now, LONGEST_PAUSE) else None


def claim(connection: Connection, ids: Sequence[str], message_id: str) -> None:
    """Note that events are about to be told by a message."""
    for chunk in chunks(ids):
        connection.execute(
            update(outbox).where(outbox.c.id.in_(chunk)).values(message_id=message_id, attempts=outbox.c.attempts + 1)
        )


def mark_failed(connection: Connection, ids: Sequence[str], reason: str, next_try_at: datetime) -> None:
    """Note why the message of these events failed and when it may be tried again."""
    for chunk in chunks(ids):
        connection.execute(update(outbox).where(outbox.c.id.in_(chunk)).values(reason=reason, next_try_at=next_try_at))


def end(connection: Connection, ids: Sequence[str], state: OutboxState, reason: str | None, now: datetime) -> None:
    """Note that these events are no longer to be told, and why."""
    for chunk in chunks(ids):
        connection.execute(
            update(outbox).where(outbox.c.id.in_(chunk)).values(state=state, reason=reason, ended_at=now)
        )


def end_others(
    connection: Connection, channels: Collection[str], state: OutboxState, reason: str, now: datetime
) -> None:
    """Note that conditions are no longer to be told by any channel but these, and why."""
    others = and_(
        outbox.c.state == OutboxState.WAITING,
        outbox.c.kind == Kind.CONDITION,
        outbox.c.channel.not_in(list(channels)),
    )
    connection.execute(update(outbox).where(others).values(state=state, reason=reason, ended_at=now))


def prune(connection: Connection, now: datetime) -> None:
    """Delete the events that ended longer than KEPT ago."""
    connection.execute(delete(outbox).where(outbox.c.ended_at < now - KEPT))


def listed(connection: Connection, *, everything: bool) -> list[Row]:
    """Return the events that wait and those that were given up, or all that are kept; the newest first."""
    query = select(outbox).order_by(outbox.c.happened_at.desc(), outbox.c.id)
    if not everything:
        query = query.where(outbox.c.state.in_((OutboxState.WAITING, OutboxState.GIVEN_UP)))
    return [Row(**row._asdict()) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many events wait and were given up lately, and why the newest message of them failed."""

    waiting: int
    given_up: int
    reason: str | None


def summary(connection: Connection, channels: Collection[str], now: datetime) -> Summary:
    """Return what is wrong with these channels, or nothing. An event that was given up counts for a week."""
    lately = and_(outbox.c.state == OutboxState.GIVEN_UP, outbox.c.ended_at > now - timedelta(days=7))
    counts_now = and_(or_(outbox.c.state == OutboxState.WAITING, lately), outbox.c.channel.in_(list(channels)))
    query = select(outbox.c.state, func.count().label("number")).where(counts_now).group_by(outbox.c.state)
    counts = {row.state: row.number for row in connection.execute(query)}
    reason = connection.execute(
        select(outbox.c.reason)
        .where(counts_now, outbox.c.reason.is_not(None))
        .order_by(outbox.c.next_try_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return Summary(counts.get(OutboxState.WAITING, 0), counts.get(OutboxState.GIVEN_UP, 0), reason)
