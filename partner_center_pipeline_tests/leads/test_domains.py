"""identity.md, "Normalising a domain": every case, every property."""

import re
from random import Random

import idna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tldextract import TLDExtract

from partner_center_pipeline.leads import ascii_key, normalize_domain, unicode_domain
from partner_center_pipeline.leads.domains import Platform, find_hosts
from partner_center_pipeline_tests.leads.strategies import any_text, texts, turkish_labels

_UNDER_TR = "av bbs bel biz com dr edu gen gov info k12 mil name net org pol tel tsk tv web nc gov.nc"
_INVISIBLE = ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u200d", "\u200c"]


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("http://firma.com.tr", "firma.com.tr"),
        ("HTTP://Firma.com.tr", "firma.com.tr"),
        ("https://kullanici:sifre@firma.com.tr:8443/yol/a.b.com?x=y.com#z.com", "firma.com.tr"),
        ("firma.com.tr:8080", "firma.com.tr"),
        ("firma.com.tr/iletisim", "firma.com.tr"),
        ("firma.com.tr?utm=x.com", "firma.com.tr"),
        ("firma.com.tr#x.com", "firma.com.tr"),
        ("//firma.com.tr/yol", "firma.com.tr"),
        ("http:/firma.com.tr", "firma.com.tr"),
        ("http//firma.com.tr", "firma.com.tr"),
        ("http:\\\\firma.com.tr\\yol", "firma.com.tr"),
        ("mailto:ali@firma.com.tr?subject=x.com", "firma.com.tr"),
        ("MAILTO:ali@firma.com.tr", "firma.com.tr"),
        ("ali@firma.com.tr", "firma.com.tr"),
        ("Ali Veli <ali@firma.com.tr>", "firma.com.tr"),
        ("www.firma.com.tr", "firma.com.tr"),
        ("www2.firma.com.tr", "firma.com.tr"),
        ("a.b.firma.com.tr", "firma.com.tr"),
        ("firma.com.tr.", "firma.com.tr"),
        ("firma\u3002com\u3002tr", "firma.com.tr"),
        ("firma｡com．tr", "firma.com.tr"),
        ("ｆｉｒｍａ．ｃｏｍ．ｔｒ", "firma.com.tr"),
        ("ali＠firma.com.tr", "firma.com.tr"),
    ],
)
def test_a_domain_is_found_in_whatever_form_it_is_written(text: str, domain: str) -> None:
    assert normalize_domain(text) == domain


@pytest.mark.parametrize("between", [",", ";", "/", " / ", " ve ", " VE ", ", ", "\n", " ", "|"])
def test_of_two_values_in_one_field_the_first_counts(between: str) -> None:
    assert normalize_domain(f"firma.com.tr{between}baska.com") == "firma.com.tr"


@pytest.mark.parametrize("between", [",", ";", "/", " / ", " ve "])
def test_a_value_that_is_no_domain_gives_way_to_the_next(between: str) -> None:
    assert normalize_domain(f"yok{between}firma.com.tr") == "firma.com.tr"


