"""identity.md, "Company names" and the comparison key of "Normalising a domain"."""

import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partner_center_pipeline.leads.folding import fold_key
from partner_center_pipeline.leads.known_domains import LEGAL_FORMS
from partner_center_pipeline.leads.names import CompanyName, company_name, repair_text, repaired
from partner_center_pipeline_tests.leads.strategies import any_text


def _key(name: str) -> str | None:
    return company_name(name).key


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ã–nkoÅŸullar", "Önkoşullar"),
        ("Ã–nkoÅŸullar A.Åž.", "Önkoşullar A.Ş."),
        ("Ã–nkoÅŸullar A.Ş.", "Önkoşullar A.Ş."),
        ("Ä°ÅŸ BankasÄ±", "İş Bankası"),
        ("R&amp;B Danismanlik", "R&B Danismanlik"),
        ("R&amp;amp;B", "R&B"),
        ("  \ufeffOrman\u00a0 Mobilya\u200b\n", "Orman Mobilya"),
        ("IĞDIR ÇELİK Ltd. Şti.", "IĞDIR ÇELİK Ltd. Şti."),
        ("D’Artagnan “Moda”", "D’Artagnan “Moda”"),
    ],
)
def test_a_name_is_repaired_and_the_original_kept(text: str, name: str) -> None:
    found = company_name(text)
    assert (found.name, found.original) == (name, text)


@pytest.mark.parametrize("text", ["", "  ", "\u200b"])
def test_a_blank_name_is_none(text: str) -> None:
    assert company_name(text) == CompanyName(None, text, None)


@pytest.mark.parametrize("value", [None, 5, ["Firma"]])
def test_anything_but_text_is_no_name(value: object) -> None:
    assert company_name(value) == CompanyName(None, None, None)


@pytest.mark.parametrize("spelling", ["ışıkçığöşü", "IŞIKÇIĞÖŞÜ", "İşİkçİğÖşü", "isikcigosu", "i\u0307şikçiğöşü"])
def test_turkish_letters_fold_together(spelling: str) -> None:
    assert fold_key(spelling) == "isikcigosu"


@pytest.mark.parametrize(
    "form",
    ["A.Ş.", "AŞ", "A. Ş.", "a.s.", "Anonim Şirketi", "ANONİM ŞİRKETİ", "Ltd. Şti.", "LTD.ŞTİ.", "Limited Şirketi",
     "Koll. Şti.", "Kom. Şti.", "Koop.", "San. ve Tic.", "Sanayi", "Ticaret", "Paz.", "Dış Tic.", "İth. İhr.", "İnş.",
     "Taah.", "Holding", "Grup", "GmbH", "Inc", "Inc.", "Ltd", "SARL", "S.A.R.L.",
     "San. ve Tic. Ltd. Şti.", "İnş. Taah. San. ve Tic. A.Ş.", "Sanayi ve Ticaret Anonim Şirketi"],
)  # fmt: skip
def test_a_legal_form_does_not_count_in_the_key(form: str) -> None:
    assert _key(f"Yıldız Yapı {form}") == _key("YILDIZ YAPI") == "yildiz yapi"


def test_every_listed_legal_form_ends_a_name() -> None:
    for form in sorted(LEGAL_FORMS):
        assert _key(f"Yıldız Yapı {form}") == "yildiz yapi", form


def test_a_legal_form_within_a_name_counts() -> None:
    assert _key("Ankara Ticaret Odası") != _key("Ankara Sanayi Odası")
    assert _key("Grup Ofis Ltd. Şti.") == "grup ofis"


def test_a_legal_form_before_the_name_does_not_count() -> None:
    assert _key("SARL Dupont") == _key("Dupont SARL") == "dupont"
    assert _key("S.S. Gölbaşı Konut Yapı Kooperatifi") == "golbasi konut yapi"


def test_initials_compare_with_and_without_their_dots() -> None:
    assert _key("A.B.C. Çelik A.Ş.") == _key("ABC Çelik AŞ") == "abc celik"
    assert _key("R&amp;B") == _key("R & B Ltd.") == "rb"


@pytest.mark.parametrize("name", ["A.Ş.", "Holding A.Ş.", "Ltd. Şti.", "ve", "Sanayi"])
def test_a_name_of_nothing_but_forms_keeps_a_key(name: str) -> None:
    assert _key(name)


def test_a_name_without_letters_has_no_key() -> None:
    assert company_name("***") == CompanyName("***", "***", None)


@given(any_text)
def test_any_text_is_a_name_or_none_and_never_an_error(text: str) -> None:
    found = company_name(text)
    assert found.original == text
    assert found.name is None or found.name.strip()
    assert found.key is None or found.key == " ".join(found.key.split()) != ""


@given(any_text)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold_key(fold_key(text)) == fold_key(text)


@given(st.text("abcçdefgğhıijklmnoöprsştuüvyzABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ .,&-"))
def test_a_turkish_name_is_left_as_it_is_and_its_key_is_ascii(text: str) -> None:
    found = company_name(text)
    assert found.name == (" ".join(text.split()) or None)
    assert (found.key or "").isascii()
    assert found.key == company_name(text.replace("İ", "I").replace("ı", "i")).key


def test_names_of_any_length_are_not_kept_in_memory() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            assert _key(f"firma {number} " + "x" * 100_000) is not None
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


def test_a_name_of_any_length_costs_no_time() -> None:
    began = time.process_time()
    assert _key("x" * 200_000 + " Ltd. Şti.") == "x" * 200_000
    assert time.process_time() - began < 2


_NEAR_CLEAN = "aeı İIzğĞşŞçÇöÖüÜ.,'\"-()&;#/ \n\r\t\x1b\x00\u200bÅŸÄ±ÃœÝýþðé’–ﬁＡ\u0307"


@given(st.one_of(st.text(_NEAR_CLEAN, max_size=30), any_text), st.booleans())
@example("ŞÇ şÇ ğÖ üİ çŞ", False)  # bad, although each letter is Turkish
@example("A &amp; B", True)
@example("ÅŸirket", False)
@example("satır\rsatır", False)
def test_a_text_that_is_left_as_it_is_is_one_that_ftfy_would_leave(text: str, of_turkey: bool) -> None:
    assert repair_text(text, of_turkey=of_turkey) == repaired(text, of_turkey=of_turkey)
