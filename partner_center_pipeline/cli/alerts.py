"""`partner-center alerts`: send the cards that wait, list them, and try the webhook.

Not here: what is told and how it is delivered (`alerts`).
"""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import click
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.cli.base import console, emit, print_table, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import Settings

if TYPE_CHECKING:
    from partner_center_pipeline.warehouse.outbox import Row


@click.group()
def alerts() -> None:
    """Cards in Teams: a company entered P1 or P2, or a good lead has to be answered within 72 hours.

    The schedule sends them while the UI runs. Set HUNTER_TEAMS_WEBHOOK_URL first (docs/alerts.md), then try it with
    `partner-center alerts test`.
    """


@alerts.command()
@click.option("--now", "ignore_pause", is_flag=True, help="Do not wait because a message failed lately.")
@json_option("Print what was done as JSON.")
@report_errors
def send(ignore_pause: bool, as_json: bool) -> None:
    """Send what waits. Exit code 1 when the receiver did not take it, with the reason."""
    from partner_center_pipeline.alerts.delivery import SenderBusyError, deliver, reason_not_to_send
    from partner_center_pipeline.warehouse.database import open_warehouse

    settings = Settings.load()
    if (reason := reason_not_to_send(settings)) is not None:
        stop(reason)
    with open_warehouse(settings) as warehouse:
        try:
            done = deliver(
                warehouse,
                settings,
                holder=f"partner-center alerts send {uuid4()}",
                clock=_utc_now,
                sleep=time.sleep,
                ignore_pause=ignore_pause,
            )
        except SenderBusyError as error:
            stop(str(error))
    if as_json:
        emit(done.shown())
    else:
        console.print(f"Sent: {done.messages} messages about {done.events} events. Waiting: {done.waiting}.")
        if done.outdated:
            console.print(f"Not sent, because it is no longer so: {done.outdated}.")
        if done.given_up:
            console.print(f"Given up after 48 hours: {done.given_up} (`partner-center alerts list`).")
        if done.failed is None and done.paused_until is not None:
            console.print(
                f"A message failed lately: nothing is sent until {done.paused_until:%Y-%m-%d %H:%M} UTC, or with --now."
            )
    if done.failed is not None:
        stop(done.failed)


@alerts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that were sent, and those that are no longer so.")
@json_option("Print the list as JSON.")
@report_errors
def list_(everything: bool, as_json: bool) -> None:
    """List what waits to be sent and what was given up, with the reason: the newest first."""
    from partner_center_pipeline.warehouse import outbox
    from partner_center_pipeline.warehouse.database import open_warehouse

    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        rows = outbox.listed(connection, everything=everything)
    if as_json:
        emit([row.shown() for row in rows])
    elif rows:
        print_table(_table(rows))
    else:
        console.print("There is no alert." if everything else "No alert waits, and none was given up.")


@alerts.command()
@json_option("Print the message's id and the receiver's host as JSON.")
@report_errors
def test(as_json: bool) -> None:
    """Send a card that says that cards arrive. Nothing is kept of it."""
    from partner_center_pipeline.alerts import cards
    from partner_center_pipeline.alerts.teams import Webhook
    from partner_center_pipeline.reports.words import Words
    from partner_center_pipeline.scoring import load_rules

    settings = Settings.load()
    words = Words(load_rules(settings.scoring_rules), settings.report_language)
    message_id, now = str(uuid4()), _utc_now()
    webhook = Webhook(settings)
    try:
        failed = webhook.send(cards.message(cards.trial(message_id, words, now)), message_id, now)
    finally:
        webhook.close()
    if failed is not None:
        stop(failed.reason)
    if as_json:
        emit({"message_id": message_id, "host": webhook.host})
        return
    console.print(
        f"{webhook.host} took the message {message_id}. If no card appears in the channel within a minute, look at the "
        "workflow's run history in Teams.",
        markup=False,
    )


def _table(rows: "list[Row]") -> Table:
    table = Table("when (UTC)", "what", "of", "detail", "state", "tries", "next try (UTC)", "reason")
    for row in rows:
        is_waiting = row.ended_at is None
        table.add_row(
            f"{row.happened_at:%Y-%m-%d %H:%M}",
            row.kind,
            Text(row.subject),
            row.detail,
            row.state,
            str(row.attempts),
            f"{row.next_try_at:%Y-%m-%d %H:%M}" if is_waiting else "",
            Text(row.reason or ""),
        )
    return table


def _utc_now() -> datetime:
    return datetime.now(UTC)
