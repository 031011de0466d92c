"""identity.md, "Not a company's domain": consumer and throw-away mail, misspellings, and Microsoft's examples."""

import tomllib
from importlib.resources import files

import pytest

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.leads.consumer_mail import meant_service
from partner_center_pipeline.leads.customer_domain import DomainFinding, DomainReason, find_domain
from partner_center_pipeline.leads.known_domains import CONSUMER_MAIL, DISPOSABLE_MAIL

NOBODY: frozenset[str] = frozenset()
LISTED = tomllib.loads(
    files("partner_center_pipeline.leads").joinpath("consumer_mail.toml").read_text(encoding="utf-8")
)

CONSUMER = [
    "ekolay.net", "e-kolay.net", "kablonet.net.tr", "mynet.com.tr", "superonline.com", "ttmail.com", "yandex.kz",
    "yandex.by", "yandex.uz", "yandex.az", "yandex.com.tr", "ya.ru", "internet.ru", "bk.ru", "xmail.ru", "sfr.fr",
    "neuf.fr", "cegetel.net", "club-internet.fr", "bbox.fr", "tin.it", "tim.it", "fastwebnet.it", "tutamail.com",
    "tuta.com", "keemail.me", "proton.me", "zoho.eu", "zoho.in", "zoho.com.au", "zohomail.eu", "zohomail.in",
    "sunrise.ch", "hispeed.ch", "bluewin.ch", "daum.net", "hanmail.net", "naver.com", "nate.com", "kakao.com",
    "gmx.ch", "gmx.com.tr", "outlook.fr", "outlook.com.br", "hotmail.co.uk", "hotmail.gr", "yahoo.com.tr",
    "yahoo.co.jp", "live.com.tr", "icloud.com", "posteo.de", "posteo.eu", "a1.net", "magenta.de", "kabelmail.de",
    "ziggo.nl", "kpnmail.nl", "proximus.be", "meo.pt", "inbox.lv", "tlen.pl", "onet.eu", "email.cz", "spectrum.net",
    "centurylink.net", "globo.com", "walla.co.il", "docomo.ne.jp", "nifty.com", "rediffmail.com", "bigpond.com",
    "seznam.cz", "abv.bg", "otenet.gr", "telia.com", "139.com", "qq.com", "aol.de", "netcourrier.com", "hey.com",
    "ukr.net",
]  # fmt: skip

MISSPELT = {
    "gmai.com": "gmail.com", "gnail.com": "gmail.com", "gmial.com": "gmail.com", "gmal.com": "gmail.com",
    "gamil.com": "gmail.com", "gmaill.com": "gmail.com", "ggmail.com": "gmail.com", "gmqil.com": "gmail.com",
    "gma1l.com": "gmail.com", "gmail.tr": "gmail.com", "gmail.co": "gmail.com", "gmail.cm": "gmail.com",
    "gmai.com.tr": "gmail.com.tr", "outlok.com": "outlook.com", "outllook.com": "outlook.com",
    "oulook.com": "outlook.com", "outlool.com": "outlook.com", "outloo.com": "outlook.com",
    "hotmail.tr": "hotmail.com", "hotmial.com": "hotmail.com", "hotmal.com": "hotmail.com", "hotmai.com": "hotmail.com",
    "homail.com": "hotmail.com", "hotnail.com": "hotmail.com", "hotmaill.com": "hotmail.com",
    "hotmial.fr": "hotmail.fr", "hormail.com.tr": "hotmail.com.tr", "yaho.com": "yahoo.com", "yahooo.com": "yahoo.com",
    "yhaoo.com": "yahoo.com", "yaho.com.tr": "yahoo.com.tr", "iclod.com": "icloud.com", "icloud.co": "icloud.com",
    "yandx.com": "yandex.com", "yandexx.com": "yandex.com", "windowlive.com": "windowslive.com",
    "googlmail.com": "googlemail.com", "gmeil.com": "gmail.com", "gimail.com": "gmail.com", "otmail.com": "hotmail.com",
    "hotmeil.com": "hotmail.com", "autlook.com": "outlook.com", "iclould.com": "icloud.com",
    "protonmial.com": "protonmail.com", "hotmaill.co": "hotmail.com", "yahoho.com": "yahoo.com",
}  # fmt: skip

