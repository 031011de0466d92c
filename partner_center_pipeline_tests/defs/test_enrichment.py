"""The join of a company's row and its signals: each fact of a score comes from the right side, with its evidence."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from partner_center_pipeline.defs.enrichment import DnsProgress, Scoring, ask, keep, score_input
from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.mail.dmarc import Dmarc
from partner_center_pipeline.mail.signals import NEEDED, Evidence, Lookup, Outcome
from partner_center_pipeline.mail.spf import Spf
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Provider, TenantSource
from partner_center_pipeline.warehouse import companies, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.signals import SetUps
from partner_center_pipeline_tests.warehouse.rows import company

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
DOMAIN = "firma.com.tr"
FOUND = {name: Lookup(Outcome.FOUND, answered_at=NOW) for name in NEEDED}

GOOGLE = MailSignals(
    DOMAIN,
    NOW,
    provider=Provider.GOOGLE,
    evidence=(Evidence("mx", "aspmx.l.google.com", "Google"), Evidence("spf", "_spf.google.com", "Google")),
    mx=((5, "other.firma.com.tr"), (5, "aspmx.l.google.com")),
    mx_outcome=Outcome.FOUND,
    dkim_present=True,
    dkim_selectors=("google", "s1"),
    lookups=FOUND,
)


def row(**facts: Any) -> dict[str, Any]:
    """A row of table `companies`, as far as a score needs it."""
    return {
        "domain": DOMAIN, "tenant": None, "tenant_source": None, "open_cosell": False, "cosell_referral": None, **facts,
    }  # fmt: skip


class TestTenant:
    """A tenant and its source come from the same side."""

    OF_DNS = replace(GOOGLE, tenant="dns.onmicrosoft.com", tenant_source=TenantSource.DKIM_TARGET)

    @pytest.mark.parametrize("source", [TenantSource.PAYLOAD, TenantSource.EMAIL_DOMAIN])
    @pytest.mark.parametrize("known", [GOOGLE, OF_DNS], ids=["dns_without", "dns_with"])
    def test_a_referrals_goes_before_that_of_dns_with_its_own_source(
        self, source: TenantSource, known: MailSignals
    ) -> None:
        joined = score_input(row(tenant="referral.onmicrosoft.com", tenant_source=source), known)
        assert (joined.tenant, joined.tenant_source) == ("referral.onmicrosoft.com", source)

    @pytest.mark.parametrize("source", [TenantSource.DKIM_TARGET, TenantSource.OIDC_METADATA])
    def test_that_of_dns_counts_where_no_referral_names_one(self, source: TenantSource) -> None:
        joined = score_input(row(), replace(self.OF_DNS, tenant_source=source))
        assert (joined.tenant, joined.tenant_source) == ("dns.onmicrosoft.com", source)

    def test_none_on_either_side_is_none(self) -> None:
        joined = score_input(row(), GOOGLE)
        assert (joined.tenant, joined.tenant_source) == (None, None)


class TestFacts:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"provider": Provider.YANDEX}, {"provider": Provider.YANDEX}),
            ({"spf": Spf(record="v=spf1 a", includes=("x.y",))}, {"spf_present": True, "spf_includes": 1}),
            ({"spf": Spf(multiple=True)}, {"spf_multiple": True, "spf_present": False}),
            ({"dkim_present": False, "dkim_selectors": ()}, {"dkim_present": False, "dkim_selector": None}),
            ({"dkim_present": None, "dkim_selectors": ()}, {"dkim_present": None, "dkim_selector": None}),
            ({"dmarc": Dmarc("v=DMARC1; p=reject", "reject", DOMAIN)}, {"dmarc_policy": "reject"}),
            ({"no_mx_reason": "null_mx", "mx": ()}, {"no_mx": True, "mx_host": "null_mx"}),
            ({"lookups": {}}, {"signals_complete": False}),
        ],
    )  # fmt: skip
    def test_each_fact_of_dns_is_the_signals_own(self, changed: dict[str, Any], expected: Mapping[str, Any]) -> None:
        before, after = score_input(row(), GOOGLE), score_input(row(), replace(GOOGLE, **changed))
        assert {name: getattr(after, name) for name in expected} == dict(expected)
        assert all(getattr(before, name) != value for name, value in expected.items() if name != "spf_present" or value)

    def test_each_fact_of_the_company_is_its_rows_own(self) -> None:
        joined = score_input(row(open_cosell=True, cosell_referral="r1"), GOOGLE)
        assert (joined.domain, joined.open_cosell, joined.cosell_referral) == (DOMAIN, True, "r1")
        assert (joined.domain_valid, joined.signals_complete, joined.dkim_selector) == (True, True, "google")

    def test_the_host_that_decided_is_shown_and_not_the_first_one(self) -> None:
        assert score_input(row(), GOOGLE).mx_host == "aspmx.l.google.com"

    def test_without_a_mail_host_nothing_is_shown_as_one(self) -> None:
        assert score_input(row(), MailSignals(DOMAIN, NOW)).mx_host is None


class TestStored:
    """What `scored_segments` and the rescan store, on both databases."""

    def test_a_score_carries_the_evidence_inputs_and_time_of_its_signals(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company(DOMAIN, referrals=1)])
            kept, changed = keep(connection, [GOOGLE], 24)
            rows, outcome = Scoring(Settings(), NOW + timedelta(hours=1)).score(connection, [DOMAIN])
            stored = connection.execute(select(schema.company_scores)).one()
        assert ([each["domain"] for each in kept], changed, outcome.written.new) == ([DOMAIN], SetUps(new=1), 1)
        evidence = {reason["code"]: reason["evidence"] for reason in stored.reasons}
        assert (evidence["provider_google"], evidence["dkim_present"]) == ("aspmx.l.google.com", "google")
        assert "(+50, aspmx.l.google.com)" in stored.explanation_tr
        assert (stored.inputs["mx_host"], stored.inputs["tenant_source"]) == ("aspmx.l.google.com", None)
        assert (stored.signals_at, stored.scored_at) == (NOW, NOW + timedelta(hours=1))
        assert rows[0]["derived_with"] == stored.derived_with != ""

    def test_a_company_that_was_never_asked_is_pending_and_one_that_is_unknown_is_not_scored(
        self, warehouse: Warehouse
    ) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company(DOMAIN, referrals=1)])
            rows, _ = Scoring(Settings(), NOW).score(connection, [DOMAIN, "nobody.com.tr"])
        assert [(each["domain"], each["segment"], each["signals_at"]) for each in rows] == [(DOMAIN, "Pending", None)]

    def test_each_domain_is_asked_with_what_is_known_of_it(self, warehouse: Warehouse) -> None:
        heard: dict[str, MailSignals] = {}

        def scan(domains: Any, known: Mapping[str, MailSignals]) -> Any:
            heard.update(known)
            return iter(MailSignals(domain, NOW) for domain in domains)

        with warehouse.write() as connection:
            companies.write(connection, [company(DOMAIN, referrals=1), company("b.com.tr", referrals=1)])
            keep(connection, [GOOGLE], 24)
        answers = ask(warehouse, scan, [DOMAIN, "b.com.tr"], DnsProgress(2))
        assert [answer.domain for answer in answers] == [DOMAIN, "b.com.tr"]
        assert list(heard) == [DOMAIN]
        assert heard[DOMAIN].evidence == GOOGLE.evidence
