"""Whole scans over real DNS on loopback: one domain for each mail set-up and each way DNS fails."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dns.message
import pytest

from partner_center_pipeline.mail import MailSignals, scan
from partner_center_pipeline.mail.providers import provider_table
from partner_center_pipeline.mail.resolver import ResolverError
from partner_center_pipeline.mail.retention import next_scan_after
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.vocabulary import Provider
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import DnsFault, Faults
from partner_center_simulator.zone import Zone

pytestmark = pytest.mark.xdist_group("scanner")  # one process waits for the deadlines of all its domains, once

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
SELECTORS = ("selector1", "selector2", "google", "default", "s1", "s2", "k1", "mail", "zoho", "zmail")
KEY = "v=DKIM1; k=rsa; p=" + "A" * 392
SPF_M365 = "v=spf1 include:spf.protection.outlook.com -all"
GATEWAY = (10, "mx1-eu1.ppe-hosted.com")

Records = dict[str, dict[str, list[Any]]]


def domain(name: str, *mx: tuple[int, str], txt: str | list[str] | None = None, dmarc: str | None = None) -> Records:
    records: Records = {name: {"NS": [f"ns1.{name}"]}}
    if mx:
        records[name]["MX"] = list(mx)
    if txt:
        records[name]["TXT"] = [txt] if isinstance(txt, str) else txt
    if dmarc:
        records[f"_dmarc.{name}"] = {"TXT": [dmarc]}
    return records


def key(name: str, selector: str, text: str = KEY) -> Records:
    return {f"{selector}._domainkey.{name}": {"TXT": [text]}}


def alias(name: str, target: str) -> Records:
    return {name: {"CNAME": [target]}}


OLD_TARGET = "selector1-eski-com-tr._domainkey.eskifirma.onmicrosoft.com"
NEW_TARGET = "selector1-yeni-com-tr._domainkey.yenifirma.n-v1.dkim.mail.microsoft"

ZONE: Records = {
    "spf.protection.outlook.com": {"TXT": ["v=spf1 ip4:192.0.2.0/24 -all"]},
    # Microsoft 365: the names of old and of new domains.
    **domain("eski.com.tr", (0, "eski-com-tr.mail.protection.outlook.com"), txt=SPF_M365, dmarc="v=DMARC1; p=reject"),
    **alias("selector1._domainkey.eski.com.tr", OLD_TARGET),
    OLD_TARGET: {"TXT": [KEY]},
    **domain("yeni.com.tr", (0, "yeni-com-tr.x-v1.mx.microsoft"), txt=SPF_M365, dmarc="v=DMARC1; p=reject; sp=none"),
    **alias("selector1._domainkey.yeni.com.tr", NEW_TARGET),
    # Others.
    **domain("google.com.tr", (1, "aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com")),
    **key("google.com.tr", "google"),
    **domain("yandex.firma.tr", (10, "mx.yandex.net"), txt="v=spf1 redirect=_spf.yandex.net"),
    **domain("zoho.firma.tr", (10, "mx.zoho.eu")),
    **domain("natro.firma.tr", (10, "mx01.natrohost.com")),
    **domain("turhost.firma.tr", (10, "mail.turhost.firma.tr")),
    **alias("mail.turhost.firma.tr", "alias.turhost.firma.tr"),
    **alias("alias.turhost.firma.tr", "mail05.turhost.com"),
    **domain("kendi.com.tr", (10, "mail.kendi.com.tr"), txt=["v=spf1 mx -all", "MS=ms1234"], dmarc="v=DMARC1; p=none"),
    **domain("evil.com.tr", (10, "outlook.com.evil.example")),
    **domain("dongu.com.tr", (10, "mail.dongu.com.tr"), txt="v=spf1 include:a.dongu.com.tr -all"),
    **alias("mail.dongu.com.tr", "mail2.dongu.com.tr"),
    **alias("mail2.dongu.com.tr", "mail.dongu.com.tr"),
    "a.dongu.com.tr": {"TXT": ["v=spf1 include:b.dongu.com.tr include:dongu.com.tr"]},
    "b.dongu.com.tr": {"TXT": ["v=spf1 include:a.dongu.com.tr"]},
    # Behind a gateway.
    **domain("gizli.com.tr", GATEWAY),
    **domain("icice.com.tr", GATEWAY, txt="v=spf1 include:spf.icice.com.tr -all"),
    "spf.icice.com.tr": {"TXT": ["v=spf1 include:spf2.icice.com.tr -all"]},
    "spf2.icice.com.tr": {"TXT": ["v=spf1 redirect=spf.protection.outlook.com"]},
    **alias("lyncdiscover.icice.com.tr", "webdir.online.lync.com"),
    **domain("posta.com.tr", (10, "mx.relay.example"), txt=SPF_M365),
    **alias("autodiscover.posta.com.tr", "autodiscover.outlook.com"),
    # Long chains of includes.
    **domain("uzun.com.tr", GATEWAY, txt="v=spf1 include:s0.uzun.com.tr -all"),
    **{f"s{at}.uzun.com.tr": {"TXT": [f"v=spf1 include:s{at + 1}.uzun.com.tr"]} for at in range(20)},
    # No mail, and broken records.
    **domain("null.com.tr", (0, ".")),
    **domain("bos.com.tr"),
    **domain("park.com.tr", (10, "mail.sedoparking.com")),
    **domain("iki.com.tr", (10, "mail.iki.com.tr"), txt=["v=spf1 -all", "v=spf1 mx -all"], dmarc="v=DMARC1; sp=reject"),
    **key("iki.com.tr", "default", "v=DKIM1; p="),
    **domain("alt.kurum.gov.tr", (10, "mail.alt.kurum.gov.tr")),
    "_dmarc.kurum.gov.tr": {"TXT": ["v=DMARC1; p=quarantine; sp=reject"]},
    # Where DNS fails.
    **{
        name: records
        for fault in DnsFault
        for name, records in domain(f"{fault}.com.tr", (10, "mx.yandex.net")).items()
    },
    **domain("yarim.com.tr", (10, "mx.yandex.net")),
}
FAULTS = {
    "servfail.com.tr": "servfail",
    "refused.com.tr": "refused",
    "malformed.com.tr": "malformed",
    "k1._domainkey.yarim.com.tr": "servfail",
    "_dmarc.servfail.com.tr": "servfail",
}


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    faults = Faults(dns_names={"truncate.com.tr": DnsFault.TRUNCATE, "timeout.com.tr": DnsFault.TIMEOUT})
    with DnsServer(Zone.from_records(ZONE, FAULTS), faults) as running:
        yield running


def scanned(server: DnsServer, *domains: str) -> dict[str, MailSignals]:
    results = scan(domains, resolvers=[server.address], selectors=SELECTORS, clock=lambda: NOW)
    return {signals.domain: signals for signals in results}


@pytest.fixture(scope="module")
def signals(server: DnsServer) -> dict[str, MailSignals]:
    """The signals of every domain of the zone, from one scan."""
    names = [name for name, records in ZONE.items() if "NS" in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 1.0)
        found = scanned(server, *names, "yok.com.tr")
    assert len(found) == len(names) + 1
    return found


@pytest.mark.parametrize(
    ("name", "provider", "provider_name", "gateway"),
    [
        ("eski.com.tr", Provider.M365, "Microsoft 365", None),
        ("yeni.com.tr", Provider.M365, "Microsoft 365", None),
        ("google.com.tr", Provider.GOOGLE, "Google Workspace", None),
        ("yandex.firma.tr", Provider.YANDEX, "Yandex 360", None),
        ("zoho.firma.tr", Provider.ZOHO, "Zoho Mail", None),
        ("natro.firma.tr", Provider.HOSTING, "Natro", None),
        ("turhost.firma.tr", Provider.HOSTING, "Turhost", None),
        ("kendi.com.tr", Provider.LOCAL, None, None),
        ("evil.com.tr", Provider.LOCAL, None, None),
        ("dongu.com.tr", Provider.LOCAL, None, None),
        ("gizli.com.tr", Provider.UNKNOWN, None, "Proofpoint Essentials"),
        ("icice.com.tr", Provider.M365, "Microsoft 365", "Proofpoint Essentials"),
        ("posta.com.tr", Provider.M365, "Microsoft 365", None),
        ("uzun.com.tr", Provider.UNKNOWN, None, "Proofpoint Essentials"),
        ("truncate.com.tr", Provider.YANDEX, "Yandex 360", None),
    ],
)
def test_the_mailbox_provider_is_found(
    signals: dict[str, MailSignals], name: str, provider: Provider, provider_name: str | None, gateway: str | None
) -> None:
    found = signals[name]
    assert (found.provider, found.provider_name, found.gateway) == (provider, provider_name, gateway)
    assert found.is_complete
    assert found.scanned_at == NOW


@pytest.mark.parametrize(
    ("name", "reason"),
    [("null.com.tr", "null_mx"), ("bos.com.tr", "nodata"), ("park.com.tr", "parking"), ("yok.com.tr", "nxdomain")],
)
def test_no_mail_host_is_told_as_a_fact(signals: dict[str, MailSignals], name: str, reason: str) -> None:
    assert (signals[name].no_mx_reason, signals[name].is_complete) == (reason, True)


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.SERVFAIL, Outcome.REFUSED, Outcome.MALFORMED])
def test_dns_that_does_not_answer_is_no_fact_and_no_absence(signals: dict[str, MailSignals], outcome: Outcome) -> None:
    found = signals[f"{outcome}.com.tr"]
    assert (found.mx_outcome, found.no_mx, found.is_complete) == (outcome, False, False)
    assert (found.provider, found.confidence) == (Provider.UNKNOWN, 0)
    assert next_scan_after(found, failures=1, ttl_hours=168) == 600


def test_dkim_is_found_behind_the_cname_and_names_the_tenant(signals: dict[str, MailSignals]) -> None:
    found = signals["eski.com.tr"]
    assert (found.dkim_present, found.dkim_selectors) == (True, ("selector1",))
    assert found.dkim_targets == (("selector1", OLD_TARGET),)
    assert (found.tenant, found.tenant_source) == ("eskifirma", "dkim_target")


def test_a_dkim_target_without_a_key_names_the_tenant_and_is_no_dkim(signals: dict[str, MailSignals]) -> None:
    found = signals["yeni.com.tr"]
    assert (found.dkim_present, found.dkim_selectors) == (False, ())
    assert (found.tenant, found.tenant_source) == ("yenifirma", "dkim_target")


def test_one_selector_without_an_answer_leaves_dkim_open(signals: dict[str, MailSignals]) -> None:
    found = signals["yarim.com.tr"]
    assert (found.dkim_present, found.is_complete) == (None, True)
    assert found.missed == {"dkim:k1": Outcome.SERVFAIL}


def test_the_policy_is_p_and_not_sp(signals: dict[str, MailSignals]) -> None:
    found = signals["yeni.com.tr"]
    assert found.dmarc is not None
    assert (found.dmarc_policy, found.dmarc.sp) == ("reject", "none")


def test_a_record_above_the_domain_is_found_by_the_tree_walk(signals: dict[str, MailSignals]) -> None:
    found = signals["alt.kurum.gov.tr"]
    assert found.dmarc is not None
    assert (found.dmarc_policy, found.dmarc.found_at) == ("quarantine", "kurum.gov.tr")


def test_broken_records_are_noted(signals: dict[str, MailSignals]) -> None:
    found = signals["iki.com.tr"]
    assert set(found.notes) == {"spf_multiple_records", "dmarc_policy_missing", "dkim_revoked"}
    assert (found.spf.present, found.dmarc_policy, found.dkim_present) == (False, "none", False)


def test_nested_spf_stops_after_ten_lookups(signals: dict[str, MailSignals]) -> None:
    assert signals["uzun.com.tr"].lookups["spf_nested"].records[-1] == "s10.uzun.com.tr"


def test_loops_of_includes_and_cnames_end(signals: dict[str, MailSignals]) -> None:
    lookups = signals["dongu.com.tr"].lookups
    assert lookups["spf_nested"].records == ("b.dongu.com.tr",)
    assert lookups["mx_hosts"].records == ("mail.dongu.com.tr mail2.dongu.com.tr",)


def test_nested_spf_and_mx_hosts_are_asked_for_only_where_the_mx_leaves_it_open(
    signals: dict[str, MailSignals],
) -> None:
    assert "spf_nested" not in signals["yandex.firma.tr"].lookups
    assert "mx_hosts" not in signals["gizli.com.tr"].lookups


def test_a_name_that_dns_cannot_hold_does_not_exist(server: DnsServer) -> None:
    found = scanned(server, "a" * 64 + ".com.tr", "")
    assert [each.no_mx_reason for each in found.values()] == ["nxdomain", "nxdomain"]


@pytest.mark.slow
def test_a_domain_has_a_deadline_and_the_others_go_on(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partner_center_pipeline.mail.scanner.DOMAIN_SECONDS", 4.0)
    found = scanned(server, "timeout.com.tr", "eski.com.tr")
    assert set(found["timeout.com.tr"].missed.values()) == {Outcome.TIMEOUT}
    assert found["eski.com.tr"].missed == {}


def test_it_works_where_an_event_loop_is_running(server: DnsServer) -> None:
    async def inside() -> dict[str, MailSignals]:
        return scanned(server, "eski.com.tr", "gizli.com.tr")

    assert set(asyncio.run(inside())) == {"eski.com.tr", "gizli.com.tr"}


def test_results_stream_and_progress_is_told_and_nothing_is_read_far_ahead(server: DnsServer) -> None:
    read: list[int] = []
    told: list[int] = []

    def names() -> Iterator[str]:
        for number in range(50):
            read.append(number)
            yield f"yok{number}.com.tr"

    results = scan(
        names(), resolvers=[server.address], selectors=(), clock=lambda: NOW, progress=told.append, concurrency=4
    )
    next(results)
    assert len(read) == 4
    assert len(list(results)) == 49
    assert told == list(range(1, 51))


def test_no_more_domains_are_under_way_than_the_rate_can_serve_before_their_deadline(server: DnsServer) -> None:
    read: list[int] = []

    def names() -> Iterator[str]:
        for number in range(9):
            read.append(number)
            yield f"yok{number}.com.tr"

    # Some hundred questions a domain at worst, and fifteen seconds for them.
    results = scan(names(), resolvers=[server.address], selectors=(), clock=lambda: NOW, queries_per_second=20)
    next(results)
    assert len(read) == 3
    assert len(list(results)) == 8


def wait_for_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no question twice: on a busy machine an answer may take longer than the two seconds of a try."""
    monkeypatch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 30.0)
    monkeypatch.setattr("partner_center_pipeline.mail.scanner.DOMAIN_SECONDS", 120.0)


