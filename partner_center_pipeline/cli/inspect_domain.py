"""`partner-center inspect`: everything the warehouse knows about a domain, as a page or as JSON.

Not here: the rows that are read (`warehouse.card`), the page in the terminal (`inspect_page`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import click

from partner_center_pipeline.cli.base import console, emit, report_errors, stop
from partner_center_pipeline.cli.inspect_page import Explain, page
from partner_center_pipeline.cli.options import json_option, language_option
from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse.card import Absent, Card, look_up
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline.warehouse.signals import unlisted_hosts
from partner_center_pipeline.windows import KEY_FORMAT, datetime_of, render_ticks

_COMPANY: Final = (
    "name", "country", "city", "domain_ascii_key", "referrals", "open_referrals", "engagements", "open_cosell",
    "cosell_referral", "deal_value", "currency", "tenant", "tenant_source",
)  # fmt: skip
_LISTED: Final = (
    "response_due", "is_due_live", "due_note", "deal_value_reported", "reported_currency", "rate_note",
    "decision", "decision_until", "decided_at", "decided_by", "is_set_aside",
)  # fmt: skip
_BOOKKEEPING: Final = ("next_scan_at", "failures")


@click.command()
@click.argument("domain", required=False)
@click.option(
    "--unlisted",
    is_flag=True,
    help="Without DOMAIN: list the mail hosts that nobody in the provider table owns, by suffix.",
)
@json_option("Print all of it as one JSON document.")
@language_option
@report_errors
def inspect(domain: str | None, unlisted: bool, as_json: bool, language: str) -> None:
    """Show everything that is known about a company's domain, and where each point of its score comes from.

    DOMAIN is a host, a URL or an e-mail address, in Unicode or punycode; what counts is its registrable domain. Shown
    are the company, its place in the sales list, each reason with points and evidence, its mail set-up with every
    look-up and answer, its referrals, what it may be a duplicate of, and how score and mail set-up changed.

    \b
    Examples:
      partner-center inspect firma.com.tr
      partner-center inspect https://www.öztürk.com.tr/iletisim --language tr
      partner-center inspect firma.com.tr --json
      partner-center inspect --unlisted

    It only reads the warehouse. DNS is not asked: a domain is looked up only because a referral named it. No contact is
    shown.
    """
    from partner_center_pipeline.leads import ascii_key, normalize_domain, unicode_domain  # too slow for --help

    if unlisted and domain is None:
        _show_unlisted(as_json, language)
        return
    if unlisted or domain is None:
        stop("give a domain, e.g. `partner-center inspect firma.com.tr`, or `--unlisted` without one")
    key = normalize_domain(domain)
    if key is None:
        stop(
            "what was given names no domain that can be a company's; give a host, a URL or an e-mail address, e.g. "
            "firma.com.tr (no IP address, no bare suffix, no page on a social network, no KEP, no onmicrosoft.com)"
        )
    settings = Settings.load()
    say, rule_texts = Texts(language), load_rules(settings.scoring_rules).texts()

    def explain(code: str) -> str:
        text = rule_texts.get(code)  # None: stored by a newer version, or under rules with other labels
        return code if text is None else str(getattr(text, say.language))

    with open_warehouse(settings) as warehouse, warehouse.read() as connection:
        card = look_up(connection, key, ascii_key(key))
    if isinstance(card, Absent):
        stop(_explain_absence(card, key))
    signals = MailSignals.from_row(card.signals["signals"]) if card.signals else None
    if as_json:
        emit(_plain(_document(card, signals.to_row() if signals else None, language, explain)))
        return
    if domain not in (key, unicode_domain(key)):
        console.print(f"{say('card.read_as', domain=unicode_domain(key))}\n", markup=False)
    console.print(page(card, signals, explain, say, datetime.now(UTC), console.width), soft_wrap=False)


def _show_unlisted(as_json: bool, language: str) -> None:
    """Print which suffixes the provider table lacks, with the companies whose mail they take."""
    from rich.table import Table
    from rich.text import Text

    from partner_center_pipeline.mail.unlisted import count_unlisted

    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        found = count_unlisted(unlisted_hosts(connection))
    if as_json:
        emit(_plain([asdict(one) for one in found]))
        return
    say = Texts(language)
    if not found:
        console.print(say("unlisted.none"), markup=False)
        return
    table = Table(title=say("unlisted.title"), title_justify="left")
    for name in ("suffix", "companies", "first_seen", "example"):
        table.add_column(say(f"unlisted.{name}"), justify="right" if name == "companies" else "left")
    for one in found:
        cells = (one.suffix, str(one.companies), f"{one.first_seen:%Y-%m-%d}", one.example)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def _explain_absence(absent: Absent, domain: str) -> str:
    """Return why there is nothing to show, and the next step."""
    if absent.leads:
        who = "1 referral names" if absent.leads == 1 else f"{absent.leads} referrals name"
        return (
            f"{who} {_spelled(domain)}, but its company is not made yet: a window is not through; run "
            "`partner-center sync`"
        )
    alike = " or ".join(_spelled(name) for name in absent.alike)
    return (
        f"no referral names {_spelled(domain)}, so nothing is known about it: a domain is looked up only because a "
        "referral named it; "
        + (f"did you mean {alike}?" if alike else "`partner-center sync` brings the referrals that are due")
    )


def _spelled(domain: str) -> str:
    from partner_center_pipeline.leads import unicode_domain

    name = unicode_domain(domain)
    return domain if name == domain else f"{name} ({domain})"


def _document(card: Card, signals: Mapping[str, Any] | None, language: str, explain: Explain) -> dict[str, Any]:
    """Return the card as plain data: instants as ISO 8601 in UTC, a window as its partition key."""
    company, score, listed = card.company, card.score, card.listed or {}
    return {
        "domain": company["domain"],
        "domain_unicode": company["domain_unicode"],
        "language": language,
        "company": {
            **{name: company[name] for name in _COMPANY},
            **{name: listed.get(name) for name in _LISTED},
            "updated": render_ticks(company["updated_ticks"]),
        },
        "sales": {"rank": listed.get("rank"), "of": card.ranked},
        "score": score and _score({**score, "reasons": listed.get("reasons", score["reasons"])}, explain),
        "mail": signals and card.signals and {**signals, **{name: card.signals[name] for name in _BOOKKEEPING}},
        "referrals": [_referral(row) for row in card.referrals],
        "suggested_matches": card.matches,
        "decisions": [_decision(row) for row in card.decisions],
        "score_changes": [_without(row, "id", "domain") for row in card.score_changes],
        "signal_changes": [_without(row, "id", "domain") for row in card.signal_changes],
        "waiting": [{"window": _window(item.window_start), "asset": item.asset} for item in card.waiting],
    }


def _score(row: Mapping[str, Any], explain: Explain) -> dict[str, Any]:
    return {
        **_without(row, "domain"),
        "segment_reason_text": explain(row["segment_reason"]),
        "reasons": [{**reason, "text": explain(reason["code"])} for reason in row["reasons"]],
    }


def _referral(row: Mapping[str, Any]) -> dict[str, Any]:
    start = row["window_start"]
    return {
        **_without(row, "updated_ticks", "expires_ticks", "window_start"),
        "window": None if start is None else _window(start),
    }


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _window(start: int) -> str:
    return datetime_of(start).strftime(KEY_FORMAT)


def _decision(row: Mapping[str, Any]) -> dict[str, Any]:
    until = row["until_ticks"]
    shown = {name: value for name, value in row.items() if name != "until_ticks"}
    return {**shown, "until": None if until is None else render_ticks(until)}


def _plain(value: Any) -> Any:
    """Convert a value to JSON's types. Amounts become floats, which are exact to the cent up to 13 digits."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