COMPANIES = [
    "gail.com", "cloud.com", "ucloud.com", "wahoo.com", "gmall.com.tr", "hotmall.com", "outlooks.com",
    "outlooktravel.com", "yahsi.com.tr", "gmaltd.com", "gmat.com.tr", "gtmail.com", "gymail.com.tr", "iloud.com",
    "yadex.ro", "yande.org", "yamdex.de", "hotmailer.com.tr", "tahoo.com", "emlak.com.tr", "omail.com.tr",
    "zohoinsaat.com.tr", "mynetyazilim.com.tr", "tutar.com.tr", "sunrisemedikal.com.tr", "sunrise.com.tr",
    "livea.com", "aolin.com.tr", "msnet.com.tr", "outlook-tekstil.com.tr", "yandexim.com", "posteokul.com",
    "gmxlojistik.com.tr", "contosoft.com.tr", "fabrika.com.tr", "examples.com", "ornek.com.tr", "hotel.com.tr",
    "outlet.com.tr", "gmk.com.tr",
]  # fmt: skip


def _at(domain: str) -> DomainFinding:
    return find_domain({"customerProfile": {"team": [{"email": f"ali@{domain}"}]}}, NOBODY)


@pytest.mark.parametrize("domain", CONSUMER)
def test_consumer_mail_of_every_country_is_no_company_and_no_misspelling(domain: str) -> None:
    found = _at(domain)
    assert (found.reason, found.note) == (DomainReason.CONSUMER_ONLY, None)


@pytest.mark.parametrize(("domain", "meant"), MISSPELT.items())
def test_a_misspelt_consumer_service_is_consumer_mail_with_a_hint(domain: str, meant: str) -> None:
    found = _at(domain)
    if domain not in DISPOSABLE_MAIL | CONSUMER_MAIL:
        note = f"customerProfile.team[0].email: {domain} is probably {meant}"
        assert (found.domain, found.reason, found.note) == (None, DomainReason.CONSUMER_ONLY, note)
        assert read_lead({"website": f"www.{domain}"}, NOBODY).notes == f"[website: {domain} is probably {meant}]"
    assert found.domain is None


@pytest.mark.parametrize(
    ("domain", "meant"),
    [("gmail.con", "gmail.com"), ("gmail.comm", "gmail.com"), ("gmail.cmo", "gmail.com"),
     ("hotmail.com.r", "hotmail.com"), ("gnail.con", "gmail.com"), ("hotmailcom", "hotmail.com"),
     ("gmail", "gmail.com"), ("yahoo.vom", "yahoo.com")],
)  # fmt: skip
def test_a_consumer_service_with_a_misspelt_suffix_is_consumer_mail_with_a_hint(domain: str, meant: str) -> None:
    found = _at(domain)
    note = f"customerProfile.team[0].email: {domain} is probably {meant}"
    assert (found.domain, found.reason, found.note) == (None, DomainReason.CONSUMER_ONLY, note)


@pytest.mark.parametrize("domain", ["firma.con", "firma", "gmail.local", "gmailfirma", "com", "gmail.x", "localhost"])
def test_any_other_name_without_a_suffix_is_invalid_without_a_hint(domain: str) -> None:
    assert (_at(domain).reason, _at(domain).note) == (DomainReason.INVALID, None)


@pytest.mark.parametrize("domain", COMPANIES)
def test_a_companys_name_that_only_resembles_a_service_stays_a_company(domain: str) -> None:
    assert _at(domain).domain == domain


def test_a_companys_domain_beside_a_misspelt_address_counts_without_a_hint() -> None:
    found = find_domain({"customerProfile": {"team": [{"email": "a@gmai.com"}]}, "website": "firma.com.tr"}, NOBODY)
    assert (found.domain, found.note) == ("firma.com.tr", None)


@pytest.mark.parametrize("domain", ["tempmail.com", "temp-mail.io", "gecicimail.com", "mail-temp.com", "yopmail.com"])
def test_throw_away_mail_is_no_company(domain: str) -> None:
    assert _at(domain).reason is DomainReason.DISPOSABLE_ONLY


@pytest.mark.parametrize("domain", ["contoso.com", "fabrikam.com", "mail.contoso.com", "adventure-works.com"])
def test_a_company_of_microsofts_samples_is_microsofts(domain: str) -> None:
    assert _at(domain).reason is DomainReason.MICROSOFT


@pytest.mark.parametrize("domain", ["example.com", "mail.example.org"])
def test_a_name_reserved_for_documents_is_no_domain(domain: str) -> None:
    assert _at(domain).reason is DomainReason.INVALID


def test_every_listed_service_has_a_source_and_is_listed_once() -> None:
    names = [name for block in LISTED["block"] for name in block["names"]]
    assert len(names) == len(set(names)) > 400
    assert all(len(block["source"]) > 20 and block["area"] for block in LISTED["block"])


def test_no_listed_service_is_a_misspelling_of_another() -> None:
    assert [name for name in CONSUMER_MAIL if meant_service(name)] == []
