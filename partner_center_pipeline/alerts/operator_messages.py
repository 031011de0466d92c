"""What operators are told of conditions that changed: as a card, as JSON and as a mail. Pure functions.

No message holds personal data or a secret: the sentences are those of `partner-center status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Final

from partner_center_pipeline.alerts import cards
from partner_center_pipeline.alerts.cards import Card
from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse.outbox import Change

_TEXT_MOST: Final = 600
"""Characters of a finding: 20 of them are far below what Teams takes."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A condition that changed: `text` is the finding, `since` when the condition was first found (UTC)."""

    subject: str
    change: Change
    grade: str
    text: str
    since: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """What is told at once, with the id that stays the same when it is sent again, and the machine that tells it."""

    changes: Sequence[Changed]
    id: str
    machine: str


def card(message: Message, say: Texts) -> Card:
    """Return the card of a message."""
    blocks: list[tuple[str, str]] = []
    for changed in message.changes:
        if len(message.changes) > 1:
            blocks.append((title(changed, say), ""))
        blocks.append((say("operators.finding"), _clipped(changed.text)))
        blocks.append((say("operators.since"), say.instant(changed.since)))
    blocks += [(say("operators.machine"), message.machine), ("", say("operators.what_to_do"))]
    return cards.plain(headline(message, say), blocks, message.id, say)


def json(message: Message, say: Texts) -> dict[str, Any]:
    """Return what a plain webhook gets. Its names and codes stay; `title` and `text` may change."""
    return {
        "id": message.id,
        "machine": message.machine,
        "title": headline(message, say),
        "conditions": [
            {
                "subject": changed.subject,
                "change": str(changed.change),
                "grade": changed.grade,
                "title": title(changed, say),
                "text": _clipped(changed.text),
                "since": f"{changed.since:%Y-%m-%dT%H:%M:%SZ}",
                "at": f"{changed.at:%Y-%m-%dT%H:%M:%SZ}",
            }
            for changed in message.changes
        ],
    }


def mail(message: Message, say: Texts, sent_at: datetime) -> EmailMessage:
    """Return the mail of a message, still without sender and recipients."""
    parts = []
    for changed in message.changes:
        lines = (
            title(changed, say),
            f"{say('operators.finding')}: {_clipped(changed.text)}",
            f"{say('operators.since')}: {say.instant(changed.since)}",
        )
        parts.append("\n".join(lines))
    parts.append(
        f"{say('operators.machine')}: {message.machine}\n{say('operators.what_to_do')}\n"
        f"{say('alert.message_id', id=message.id)}"
    )
    return _mail(headline(message, say), "\n\n".join(parts), message.id, sent_at)


def trial_card(message_id: str, say: Texts, now: datetime) -> Card:
    """Return the card with which a person tries the operators' webhook."""
    return cards.plain(say("alert.test_title"), [("", _trial(say, now))], message_id, say)


def trial_json(message_id: str, machine: str, say: Texts, now: datetime) -> dict[str, Any]:
    """Return the JSON with which a person tries a webhook: a message about no condition."""
    return {"id": message_id, "machine": machine, "title": _trial(say, now), "conditions": []}


def trial_mail(message_id: str, say: Texts, now: datetime) -> EmailMessage:
    """Return the mail with which a person tries the mail server."""
    return _mail(say("alert.test_title"), _trial(say, now), message_id, now)


def headline(message: Message, say: Texts) -> str:
    """Return what a message is about, in a line."""
    if len(message.changes) == 1:
        return title(message.changes[0], say)
    return say("operators.title_many", count=len(message.changes))


def title(changed: Changed, say: Texts) -> str:
    """Return what changed, in a line."""
    what, grade = say.word("condition", changed.subject), say.word("grade", changed.grade)
    return say(f"operators.title_{changed.change}", grade=grade, what=what)


def _trial(say: Texts, now: datetime) -> str:
    return say("operators.test_text", when=say.instant(now))


def _mail(subject: str, text: str, message_id: str, sent_at: datetime) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = f"Partner Center: {subject}"
    mail["Date"] = sent_at
    mail["Message-ID"] = f"<{message_id}@partner-center.invalid>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence note answers it
    mail.set_content(text)
    return mail


def _clipped(text: str) -> str:
    text = " ".join(clean(text).split())
    return text if len(text) <= _TEXT_MOST else text[: _TEXT_MOST - 1] + "…"
