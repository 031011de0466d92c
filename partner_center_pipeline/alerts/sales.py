"""What the sales team is told, by the Teams webhook: companies that entered a category, and deadlines that are near.

Not here: what a card says (`cards`), how messages are delivered (`delivery`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from partner_center_pipeline.alerts import cards
from partner_center_pipeline.alerts.cards import News
from partner_center_pipeline.alerts.delivery import OF_THE_DEMO, Delivered, Delivery, is_the_demos, sending
from partner_center_pipeline.alerts.events import SOON, is_good, is_near
from partner_center_pipeline.alerts.teams import VARIABLE, Failed, Webhook
from partner_center_pipeline.reports.model import LeadRow
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import outbox, reporting, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.outbox import SALES, Event, Kind, Row

_ROUNDED: Final = timedelta(hours=0.1)
"""`hours_left` is rounded to a tenth, and what is near is decided by that."""

NO_LONGER_IN_CATEGORY: Final = "the company is no longer in the category"
NO_OPEN_REFERRAL: Final = "no referral of the company is open"
SET_ASIDE: Final = "a person set it aside"
NO_LONGER_DUE: Final = "the lead is no longer due: it was closed, has another deadline, or the deadline passed"


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
    waits = bool(outbox.waiting(connection, SALES))
    if not waits and is_the_demos(connection, Webhook.host_of(settings)):
        return OF_THE_DEMO
    has_new = bool(_near_deadlines(connection, now))
    if not has_new and not waits:
        return "there is nothing to tell"
    until = outbox.paused_until(connection, SALES, now)
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

    `holder` names the sender, `clock` returns UTC. Raises SenderBusyError while another process sends, SettingsError
    and RulesError for settings and rules that cannot be used.
    """
    words = Words(load_rules(settings.scoring_rules), settings.report_language)
    with closing(Webhook(settings)) as webhook, sending(db, outbox.LEASE, holder, clock, sleep) as lease:
        return Delivery(db, _Sales(webhook, words), lease, clock, sleep).all(ignore_pause=ignore_pause)


class _Sales:
    """The channel of the sales team."""

    name: Final = SALES
    in_order: Final = False

    def __init__(self, webhook: Webhook, words: Words) -> None:
        self.host: Final = webhook.host
        self._webhook: Final = webhook
        self._words: Final = words

    def found(self, connection: Connection, now: datetime) -> Sequence[Event]:
        """Return the deadlines that came near."""
        return _near_deadlines(connection, now)

    def news(self, connection: Connection, rows: Sequence[Row]) -> Mapping[str, News | str]:
        """Return what the lists say now about each event, or why it is not to be told any more."""
        known = _known(connection, rows)
        return {row.id: _news(row, known) for row in rows}

    def lasting(self, connection: Connection, rows: Sequence[Row]) -> Collection[str]:  # noqa: ARG002  the protocol's
        """Return none: what is told two days late is no news to a salesperson."""
        return ()

    def send(self, told: Sequence[News], message_id: str, now: datetime, *, is_single: bool) -> Failed | None:
        """Send one card."""
        card = (
            cards.single(told[0], message_id, self._words, now)
            if is_single
            else cards.digest(told, message_id, self._words)
        )
        return self._webhook.send(cards.message(card), message_id, now)


def _near_deadlines(connection: Connection, now: datetime) -> list[Event]:
    """Return the deadlines of good leads that came near and are not in the outbox yet, by the database's clock."""
    near = (LeadRow.of(row) for row in reporting.near_rows(connection, SOON + _ROUNDED))
    events = [
        outbox.came_near(row.referral_id, row.response_due, now)
        for row in near
        if is_near(row) and is_good(row) and not row.is_set_aside
        if row.referral_id is not None and row.response_due is not None
    ]
    return outbox.unknown(connection, events)


def _known(connection: Connection, rows: Sequence[Row]) -> dict[tuple[str, str], LeadRow]:
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


def _news(row: Row, known: Mapping[tuple[str, str], LeadRow]) -> News | str:
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
