"""Zones from plain records, and the mail set-ups of the world."""

from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_simulator import DnsFault, Zone
from partner_center_simulator.companies import Companies
from partner_center_simulator.mail_setups import WITH_TENANT, Mailbox, WorldZone
from partner_center_simulator.world import World
from partner_center_simulator.zone import Rcode

COMPANIES = Companies(11)
ZONE = WorldZone(11, COMPANIES)
DOMAINS = [COMPANIES.company(index).domain for index in range(1500)]


def texts(zone: Zone, name: str, kind: str) -> list[str]:
    return [record.text for record in zone.lookup(name, kind).records if record.type == kind]


# Plain records


def test_a_zone_of_plain_records_answers_as_a_resolver() -> None:
    zone = Zone.from_records(
        {
            "Firma.com.tr": {"MX": [(10, "mail.firma.com.tr"), (5, "mx.firma.com.tr.")], "TXT": "v=spf1 -all"},
            "a.b.firma.com.tr": {"A": ["192.0.2.1"]},
            "www.firma.com.tr": {"CNAME": ["a.b.firma.com.tr"]},
            "lost.firma.com.tr": {"CNAME": "nowhere.example"},
        }
    )
    assert texts(zone, "FIRMA.com.tr.", "MX") == ["10 mail.firma.com.tr.", "5 mx.firma.com.tr."]
    assert texts(zone, "firma.com.tr", "TXT") == ['"v=spf1 -all"']
    chain = zone.lookup("www.firma.com.tr", "A")
    assert [(record.type, record.name) for record in chain.records] == [
        ("CNAME", "www.firma.com.tr"),
        ("A", "a.b.firma.com.tr"),
    ]
    assert zone.lookup("www.firma.com.tr", "CNAME").records[0].text == "a.b.firma.com.tr."
    assert zone.lookup("b.firma.com.tr", "A").rcode is Rcode.NOERROR  # nothing there, but something below
    assert zone.lookup("x.firma.com.tr", "A").rcode is Rcode.NXDOMAIN
    lost = zone.lookup("lost.firma.com.tr", "TXT")
    assert (lost.rcode, len(lost.records)) == (Rcode.NXDOMAIN, 1)


def test_negative_answers_carry_the_soa_of_the_nearest_zone() -> None:
    zone = Zone.from_records(
        {
            "firma.com.tr": {"SOA": [("ns1.firma.com.tr", "admin.firma.com.tr", 1, 2, 3, 4, 77)]},
            "other.com.tr": {"A": ["192.0.2.1"]},
        }
    )
    soa = zone.lookup("x.y.firma.com.tr", "TXT").soa
    assert soa
    assert (soa.name, soa.text.split()[-1]) == ("firma.com.tr", "77")
    made = zone.lookup("x.other.com.tr", "TXT").soa
    assert made
    assert made.name == "other.com.tr"
    assert zone.lookup("other.com.tr", "A").soa is None


def test_records_can_be_replaced_removed_and_made_to_fail() -> None:
    zone = Zone.from_records({"firma.com.tr": {"A": ["192.0.2.1"]}}, {"firma.com.tr": "servfail"})
    assert zone.lookup("firma.com.tr", "A").fault is DnsFault.SERVFAIL
    zone.set_fault("firma.com.tr", None)
    assert texts(zone, "firma.com.tr", "A") == ["192.0.2.1"]
    before = zone.version
    zone.add({"firma.com.tr": {"TXT": [b'\xff\x00"\\']}})
    assert texts(zone, "firma.com.tr", "A") == []
    assert texts(zone, "firma.com.tr", "TXT") == ['"\\255\\000\\034\\092"']
    zone.remove("firma.com.tr")
    assert zone.lookup("firma.com.tr", "TXT").rcode is Rcode.NXDOMAIN
    assert zone.version > before


def test_a_name_that_is_truncated_keeps_its_records_and_every_other_fault_has_none() -> None:
    zone = Zone.from_records({"firma.com.tr": {"A": ["192.0.2.1"]}})
    for fault in DnsFault:
        zone.set_fault("firma.com.tr", fault)
        assert zone.lookup("firma.com.tr", "A").fault is fault
        assert texts(zone, "firma.com.tr", "A") == (["192.0.2.1"] if fault is DnsFault.TRUNCATE else [])


def test_a_loop_of_names_ends() -> None:
    zone = Zone.from_records({"a.example": {"CNAME": "b.example"}, "b.example": {"CNAME": "a.example"}})
    assert zone.lookup("a.example", "TXT").rcode is Rcode.NOERROR


# Companies and their mail


@settings(max_examples=300)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_a_company_is_found_by_its_domain_at_any_size(seed: int, index: int) -> None:
    companies = Companies(seed)
    company = companies.company(index)
    assert companies.owner(company.domain) == company
    assert company.domain.isascii()
    assert company.domain == company.domain.lower()


def test_no_two_companies_share_a_domain() -> None:
    domains = [COMPANIES.company(index).domain for index in range(20_000)]
    assert len(set(domains)) == len(domains)