@pytest.mark.parametrize(
    "text",
    [
        "192.168.1.1", "http://192.168.1.1:80/firma.com", "2001:db8::1", "[2001:db8::1]", "http://[::1]:80/",
        "::ffff:1.2.3.4", "ali@[192.168.1.1]", "ali@192.168.1.1", "3232235777",
        "localhost", "http://localhost/firma.com", "sunucu.local", "ali@sunucu.local",
        "com.tr", "tr", "gov.nc.tr", "a_b.com", "_dmarc.firma.com", "-firma.com", "firma-.com", "firma..com",
        ".firma.com", ".com", "kep.tr", "firma.yokboyle", "firma.123",
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_no_domain(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize(
    "text", ["", " ", "-", "n/a", "N/A", "nan", "yok", "YOK", "none", "web sitesi", ".", "@", "://"]
)
def test_what_people_write_for_nothing_is_no_domain(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize(
    "text", ["firma .com", "firma. com", "a b.com", "web sitesi firma.com", "ali @firma.com", "deniz@firma .com.tr"]
)
def test_among_other_words_a_dot_proves_nothing(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize("text", ["Ali Veli ali@firma.com.tr", "ali@firma.com.tr (Ali)", "e-posta: ali@firma.com.tr"])
def test_among_other_words_an_address_is_found(text: str) -> None:
    assert normalize_domain(text) == "firma.com.tr"


@pytest.mark.parametrize("text", ["😀.com", "firma😀.com.tr", "xn--e28h.com", "xn--a.com", "xn--.com", "xn--abc-.com"])
def test_an_emoji_or_broken_punycode_is_no_domain(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize("text", ["аpple.com", "fіrma.com.tr", "αbc.com", idna.encode("аpple.com").decode()])
def test_a_label_of_look_alike_scripts_is_no_domain(text: str) -> None:
    assert normalize_domain(text) is None


def test_a_label_of_one_foreign_script_is_a_domain() -> None:
    assert normalize_domain("пример.рф") == "xn--e1afmkfd.xn--p1ai"
    assert normalize_domain("ΟΔΟΣ.gr") == normalize_domain("οδοσ.gr")


def test_a_name_of_more_than_253_characters_or_a_label_of_more_than_63_is_no_domain() -> None:
    longest = ".".join(["a" * 61] * 3 + ["b" * 59, "com.tr"])
    assert len(longest) == 252
    assert normalize_domain(longest) is not None
    assert normalize_domain("ab" + longest) is None
    assert normalize_domain("a" * 63 + ".com") is not None
    assert normalize_domain("a" * 64 + ".com") is None
    assert normalize_domain("ş" * 60 + ".com") is None
    assert normalize_domain("a" * 100_000 + ".com") is None


@pytest.mark.parametrize(
    "text", ["İSTANBUL.com.tr", "İSTANBUL.com.tr".lower(), "I\u0307STANBUL.com.tr", "ali@İstanbul.COM.TR"]
)
def test_a_dotted_capital_i_is_an_i(text: str) -> None:
    assert normalize_domain(text) == "istanbul.com.tr"


def test_punycode_that_an_undotted_lower_case_once_made_names_the_right_domain() -> None:
    mangled = idna.encode("İSTANBUL.com.tr".lower()).decode()
    assert mangled.startswith("xn--")
    assert normalize_domain(mangled) == "istanbul.com.tr"


def test_an_ascii_capital_i_is_an_i_and_a_dotless_one_stays() -> None:
    assert normalize_domain("ISIK.com.tr") == "isik.com.tr"
    assert normalize_domain("ışık.com.tr") == "xn--k-ekaa7p.com.tr"
    assert unicode_domain("xn--k-ekaa7p.com.tr") == "ışık.com.tr"
    assert normalize_domain("IŞIK.com.tr") != normalize_domain("ışık.com.tr")


def test_both_i_share_the_alternate_key() -> None:
    keys = {ascii_key(normalize_domain(text) or "") for text in ("ışık.com.tr", "IŞIK.com.tr", "isik.com.tr")}
    assert keys == {"isik.com.tr"}


def test_a_first_label_with_a_turkish_letter_is_a_domain() -> None:
    assert normalize_domain("önkoşullar.com.tr") == "xn--nkoullar-m4a76h.com.tr"
    assert normalize_domain("XN--NKOULLAR-M4A76H.com.tr") == "xn--nkoullar-m4a76h.com.tr"


@pytest.mark.parametrize("suffix", _UNDER_TR.split())
def test_every_suffix_under_tr_is_known(suffix: str) -> None:
    assert normalize_domain(f"www.firma.{suffix}.tr") == f"firma.{suffix}.tr"
    assert normalize_domain(f"{suffix}.tr") is None


def test_no_other_suffix_under_tr_is_known_but_kep() -> None:
    listed = TLDExtract(suffix_list_urls=(), cache_dir=None).tlds
    assert {rule.removesuffix(".tr") for rule in listed if rule.endswith(".tr")} == {*_UNDER_TR.split(), "kep"}


def test_a_name_directly_under_tr_is_a_domain() -> None:
    assert normalize_domain("www.firma.tr") == "firma.tr"


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("ali@firma.hs01.kep.tr", Platform.KEP),
        ("firma@hs02.kep.tr", Platform.KEP),
        ("ali@firma.onmicrosoft.com", Platform.TENANT),
        ("firma.partner.onmschina.cn", Platform.TENANT),
        ("facebook.com/firma", Platform.SOCIAL),
        ("instagram.com", Platform.SOCIAL),
        ("https://www.instagram.com/firma.com.tr", Platform.SOCIAL),
        ("linkedin.com/company", Platform.SOCIAL),
        ("tr.linkedin.com/company/firma", Platform.SOCIAL),
        ("https://sites.google.com/view/firma", Platform.SOCIAL),
        ("https://medium.com/@firma", Platform.SOCIAL),
        ("firma.blogspot.com", Platform.SOCIAL),
        ("firma.wixsite.com/site", Platform.SOCIAL),
        ("firma.azurewebsites.net", Platform.SOCIAL),
        ("firma.github.io", Platform.SOCIAL),
        ("firma.eu-central-1.elasticbeanstalk.com", Platform.SOCIAL),
    ],
)
def test_a_platforms_host_is_not_its_users_domain(text: str, platform: Platform) -> None:
    assert [host.platform for host in find_hosts(text)] == [platform]
    assert normalize_domain(text) is None


def test_a_company_beside_a_platform_is_found() -> None:
    assert normalize_domain("facebook.com/firma, www.firma.com.tr") == "firma.com.tr"


def test_only_the_page_at_a_hoster_is_a_platform_not_the_hoster() -> None:
    assert normalize_domain("lolipop.io") == normalize_domain("www.lolipop.io") == "lolipop.io"
    assert normalize_domain("dukkan.lolipop.io") is None


def test_a_name_under_a_private_suffix_that_is_sold_is_a_domain() -> None:
    assert normalize_domain("www.firma.uk.com") == "firma.uk.com"
    assert normalize_domain("uk.com") is None


def test_the_sub_domain_is_kept_apart() -> None:
    (host,) = find_hosts("ali@posta.İzmir.firma.com.tr")
    assert (host.name, host.domain) == ("posta.izmir.firma.com.tr", "firma.com.tr")


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003", " ", "\t", "\n", *_INVISIBLE])
def test_blanks_and_invisible_characters_around_a_domain_do_not_matter(blank: str) -> None:
    assert normalize_domain(f"{blank}firma.com.tr{blank}") == "firma.com.tr"


@pytest.mark.parametrize("invisible", _INVISIBLE)
def test_invisible_characters_within_a_domain_do_not_matter(invisible: str) -> None:
    assert normalize_domain(f"fir{invisible}ma.com.tr") == "firma.com.tr"
    assert normalize_domain(f"ışı{invisible}k.com.tr") == normalize_domain("ışık.com.tr")


def test_a_joiner_that_the_script_needs_stays() -> None:
    persian = "نامه\u200cای.com"
    assert normalize_domain(persian) == "xn--mgba3gch31f060k.com"
    assert unicode_domain("xn--mgba3gch31f060k.com") == persian


@pytest.mark.parametrize("value", [None, 1, 1.5, True, b"firma.com", ["firma.com"], {"a": 1}, object()])
def test_anything_but_text_is_no_domain(value: object) -> None:
    assert normalize_domain(value) is None  # type: ignore[arg-type]  # a caller's mistake is what is tested


@pytest.mark.slow
@given(texts)
def test_normalising_never_raises_and_is_idempotent(text: str) -> None:
    once = normalize_domain(text)
    if once is not None:
        assert normalize_domain(once) == once


@pytest.mark.slow
@given(texts)
def test_a_domain_is_written_as_dns_writes_it(text: str) -> None:
    domain = normalize_domain(text)
    if domain is not None:
        assert len(domain) <= 253
        assert all(re.fullmatch("(?!-)[a-z0-9-]{1,63}(?<!-)", label) for label in domain.split("."))
        assert "." in domain


@pytest.mark.slow
@given(texts)
def test_the_host_ends_with_its_domain(text: str) -> None:
    for host in find_hosts(text):
        assert host.name == host.domain or host.name.endswith(f".{host.domain}")


@pytest.mark.slow
@given(texts)
def test_unicode_and_punycode_name_the_same_domain(text: str) -> None:
    domain = normalize_domain(text)
    if domain is not None:
        assert normalize_domain(unicode_domain(domain)) == domain


@pytest.mark.slow
@given(texts, st.randoms(use_true_random=False))
def test_the_case_of_ascii_letters_does_not_matter(text: str, chance: Random) -> None:
    mixed = "".join(letter.swapcase() if letter.isascii() and chance.random() < 0.5 else letter for letter in text)
    assert normalize_domain(mixed) == normalize_domain(text)


@pytest.mark.slow
@given(texts)
def test_the_case_of_a_dotted_i_does_not_matter(text: str) -> None:
    assert normalize_domain(text.replace("İ", "i")) == normalize_domain(text)
    assert normalize_domain(text.replace("i", "İ")) == normalize_domain(text)


@given(turkish_labels, turkish_labels)
def test_different_labels_are_different_domains(one: str, other: str) -> None:
    assume(one != other)
    assert normalize_domain(f"{one}.com.tr") != normalize_domain(f"{other}.com.tr")


@given(st.text("abcxyz0189-çğıöşü", min_size=1, max_size=30))
def test_turkish_labels_are_written_as_idna_writes_them(label: str) -> None:
    try:
        expected = idna.encode(f"{label}.com.tr").decode("ascii")
    except idna.IDNAError:
        expected = None
    assume(not label.isascii())
    assert normalize_domain(f"{label}.com.tr") == expected


@pytest.mark.slow
@given(texts)
def test_the_alternate_key_is_ascii(text: str) -> None:
    domain = normalize_domain(text)
    if domain is not None:
        assert ascii_key(domain).isascii()


@given(any_text)
def test_the_other_forms_never_raise(text: str) -> None:
    unicode_domain(text)
    ascii_key(text)