def test_a_scan_keeps_to_the_rate_of_its_resolvers(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partner_center_pipeline.mail.resolver.is_loopback", lambda host: False)
    wait_for_each_answer(monkeypatch)
    before, began = server.questions, time.monotonic()
    (found,) = scan(
        ["eski.com.tr"], resolvers=[server.address], selectors=SELECTORS, clock=lambda: NOW, queries_per_second=20
    )
    # MX, TXT, _dmarc, NS, three CNAMEs and the selectors, the first two at once.
    assert server.questions - before == 7 + len(SELECTORS)
    assert time.monotonic() - began > (7 + len(SELECTORS) - 3) / 20
    assert found.missed == {}


class RecordingServer(DnsServer):
    """Keeps the names it was asked for."""

    def __init__(self, zone: Zone) -> None:
        super().__init__(zone)
        self.names: list[str] = []

    def respond(self, question: bytes, *, udp: bool) -> bytes | None:
        self.names.append(str(dns.message.from_wire(question).question[0].name).rstrip(".").lower())
        return super().respond(question, udp=udp)


def test_the_tree_walk_asks_for_eight_names_at_most() -> None:
    name = "a.b.c.d.e.f.g.firma.com.tr"
    with RecordingServer(Zone.from_records({name: {"MX": [(0, "smtp.google.com")]}})) as server:
        (found,) = scan([name], resolvers=[server.address], selectors=(), clock=lambda: NOW)
        walked = [asked for asked in server.names if asked.startswith("_dmarc.")]
    above = ["d.e.f.g.firma.com.tr", "e.f.g.firma.com.tr", "f.g.firma.com.tr", "g.firma.com.tr", "firma.com.tr"]
    assert walked == [f"_dmarc.{asked}" for asked in (name, *above, "com.tr", "tr")]
    assert (found.dmarc, found.lookups["dmarc_above"].outcome) == (None, Outcome.NODATA)


def test_a_domain_is_asked_what_mail_signals_lists_and_nothing_else() -> None:
    with RecordingServer(Zone.from_records({"firma.com.tr": {"MX": [(10, "mail.firma.com.tr")]}})) as server:
        list(scan(["firma.com.tr"], resolvers=[server.address], selectors=("default",), clock=lambda: NOW))
        asked = sorted(server.names)
    own = ("firma.com.tr", "firma.com.tr", "firma.com.tr", "mail.firma.com.tr")
    below = ["_dmarc", "autodiscover", "default._domainkey", "enterpriseregistration", "lyncdiscover"]
    below += ["_autodiscover._tcp", *(f"{selector}._domainkey" for selector in provider_table().selectors)]
    assert asked == sorted([*own, *(f"{label}.firma.com.tr" for label in below), "_dmarc.com.tr", "_dmarc.tr"])


def test_a_providers_own_selectors_are_asked_for_only_where_the_mx_leaves_it_open() -> None:
    with RecordingServer(Zone.from_records({"firma.com.tr": {"MX": [(0, "smtp.google.com")]}})) as server:
        list(scan(["firma.com.tr"], resolvers=[server.address], selectors=("default",), clock=lambda: NOW))
        asked = sorted(server.names)
    below = ["_dmarc", "autodiscover", "default._domainkey", "enterpriseregistration", "lyncdiscover"]
    own = ["firma.com.tr"] * 3
    assert asked == sorted([*own, *(f"{label}.firma.com.tr" for label in below), "_dmarc.com.tr", "_dmarc.tr"])


def test_leaving_early_ends_the_scan_and_its_thread(server: DnsServer) -> None:
    results = scan(
        (f"yok{number}.com.tr" for number in range(10_000)),
        resolvers=[server.address],
        selectors=SELECTORS,
        clock=lambda: NOW,
    )
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dns-scan")]


def test_an_error_of_the_domains_reaches_the_caller(server: DnsServer) -> None:
    def names() -> Iterator[str]:
        yield "eski.com.tr"
        raise LookupError("the database went away")

    with pytest.raises(LookupError, match="went away"):
        list(scan(names(), resolvers=[server.address], selectors=(), clock=lambda: NOW))


def test_a_resolver_that_cannot_be_used_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ResolverError, match="HUNTER_DNS_RESOLVERS"):
        list(scan(["firma.com.tr"], resolvers=[("no-such-host.invalid", 53)], selectors=(), clock=lambda: NOW))


