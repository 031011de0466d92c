"""Cards: what they say in both languages, and that nobody's name can change them or make them too large."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from partner_center_pipeline.alerts.cards import LARGEST, News, digest, message, single, trial
from partner_center_pipeline.alerts.events import is_good, is_near
from partner_center_pipeline.reports.model import REFERRALS_PAGE, LeadRow, Reason
from partner_center_pipeline.scoring.history import enters_told_category
from partner_center_pipeline_tests.reports.made_up import HOSTILE, NOW, lead, words

ID = "00000000-0000-5000-8000-000000000001"


def due(**changes: Any) -> LeadRow:
    """A lead with all that a card tells, to be answered on 8 December."""
    values: dict[str, Any] = {
        "label_tr": "Yüksek Potansiyelli Yeni Müşteri",
        "act_tr": "48 saat içinde",
        "referral_category": "co-sell",
        "response_due": NOW.replace(day=8, hour=14, minute=30),
        "is_due_live": True,
        "due_note": None,
        "deal_value": Decimal("12500"),
        "currency": "TRY",
        "deal_value_reported": None,
        "reasons": (
            Reason("provider_local", 10, "mx.öztürk.com.tr"),
            Reason("no_spf", -10, None),
            Reason("response_due", 0, "2026-12-08T14:30:00Z"),
        ),
    }
    return replace(lead(1), **{**values, **changes})


def lines(card: Any) -> list[str]:
    """The text of each block."""
    return ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]


def test_a_turkish_card_is_turkish_with_dates_and_amounts_as_people_write_them() -> None:
    card = single(News(due(), "P1"), ID, words("tr"), NOW)
    assert lines(card) == [
        "P1 kategorisine yeni girdi: Öztürk Çelik 1",
        "Şirket: Öztürk Çelik 1 (öztürk1.com.tr)",
        "Kategori: P1 – Yüksek Potansiyelli Yeni Müşteri – 48 saat içinde",
        "Segment: Geçiş",
        "Kaynak: Ortak satış fırsatı (co-sell)",
        "Son yanıt tarihi: 08.12.2026 14:30 UTC (7 gün sonra)",
        "Fırsat tutarı: 12.500,00 TRY",
        "Neden",
        "• E-posta, şirketin kendi alan adı altındaki bir sunucuda (+10, mx.öztürk.com.tr)",
        "• SPF kaydı yok (-10)",
        f"İleti {ID}",
    ]
    assert card["lang"] == "tr"
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Partner Center'da Referanslar sayfasını aç", "url": REFERRALS_PAGE}
    ]


def test_an_english_card_of_a_deadline() -> None:
    card = single(News(due(response_due=NOW + timedelta(hours=47))), ID, words("en"), NOW)
    assert lines(card)[0] == "Answer by 2026-12-03: Öztürk Çelik 1"
    assert "Answer by: 2026-12-03 08:30 UTC (in 47 h)" in lines(card)
    assert "Deal value: 12,500.00 TRY" in lines(card)
    assert (card["version"], card["type"]) == ("1.4", "AdaptiveCard")


@pytest.mark.parametrize("language", ["en", "tr"])
def test_a_digest_names_the_most_urgent_of_each_kind_and_counts_the_others(language: str) -> None:
    news = [News(due(rank=number, company_name=f"Firma {number}"), "P2") for number in range(20, 0, -1)]
    card = digest([*news, News(due(company_name="Acele"))], ID, words(language))
    shown = lines(card)
    turkish = language == "tr"
    assert shown[0] == ("21 bildirim" if turkish else "21 alerts")
    assert shown[1] == ("P1 veya P2 kategorisine yeni girenler: 20" if turkish else "New in P1 or P2: 20")
    assert shown[2].startswith("• P2 · Firma 1 · ")
    assert shown[17] == ("ve 5 tane daha; tamamı raporda" if turkish else "and 5 more; the report has all of them")
    assert shown[18] == ("72 saat içinde yanıtlanması gerekenler: 1" if turkish else "To answer within 72 hours: 1")
    assert shown[19].startswith("• 08.12.2026 14:30 UTC · Acele" if turkish else "• 2026-12-08 14:30 UTC · Acele")


def test_a_test_card_says_how_it_was_sent() -> None:
    assert "partner-center alerts test" in lines(trial(ID, words("tr"), NOW))[1]


@pytest.mark.parametrize("name", list(HOSTILE))
def test_whatever_a_company_is_called_the_card_is_whole_small_and_without_markdown(name: str) -> None:
    text = HOSTILE[name]
    row = due(company_name=text, domain_unicode=text * 3, label=text, act=text, reasons=(Reason(text, 1, text),) * 40)
    many = [News(row, "P1") for _ in range(40)] + [News(row) for _ in range(40)]
    for card in (single(News(row, "P1"), ID, words(), NOW), digest(many, ID, words())):
        body = orjson.dumps(message(card))
        assert len(body) < LARGEST
        blocks = orjson.loads(body)["attachments"][0]["content"]["body"]
        assert {block["type"] for block in blocks} == {"RichTextBlock"}
        assert {run["type"] for block in blocks for run in block["inlines"]} == {"TextRun"}
        assert all(run["text"].isprintable() for block in blocks for run in block["inlines"])


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [
        (None, "P1", True),
        (None, "P2", True),
        (None, "P3", False),
        (None, None, False),
        ("P3", "P2", True),
        ("P2", "P1", True),
        ("P1", "P2", False),
        ("P1", "P1", False),
        ("P2", "P5", False),
        ("P1", None, False),
    ],
)
def test_a_company_that_rises_to_p1_or_p2_is_news(before: str | None, after: str | None, tells: bool) -> None:
    assert enters_told_category(before, after) is tells


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"category": "P1"}, True),
        ({"category": "P2"}, True),
        ({"category": "P3"}, False),
        ({"category": None}, False),
        ({"category": "P6", "referral_category": "co-sell"}, True),
        ({"category": "P6", "qualification": "SalesQualified"}, True),
        ({"category": "P6", "qualification": "MarketingQualified"}, False),
    ],
)
def test_a_lead_is_good_by_its_category_or_by_microsofts_own_word(changes: dict[str, Any], good: bool) -> None:
    assert is_good(LeadRow(rank=1, **changes)) is good


@pytest.mark.parametrize(("hours", "near"), [(None, False), (72.1, False), (72.0, True), (0.1, True), (0.0, False)])
def test_a_deadline_is_near_within_72_hours(hours: float | None, near: bool) -> None:
    assert is_near(LeadRow(rank=1, hours_left=hours)) is near
