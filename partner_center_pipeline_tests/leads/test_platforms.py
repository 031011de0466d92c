"""identity.md, "Not a company's domain": shared platforms, and addresses that lead to another page."""

import tomllib
from importlib.resources import files
from urllib.parse import quote

import pytest

from partner_center_pipeline.leads import normalize_domain
from partner_center_pipeline.leads.customer_domain import DomainReason, find_domain
from partner_center_pipeline.leads.domains import Platform, find_hosts

NOBODY: frozenset[str] = frozenset()
LISTED = tomllib.loads(files("partner_center_pipeline.leads").joinpath("platforms.toml").read_text(encoding="utf-8"))
TARGET = "https://www.firma.com.tr/iletisim?a=b"

PAGES = [
    "https://www.google.com/maps/place/Firma+A.%C5%9E./@41.0,29.0,17z", "google.com.tr/maps?q=firma",
    "https://www.google.de/search?q=firma.com.tr", "https://goo.gl/maps/abc", "https://maps.app.goo.gl/abc",
    "https://g.page/firma", "https://play.google.com/store/apps/details?id=com.firma.app",
    "https://apps.apple.com/tr/app/firma/id123", "https://www.trendyol.com/magaza/firma-m-123?sst=0",
    "https://www.hepsiburada.com/magaza/firma", "www.n11.com/magaza/firma", "https://firma.sahibinden.com/",
    "sahibinden.com", "https://www.ciceksepeti.com/magaza/firma", "https://www.amazon.com.tr/s?me=A1",
    "amazon.de/stores/firma", "https://www.amazon.com/dp/B0", "https://www.etsy.com/shop/firma", "firma.etsy.com",
    "https://www.ebay.co.uk/str/firma", "https://firma.en.alibaba.com", "https://tr.aliexpress.com/store/123",
    "https://www.shopier.com/firma", "https://firma.ticimax.com", "firma.ideasoft.com.tr", "firma.myideasoft.com",
    "firma.tsoft.com.tr", "https://firma.myshopify.com", "https://firma.odoo.com", "firma.crm4.dynamics.com",
    "https://bit.ly/3abc", "https://cutt.ly/firma", "t.ly/x", "rb.gy/x", "https://is.gd/x", "https://tinyurl.com/x",
    "https://linktr.ee/firma", "firma.tilda.ws", "https://firma.ucoz.com", "firma.ucoz.net", "firma.my.canva.site",
    "firma.canva.site", "https://firma.tr.gg", "firma.wixsite.com/site", "https://firma.business.site",
    "firma.webnode.cz",    "firma.e-monsite.com", "https://firma.bitrix24.com.tr", "https://wa.me/905551112233", "https://www.yelp.com.tr/biz/x",
    "https://outlook.office365.com/book/firma", "https://firma.blogspot.com.tr", "https://www.olx.pl/oferty/firma",
    "https://duckduckgo.com/l/?uddg=", "https://protect-eu.mimecast.com/s/abcDEF",
]  # fmt: skip

REDIRECTS = [
    f"https://www.google.com/url?q={TARGET}&sa=D", f"https://www.google.com.tr/url?sa=t&url={quote(TARGET, safe='')}",
    f"google.com/url?q={quote(TARGET, safe='')}", f"https://www.google.com/url?sa=t&amp;url={quote(TARGET, safe='')}",
    "https://www.google.com/amp/s/www.firma.com.tr/yazi", f"https://translate.google.com/translate?sl=tr&u={TARGET}",
    f"https://eur02.safelinks.protection.outlook.com/?url={quote(TARGET, safe='')}&data=05%7C02%7Cali%40baska.com%7Cx",
    f"https://eur02.safelinks.protection.outlook.com/?url={quote(TARGET, safe='')}&data=05|02|ali@baska.com|x",
    f"https://eur02.safelinks.protection.outlook.com/ap/w-59584e83/?url={quote(TARGET, safe='')}&amp;data=05",
    f"https://web.archive.org/web/20200101000000/{TARGET}", "web.archive.org/web/2020*/firma.com.tr",
    "https://web.archive.org/web/20200101000000*/http://www.firma.com.tr", f"https://archive.ph/2020/{TARGET}",
    f"https://l.facebook.com/l.php?u={quote(TARGET, safe='')}&h=AT0",
    f"https://l.instagram.com/?u={quote(TARGET, safe='')}",
    f"https://www.linkedin.com/redir/redirect?url={quote(TARGET, safe='')}",
    f"https://www.youtube.com/redirect?q={TARGET}",
    "https://urldefense.proofpoint.com/v2/url?u=https-3A__www.firma.com.tr_iletisim&d=DwMF&c=x",
    "https://urldefense.com/v3/__https://www.firma.com.tr/iletisim__;!!abc!def$",
    "https://linkprotect.cudasvc.com/url?a=https%3a%2f%2fwww.firma.com.tr&c=E,1,x",
    "https://protect-eu.mimecast.com/s/abcDEF?domain=firma.com.tr",
    "https://eu-west-1.protection.sophos.com/?d=firma.com.tr&u=aHR0&i=x",
    "https://secure-web.cisco.com/1abcDEF/https%3A%2F%2Fwww.firma.com.tr%2Fa",
    "https://href.li/?https://firma.com.tr", "https://www.google.com/url?other=1&x=https%3A%2F%2Ffirma.com.tr&y=2",
    "HTTPS://WWW.GOOGLE.COM/url?q=HTTPS://WWW.FIRMA.COM.TR", "Web: https://www.google.com/url?q=https://firma.com.tr",
    f"https://eur02.safelinks.protection.outlook.com/?url={quote(f'https://www.google.com/url?q={TARGET}', safe='')}",
]  # fmt: skip


