"""The words that people who sell read: each in both languages, one for every code, dates as people write."""

import re
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from partner_center_pipeline import texts
from partner_center_pipeline.leads.category import CategoryRule, ReferralCategory
from partner_center_pipeline.leads.customer_domain import DomainReason
from partner_center_pipeline.leads.decisions import DomainChoice, Mark, Verdict
from partner_center_pipeline.leads.suggestions import MatchKind, MatchReason
from partner_center_pipeline.mail import classification, mx
from partner_center_pipeline.mail.providers import Kind, Place
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.scoring.history import Cause
from partner_center_pipeline.scoring.model import (
    CommercialHeat,
    CommercialSegment,
    ScoreInput,
    ScorePolicy,
    Segment,
    TechnicalHeat,
)
from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Language, Provider, TenantSource

SHAPE = Path(texts.__file__).with_name("partner_center") / "referral_shape.toml"


def test_every_text_has_both_languages() -> None:
    read = tomllib.loads(texts.FILE.read_text(encoding="utf-8"))
    assert len(read) > 20
    for table, entries in read.items():
        for key, text in entries.items():
            assert set(text) == {language.value for language in Language}, f"{table}.{key}"
            assert all(words.strip() for words in text.values()), f"{table}.{key}"
            placeholders = [sorted(re.findall(r"\{\w+\}", words)) for words in text.values()]
            assert placeholders[0] == placeholders[1], f"{table}.{key}"


@pytest.mark.parametrize("gone", ["en", "tr"])
def test_a_file_with_a_text_in_one_language_only_is_refused(
    gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "texts.toml"
    file.write_text(re.sub(rf'{gone} = "Migration|{gone} = "Geçiş', 'de = "x', texts.FILE.read_text(encoding="utf-8")))
    monkeypatch.setattr(texts, "FILE", file)
    texts._texts.cache_clear()
    try:
        with pytest.raises(ValidationError, match=rf"segment\.Migration\.{gone}"):
            Texts("en").word("segment", "Migration")
    finally:
        texts._texts.cache_clear()


def test_every_label_and_act_of_the_delivered_rules_is_there_in_turkish() -> None:
    for row in tomllib.loads(DEFAULT_RULES.read_text(encoding="utf-8"))["categories"]:
        assert row["label_tr"] not in ("", row["label"])
        assert ("act" in row) == ("act_tr" in row)


def _notes() -> list[str]:
    """The codes that the module of classification lists, and the one of retention."""
    assert classification.__doc__ is not None
    found = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*)  ", classification.__doc__, re.MULTILINE)
    assert "mx_tie" in found
    return [*", ".join(found).split(", "), "provider_kept"]  # stored by versions before 3 of the rules


_ENUMS = tomllib.loads(SHAPE.read_text(encoding="utf-8"))["values"]


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("segment", Segment),
        ("commercial_segment", CommercialSegment),
        ("technical_heat", TechnicalHeat),
        ("commercial_heat", CommercialHeat),
        ("status", _ENUMS["status"]),
        ("substatus", _ENUMS["substatus"]),
        ("qualification", _ENUMS["qualification"]),
        ("direction", _ENUMS["direction"]),
        ("type", _ENUMS["type"]),
        ("referral_category", ReferralCategory),
        ("category_rule", CategoryRule),
        ("decision", [*Mark, *DomainChoice, *Verdict]),
        ("domain_reason", [*DomainReason, "company_not_made"]),
        ("due_note", ["was_due", "due_despite_category"]),
        ("rate_note", ["unknown_currency"]),
        ("kind", [*MatchKind, "no_company"]),
        ("provider", [*Provider, "consumer Outlook"]),
        ("tenant_source", TenantSource),
        ("note", _notes()),
        ("cause", Cause),
        ("no_mail", ["nxdomain", "nodata", mx.NULL_MX, mx.LOCALHOST, mx.PARKING]),
        ("match_reason", MatchReason),
        ("outcome", Outcome),
    ],
)
def test_every_code_has_a_word(table: str, codes: Iterable[str]) -> None:
    assert texts.tables()[table] == set(map(str, codes))


def test_every_input_and_every_kind_of_evidence_has_a_word() -> None:
    inputs = {*ScoreInput.__dataclass_fields__, *ScorePolicy.__dataclass_fields__}
    assert inputs <= texts.tables()["input"]
    assert {*map(str, Place), *map(str, Kind)} <= texts.tables()["evidence"]


def test_a_code_without_a_word_stands_for_itself_and_an_unknown_name_is_an_error() -> None:
    assert Texts("tr").word("status", "OnHold") == "OnHold"
    with pytest.raises(KeyError):
        Texts("tr")("card.no_such_text")
    with pytest.raises(ValueError, match="de"):
        Texts("de")


def test_dates_amounts_and_countries_are_written_as_people_of_the_language_do() -> None:
    turkish, english = Texts("tr"), Texts("en")
    moment = datetime(2026, 12, 8, 14, 30, tzinfo=UTC)
    assert (turkish.day(moment), english.day(moment)) == ("08.12.2026", "2026-12-08")
    assert turkish.instant(moment) == "08.12.2026 14:30 UTC"
    assert turkish.amount(Decimal("1234567.5"), "TRY") == "1.234.567,50 TRY"
    assert english.amount(Decimal("1234567.5"), None) == "1,234,567.50"
    assert [turkish.country(code) for code in ("TR", "DE", "GB", "US")] == [
        "Türkiye", "Almanya", "Birleşik Krallık", "Amerika Birleşik Devletleri",
    ]  # fmt: skip
    assert [turkish.country(code) for code in ("XX", "Deutschland", "")] == ["XX", "Deutschland", ""]


def test_distances_are_told_in_minutes_hours_and_days() -> None:
    turkish, english = Texts("tr"), Texts("en")
    spans = [timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=-47), timedelta(days=3)]
    assert [english.distance(span) for span in spans] == ["now", "in 5 min", "47 h ago", "in 3 days"]
    assert [turkish.distance(span) for span in spans] == ["şimdi", "5 dk sonra", "47 sa önce", "3 gün sonra"]
