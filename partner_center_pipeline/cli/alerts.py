"""`partner-center alerts`: send the cards that wait, list them, check for operators, and try the receivers.

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
from partner_center_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from partner_center_pipeline.warehouse.outbox import Row


@click.group()
def alerts() -> None:
    """Cards in Teams: a company entered P1 or P2, or a good lead has to be answered within 72 hours.

    The schedule sends them while the UI runs. Set HUNTER_TEAMS_WEBHOOK_URL first (docs/alerts.md), then try it with
    `partner-center alerts test`.

    Operators are told what stops the sync, and when that is over: by Teams, a webhook or mail, where one of
    HUNTER_OPERATORS_TEAMS_WEBHOOK_URL, HUNTER_OPERATORS_WEBHOOK_URL and HUNTER_OPERATORS_MAIL_TO is set. Try it with
    `partner-center alerts test --operators`.
    """


@alerts.command()
@click.option("--now", "ignore_pause", is_flag=True, help="Do not wait because a message failed lately.")
@json_option("Print what was done as JSON.")
@report_errors
def send(ignore_pause: bool, as_json: bool) -> None:
    """Send what waits. Exit code 1 when the receiver did not take it, with the reason."""
    from partner_center_pipeline.alerts.delivery import SenderBusyError
    from partner_center_pipeline.alerts.sales import deliver, reason_not_to_send
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
@click.option("--now", "ignore_pause", is_flag=True, help="Do not wait because a message failed lately.")
@json_option("Print what was done as JSON.")
@report_errors
def check(ignore_pause: bool, as_json: bool) -> None:
    """Find out what `status` says, and tell operators what is not well anew, or over.

    Each condition is told once, once more when it becomes worse, and once when it is over, by each channel that is set
    up. For a timer of the system, every five minutes: Dagster's daemon does the same, but not when it is dead.

    Exit code 1 when a receiver did not take a message; what it was is kept, and tried again. Whether all is well is not
    in the exit code: `partner-center status` has that.
    """
    from partner_center_pipeline.alerts import operators
    from partner_center_pipeline.alerts.delivery import SenderBusyError
    from partner_center_pipeline.cli.operators import check_now

    settings = Settings.load()
    if (reason := operators.reason_not_to_check(settings)) is not None:
        if not operators.channels_of(settings):
            stop(reason)
        _skip(reason, as_json)
        return
    try:
        checked = check_now(settings, "partner-center alerts check", ignore_pause=ignore_pause)
    except SenderBusyError:
        _skip("another process is telling operators at this moment; nothing was done", as_json)
        return
    if as_json:
        emit(checked.shown())
    else:
        for label, subjects in (("New", checked.raised), ("Worse", checked.worse), ("Over", checked.cleared)):
            if subjects:
                console.print(f"{label}: {', '.join(subjects)}.", markup=False)
        console.print(f"Not well: {', '.join(checked.open)}." if checked.open else "All is well.", markup=False)
        for name, done in checked.channels.items():
            console.print(f"{name}: {done.messages} messages sent, {done.waiting} wait.", markup=False)
    if checked.failures:
        stop("\n".join(checked.failures))


@alerts.command()
@click.option("--operators", "for_operators", is_flag=True, help="Try each channel that operators are told by.")
@json_option("Print the message's id and the receiver's host as JSON; with --operators a list.")
@report_errors
def test(for_operators: bool, as_json: bool) -> None:
    """Send a card that says that cards arrive. Nothing is kept of it."""
    if for_operators:
        _test_operators(as_json)
        return
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


def _skip(reason: str, as_json: bool) -> None:
    """Say why nothing was done, which is no failure of a timer."""
    if as_json:
        emit({"skipped": reason})
    else:
        console.print(reason, markup=False)


def _test_operators(as_json: bool) -> None:
    """Try each channel, also after one failed."""
    from partner_center_pipeline.alerts import operators

    settings = Settings.load()
    channels = operators.channels_of(settings)
    if not channels:
        stop(operators.reason_not_to_check(settings) or "")
    message_id, now = str(uuid4()), _utc_now()
    reasons = []
    for name in channels:
        try:
            failed = operators.try_out(name, settings, message_id, now)
            reasons.append(None if failed is None else failed.reason)
        except SettingsError as error:
            reasons.append(str(error))
    if as_json:
        tried = zip(channels, operators.hosts_of(settings), reasons, strict=True)
        emit([{"message_id": message_id, "channel": name, "host": host, "failed": why} for name, host, why in tried])
    else:
        for host, why in zip(operators.hosts_of(settings), reasons, strict=True):
            if why is None:
                console.print(f"{host} took the message {message_id}.", markup=False)
    if any(reasons):
        stop("\n".join(why for why in reasons if why is not None))


def _table(rows: "list[Row]") -> Table:
    table = Table("when (UTC)", "to", "what", "of", "detail", "state", "tries", "next try (UTC)", "reason")
    for row in rows:
        is_waiting = row.ended_at is None
        table.add_row(
            f"{row.happened_at:%Y-%m-%d %H:%M}",
            row.channel,
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