def test_what_many_domains_share_is_asked_once(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_each_answer(monkeypatch)
    before = server.questions
    # Eight questions each of their own (MX, TXT, _dmarc, NS, three CNAMEs, one selector); the walk up is shared.
    list(
        scan(
            [f"yok{number}.com.tr" for number in range(20)],
            resolvers=[server.address],
            selectors=("default",),
            clock=lambda: NOW,
        )
    )
    assert server.questions - before == 20 * 8 + 2


HOSTILE_TEXTS = [("x" * 250,) * 4] * 55
"""About as many TXT records as one answer can hold: 55,000 characters."""


class HostileZone(Zone):
    """Answers every TXT question below one domain with as much as fits."""

    def _find(self, name: str) -> Any:
        found = super()._find(name)
        if found is None and name.endswith(".dolu.example"):
            return super()._find("dolu.example")
        return found


def test_one_hostile_domain_stores_a_bounded_row_and_what_was_cut_is_said() -> None:
    records = {
        "dolu.example": {
            "MX": [(number, f"mx{number}.{'a' * 60}.{'b' * 60}.example") for number in range(400)],
            "TXT": [*HOSTILE_TEXTS, "v=spf1 include:spf.protection.outlook.com -all", "MS=ms12345678"],
            "NS": [f"ns{number}.{'c' * 60}.example" for number in range(500)],
        }
    }
    with DnsServer(HostileZone.from_records(records)) as server:
        (signals,) = scan(["dolu.example"], resolvers=[server.address], selectors=SELECTORS, clock=lambda: NOW)
    row = json.dumps(signals.to_row())
    assert len(row) < 256 * 1024
    assert "answers_cut" in signals.notes
    assert {name: signals.lookups[name].cut > 0 for name in ("mx", "txt", "ns")} == dict.fromkeys(
        ("mx", "txt", "ns"), True
    )
    assert (signals.spf.present, "ms_txt" in signals.notes) == (True, True)
    assert len(signals.lookups["txt"].records) + signals.lookups["txt"].cut == len(HOSTILE_TEXTS) + 2


@pytest.mark.parametrize("is_on", [False, True])
def test_the_names_of_a_mail_hosts_addresses_are_asked_for_only_where_that_is_switched_on(is_on: bool) -> None:
    records: dict[str, dict[str, Any]] = {
        "firma.com.tr": {"MX": [(10, "mail.firma.com.tr")], "NS": ["ns1.turhost.com"]},
        "mail.firma.com.tr": {"A": ["192.0.2.25"]},
        "25.2.0.192.in-addr.arpa": {"PTR": ["srvm16.trwww.com."]},
    }
    with RecordingServer(Zone.from_records(records)) as server:
        (found,) = scan(
            ["firma.com.tr"],
            resolvers=[server.address],
            selectors=(),
            clock=lambda: NOW,
            mail_host_addresses=is_on,
        )
        assert ("25.2.0.192.in-addr.arpa" in server.names) is is_on
    expected = (Provider.HOSTING, "Turhost") if is_on else (Provider.LOCAL, None)
    assert (found.provider, found.provider_name) == expected
