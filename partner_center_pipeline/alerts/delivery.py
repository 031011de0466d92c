"""Delivering what is in the outbox: one sender at a time, each message claimed, sent, marked (alerts.md).

A message is claimed in one transaction and marked in another, with the sending between them. A process that is killed
between sending and marking leaves the message waiting, and the next one sends it again with the same id.

Not here: what a card says (`cards`), the answer of the receiver (`teams`), the table (`warehouse.outbox`).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from partner_center_pipeline.alerts import cards
from partner_center_pipeline.alerts.cards import News
from partner_center_pipeline.alerts.events import is_good, is_near
from partner_center_pipeline.alerts.teams import VARIABLE, Failed, Webhook
from partner_center_pipeline.reports.model import LeadRow
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings, is_loopback
from partner_center_pipeline.warehouse import demo, outbox, reporting, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError, renewed
from partner_center_pipeline.warehouse.outbox import GIVE_UP_AFTER, LONGEST_PAUSE, Kind
from partner_center_pipeline.warehouse.schema import OutboxState

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

NO_LONGER_IN_CATEGORY: Final = "the company is no longer in the category"
NO_OPEN_REFERRAL: Final = "no referral of the company is open"
SET_ASIDE: Final = "a person set it aside"
NO_LONGER_DUE: Final = "the lead is no longer due: it was closed, has another deadline, or the deadline passed"
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


def reason_not_to_send(settings: Settings) -> str | None:
    """Return why nothing may be sent under these settings, None when something may."""
    if settings.teams_webhook_url is None:
        return f"alerts are off: {VARIABLE} is not set"
    if not settings.partner_center_enabled:
        return "Partner Center integration is disabled (HUNTER_PARTNER_CENTER_ENABLED), and alerts with it"
    return None


def reason_to_wait(connection: Connection, settings: Settings, now: datetime) -> str | None:
    """Return why there is nothing to do at `now` (UTC), None when there is."""
    if (reason := reason_not_to_send(settings)) is not None:
        return reason
    waits = bool(outbox.waiting(connection))
    if not waits and _is_the_demos(connection, Webhook.host_of(settings)):
        return OF_THE_DEMO
    has_new = bool(_near_deadlines(connection, now))
    if not has_new and not waits:
        return "there is nothing to tell"
    until = outbox.paused_until(connection, now)
    if until is not None and not has_new:
        return f"the last message failed; nothing is sent until {until:%Y-%m-%d %H:%M} UTC"
    return None


def deliver(
    db: Warehouse,
    settings: Settings,
    *,
    holder: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    ignore_pause: bool = False,
) -> Delivered:
    """Note deadlines that came near, then send all that waits, unless a failure lately asks to wait.

    `holder` names the sender, `clock` returns UTC. The first message that fails ends the delivery: the receiver is left
    alone for a while, longer each time, and at least as long as it asks for. Raises SenderBusyError while another
    process sends, SettingsError and RulesError for settings and rules that cannot be used.
    """
    words = Words(load_rules(settings.scoring_rules), settings.report_language)
    webhook = Webhook(settings)
    lease = Lease(db, holder, clock, outbox.LEASE)
    try:
        try:
            lease.acquire(0, sleep)
        except LeaseLostError:
            raise SenderBusyError("another process is sending alerts; nothing was done") from None
        try:
            with renewed(lease):
                return _Delivery(db, webhook, lease, words, clock, sleep).all(ignore_pause)
        except LeaseLostError:
            raise SenderBusyError("another process took over sending alerts; this one stopped") from None
        finally:
            lease.release()
    finally:
        webhook.close()


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One delivery, under the lease."""

    db: Warehouse
    webhook: Webhook
    lease: Lease
    words: Words
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]

    def all(self, ignore_pause: bool) -> Delivered:
        done = Delivered()
        begun = self.clock()
        with self.db.read() as connection:  # takes a second in a large warehouse, which no writer is to wait for
            near = _near_deadlines(connection, begun)
        with self.db.write() as connection:
            self._prepare(connection, near, begun, done)
            done.paused_until = None if ignore_pause else outbox.paused_until(connection, begun)
        if done.paused_until is None:
            self._send_all(begun, done)
        with self.db.read() as connection:
            done.waiting = len(outbox.waiting(connection))
        return done

    def _prepare(self, connection: Connection, near: Sequence[outbox.Event], now: datetime, done: Delivered) -> None:
        """Note deadlines that came near, and end what is not to be told any more."""
        self.lease.confirm(connection)
        outbox.prune(connection, now)
        if _is_the_demos(connection, self.webhook.host):
            refused = [row.id for row in outbox.waiting(connection)]
            outbox.end(connection, refused, OutboxState.OUTDATED, OF_THE_DEMO, now)
            done.outdated += len(refused)
            return
        outbox.add(connection, near)
        too_old: defaultdict[str, list[str]] = defaultdict(list)
        for row in outbox.waiting(connection):
            if row.happened_at < now - GIVE_UP_AFTER:
                too_old[row.reason or NOT_TRIED].append(row.id)
        for reason, ids in too_old.items():
            outbox.end(connection, ids, OutboxState.GIVEN_UP, reason, now)
            done.given_up += len(ids)

    def _send_all(self, begun: datetime, done: Delivered) -> None:
        with self.db.read() as connection:
            reporting.begin_snapshot(connection)
            rows = outbox.waiting(connection)
            known = _known(connection, rows)
        for message_id, of_message in _messages(rows):
            if self.clock() - begun > timedelta(seconds=DELIVERY_SECONDS):
                return
            if done.messages:
                self.sleep(_PACE_SECONDS)
            if self._send(message_id, of_message, known, done) is not None:
                return

    def _send(
        self, message_id: str, rows: Sequence[outbox.Row], known: Mapping[tuple[str, str], LeadRow], done: Delivered
    ) -> Failed | None:
        """Tell what is still so; return why the message failed, if it did."""
        now = self.clock()
        news = {row.id: _news(row, known) for row in rows}
        true = {id_: one for id_, one in news.items() if isinstance(one, News)}
        outdated: defaultdict[str, list[str]] = defaultdict(list)
        for id_, one in news.items():
            if isinstance(one, str):
                outdated[one].append(id_)
        with self.db.write() as connection:
            self.lease.confirm(connection)
            for reason, ids in outdated.items():
                outbox.end(connection, ids, OutboxState.OUTDATED, reason, now)
                done.outdated += len(ids)
            outbox.claim(connection, list(true), message_id)
        if not true:
            return None
        told = list(true.values())
        card = (
            cards.single(told[0], message_id, self.words, now)
            if len(rows) == 1
            else cards.digest(told, message_id, self.words)
        )
        failed = self.webhook.send(cards.message(card), message_id, now)
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


