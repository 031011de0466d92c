"""Delivering what is in the outbox: one sender at a time, each message claimed, sent, marked (alerts.md).

A message is claimed in one transaction and marked in another, with the sending between them. A process that is killed
between sending and marking leaves the message waiting, and the next one sends it again with the same id.

Not here: what is told to whom (`sales`, `operators`), the answer of a receiver (`teams`, `mail`), the table
(`warehouse.outbox`).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from partner_center_pipeline.alerts.teams import Failed
from partner_center_pipeline.settings import is_loopback
from partner_center_pipeline.warehouse import demo, outbox, reporting
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError, renewed
from partner_center_pipeline.warehouse.outbox import GIVE_UP_AFTER, LONGEST_PAUSE, Event, Row
from partner_center_pipeline.warehouse.schema import OutboxState

News = TypeVar("News")

MOST_SINGLE: Final = 5
"""Events that get a card each. More at once get one card together: the first sync of a tenant may bring hundreds."""

DELIVERY_SECONDS: Final = 120.0
"""Seconds after which a delivery begins no further message; the next one goes on."""

_PACE_SECONDS: Final = 0.3
"""Seconds between two messages: Teams throttles more than four in a second (Microsoft Learn)."""

_FIRST_PAUSE: Final = timedelta(minutes=1)
_LONGEST_BACKOFF: Final = timedelta(hours=1)
_TRIES_IN_A_ROW: Final = 4
"""Tries of a message after which others go first: one that is always refused must not hold all others back."""

OF_THE_DEMO: Final = "the warehouse holds the demo's invented referrals, which are told to a local receiver only"
NOT_TRIED: Final = "it was not tried to be sent for 48 hours"


@dataclass(slots=True)
class Delivered:
    """What a delivery did. `failed`: why the last message was not taken; `paused_until`: nothing is sent until then."""

    messages: int = 0
    events: int = 0
    outdated: int = 0
    given_up: int = 0
    waiting: int = 0
    failed: str | None = None
    paused_until: datetime | None = None

    def shown(self) -> dict[str, Any]:
        """Return the counts, and the rest where there is any, by the names that people see."""
        named = asdict(self)
        named["paused_until"] = self.paused_until and self.paused_until.isoformat(timespec="seconds")
        return {name: value for name, value in named.items() if value is not None}


class SenderBusyError(Exception):
    """Another process is sending. Nothing was done."""


class Channel(Protocol[News]):
    """Whom messages of the outbox go to, and what they say. `News` is an event with what is known of it now."""

    @property
    def name(self) -> str:
        """The channel in the outbox."""
        ...

    @property
    def host(self) -> str:
        """The receiver's host."""
        ...

    @property
    def in_order(self) -> bool:
        """Whether messages are told in the order of their events, also where one is refused again and again."""
        ...

    def found(self, connection: Connection, now: datetime) -> Sequence[Event]:
        """Return the events that are looked for before a delivery."""
        ...

    def news(self, connection: Connection, rows: Sequence[Row]) -> Mapping[str, News | str]:
        """Return by id what is to be told of each event, or why nothing is to be told of it any more."""
        ...

    def lasting(self, connection: Connection, rows: Sequence[Row]) -> Collection[str]:
        """Return the ids of events that are told however old they are."""
        ...

    def send(self, told: Sequence[News], message_id: str, now: datetime, *, is_single: bool) -> Failed | None:
        """Send a message once; return why it was not taken, if it was not."""
        ...


