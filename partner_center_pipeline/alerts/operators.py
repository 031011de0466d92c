"""What operators are told: conditions that were found and that are over, by each channel that is set up.

A check notes what changed, with a message for each channel in the same transaction, and then delivers what waits. One
process checks at a time, so nobody judges by findings that another one has overtaken.

Not here: finding out (`health`, `defs.health_items`), which finding is told when (`conditions`), what a message says
(`operator_messages`), and a warehouse that cannot be used (`without_warehouse`).
"""

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from partner_center_pipeline.alerts import cards, operator_messages, without_warehouse
from partner_center_pipeline.alerts.conditions import explained, judged
from partner_center_pipeline.alerts.delivery import Delivered, Delivery, sending
from partner_center_pipeline.alerts.mail import MailServer
from partner_center_pipeline.alerts.operator_messages import Changed, Message
from partner_center_pipeline.alerts.teams import OPERATORS_TEAMS, OPERATORS_WEBHOOK, Failed, Webhook
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.settings import Settings, SettingsError, is_loopback
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse import conditions, outbox
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError, open_warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.outbox import Change, Event, Row
from partner_center_pipeline.warehouse.schema import OutboxState

TEAMS: Final = "operators_teams"
WEBHOOK: Final = "operators_webhook"
MAIL: Final = "operators_mail"
"""The channels in the outbox."""

NOT_SET_UP: Final = "the channel is not set up any more"
CANNOT_BE_USED: Final = frozenset({"warehouse", "schema"})
"""Findings that keep the warehouse from being used."""

_PAUSE: Final = timedelta(minutes=15)
"""How long nothing is tried by a channel whose settings cannot be used: each try is a run of Dagster."""

_Send = Callable[[Message, datetime], Failed | None]


