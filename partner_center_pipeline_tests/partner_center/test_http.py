"""Whom the one HTTP client trusts, and how it gets out."""

import time
from pathlib import Path

import httpx
import pytest

from partner_center_pipeline.partner_center import PageQuery, ReferralsClient, build_http
from partner_center_pipeline.partner_center import http as http_module
from partner_center_pipeline.partner_center.errors import Throttled, Unreachable
from partner_center_pipeline.partner_center.http import PARTNER_CENTER, MsalHttp, raise_for_transient_status
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline_tests.partner_center.conftest import PatientClock
from partner_center_simulator import Simulator
from partner_center_simulator.faults import HttpFault

TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def ask(sim: Simulator, http: httpx.Client) -> int:
    client = ReferralsClient(http, lambda *, renew=False: sim.entra.issue(), sim.base_url, clock=PatientClock())
    return len(client.get_page(PageQuery(3)).items)


def test_the_ca_bundle_of_the_settings_counts_whatever_the_environment_says(
    sim: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in TRUST_VARIABLES:
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    with build_http(settings) as http:
        assert ask(sim, http) == 3


def test_the_environment_cannot_add_trust(sim: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRUST_VARIABLES:
        monkeypatch.setenv(name, str(sim.ca_bundle))
    clock = PatientClock()
    with build_http(
        Settings(partner_center_ca_bundle=None).model_copy(update={"partner_center_ca_bundle": None})
    ) as http:
        client = ReferralsClient(http, lambda *, renew=False: "", sim.base_url, clock=clock)
        with pytest.raises(Unreachable, match="HUNTER_PARTNER_CENTER_CA_BUNDLE") as refused:
            client.get_page(PageQuery(1))
    assert not refused.value.transient
    assert clock.pauses == []


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    sim: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the discard port: nobody answers
    with build_http(settings) as http:
        assert ask(sim, http) == 3
        with pytest.raises(httpx.ConnectError):
            http.get("https://api.partner.microsoft.com/")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_bundle_that_cannot_be_used_stops_with_its_variable(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(SettingsError, match=r"HUNTER_PARTNER_CENTER_CA_BUNDLE: .*ca\.pem"):
        build_http(Settings(partner_center_ca_bundle=bundle))


def test_every_call_says_who_calls_and_follows_no_redirect(http: httpx.Client) -> None:
    assert http.headers["user-agent"].startswith("partner-center-pipeline/")
    assert not http.follow_redirects


def test_msals_calls_are_tried_again_when_the_answer_is_no_json(
    sim: Simulator, http: httpx.Client, clock: PatientClock
) -> None:
    msal_http = MsalHttp(http, clock)
    address = f"{sim.base_url}/v1.0/engagements/referrals"
    headers = {"Authorization": f"Bearer {sim.entra.issue()}"}
    for fault in (HttpFault.HTML, HttpFault.RESET, HttpFault.UNAVAILABLE_HTML, HttpFault.THROTTLED):
        sim.faults.plan(fault)
    assert msal_http.get(address, headers=headers).status_code == 200
    assert len(clock.pauses) == 4


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 409, 412, 501, 505, 507])
def test_a_status_that_would_only_repeat_is_not_tried_again(status: int) -> None:
    raise_for_transient_status(_answer(status), PatientClock(), PARTNER_CENTER)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
def test_a_status_that_passes_is_unreachable_for_now(status: int) -> None:
    with pytest.raises(Unreachable, match=f"HTTP {status}") as busy:
        raise_for_transient_status(_answer(status), PatientClock(), PARTNER_CENTER)
    assert (busy.value.status, busy.value.transient, busy.value.retry_after) == (status, True, 7)


@pytest.mark.parametrize("status", [429, 509])
def test_a_status_that_throttles_is_throttled(status: int) -> None:
    with pytest.raises(Throttled, match=r"asks to wait 7 s") as busy:
        raise_for_transient_status(_answer(status), PatientClock(), PARTNER_CENTER)
    assert (busy.value.status, busy.value.transient, busy.value.retry_after) == (status, True, 7)


def _answer(status: int) -> httpx.Response:
    request = httpx.Request("GET", "https://api.partner.microsoft.com/")
    return httpx.Response(status, headers={"Retry-After": "7"}, request=request)


def test_msals_calls_end_when_the_trouble_lasts(sim: Simulator, http: httpx.Client, clock: PatientClock) -> None:
    sim.faults.plan(HttpFault.UNAVAILABLE, times=1000)
    with pytest.raises(Unreachable, match="HTTP 503"):
        MsalHttp(http, clock).get(f"{sim.base_url}/v1.0/engagements/referrals")
    assert 0 < clock.monotonic() <= 60


DRIPS = ["drip_bytes_per_second", "drip_headers_per_second"]


@pytest.mark.slow
@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_ends_after_its_whole_time(
    sim: Simulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, drip: str
) -> None:
    monkeypatch.setattr(http_module, "ANSWER_SECONDS", 1.0)
    setattr(sim.faults, drip, 20.0)
    clock = PatientClock()
    client = ReferralsClient(
        http, lambda *, renew=False: sim.entra.issue(), sim.base_url, deadline_seconds=0, clock=clock
    )
    started = time.monotonic()
    with pytest.raises(Unreachable, match="had not sent its whole answer after 1 s") as slow:
        client.get_page(PageQuery(3))
    assert 1 <= time.monotonic() - started < 2.5
    assert slow.value.transient


@pytest.mark.slow
@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_ends_with_the_runs_deadline_however_much_time_it_had(
    sim: Simulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, drip: str
) -> None:
    monkeypatch.setattr("partner_center_pipeline.partner_center.client.AT_ONCE_SECONDS", 0.5)
    setattr(sim.faults, drip, 20.0)
    client = ReferralsClient(http, lambda *, renew=False: sim.entra.issue(), sim.base_url, deadline_seconds=1.5)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="had not sent its whole answer after"):
        client.get_page(PageQuery(3))
    assert 1 <= time.monotonic() - started < 3


def test_after_the_deadline_a_call_that_succeeds_at_once_is_made(sim: Simulator, http: httpx.Client) -> None:
    client = ReferralsClient(http, lambda *, renew=False: sim.entra.issue(), sim.base_url, deadline_seconds=-60)
    assert len(client.get_page(PageQuery(3)).items) == 3


@pytest.mark.slow
def test_a_sign_in_answer_that_drips_ends_too(
    sim: Simulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "MAX_SIGN_IN_WAIT", 1.0)
    monkeypatch.setattr(http_module, "AT_ONCE_SECONDS", 0.5)
    sim.faults.drip_sign_in_bytes_per_second = 20.0
    started = time.monotonic()
    with pytest.raises(Unreachable, match="had not sent its whole answer after"):
        MsalHttp(http).get(f"{sim.base_url}/{sim.tenant_id}/v2.0/.well-known/openid-configuration")
    assert 0.5 <= time.monotonic() - started < 3


def test_an_answer_that_takes_its_time_within_the_limit_is_whole(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.drip_bytes_per_second = 20_000.0
    assert ask(sim, http) == 3


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    sim: Simulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "LARGEST_ANSWER", 2_000)
    with pytest.raises(Unreachable, match="sent more than 2,000 bytes") as large:
        ask(sim, http)
    assert not large.value.transient
    monkeypatch.undo()
    assert ask(sim, http) == 3
