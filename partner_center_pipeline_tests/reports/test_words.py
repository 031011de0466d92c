"""The words of the report."""

import re
from string import Formatter

import pytest

from partner_center_pipeline.reports.columns import columns_of
from partner_center_pipeline.reports.model import ChangeKind, Choice, ListName
from partner_center_pipeline.reports.words import own_texts
from partner_center_pipeline.scoring import Segment
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline_tests.reports.made_up import about, lead, words


def test_each_text_exists_in_both_languages_with_the_same_braces() -> None:
    for key, text in own_texts().items():
        assert set(text) == set(Language), key
        fields = [{name for _, name, _, _ in Formatter().parse(text[one]) if name} for one in Language]
        assert fields[0] == fields[1], key
        assert all(text[one].strip() for one in Language), key


def test_the_turkish_texts_are_turkish() -> None:
    same = {key for key, text in own_texts().items() if text["en"] == text["tr"]}
    assert same == {"heading.segment", "page.scored"}


@pytest.mark.parametrize(
    ("section", "codes"),
    [
        ("segment_about", Segment),
        ("change", ChangeKind),
        ("list", ListName),
        ("about", ListName),
    ],
)
def test_each_code_has_a_text(section: str, codes: type[str]) -> None:
    for code in codes:  # type: ignore[attr-defined]
        assert f"{section}.{code}" in own_texts()


def test_each_column_has_a_heading() -> None:
    for name in ListName:
        for column in columns_of(name, about(with_contacts=True)):
            assert f"heading.{column.key}" in own_texts()


def test_each_text_is_used() -> None:
    from partner_center_pipeline.settings import PROJECT_ROOT

    folder = PROJECT_ROOT / "partner_center_pipeline"
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    by_code = {"segment_about", "change", "answer", "list", "about"}
    for key in own_texts():
        section, name = key.split(".")
        if section not in by_code:
            assert re.search(rf"""["'](?:{re.escape(key)}|{re.escape(name)})["']""", source), key


def test_numbers_and_dates_are_written_as_in_the_language() -> None:
    row = lead()
    assert row.response_due is not None
    assert words("tr").instant(row.response_due) == "08.12.2026 21:00"
    assert words("en").instant(row.response_due) == "2026-12-08 21:00"
    assert words("tr").number(1234567.5, 2) == "1.234.567,50"
    assert words("en").number(1234567.5, 2) == "1,234,567.50"


def test_a_code_of_a_newer_version_is_shown_as_it_is() -> None:
    assert words().known("segment", "Lukewarm") == "Lukewarm"
    assert words().reason("a_new_reason") == "a_new_reason"


def test_the_chosen_rows_are_told_in_words() -> None:
    choice = Choice(segments=frozenset({"Migration"}), categories=frozenset({"P2", "P1"}))
    assert words().chosen(Choice()) == "Rows: all."
    assert "only segment Migration, category P1, P2." in words().chosen(choice)
    assert "Geçiş segmenti" in words("tr").chosen(choice)