@dataclass(slots=True)
class Checked:
    """What a check did: what was told anew, the subjects that are open, and what each channel delivered."""

    raised: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    channels: dict[str, Delivered] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return it by the names that people see."""
        return {
            "raised": self.raised,
            "worse": self.worse,
            "cleared": self.cleared,
            "open": self.open,
            "channels": {name: done.shown() for name, done in self.channels.items()},
        }

    @property
    def failures(self) -> list[str]:
        """Why messages were not taken, for each channel where one was not."""
        return [done.failed for done in self.channels.values() if done.failed is not None]


def channels_of(settings: Settings) -> list[str]:
    """Return the channels that are set up."""
    is_set_up = {
        TEAMS: settings.operators_teams_webhook_url is not None,
        WEBHOOK: settings.operators_webhook_url is not None,
        MAIL: bool(settings.operators_mail_to) or settings.smtp_server is not None,
    }
    return [name for name, is_on in is_set_up.items() if is_on]


def hosts_of(settings: Settings) -> list[str]:
    """Return the hosts that are told, which is all of an address that people may see."""
    hosts = {
        TEAMS: Webhook.host_of(settings, OPERATORS_TEAMS),
        WEBHOOK: Webhook.host_of(settings, OPERATORS_WEBHOOK),
        MAIL: "" if settings.smtp_server is None else settings.smtp_server[0],
    }
    return [hosts[name] or "HUNTER_SMTP_SERVER, which is not set" for name in channels_of(settings)]


def reason_not_to_check(settings: Settings) -> str | None:
    """Return why operators are told nothing under these settings, None when they are."""
    if not channels_of(settings):
        return (
            "operators are told nothing: set HUNTER_OPERATORS_TEAMS_WEBHOOK_URL, HUNTER_OPERATORS_WEBHOOK_URL or "
            "HUNTER_OPERATORS_MAIL_TO (docs/alerts.md)"
        )
    if not settings.partner_center_enabled:
        return "Partner Center integration is disabled (HUNTER_PARTNER_CENTER_ENABLED), so operators are told nothing"
    return None


def reason_to_wait(connection: Connection, settings: Settings, items: Iterable[Item], now: datetime) -> str | None:
    """Return why there is nothing to do at `now` (UTC) with these findings, None when there is."""
    known = conditions.load(connection)
    if judged(known, explained(items), now)[1] != known or without_warehouse.noted() is not None:
        return None
    waiting = [name for name in channels_of(settings) if outbox.waiting(connection, name)]
    if any(outbox.paused_until(connection, name, now) is None for name in waiting):
        return None
    return "the last message failed; it is tried again later" if waiting else "nothing changed"


def check(
    settings: Settings,
    find: Callable[[], Iterable[Item]],
    *,
    holder: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    ignore_pause: bool = False,
) -> Checked:
    """Note what of the findings changed, and tell it by each channel that is set up.

    `find` finds out, `holder` names the process, `clock` returns UTC. Where the warehouse cannot be used, that is told
    without it. Raises SenderBusyError while another process checks.
    """
    try:
        with (
            open_warehouse(settings) as db,
            sending(db, outbox.OPERATORS_LEASE, holder, clock, sleep) as lease,
        ):
            checked = _note(db, lease, settings, _usable(find()), clock())
            for name in channels_of(settings):
                checked.channels[name] = _deliver(name, settings, db, lease, clock, sleep, ignore_pause)
            return checked
    except WarehouseError as error:
        return tell_without_warehouse(settings, str(error), clock)


def _usable(items: Iterable[Item]) -> list[Item]:
    """Return findings to judge. Raises WarehouseError when they say that the warehouse cannot be used."""
    found = explained(items)
    for item in found:
        if item.subject in CANNOT_BE_USED and item.grade is Grade.WRONG:
            raise WarehouseError(item.text)
    return found


def _note(db: Warehouse, lease: Lease, settings: Settings, items: Iterable[Item], now: datetime) -> Checked:
    """Write the conditions and what is to be told of them in one transaction."""
    channels = channels_of(settings)
    checked = Checked()
    with without_warehouse.alone() as kept:
        with db.write() as connection:
            lease.confirm(connection)
            outbox.end_others(connection, channels, OutboxState.OUTDATED, NOT_SET_UP, now)
            known = conditions.load(connection)
            told, after = judged(known, items, now)
            lists = {Change.RAISED: checked.raised, Change.WORSE: checked.worse, Change.CLEARED: checked.cleared}
            events = []
            for one in told:
                it = one.condition
                lists[one.change].append(it.subject)
                events += [
                    outbox.changed(it.subject, one.change, it.grade, it.text, it.since, now, name) for name in channels
                ]
            if kept.state is not None:
                checked.cleared.append(without_warehouse.SUBJECT)
                events += kept.state.events(channels, now)
            outbox.add(connection, events)
            conditions.forget(connection, known.keys() - after.keys())
            conditions.keep(connection, [one for one in after.values() if known.get(one.subject) != one])
            checked.open = sorted(after)
        kept.forget()
    return checked


def _deliver(
    name: str,
    settings: Settings,
    db: Warehouse,
    lease: Lease,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    ignore_pause: bool,
) -> Delivered:
    """Deliver to one channel. Settings that cannot be used stop no other channel."""
    try:
        with ExitStack() as stack:
            channel = _channel(name, settings, stack)
            return Delivery(db, channel, lease, clock, sleep).all(ignore_pause=ignore_pause)
    except SettingsError as error:
        now = clock()
        until = now + _PAUSE
        with db.write() as connection:
            lease.confirm(connection)
            waiting = [row.id for row in outbox.waiting(connection, name)]
            outbox.mark_failed(connection, waiting, str(error), until)
        return Delivered(failed=str(error), waiting=len(waiting), paused_until=until)


def is_told_without_warehouse(settings: Settings) -> bool:
    """Say whether each channel was told that the warehouse cannot be used."""
    state = without_warehouse.noted()
    return state is not None and set(channels_of(settings)) <= set(state.told)


def tell_without_warehouse(settings: Settings, reason: str, clock: Callable[[], datetime]) -> Checked:
    """Tell that the warehouse cannot be used, once by each channel; what was told is kept in the home folder.

    Nobody knows then whether it is the demo's, so while the API is on this machine only receivers on it are told.
    """
    checked = Checked(open=[without_warehouse.SUBJECT])
    is_local = is_loopback(settings.partner_center_host)
    with without_warehouse.alone() as kept:
        if kept.state is None:
            checked.raised.append(without_warehouse.SUBJECT)
        state = kept.begin(reason, clock())
        for name in channels_of(settings):
            done = checked.channels[name] = Delivered()
            if name in state.told:
                continue
            event = state.raised(name)
            try:
                with ExitStack() as stack:
                    channel = _channel(name, settings, stack)
                    if is_local and not is_loopback(channel.host):
                        done.outdated += 1
                        continue
                    failed = channel.send([_of_event(event)], event.id, clock(), is_single=True)
            except SettingsError as error:
                failed = Failed(str(error))
            if failed is None:
                done.messages, done.events = 1, 1
                kept.mark(name)
            else:
                done.failed, done.waiting = failed.reason, 1
    return checked


def try_out(name: str, settings: Settings, message_id: str, now: datetime) -> Failed | None:
    """Send a message that says that messages arrive. Nothing is kept of it. Raises SettingsError."""
    say = Texts(settings.report_language)
    if name == MAIL:
        return MailServer(settings).send(operator_messages.trial_mail(message_id, say, now))
    if name == TEAMS:
        with closing(Webhook(settings, OPERATORS_TEAMS)) as webhook:
            return webhook.send(cards.message(operator_messages.trial_card(message_id, say, now)), message_id, now)
    with closing(Webhook(settings, OPERATORS_WEBHOOK)) as webhook:
        return webhook.send(operator_messages.trial_json(message_id, _machine(), say, now), message_id, now)


class _Channel:
    """One channel of the operators."""

    in_order: Final = True

    def __init__(self, name: str, host: str, send: _Send) -> None:
        self.name: Final = name
        self.host: Final = host
        self._send: Final = send

    def found(self, connection: Connection, now: datetime) -> Sequence[Event]:  # noqa: ARG002  the protocol's
        """Return none: `_note` has them."""
        return ()

    def news(self, connection: Connection, rows: Sequence[Row]) -> Mapping[str, Changed | str]:  # noqa: ARG002
        """Return each change as it was noted: that it is over by now is another message."""
        return {row.id: _of_event(row) for row in rows}

    def lasting(self, connection: Connection, rows: Sequence[Row]) -> Collection[str]:
        """Return what is still so: it is told however long no receiver took it."""
        known = conditions.load(connection)
        return {row.id for row in rows if row.subject in known and row.detail != Change.CLEARED}

    def send(self, told: Sequence[Changed], message_id: str, now: datetime, *, is_single: bool) -> Failed | None:  # noqa: ARG002
        """Send one message."""
        return self._send(Message(told, message_id, _machine()), now)


def _channel(name: str, settings: Settings, stack: ExitStack) -> _Channel:
    """Open a channel until the stack ends. Raises SettingsError for settings that cannot be used."""
    say = Texts(settings.report_language)
    if name == MAIL:
        server = MailServer(settings)
        return _Channel(name, server.host, partial(_send_mail, server, say))
    webhook = stack.enter_context(closing(Webhook(settings, OPERATORS_TEAMS if name == TEAMS else OPERATORS_WEBHOOK)))
    return _Channel(name, webhook.host, partial(_send_card if name == TEAMS else _send_json, webhook, say))


def _send_card(webhook: Webhook, say: Texts, message: Message, now: datetime) -> Failed | None:
    return webhook.send(cards.message(operator_messages.card(message, say)), message.id, now)


def _send_json(webhook: Webhook, say: Texts, message: Message, now: datetime) -> Failed | None:
    return webhook.send(operator_messages.json(message, say), message.id, now)


def _send_mail(server: MailServer, say: Texts, message: Message, now: datetime) -> Failed | None:
    return server.send(operator_messages.mail(message, say, now))


def _of_event(event: Event | Row) -> Changed:
    return Changed(
        event.subject,
        Change(event.detail),
        event.grade or "",
        event.text or "",
        event.since or event.happened_at,
        event.happened_at,
    )


def _machine() -> str:
    return socket.gethostname()
