"""identity.md, "What is read out of a text": what people write into a field beside the address."""

import pytest

from partner_center_pipeline.leads import normalize_domain, read_lead
from partner_center_pipeline.leads.customer_domain import find_domain

NOBODY: frozenset[str] = frozenset()

BESIDE_AN_ADDRESS = [
    "Web: www.firma.com.tr", "web : www.firma.com.tr", "Web:www.firma.com.tr", "Website: firma.com.tr",
    "Web:firma.com.tr", "Web sitesi: www.firma.com.tr", "Web sitemiz www.firma.com.tr adresidir",
    "https://www.firma.com.tr (yeni site)", "www.firma.com.tr (yeni site)", "firma.com.tr (yeni site)",
    "(eski) www.firma.com.tr", "Firma A.Ş. (www.firma.com.tr)", "Firma A.Ş. [firma.com.tr]",
    "“firma.com.tr”", "„firma.com.tr“", "«firma.com.tr»", "‘firma.com.tr’", "'firma.com.tr'", '"firma.com.tr"',
    "- firma.com.tr", "– firma.com.tr", "• firma.com.tr", "* firma.com.tr", "→ www.firma.com.tr", "-www.firma.com.tr",
    "–firma.com.tr", "1) www.firma.com.tr", "firma.com.tr -",
    "firma.com.tr!", "firma.com.tr!!!", "firma.com.tr…", "firma.com.tr ...", "www.firma.com.tr!.", "firma.com.tr;",
    "Sitemiz: https://firma.com.tr/tr/.", "www.firma.com.tr, yeni", "Bkz. http://firma.com.tr/a?b=c",
    "Web:https://www.firma.com.tr", "-https://firma.com.tr", "web=www.firma.com.tr", "www. firma.com.tr",
    "WWW.FIRMA.COM.TR (NEW)", "http: //firma.com.tr", "url firma değil www2.firma.com.tr",
    "site adresi https://firma.com.tr", "www.firma.com.tr'de", "www.firma.com.tr’ye bakınız", "firma.com.tr(yeni)",
    "http.//www.firma.com.tr", "https;//firma.com.tr", "htp:/www.firma.com.tr", "http//:www.firma.com.tr",
]  # fmt: skip

ADDRESSES = [
    "ali@ firma.com.tr", "ali @ firma.com.tr", "Ali Veli <ali@ firma.com.tr>", "ali [at] firma.com.tr",
    "ali(at)firma.com.tr", "ali[at]firma[dot]com.tr", "ali (at) firma (nokta) com (nokta) tr",
    "mail: ali@ firma.com.tr", "“ali@firma.com.tr”", "ali@firma.com.tr!", "- ali@firma.com.tr",
]  # fmt: skip

GUESTS = [
    "ali_firma.com.tr#EXT#@ortak.onmicrosoft.com", "ali_firma.com.tr#ext#@ortak.onmicrosoft.com",
    "ali.veli_firma.com.tr#EXT#@baska.com", "ali_veli_firma.com.tr#EXT#@ortak.onmicrosoft.com",
    "ali_firma.com.tr%23EXT%23@ortak.onmicrosoft.com", "ali_firma.com.tr#EXT#",
    "Ali <ali_firma.com.tr#EXT#@ortak.onmicrosoft.com>", "live.com#ali@firma.com.tr",
]  # fmt: skip


@pytest.mark.parametrize("text", [*BESIDE_AN_ADDRESS, *ADDRESSES, *GUESTS])
def test_words_and_marks_around_an_address_do_not_matter(text: str) -> None:
    assert normalize_domain(text) == "firma.com.tr"


@pytest.mark.parametrize(
    "text",
    ["firma .com", "web sitesi firma.com", "ali @firma.com", "deniz@firma .com.tr", "-firma.com", ".firma.com",
     "Web: yok", "www", "www.", "https://", "Web: https://", "(yeni site)", "“”", "!", "- -", "#EXT#", "a_b#EXT#@c",
     "ali@ veli@", "Tel: 0212 555 66 77", "Saat 10.30", "v1.2", "ali@[192.168.1.1]", "http://[::1]:80/"],
)  # fmt: skip
def test_among_other_words_a_dot_still_proves_nothing(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize(
    "text",
    ["https://www.firma.com.tr https://www.baska.com", "www.firma.com.tr www.baska.com", "firma.com.tr, baska.com",
     "Web: www.firma.com.tr Eski: www.baska.com", "https://firma.com.tr/a ve https://baska.com/b",
     "firma.com.tr and baska.com", "ali@firma.com.tr veli@baska.com", "firma.com.tr (eski: baska.com)",
     "facebook.com/firma www.firma.com.tr instagram.com/firma baska.com"],
)  # fmt: skip
def test_of_two_addresses_the_first_counts_and_the_second_is_noted(text: str) -> None:
    found = find_domain({"website": text}, NOBODY)
    assert (found.domain, found.source, found.note) == ("firma.com.tr", "website", "website also names baska.com")
    lead = read_lead({"website": text, "details": {"notes": "Acele."}}, NOBODY)
    assert (lead.domain_source, lead.notes) == ("website", "Acele.\n[website also names baska.com]")


@pytest.mark.parametrize("text", ["firma.com.tr www.firma.com.tr", "firma.com.tr facebook.com/firma", "firma.com.tr"])
def test_one_company_alone_is_noted_once(text: str) -> None:
    assert find_domain({"website": text}, NOBODY).note is None
    assert read_lead({"website": text}, NOBODY).notes is None


@pytest.mark.parametrize("text", GUESTS)
def test_a_guest_is_at_home_in_the_own_company_and_not_in_the_inviting_tenant(text: str) -> None:
    lead = read_lead({"customerProfile": {"team": [{"email": text}]}}, NOBODY)
    assert (lead.domain, lead.tenant) == ("firma.com.tr", None)
    assert (lead.contact_email or "").endswith("@firma.com.tr")


@pytest.mark.parametrize("text", ADDRESSES)
def test_the_contacts_address_is_in_one_piece(text: str) -> None:
    lead = read_lead({"customerProfile": {"team": [{"email": text}]}}, NOBODY)
    assert lead.contact_email == "ali@firma.com.tr"


@pytest.mark.parametrize("value", ["Web: www.firma.com.tr", "(www.firma.com.tr)", "www2.firma.com.tr"])
def test_a_www_within_an_external_id_is_an_address(value: str) -> None:
    ids = [{"profileType": "External", "id": value}]
    assert find_domain({"customerProfile": {"ids": ids}}, NOBODY).domain == "firma.com.tr"


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", [" ", "a_", "(at", "www. ", "@ ", "x.com/", "a@", "http://"])
def test_a_text_of_any_length_is_read_quickly(piece: str) -> None:
    normalize_domain(f"x {piece * 50_000}xt#")