@pytest.mark.parametrize(
    "domain",
    ["gmail.com", "nobody.example", "mobilya.com.tr", "ormanmobilya1.com.tr", "ormanmobilya01.com", "xn--.com"],
)
def test_other_domains_belong_to_no_company(domain: str) -> None:
    assert COMPANIES.owner(domain) is None
    assert ZONE.mailbox(domain) is None


def test_every_kind_of_mailbox_occurs() -> None:
    assert set(Mailbox) == {ZONE.mailbox(domain) for domain in DOMAINS}


def test_mail_set_ups_depend_on_seed_and_domain_only() -> None:
    again = WorldZone(11, Companies(11))
    for domain in reversed(DOMAINS[:200]):
        for name in (domain, f"_dmarc.{domain}", f"selector1._domainkey.{domain}"):
            for kind in ("MX", "TXT", "CNAME", "NS"):
                assert again.lookup(name, kind) == ZONE.lookup(name, kind)


def test_the_mx_of_each_mailbox_is_one_of_its_kind() -> None:
    """mail_signals.md, the provider table."""
    endings = {
        Mailbox.M365: ".mail.protection.outlook.com.",
        Mailbox.M365_NEW: "-v1.mx.microsoft.",
        Mailbox.GOOGLE: "google.com.",
        Mailbox.YANDEX: "mx.yandex.net.",
        Mailbox.ZOHO: "zoho.eu.",
        Mailbox.AMAZON: "amazonaws.com.",
        Mailbox.SENDGRID: "sendgrid.net.",
        Mailbox.MAILGUN: "mailgun.org.",
        Mailbox.NULL_MX: "0 .",
    }
    seen: defaultdict[Mailbox, int] = defaultdict(int)
    for domain in DOMAINS:
        mailbox = ZONE.mailbox(domain)
        assert mailbox
        answer = ZONE.lookup(domain, "MX")
        first = min(texts(ZONE, domain, "MX"), key=lambda text: int(text.split()[0]), default="")
        if mailbox in endings:
            assert first.endswith(endings[mailbox])
        elif mailbox in (Mailbox.LOCAL, Mailbox.LOCAL_M365):
            assert first.endswith(f"{domain}.")
        elif mailbox is Mailbox.NO_MX:
            assert (answer.rcode, first) == (Rcode.NOERROR, "")
        elif mailbox is Mailbox.NXDOMAIN:
            assert answer.rcode is Rcode.NXDOMAIN
        elif mailbox is Mailbox.BROKEN:
            assert answer.fault in (DnsFault.SERVFAIL, DnsFault.TIMEOUT)
        else:
            assert first
        seen[mailbox] += 1
    assert all(seen[mailbox] for mailbox in Mailbox)


def test_the_dkim_names_of_a_tenant_lead_to_a_key_in_both_shapes() -> None:
    shapes: Counter[str] = Counter()
    for domain in DOMAINS:
        answer = ZONE.lookup(f"selector1._domainkey.{domain}", "TXT")
        if answer.records and answer.records[0].type == "CNAME":
            assert ZONE.mailbox(domain) in WITH_TENANT
            assert "p=MII" in answer.records[-1].text
            target = answer.records[0].text
            shapes["new" if target.endswith("-v1.dkim.mail.microsoft.") else "old"] += 1
            assert target.startswith(f"selector1-{domain.replace('.', '-')}._domainkey.")
    assert shapes["old"] > 50
    assert shapes["new"] > 20


def test_spf_dkim_and_dmarc_vary() -> None:
    spf = Counter(
        len([text for text in texts(ZONE, domain, "TXT") if text.startswith('"v=spf1')]) for domain in DOMAINS
    )
    assert set(spf) == {0, 1, 2}
    policies = {text for domain in DOMAINS for text in texts(ZONE, f"_dmarc.{domain}", "TXT")}
    for piece in ("p=none", "p=quarantine", "p=reject", "pct=50", "sp=reject"):
        assert any(piece in policy for policy in policies)
    assert any("redirect=" in text for domain in DOMAINS for text in texts(ZONE, domain, "TXT"))
    default = [text for domain in DOMAINS for text in texts(ZONE, f"default._domainkey.{domain}", "TXT")]
    assert any(text.endswith('p="') for text in default)
    assert any(text.count('"') == 4 for text in default)  # a key longer than one piece


def test_every_company_address_in_the_world_has_a_place_in_the_zone() -> None:
    world = World(11, datetime(2026, 3, 2, tzinfo=UTC), 500)
    zone = WorldZone(11, world.companies)
    asked = 0
    for row in world.all():
        for member in row["customerProfile"]["team"]:
            company = world.companies.owner(member["email"].rpartition("@")[2])
            if company is not None:
                asked += 1
                nowhere = zone.lookup(company.domain, "MX").rcode is Rcode.NXDOMAIN
                assert nowhere == (zone.mailbox(company.domain) is Mailbox.NXDOMAIN)
    assert asked > 100


def test_records_by_hand_come_before_the_worlds() -> None:
    zone = WorldZone(11, COMPANIES)
    domain = next(each for each in DOMAINS if zone.mailbox(each) is Mailbox.LOCAL)
    zone.add({domain: {"MX": [(0, "firma.mail.protection.outlook.com")]}})
    assert texts(zone, domain, "MX") == ["0 firma.mail.protection.outlook.com."]
