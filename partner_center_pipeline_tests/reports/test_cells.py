"""Text from outside, made safe for a cell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.reports.cells import CELL_MOST, clean, fitting, harmless, is_formula
from partner_center_pipeline_tests.reports.made_up import HOSTILE


@pytest.mark.parametrize("name", ["formula", "plus", "minus", "at", "tab", "return", "blank before", "full width"])
def test_a_text_that_a_spreadsheet_reads_as_a_formula_gets_an_apostrophe(name: str) -> None:
    assert harmless(HOSTILE[name]).startswith("'")


@given(st.text(st.characters()) | st.sampled_from([*HOSTILE.values()]))
def test_any_text_becomes_one_line_that_every_format_takes(text: str) -> None:
    done = clean(text)
    done.encode("utf-8")
    assert not [letter for letter in done if ord(letter) < 32 or 0x7F <= ord(letter) <= 0x9F]
    assert not is_formula(harmless(text))
    assert len(fitting(text).encode("utf-16-le")) <= CELL_MOST * 2


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("Öztürk Çelik A.Ş.", 'שלום בע"מ', "a = b", "naïve – «x»", "İIıi", "😀"):
        assert harmless(text) == text


def test_direction_marks_go_and_refused_characters_are_seen() -> None:
    assert clean(HOSTILE["right to left"]) == "moc.elpmaxe xy"
    assert clean("a\x00b\ud83dc") == "a\ufffdb\ufffdc"


def test_a_text_that_is_too_long_for_a_cell_ends_with_an_ellipsis() -> None:
    assert fitting("😀" * 20_000).endswith("😀…")
    assert fitting("Ş" * 10_000) == "Ş" * 10_000
