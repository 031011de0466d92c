"""Two spellings of one address, number or name are the same; another one is not."""

import pytest

from partner_center_pipeline.privacy import Identifier, Kind, UnusableIdentifierError
from partner_center_pipeline.privacy.identifiers import emails_in, name_key, names_in, phones_in


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (Kind.EMAIL, "ayse.yilmaz@firma.com.tr", "AYSE.YILMAZ@FIRMA.COM.TR"),
        (Kind.EMAIL, "ayse.yilmaz@firma.com.tr", "Ayşe.Yılmaz@Firma.com.tr"),
        (Kind.EMAIL, "ilker@firma.com.tr", "İLKER@firma.com.tr"),
        (Kind.EMAIL, "info@şirket.com.tr", "info@xn--irket-idb.com.tr"),
        (Kind.EMAIL, "ali@firma.com", "ali\u200b@fir\u200bma.com"),
        (Kind.EMAIL, "ali@firma.com", "mailto:ali@firma.com"),
        (Kind.EMAIL, "ali@firma.com", "ali\uff20firma.com"),
        (Kind.PHONE, "+90 532 123 45 67", "0532 123 45 67"),
        (Kind.PHONE, "+90 532 123 45 67", "(0532) 123-45-67"),
        (Kind.PHONE, "+90 532 123 45 67", "5321234567"),
        (Kind.PHONE, "+90 532 123 45 67", "0090 532 1234567"),
        (Kind.PHONE, "+90 532 123 45 67", "+90 (0)532 123 45 67"),
        (Kind.PHONE, "+90 532 123 45 67", "905321234567"),
        (Kind.PHONE, "+49 151 12345678", "0049 151 12345678"),
        (Kind.NAME, "Ayşe Yılmaz", "AYŞE YILMAZ"),
        (Kind.NAME, "Ayşe Yılmaz", "ayse  yilmaz"),
        (Kind.NAME, "İlker Işık", "ilker ışık"),
        (Kind.NAME, "Ayşe Yılmaz", "AyÅŸe YÄ±lmaz"),
    ],
)
def test_spellings_of_one_identifier_are_the_same(kind: Kind, one: str, other: str) -> None:
    assert Identifier.read(kind, one) == Identifier.read(kind, other)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (Kind.EMAIL, "ali@firma.com", "ali@firma.com.tr"),
        (Kind.EMAIL, "ali@firma.com", "veli@firma.com"),
        (Kind.PHONE, "+90 532 123 45 67", "+90 532 123 45 68"),
        (Kind.PHONE, "+1 532 123 4567", "+90 532 123 45 67"),
        (Kind.NAME, "Ayşe Yılmaz", "Ayşe Yıldız"),
        (Kind.NAME, "Ayşe Yılmaz", "Ayşe Nur Yılmaz"),
    ],
)
def test_another_identifier_is_not_the_same(kind: Kind, one: str, other: str) -> None:
    assert Identifier.read(kind, one) != Identifier.read(kind, other)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.EMAIL, "firma.com"),
        (Kind.EMAIL, "@firma.com"),
        (Kind.EMAIL, "a@b.com, c@d.com"),
        (Kind.PHONE, "12345"),
        (Kind.PHONE, "0532 123 45 67 dahili 12"),
        (Kind.PHONE, "+90 532 123 45 67 / 0533 765 43 21"),
        (Kind.NAME, "Ayşe"),
        (Kind.NAME, ""),
    ],
)
def test_what_identifies_nobody_is_refused_and_not_repeated(kind: Kind, text: str) -> None:
    with pytest.raises(UnusableIdentifierError, match="takes") as refused:
        Identifier.read(kind, text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "Yazın: ali@firma.com.",
        "'ali@firma.com'a yazın",
        "Ali <ali@firma.com>; veli@firma.com",
        "https://firma.com/?mail=ali%40firma.com",
    ],
)
def test_an_address_is_found_inside_a_text(text: str) -> None:
    assert "ali@firma.com" in {place.key for place in emails_in(text)}


@pytest.mark.parametrize(
    "text",
    ["Tel: 0532 123 45 67 / 0533 765 43 21", "0532-123-45-67 dahili 12", "cep(+90 532 123 45 67)", "05321234567,"],
)
def test_a_number_is_found_inside_a_text(text: str) -> None:
    assert "+905321234567" in {place.key for place in phones_in(text)}


def test_a_number_is_not_part_of_an_id_or_of_a_longer_number() -> None:
    assert "+905321234567" not in {place.key for place in phones_in("a5321234567 15321234567 5321234567b")}


@pytest.mark.parametrize("text", ["Ayşe Yılmaz'ın talebi", "AYŞE\nYILMAZ,", "(ayse yılmaz)", "Sn.Ayşe Yılmaz."])
def test_a_name_is_found_inside_a_text(text: str) -> None:
    assert "ayse yilmaz" in {place.key for place in names_in(text, frozenset({2}))}


def test_a_name_is_not_found_across_sentences_or_inside_words() -> None:
    text = "Ayşe, Yılmaz aradı. MAyşe Yılmazlar ayse.yilmaz@firma.com"
    assert "ayse yilmaz" not in {place.key for place in names_in(text, frozenset({2}))}
    assert name_key("O'Neil Sean") in {place.key for place in names_in("with Sean, O'Neil Sean", frozenset({3}))}
