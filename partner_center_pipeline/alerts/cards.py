"""Adaptive Cards for Teams: what is told of one event, of many, and in a test. Pure functions.

A card has version 1.4, the newest that Workflows takes. Text stands in runs (`TextRun`), never in a `TextBlock` or a
fact: those read Markdown, and a company's name could be a link. No card holds a contact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.reports.model import REFERRALS_PAGE, LeadRow, Reason
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.texts import Texts

LARGEST: Final = 28 * 1024
"""Bytes that Teams takes in a message (Microsoft Learn, "Create Incoming Webhooks")."""

LISTED: Final = 15
"""Events of each kind that a digest names."""

_NAME_MOST: Final = 80
_TEXT_MOST: Final = 200
_REASONS_MOST: Final = 12
"""Characters of a name and of a text, and reasons, that a card shows: so no card reaches LARGEST."""

_ABOUT_THE_DEADLINE: Final = frozenset({"response_due", "response_was_due"})
"""Reasons that a card tells in a line of its own."""

Card = Mapping[str, Any]
Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """An event with what is known of it now: `category` that the company entered; None for a deadline that is near."""

    row: LeadRow
    category: str | None = None


def message(card: Card) -> dict[str, Any]:
    """Return the body that a Workflows webhook takes."""
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def single(news: News, message_id: str, words: Words, now: datetime) -> Card:
    """Return the card of one event."""
    row, say = news.row, words.say
    name = _name(row, words)
    if news.category is not None:
        title = say("alert.entered", category=news.category, company=name)
    else:
        title = say("alert.due", when=_day(row, words), company=name)
    lines = [_line(say(f"alert.{label}"), value) for label, value in _facts(row, words, now) if value]
    reasons = [one for one in row.reasons if one.code not in _ABOUT_THE_DEADLINE][:_REASONS_MOST]
    if reasons:
        lines.append(_block([_bold(say("alert.reasons"))]))
        lines += [_block([_run(f"• {_reason(one, words)}")], spacing="None") for one in reasons]
    return _card(title, lines, message_id, words)


def digest(news: Sequence[News], message_id: str, words: Words) -> Card:
    """Return one card for many events, the most urgent of each kind by name, the others as a number."""
    say = words.say
    lines = []
    for kind, of_kind in (
        ("entered", sorted((one for one in news if one.category is not None), key=lambda one: one.row.rank)),
        ("due", sorted((one for one in news if one.category is None), key=lambda one: one.row.rank)),
    ):
        if not of_kind:
            continue
        lines.append(_block([_bold(say(f"alert.digest_{kind}", count=len(of_kind)))], spacing="Medium"))
        lines += [_block([_run(f"• {_short(one, words)}")], spacing="None") for one in of_kind[:LISTED]]
        if len(of_kind) > LISTED:
            more = say("alert.digest_more", count=len(of_kind) - LISTED)
            lines.append(_block([_run(more, isSubtle=True)], spacing="None"))
    return _card(say("alert.digest", count=len(news)), lines, message_id, words)


def trial(message_id: str, words: Words, now: datetime) -> Card:
    """Return the card with which a person tries the webhook."""
    say = words.say
    text = say("alert.test_text", when=say.instant(now))
    return _card(say("alert.test_title"), [_block([_run(text)])], message_id, words)


def plain(title: str, lines: Sequence[tuple[str, str]], message_id: str, say: Texts) -> Card:
    """Return a card of labels and values, without a link; a line without a label or a value has the other alone."""
    blocks = [
        _line(label, value) if label and value else _block([_bold(label) if label else _run(value)])
        for label, value in lines
    ]
    return _made(title, blocks, message_id, say)


def _facts(row: LeadRow, words: Words, now: datetime) -> list[tuple[str, str]]:
    say = words.say
    company = _name(row, words)
    domain = _clipped(row.domain_unicode or row.domain or "", _NAME_MOST)
    category = " – ".join(part for part in (row.category, words.label(row), words.act(row)) if part)
    due = ""
    if row.response_due is not None:
        due = say.instant(row.response_due)
        due += f" ({say.distance(row.response_due - now)})" if row.is_due_live else ""
    return [
        ("company", f"{company} ({domain})" if domain else company),
        ("category", _clipped(category, _TEXT_MOST)),
        ("segment", words.known("segment", row.segment)),
        ("source", words.sentence("referral_category", row.referral_category)),
        ("deadline", due),
        ("value", _value(row, words)),
        ("note", _clipped(words.note(row), _TEXT_MOST)),
    ]


def _value(row: LeadRow, words: Words) -> str:
    if row.deal_value is None:
        return ""
    own = words.say.amount(row.deal_value, row.currency)
    if row.deal_value_reported is None or row.currency == row.reported_currency:
        return own
    return f"{own} ({words.say.amount(row.deal_value_reported, row.reported_currency)})"


def _short(news: News, words: Words) -> str:
    row = news.row
    if news.category is not None:
        parts = (news.category, _name(row, words), words.known("segment", row.segment), _value(row, words))
    else:
        when = words.say.instant(row.response_due) if row.response_due else ""
        parts = (when, _name(row, words), row.category or "", _value(row, words))
    return " · ".join(part for part in parts if part)


def _reason(reason: Reason, words: Words) -> str:
    seen = [f"{reason.points:+}"] if reason.points else []
    if reason.evidence:
        seen.append(reason.evidence)
    text = words.reason(reason.code)
    return _clipped(f"{text} ({', '.join(seen)})" if seen else text, _TEXT_MOST)


def _name(row: LeadRow, words: Words) -> str:
    return _clipped(row.company_name or row.domain_unicode or words.text("word.unnamed"), _NAME_MOST)


def _day(row: LeadRow, words: Words) -> str:
    return words.say.day(row.response_due) if row.response_due else ""


def _clipped(text: str, most: int) -> str:
    text = clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _card(title: str, lines: Sequence[Mapping[str, Any]], message_id: str, words: Words) -> Card:
    link = {"type": "Action.OpenUrl", "title": words.say("alert.open"), "url": REFERRALS_PAGE}
    return {**_made(title, lines, message_id, words.say), "actions": [link]}


def _made(title: str, lines: Sequence[Mapping[str, Any]], message_id: str, say: Texts) -> Card:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "lang": str(say.language),
        "fallbackText": title,
        "body": [
            _block([_bold(title, size="Large")]),
            *lines,
            _block([_run(say("alert.message_id", id=message_id), size="Small", isSubtle=True)], spacing="Medium"),
        ],
    }


def _line(label: str, value: str) -> dict[str, Any]:
    return _block([_bold(f"{label}: "), _run(value)], spacing="Small")


def _block(runs: Sequence[Run], **look: Any) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **look}


def _bold(text: str, **look: Any) -> Run:
    return _run(text, weight="Bolder", **look)


def _run(text: str, **look: Any) -> Run:
    return {"type": "TextRun", "text": text, **look}
