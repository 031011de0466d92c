"""The public tenant look-up, against the local Microsoft."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from partner_center_pipeline.mail.signals import TENANT, Lookup, MailSignals, Outcome
from partner_center_pipeline.mail.tenant import TenantDiscovery, is_due
from partner_center_pipeline.settings import Settings
from partner_center_simulator import Simulator

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
    client = httpx.Client(verify=ssl.create_default_context(cafile=str(microsoft.ca_bundle)), timeout=30)
    return TenantDiscovery(client, authority or microsoft.authority, clock=clock, sleep=clock.sleep)


@pytest.mark.slow
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


@contextmanager
def saying(status: int, body: str) -> Iterator[str]:
    """An authority that says this and nothing else; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of http.server
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


ID = "0A1B2C3D-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, f'{{"issuer": "https://login.microsoftonline.com/{ID}/v2.0"}}', Outcome.FOUND),
        (400, '{"error": "invalid_tenant", "error_description": "AADSTS7654321: in any words"}', Outcome.NXDOMAIN),
        (400, '{"error": "invalid_request", "error_description": "AADSTS90002: a known number"}', Outcome.SERVFAIL),
        (200, '{"issuer": "https://login.microsoftonline.com/common/v2.0"}', Outcome.MALFORMED),
        (200, '{"tenant": "none"}', Outcome.MALFORMED),
        (200, '["issuer"]', Outcome.MALFORMED),
        (200, "<html>", Outcome.MALFORMED),
        (400, "<html>", Outcome.MALFORMED),
        (302, "", Outcome.SERVFAIL),
        (429, "", Outcome.REFUSED),
        (503, "<html>", Outcome.SERVFAIL),
    ],
    ids=[
        "a tenant", "no tenant", "another error", "no id", "no issuer", "no object", "no JSON", "no JSON in an error",
        "a redirect", "too many requests", "a failing server",
    ],
)  # fmt: skip
def test_only_a_tenant_and_invalid_tenant_are_facts(status: int, body: str, outcome: Outcome) -> None:
    clock = PatientClock()
    with saying(status, body) as authority, httpx.Client(timeout=30) as client:
        found = TenantDiscovery(client, authority, clock=clock, sleep=clock.sleep).look_up("firma.com.tr")
    assert (found.outcome, found.records) == (outcome, (ID.lower(),) if outcome is Outcome.FOUND else ())
    assert (found.answered_at is not None, found.missed is None) == (outcome.is_fact, outcome.is_fact)


@contextmanager
def as_the_asset_scans() -> Iterator[Callable[[Sequence[str], Mapping[str, MailSignals]], Iterator[MailSignals]]]:
    from partner_center_pipeline.defs.resources import MailResource  # Dagster takes 1.5 s, which no other test needs

    with MailResource().open(Settings.load()) as scan:
        yield scan


def test_nobody_is_asked_for_a_tenant_while_discovery_is_off(
    microsoft: Simulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in microsoft.environment().items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as authority:
        monkeypatch.setenv("HUNTER_PARTNER_CENTER_AUTHORITY", f"https://localhost:{authority.getsockname()[1]}")
        with as_the_asset_scans() as scan:
            (found,) = scan(["contoso.com"], {})
        authority.settimeout(0.1)
        with pytest.raises(TimeoutError):
            authority.accept()
    assert TENANT not in found.lookups
    assert found.tenant_source != "oidc_metadata"


def test_discovery_asks_once_per_ttl_for_each_domain_when_it_is_on(
    microsoft: Simulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**microsoft.environment(), "HUNTER_TENANT_DISCOVERY_ENABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    # A domain of a tenant without mail of its own in DNS.
    microsoft.zone.add({"fabrikam.com": {"MX": [(10, "mail.fabrikam.com")]}})
    with as_the_asset_scans() as scan:
        (found,) = scan(["fabrikam.com"], {})
        (again,) = scan(["fabrikam.com"], {"fabrikam.com": found})
    assert (found.tenant, found.lookups[TENANT].outcome) == (microsoft.zone.tenant_of("fabrikam.com"), Outcome.FOUND)
    assert TENANT not in again.lookups


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
