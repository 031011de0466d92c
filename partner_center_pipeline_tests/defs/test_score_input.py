"""What a company's signals become as the input of its score: the record that decided, the gateway, what is open."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from partner_center_pipeline.defs.enrichment import score_input
from partner_center_pipeline.mail import Lookup, MailSignals
from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.signals import Outcome

NOW = datetime(2026, 4, 1, tzinfo=UTC)
COMPANY: dict[str, Any] = {
    "domain": "firma.com.tr",
    "open_cosell": False,
    "cosell_referral": None,
    "tenant": None,
    "tenant_source": None,
}
NOTHING = Lookup(Outcome.NXDOMAIN, answered_at=NOW)
GATEWAY = "10 mxa.gslb.pphosted.com"
TARGET = "selector1-firma-com-tr._domainkey.firmaas.onmicrosoft.com"


def found(*records: str, targets: tuple[str, ...] = ()) -> Lookup:
    return Lookup(Outcome.FOUND, records, targets, NOW)


def signals(*mx: str, **changed: Lookup) -> MailSignals:
    lookups = {
        "mx": found(*mx) if mx else Lookup(Outcome.NODATA, answered_at=NOW),
        **dict.fromkeys(("txt", "dmarc", "dkim:selector1", "autodiscover", "ns"), NOTHING),
    }
    return conclude("firma.com.tr", {**lookups, **changed}, NOW)


@pytest.mark.parametrize(
    ("known", "decided"),
    [
        (signals("5 aspmx.l.google.com", "10 mail.firma.com.tr"), "aspmx.l.google.com"),
        (signals("10 mail.firma.com.tr"), "mail.firma.com.tr"),
        (signals("10 a.firma.com.tr", "10 mx1.turhost.com"), "mx1.turhost.com"),
        (signals(GATEWAY), None),
        (signals(GATEWAY, autodiscover=found("autodiscover.outlook.com")), "autodiscover.outlook.com"),
        (
            signals(
                GATEWAY,
                autodiscover=found("autodiscover.outlook.com"),
                **{"dkim:selector1": found("v=DKIM1; p=A", targets=(TARGET,))},
            ),
            f"selector1 {TARGET}",
        ),
        (
            signals("10 mail.firma.com.tr", "20 firma-com-tr.mail.protection.outlook.com"),
            "firma-com-tr.mail.protection.outlook.com",
        ),
        (signals("0 "), ""),
        (signals("10 localhost"), "localhost"),
        (signals(), "nodata"),
        (signals(address=found("192.0.2.1")), "firma.com.tr"),
    ],
)
def test_the_record_that_decided_is_the_evidence_of_the_provider(known: MailSignals, decided: str | None) -> None:
    assert score_input(COMPANY, known).mx_host == decided


def test_signals_that_an_older_version_stored_show_the_mx_where_it_named_the_provider() -> None:
    hoster, gateway = signals("10 mx1.turhost.com"), signals(GATEWAY, autodiscover=found("autodiscover.outlook.com"))
    assert score_input(COMPANY, replace(hoster, decided_by=None)).mx_host == "mx1.turhost.com"
    assert score_input(COMPANY, replace(gateway, decided_by=None)).mx_host is None
    local = replace(signals("10 mx.veri.example"), local_host=None)
    assert score_input(COMPANY, local).local_host == "unlisted"


def test_the_gateway_goes_in_with_its_host_and_beside_the_provider() -> None:
    inputs = score_input(COMPANY, signals(GATEWAY, autodiscover=found("autodiscover.outlook.com")))
    assert (inputs.provider, inputs.gateway) == ("M365", "Proofpoint: mxa.gslb.pphosted.com")
    assert score_input(COMPANY, signals("10 mail.firma.com.tr")).gateway is None


@pytest.mark.parametrize(
    ("txt", "expected"),
    [
        ("v=spf1 mx -all", (None, None, False)),
        ("v=spf1 ipv4:192.0.2.1 -all", ("ipv4:192.0.2.1", None, False)),
        ("v=spf1 redirect=a.example redirect=b.example", ("redirect=b.example", None, False)),
        ("v=spf1 -all mx", (None, "mx", False)),
        ("v=spf1 +all", (None, None, True)),
    ],
)
def test_what_is_wrong_with_an_spf_record_goes_in(txt: str, expected: tuple[str | None, str | None, bool]) -> None:
    inputs = score_input(COMPANY, signals("10 mail.firma.com.tr", txt=found(txt)))
    assert (inputs.spf_error, inputs.spf_ignored, inputs.spf_allows_all) == expected


def test_an_error_in_an_included_record_goes_in_too() -> None:
    nested = found("spf.firma.com.tr: SPF?")
    known = signals("10 mail.firma.com.tr", txt=found("v=spf1 include:spf.firma.com.tr -all"), spf_error=nested)
    assert score_input(COMPANY, known).spf_error == "spf.firma.com.tr: SPF?"


def test_a_tenant_of_a_referral_goes_before_one_of_dns() -> None:
    known = signals(GATEWAY, **{"dkim:selector1": found("v=DKIM1; p=A", targets=(TARGET,))})
    of_dns = score_input(COMPANY, known)
    assert (of_dns.tenant, of_dns.tenant_source) == ("firmaas", "dkim_target")
    of_referral = score_input({**COMPANY, "tenant": "baska", "tenant_source": "email_domain"}, known)
    assert (of_referral.tenant, of_referral.tenant_source) == ("baska", "email_domain")
