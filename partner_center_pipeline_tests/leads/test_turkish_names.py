"""identity.md, "Company names": what Turkish names end and begin with, and Turkish letters read as Latin-1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.leads.known_domains import ABBREVIATED_TRADES, TURKISH_PROVINCES
from partner_center_pipeline.leads.latin5 import read_as_turkish
from partner_center_pipeline.leads.names import company_key, company_name

MISREAD = str.maketrans("İıŞşĞğ", "ÝýÞþÐð")

NAMES = [
    "İSTANBUL YAPI SAN. VE TİC. LTD. ŞTİ.", "Yıldız Yapı", "Işık Tekstil A.Ş.", "Kılıç Holding", "Şahin Ltd. Şti.",
    "Bağcılar Gıda Sanayi ve Ticaret Limited Şirketi", "İzmir", "ESKİŞEHİR", "AYDIN", "Diyarbakır", "Muğla", "Beşiktaş",
    "İş Bankası", "Doğuş Otomotiv", "Güneş Işığı Çiçekçilik", "Öz Yağmur İnşaat", "ŞİŞLİ", "Eczacıbaşı", "Ağrı",
    "Uşak", "İSMAİL", "SAİT DAİRESİ", "İADE", "Şirin A.Ş.", "Doğan AŞ",
]  # fmt: skip

ELSEWHERE = [
    "Þórsmörk ehf.", "Þorgerður ehf", "Guðný hf.", "Íslensk Þróun", "Nový Bor s.r.o.", "Dobrý", "Nový Čas, a.s.",
    "Malý spol. s r.o.", "Týr Offshore p/f", "Aýna", "Türkmen Ýollary", "Garðar", "Høyrn Ðø",
]  # fmt: skip


@pytest.mark.parametrize(
    "form",
    ["Mak.", "Müh.", "Tur.", "Nak.", "Oto.", "Loj.", "Hiz.", "İç ve Dış Tic.", "MAK. SAN. VE TİC. LTD. ŞTİ.",
     "Mak San Tic", "Müh. Mak. Tur. Nak. Oto. Loj. Hiz. San. ve Tic. A.Ş.", "Gıd. Teks. İç ve Dış Tic. Ltd. Şti.",
     "İç-Dış Ticaret A.Ş.", "İç Tic.", "Bilg. Dan. Hiz. Ltd."],
)  # fmt: skip
def test_abbreviated_trades_at_the_end_do_not_count_in_the_key(form: str) -> None:
    assert company_key(f"Yıldız Yapı {form}") == "yildiz yapi"


def test_every_abbreviated_trade_ends_a_name_with_its_dot() -> None:
    for trade in sorted(ABBREVIATED_TRADES):
        assert company_key(f"Yıldız Yapı {trade.upper()}.") == company_key(f"Yıldız Yapı {trade} A.Ş.") == "yildiz yapi"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Jolly Tur", "jolly tur"), ("Yıldız Oto", "yildiz oto"), ("Oto Yıldız Ltd. Şti.", "oto yildiz"),
        ("Yıldız Makine San. Tic.", "yildiz makine"), ("Mak. San. Tic. Ltd. Şti.", "mak"), ("Tur. A.Ş.", "tur"),
    ],
)  # fmt: skip
def test_a_trade_that_is_the_name_stays(name: str, key: str) -> None:
    assert company_key(name) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("T.C. Sağlık Bakanlığı", "saglik bakanligi"), ("TC Ziraat Bankası A.Ş.", "ziraat bankasi"),
        ("Özel Medicana Hastanesi", "medicana hastanesi"), ("T.C. Özel Ege Lisesi", "ege lisesi"),
        ("The Marmara Hotel", "marmara hotel"), ("THE NORTH FACE", "north face"), ("Özel A.Ş.", "ozel"),
        ("The", "the"), ("Theo Ltd.", "theo"), ("Özeller İnşaat", "ozeller"), ("Ege Özel Okulu", "ege ozel okulu"),
    ],
)  # fmt: skip
def test_what_stands_before_a_name_does_not_count_in_the_key(name: str, key: str) -> None:
    assert company_key(name) == key


@pytest.mark.parametrize("name", NAMES)
def test_turkish_letters_read_as_latin_1_are_repaired_and_the_original_is_kept(name: str) -> None:
    received = name.translate(MISREAD)
    found = company_name(received)
    assert (found.name, found.original, found.key) == (name, received, company_name(name).key)


def test_every_text_of_a_lead_is_repaired() -> None:
    profile = {
        "name": "Þahin Yapý",
        "address": {"city": "ÝSTANBUL"},
        "team": [{"firstName": "Iþýk", "lastName": "Ýnce"}],
    }
    lead = read_lead({"customerProfile": profile, "details": {"notes": "Ýlk görüþme yapýldý.\nÝkinci"}}, frozenset())
    assert (lead.company_name, lead.city, lead.contact_name) == ("Şahin Yapı", "İSTANBUL", "Işık İnce")
    assert lead.notes == "İlk görüşme yapıldı.\nİkinci"


@pytest.mark.parametrize("name", ["Doğan", "Tuğba", "YAĞMUR", "Sarı", "Yılmaz", "Şok Marketler"])
def test_a_single_letter_is_repaired_where_the_company_is_in_turkey(name: str) -> None:
    received = name.translate(MISREAD)
    profile = {"name": received, "address": {"country": "tr", "city": received}, "team": [{"lastName": received}]}
    lead = read_lead({"name": received, "customerProfile": profile, "details": {"notes": received}}, frozenset())
    assert {lead.company_name, lead.city, lead.contact_name, lead.name, lead.notes} == {name}
    assert company_name(received).name == received


@pytest.mark.parametrize(
    ("received", "name"),
    [
        ("Åžahin", "Şahin"),
        ("BaÅŸak", "Başak"),
        ("ÄŸ", "ğ"),
        ("Ä°pek", "İpek"),
        ("SarÄ±", "Sarı"),
        ("YAÄžMUR", "YAĞMUR"),
    ],
)
def test_one_letter_of_utf_8_that_was_misread_is_repaired(received: str, name: str) -> None:
    assert company_name(received).name == name


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_of_languages_that_have_these_letters_stay(name: str) -> None:
    assert company_name(name).name == name


def test_utf_8_that_was_misread_twice_ends_as_turkish_too() -> None:
    assert company_name("ÝSTANBUL".encode().decode("latin-1")).name == "İSTANBUL"


def test_there_are_81_provinces_and_each_is_a_sign_of_turkish() -> None:
    assert len(TURKISH_PROVINCES) == 81


@given(st.text("abcçdefgğhıijklmnoöprsştuüvyzABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ .,&-"))
def test_repairing_changes_no_turkish_text_and_nothing_twice(text: str) -> None:
    assert read_as_turkish(text) == text
    once = read_as_turkish(text.translate(MISREAD))
    assert read_as_turkish(once) == once