@pytest.mark.parametrize("text", PAGES)
def test_a_page_on_a_shared_platform_is_nobodys_domain(text: str) -> None:
    assert normalize_domain(text) is None
    assert find_domain({"website": text}, NOBODY).reason is DomainReason.SOCIAL_HOST


@pytest.mark.parametrize("text", REDIRECTS, ids=range(len(REDIRECTS)))
def test_the_page_behind_a_redirect_is_read_and_nothing_else(text: str) -> None:
    found = find_domain({"website": text}, NOBODY)
    assert (found.domain, found.note) == ("firma.com.tr", None)


def test_a_redirect_to_a_platform_is_a_platforms_page() -> None:
    for target in ("https://www.facebook.com/firma", "https://www.trendyol.com/magaza/firma", "yok", "", "localhost"):
        text = f"https://www.google.com/url?q={quote(target, safe='')}"
        assert normalize_domain(text) is None, text


def test_redirects_within_redirects_end() -> None:
    text = "firma.com.tr"
    for _ in range(20):
        text = f"https://google.com/url?q={quote(text, safe='')}"
    assert find_domain({"website": text}, NOBODY).reason is DomainReason.SOCIAL_HOST


@pytest.mark.parametrize(
    "text",
    ["https://www.firma.com.tr/url?q=https://www.baska.com", "https://firma.com.tr/web/2020/http://baska.com",
     "firma.com.tr/l.php?u=https://baska.com", "https://firma.com.tr/?url=baska.com", "firma.com.tr?domain=baska.com"],
)  # fmt: skip
def test_an_address_within_a_companys_own_address_does_not_count(text: str) -> None:
    found = find_domain({"website": text}, NOBODY)
    assert (found.domain, found.note) == ("firma.com.tr", None)


@pytest.mark.parametrize("domain", ["trendyol.com", "hepsiburada.com", "amazon.com.tr", "google.com", "ticimax.com"])
def test_an_address_at_a_platforms_own_name_is_that_of_its_own_people(domain: str) -> None:
    assert normalize_domain(f"ali@{domain}") == normalize_domain(f"Ali <ali@{domain}>") == domain
    assert normalize_domain(domain) is normalize_domain(f"http://ali@{domain}/") is None
    assert normalize_domain(f"ali@firma.{domain}") is None


@pytest.mark.parametrize("text", ["ali@facebook.com", "ali@linktr.ee", "ali@bit.ly", "ali@firma.myshopify.com"])
def test_no_address_at_a_network_or_a_link_shortener_is_a_companys(text: str) -> None:
    assert normalize_domain(text) is None


@pytest.mark.parametrize(
    "domain",
    ["apple.com", "amazonia.com.tr", "googleplex.com.tr", "n11insaat.com.tr", "trendyolu.com", "trendmicro.com",
     "mimecast.com", "office.com.tr", "etsycraft.com", "odoo.com.tr", "maps.com.tr", "dynamicsyazilim.com"],
)  # fmt: skip
def test_a_company_that_is_no_platform_keeps_its_domain(domain: str) -> None:
    assert normalize_domain(f"https://www.{domain}/url?a=b") == domain


def test_every_listed_host_is_a_platform_and_has_a_source() -> None:
    hosts = {host: source for group in LISTED["group"] for host, source in group["hosts"].items()}
    assert len(hosts) == sum(len(group["hosts"]) for group in LISTED["group"]) > 600
    for host, source in hosts.items():
        assert len(source) > 5, host
        (found,) = find_hosts(host.replace(".*", ".com"))
        assert found.platform is Platform.SOCIAL, host
    for redirect in LISTED["redirect"]:
        assert len(redirect["source"]) > 10, redirect
        assert redirect["parameters"] or redirect["in_path"], redirect