@contextmanager
def sending(
    db: Warehouse, name: str, holder: str, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> Iterator[Lease]:
    """Be the only one who sends while the block runs. Raises SenderBusyError while another process does."""
    lease = Lease(db, holder, clock, name)
    try:
        lease.acquire(0, sleep)
    except LeaseLostError:
        raise SenderBusyError("another process is sending alerts; nothing was done") from None
    try:
        with renewed(lease):
            yield lease
    except LeaseLostError:
        raise SenderBusyError("another process took over sending alerts; this one stopped") from None
    finally:
        lease.release()


@dataclass(frozen=True, slots=True)
class Delivery(Generic[News]):
    """One delivery to a channel, under the lease. `clock` returns UTC."""

    db: Warehouse
    channel: Channel[News]
    lease: Lease
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]

    def all(self, *, ignore_pause: bool = False) -> Delivered:
        """Note what the channel looks for, then send all that waits, unless a failure lately asks to wait.

        The first message that fails ends the delivery: the receiver is left alone for a while, longer each time, and at
        least as long as it asks for.
        """
        done = Delivered()
        begun = self.clock()
        with self.db.read() as connection:  # takes a second in a large warehouse, which no writer is to wait for
            found = self.channel.found(connection, begun)
        with self.db.write() as connection:
            self._prepare(connection, found, begun, done)
            done.paused_until = None if ignore_pause else outbox.paused_until(connection, self.channel.name, begun)
        if done.paused_until is None:
            self._send_all(begun, done)
        with self.db.read() as connection:
            done.waiting = len(outbox.waiting(connection, self.channel.name))
        return done

    def _prepare(self, connection: Connection, found: Sequence[Event], now: datetime, done: Delivered) -> None:
        """Note what was found, and end what is not to be told any more."""
        self.lease.confirm(connection)
        outbox.prune(connection, now)
        if is_the_demos(connection, self.channel.host):
            refused = [row.id for row in outbox.waiting(connection, self.channel.name)]
            outbox.end(connection, refused, OutboxState.OUTDATED, OF_THE_DEMO, now)
            done.outdated += len(refused)
            return
        outbox.add(connection, found)
        too_old: defaultdict[str, list[str]] = defaultdict(list)
        old = [row for row in outbox.waiting(connection, self.channel.name) if row.happened_at < now - GIVE_UP_AFTER]
        lasting = self.channel.lasting(connection, old) if old else ()
        for row in old:
            if row.id not in lasting:
                too_old[row.reason or NOT_TRIED].append(row.id)
        for reason, ids in too_old.items():
            outbox.end(connection, ids, OutboxState.GIVEN_UP, reason, now)
            done.given_up += len(ids)

    def _send_all(self, begun: datetime, done: Delivered) -> None:
        with self.db.read() as connection:
            reporting.begin_snapshot(connection)
            rows = outbox.waiting(connection, self.channel.name)
            news = self.channel.news(connection, rows)
        for message_id, of_message in _messages(rows, in_order=self.channel.in_order):
            if self.clock() - begun > timedelta(seconds=DELIVERY_SECONDS):
                return
            if done.messages:
                self.sleep(_PACE_SECONDS)
            if self._send(message_id, of_message, news, done) is not None:
                return

    def _send(
        self, message_id: str, rows: Sequence[Row], news: Mapping[str, News | str], done: Delivered
    ) -> Failed | None:
        """Tell what is still so; return why the message failed, if it did."""
        now = self.clock()
        true: dict[str, News] = {}
        outdated: defaultdict[str, list[str]] = defaultdict(list)
        for row in rows:
            one = news[row.id]
            if isinstance(one, str):
                outdated[one].append(row.id)
            else:
                true[row.id] = one
        with self.db.write() as connection:
            self.lease.confirm(connection)
            for reason, ids in outdated.items():
                outbox.end(connection, ids, OutboxState.OUTDATED, reason, now)
                done.outdated += len(ids)
            outbox.claim(connection, list(true), message_id)
        if not true:
            return None
        failed = self.channel.send(list(true.values()), message_id, now, is_single=len(rows) == 1)
        now = self.clock()
        with self.db.write() as connection:
            self.lease.confirm(connection)
            if failed is None:
                outbox.end(connection, list(true), OutboxState.SENT, None, now)
            else:
                attempts = max(row.attempts for row in rows) + 1
                done.paused_until = now + pause_after(attempts, failed.retry_after)
                outbox.mark_failed(connection, list(true), failed.reason, done.paused_until)
        if failed is None:
            done.messages += 1
            done.events += len(true)
        else:
            done.failed = failed.reason
        return failed


def is_the_demos(connection: Connection, host: str) -> bool:
    """Say whether what is in the warehouse must not be told to a receiver on this host."""
    return demo.load(connection) is not None and not is_loopback(host)


def pause_after(attempts: int, asked: float | None) -> timedelta:
    """Return how long to wait after so many failed tries: 1, 2, 4 minutes ... an hour, or the seconds `asked` for.

    What the receiver asks for counts up to LONGEST_PAUSE.
    """
    backoff = min(_FIRST_PAUSE * (1 << min(attempts - 1, 10)), _LONGEST_BACKOFF)
    wanted = timedelta(seconds=min(asked or 0.0, LONGEST_PAUSE.total_seconds()))
    return max(backoff, wanted)


def _messages(rows: Sequence[Row], *, in_order: bool) -> list[tuple[str, list[Row]]]:
    """Return the messages to send, with their events.

    Events that were tried already stay together under the id they had. Of the others each gets a message of its own, or
    all get one together where they are more than MOST_SINGLE. The oldest is first, but unless they are to be told
    `in_order`, one that failed _TRIES_IN_A_ROW times goes behind those that failed less often.
    """
    tried: dict[str, list[Row]] = {}
    fresh = [row for row in rows if row.message_id is None]
    for row in rows:
        if row.message_id is not None:
            tried.setdefault(row.message_id, []).append(row)
    messages = list(tried.items())
    if len(fresh) > MOST_SINGLE:
        messages.append((outbox.digest_id([row.id for row in fresh]), fresh))
    else:
        messages += [(row.id, [row]) for row in fresh]
    return sorted(
        messages,
        key=lambda one: (
            0 if in_order else one[1][0].attempts // _TRIES_IN_A_ROW,
            min(row.happened_at for row in one[1]),
            one[0],
        ),
    )