def _is_the_demos(connection: Connection, host: str) -> bool:
    """Say whether what is in the warehouse must not be told to a receiver on this host."""
    return demo.load(connection) is not None and not is_loopback(host)


def pause_after(attempts: int, asked: float | None) -> timedelta:
    """Return how long to wait after so many failed tries: 1, 2, 4 minutes ... an hour, or the seconds `asked` for.

    What the receiver asks for counts up to LONGEST_PAUSE.
    """
    backoff = min(_FIRST_PAUSE * (1 << min(attempts - 1, 10)), _LONGEST_BACKOFF)
    wanted = timedelta(seconds=min(asked or 0.0, LONGEST_PAUSE.total_seconds()))
    return max(backoff, wanted)


def _messages(rows: Sequence[outbox.Row]) -> list[tuple[str, list[outbox.Row]]]:
    """Return the messages to send, with their events.

    Events that were tried already stay together under the id they had. Of the others each gets a message of its own, or
    all get one together where they are more than MOST_SINGLE. The oldest is first, but one that failed _TRIES_IN_A_ROW
    times goes behind those that failed less often.
    """
    tried: dict[str, list[outbox.Row]] = {}
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
        key=lambda one: (one[1][0].attempts // _TRIES_IN_A_ROW, min(row.happened_at for row in one[1]), one[0]),
    )


def _near_deadlines(connection: Connection, now: datetime) -> list[outbox.Event]:
    """Return the deadlines of good leads that came near and are not in the outbox yet, by the database's clock."""
    near = (LeadRow.of(row) for row in reporting.due_rows(connection))
    events = [
        outbox.came_near(row.referral_id, row.response_due, now)
        for row in near
        if is_near(row) and is_good(row) and not row.is_set_aside
        if row.referral_id is not None and row.response_due is not None
    ]
    return outbox.unknown(connection, events)


def _known(connection: Connection, rows: Sequence[outbox.Row]) -> dict[tuple[str, str], LeadRow]:
    """Return what the lists say now about the subjects of events, by kind and subject."""
    known = {}
    for kind, view, key in (
        (Kind.CATEGORY, views.leads_ready, "domain"),
        (Kind.DEADLINE, views.due_first, "referral_id"),
    ):
        subjects = {row.subject for row in rows if row.kind == kind}
        for found in reporting.rows_of(connection, view, key, subjects):
            known[str(kind), str(found[key])] = LeadRow.of(found)
    return known


def _news(row: outbox.Row, known: Mapping[tuple[str, str], LeadRow]) -> News | str:
    """Return an event with what is known now, or why it is not to be told any more."""
    found = known.get((row.kind, row.subject))
    if found is not None and found.is_set_aside:
        return SET_ASIDE
    if row.kind == Kind.CATEGORY:
        if found is None or found.category != row.detail:
            return NO_LONGER_IN_CATEGORY
        return News(found, row.detail) if found.open_referrals else NO_OPEN_REFERRAL
    due = None if found is None else found.response_due
    if found is None or due is None or due.strftime("%Y-%m-%dT%H:%M:%SZ") != row.detail:
        return NO_LONGER_DUE
    return News(found)
