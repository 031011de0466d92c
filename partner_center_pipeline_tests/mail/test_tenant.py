"""The public tenant look-up, against the local Microsoft."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from partner_center_pipeline.mail.signals import TENANT, Lookup, MailSignals, Outcome
from partner_center_pipeline.mail.tenant import TenantDiscovery, is_due
from partner_center_pipeline.simulator import Simulator

START = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def microsoft() -> Iterator[Simulator]:
    with Simulator(anchor=START, referrals=10) as simulator:
        yield simulator


class PatientClock:
    def __init__(self) -> None:
        self.now = START
        self.pauses: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += timedelta(seconds=seconds)


def discovery(microsoft: Simulator, clock: PatientClock, authority: str | None = None) -> TenantDiscovery:
    client = httpx.Client(verify=ssl.create_default_context(cafile=str(microsoft.ca_bundle)), timeout=5)
    return TenantDiscovery(client, authority or microsoft.authority, clock=clock, sleep=clock.sleep)


def test_the_tenants_id_stands_in_the_issuer(microsoft: Simulator) -> None:
    found = discovery(microsoft, PatientClock()).look_up("ornekpartner.com.tr")
    assert (found.outcome, found.records, found.answered_at) == (Outcome.FOUND, (microsoft.tenant_id,), START)


def test_a_domain_that_no_tenant_has_is_a_fact(microsoft: Simulator) -> None:
    found = discovery(microsoft, PatientClock()).look_up("nobody.example")
    assert (found.outcome, found.records, found.is_fact) == (Outcome.NXDOMAIN, (), True)


def test_silence_is_no_fact(microsoft: Simulator) -> None:
    found = discovery(microsoft, PatientClock(), "https://localhost:1").look_up("firma.com.tr")
    assert (found.outcome, found.missed, found.is_fact) == (Outcome.TIMEOUT, Outcome.TIMEOUT, False)


def test_any_other_answer_is_no_fact(microsoft: Simulator) -> None:
    found = discovery(microsoft, PatientClock(), f"{microsoft.authority}/no/such/path").look_up("firma.com.tr")
    assert (found.outcome, found.is_fact) == (Outcome.SERVFAIL, False)


def test_requests_keep_to_the_rate(microsoft: Simulator) -> None:
    clock = PatientClock()
    asked = discovery(microsoft, clock)
    for _ in range(4):
        asked.look_up("nobody.example")
    assert sum(clock.pauses) == pytest.approx(1.5)


def test_a_tenant_is_asked_for_once_per_ttl() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    fact = Lookup(Outcome.NXDOMAIN, answered_at=now)
    known = MailSignals("firma.com.tr", now, lookups={TENANT: fact})
    assert is_due(None, now, 168)
    assert is_due(MailSignals("firma.com.tr", now), now, 168)
    assert is_due(MailSignals("firma.com.tr", now, lookups={TENANT: Lookup(Outcome.TIMEOUT)}), now, 168)
    assert not is_due(known, now + timedelta(hours=167), 168)
    assert is_due(known, now + timedelta(hours=168), 168)
