"""Sign-in as MSAL does it, over real TLS (partner_center_api.md, sections 1.3 to 1.6 and 8)."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import msal
import pytest

from partner_center_pipeline_tests.simulator.conftest import PATH
from partner_center_simulator import Simulator, TokenFault
from partner_center_simulator.entra import AUDIENCE

SCOPES = [f"{AUDIENCE}/.default"]


class HttpForMsal:
    """The three calls MSAL makes, on one httpx client."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, url: str, **options: Any) -> httpx.Response:
        """GET."""
        return self._http.get(url, params=options.get("params"), headers=options.get("headers"))

    def post(self, url: str, **options: Any) -> httpx.Response:
        """POST a form."""
        return self._http.post(
            url, params=options.get("params"), data=options.get("data"), headers=options.get("headers")
        )

    def close(self) -> None:
        """The fixture closes the client."""


@pytest.fixture
def new_app(sim: Simulator, http: httpx.Client) -> Callable[..., msal.PublicClientApplication]:
    def make(**options: Any) -> msal.PublicClientApplication:
        return msal.PublicClientApplication(
            options.pop("client_id", sim.client_id),
            authority=f"{sim.authority}/{options.pop('tenant_id', sim.tenant_id)}",
            instance_discovery=False,
            http_client=HttpForMsal(http),
            **options,
        )

    return make


@pytest.fixture
def app(new_app: Callable[..., msal.PublicClientApplication]) -> msal.PublicClientApplication:
    return new_app()


def signed_in(sim: Simulator, app: msal.PublicClientApplication) -> dict[str, Any]:
    """The account of a new sign-in."""
    flow = app.initiate_device_flow(scopes=SCOPES)
    sim.approve(flow["user_code"])
    assert "access_token" in app.acquire_token_by_device_flow(flow)
    account: dict[str, Any] = app.get_accounts()[0]
    return account


def poll(app: msal.PublicClientApplication, flow: dict[str, Any]) -> dict[str, Any]:
    """Ask once for the outcome of a device flow."""
    unpolled = dict(flow)  # MSAL notes its attempts in the flow and warns of another within the interval
    outcome: dict[str, Any] = app.acquire_token_by_device_flow(unpolled, exit_condition=lambda _: True)
    return outcome


def test_a_device_code_is_approved_and_the_token_opens_the_api(
    sim: Simulator, http: httpx.Client, app: msal.PublicClientApplication
) -> None:
    flow = app.initiate_device_flow(scopes=SCOPES)
    assert (len(flow["user_code"]), flow["interval"], flow["expires_in"]) == (9, 5, 900)
    assert flow["verification_uri"] == f"{sim.base_url}/device"
    assert flow["user_code"] in flow["message"]
    assert poll(app, flow)["error"] == "authorization_pending"
    assert sim.entra.pending_codes()[-1] == flow["user_code"]
    sim.approve(flow["user_code"].lower())
    result = poll(app, flow)
    assert result["access_token"].count(".") == result["id_token"].count(".") == 2
    assert result["id_token_claims"]["tid"] == sim.tenant_id
    assert set(result["scope"].split()) == {f"{AUDIENCE}/user_impersonation", f"{AUDIENCE}/.default"}
    assert http.get(PATH, headers={"Authorization": f"Bearer {result['access_token']}"}).status_code == 200
    (account,) = app.get_accounts()
    assert account["home_account_id"].endswith(f".{sim.tenant_id}")


def test_the_code_is_used_up_by_the_sign_in(sim: Simulator, app: msal.PublicClientApplication) -> None:
    flow = app.initiate_device_flow(scopes=SCOPES)
    sim.approve(flow["user_code"])
    poll(app, flow)
    assert poll(app, flow)["error"] == "invalid_grant"
    with pytest.raises(KeyError):
        sim.approve(flow["user_code"])


def test_renewal_is_silent_and_the_second_call_is_from_the_cache(
    sim: Simulator, app: msal.PublicClientApplication
) -> None:
    account = signed_in(sim, app)
    assert app.acquire_token_silent_with_error(SCOPES, account)["token_source"] == "cache"
    renewed = app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    assert renewed["token_source"] == "identity_provider"
    assert app.acquire_token_silent_with_error(SCOPES, account)["access_token"] == renewed["access_token"]


def test_a_refresh_token_lives_ninety_days_and_slides(sim: Simulator, app: msal.PublicClientApplication) -> None:
    account = signed_in(sim, app)
    for _ in range(3):
        sim.clock.advance(timedelta(days=80))
        assert "access_token" in app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    sim.clock.advance(timedelta(days=91))
    refused = app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    assert (refused["error"], refused["error_codes"]) == ("invalid_grant", [700082])


def test_a_sign_in_outlives_a_restart(sim: Simulator, app: msal.PublicClientApplication) -> None:
    """A simulator of the same seed knows the tokens of the one before."""
    signed_in(sim, app)
    (token,) = app.token_cache.search(msal.TokenCache.CredentialType.ACCESS_TOKEN)
    again = Simulator(seed=11, anchor=sim.clock.now(), referrals=0)
    assert again.entra.claims(token["secret"]) is not None
    assert Simulator(seed=12, anchor=sim.clock.now(), referrals=0).entra.claims(token["secret"]) is None


@pytest.mark.parametrize(
    ("spoil", "error", "number"),
    [
        (lambda sim, flow: sim.entra.deny(flow["user_code"]), "authorization_declined", 65004),
        (lambda sim, flow: sim.clock.advance(901), "expired_token", 70019),
        (lambda sim, flow: flow.update(device_code="other"), "bad_verification_code", 70018),
        (lambda sim, flow: sim.faults.plan_token(TokenFault.SLOW_DOWN), "slow_down", 70016),
        (lambda sim, flow: sim.faults.plan_token(TokenFault.ACCESS_DENIED), "access_denied", 65004),
        (lambda sim, flow: sim.faults.plan_token(TokenFault.INTERACTION_REQUIRED), "interaction_required", 50076),
        (lambda sim, flow: setattr(sim.faults, "public_client_off", True), "invalid_client", 7000218),
    ],
)
def test_a_sign_in_that_fails_says_so_as_entra_does(
    sim: Simulator,
    app: msal.PublicClientApplication,
    spoil: Callable[[Simulator, dict[str, Any]], None],
    error: str,
    number: int,
) -> None:
    flow = app.initiate_device_flow(scopes=SCOPES)
    spoil(sim, flow)
    result = poll(app, flow)
    assert (result["error"], result["error_codes"]) == (error, [number])
    assert result["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} <= set(result)


@pytest.mark.parametrize(
    ("spoil", "number"),
    [
        (lambda sim: setattr(sim.faults, "refresh_blocked", True), 53003),
        (lambda sim: sim.entra.revoke_sessions(), 50173),
    ],
)
def test_a_renewal_can_be_refused(
    sim: Simulator, app: msal.PublicClientApplication, spoil: Callable[[Simulator], None], number: int
) -> None:
    sim.clock.advance(-3600)  # what is revoked here was signed in an hour before other tests sign in
    account = signed_in(sim, app)
    spoil(sim)
    refused = app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    assert (refused["error"], refused["error_codes"]) == ("invalid_grant", [number])


def test_the_wrong_application_scope_or_tenant_is_refused(
    new_app: Callable[..., msal.PublicClientApplication], sim: Simulator, http: httpx.Client
) -> None:
    stranger = new_app(client_id="00000000-0000-0000-0000-000000000000")
    assert stranger.initiate_device_flow(scopes=SCOPES)["error"] == "unauthorized_client"
    flow = new_app().initiate_device_flow(scopes=["https://graph.microsoft.com/.default"])
    assert flow["error"] == "invalid_scope"
    with pytest.raises(ValueError, match="tenant"):
        new_app(tenant_id="nobody.example")
    secret = http.post(
        f"/{sim.tenant_id}/oauth2/v2.0/token",
        data={"client_id": sim.client_id, "grant_type": "client_credentials", "client_secret": "x"},
    )
    assert secret.json()["error"] == "unsupported_grant_type"


def test_the_page_approves_and_denies_in_a_browser(
    sim: Simulator, http: httpx.Client, app: msal.PublicClientApplication
) -> None:
    page = http.get("/device", params={"code": '"><script>'})
    assert "<form" in page.text
    assert "<script>" not in page.text
    outcomes = []
    for action in ("approve", "deny"):
        flow = app.initiate_device_flow(scopes=SCOPES)
        done = http.post("/device", data={"code": f" {flow['user_code']} ", "action": action})
        assert done.status_code == 200
        outcomes.append(poll(app, flow).get("error"))
    assert outcomes == [None, "authorization_declined"]
    assert http.post("/device", data={"code": "UNKNOWN99"}).status_code == 400


def test_a_domain_with_a_tenant_names_it_in_the_issuer(sim: Simulator, http: httpx.Client) -> None:
    companies = [sim.world.companies.company(index) for index in range(60)]
    found = {}
    for company in companies:
        response = http.get(f"/{company.domain}/v2.0/.well-known/openid-configuration")
        if response.status_code == 200:
            found[company.domain] = response.json()["issuer"].split("/")[-2]
        else:
            assert (response.status_code, response.json()["error"]) == (400, "invalid_tenant")
    assert 10 < len(found) < 50
    for domain, tenant in found.items():
        assert tenant == sim.zone.tenant_of(domain) == sim.zone.tenant_of(domain.upper())
    assert len(set(found.values())) == len(found)
    assert http.get("/nobody.example/v2.0/.well-known/openid-configuration").json()["error"] == "invalid_tenant"


# The browser's way in


@pytest.fixture
def loopback() -> str:
    return "http://localhost:5000/"


def authorized(http: httpx.Client, address: str) -> dict[str, str]:
    """What the sign-in page sends to the app, as query or as form."""
    response = http.get(address)
    if response.status_code == 302:
        return dict(httpx.URL(response.headers["Location"]).params)
    assert response.status_code == 200, response.text
    return {name: html.unescape(value) for name, value in re.findall(r'name="(.*?)" value="(.*?)"', response.text)}


@pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended")
@pytest.mark.parametrize("mode", ["query", "form_post"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_browser_signs_in_with_pkce_at_any_loopback_port(
    http: httpx.Client, app: msal.PublicClientApplication, mode: str, host: str
) -> None:
    flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=f"http://{host}:49152/", response_mode=mode)
    answer = authorized(http, flow["auth_uri"])
    result = app.acquire_token_by_auth_code_flow(flow, answer)
    assert http.get(PATH, headers={"Authorization": f"Bearer {result['access_token']}"}).status_code == 200
    (account,) = app.get_accounts()
    assert "access_token" in app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    again = app.acquire_token_by_auth_code_flow(flow, answer)
    assert (again["error"], again["error_codes"]) == ("invalid_grant", [54005])


def test_a_code_is_good_for_its_verifier_its_address_and_ten_minutes(
    sim: Simulator, http: httpx.Client, app: msal.PublicClientApplication, loopback: str
) -> None:
    def redeem(spoil: Callable[[dict[str, Any]], None]) -> list[int]:
        flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=loopback, response_mode="form_post")
        answer = authorized(http, flow["auth_uri"])
        spoil(flow)
        numbers: list[int] = app.acquire_token_by_auth_code_flow(flow, answer).get("error_codes", [])
        return numbers

    assert redeem(lambda flow: None) == []
    assert redeem(lambda flow: flow.update(code_verifier="x" * 43)) == [501481]
    assert redeem(lambda flow: flow.update(redirect_uri="http://localhost:5001/")) == [501481]
    assert redeem(lambda flow: sim.clock.advance(601)) == [70008]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"redirect_uri": "http://192.0.2.1:5000/"}, 50011),
        ({"redirect_uri": "https://localhost:5000/"}, 50011),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, 700016),
        ({"response_type": "token"}, 900144),
        ({"code_challenge_method": "plain"}, 900144),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_what_the_app_got_wrong_is_shown_and_not_sent_on(
    http: httpx.Client, app: msal.PublicClientApplication, loopback: str, change: dict[str, str], number: int
) -> None:
    flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=loopback, response_mode="form_post")
    response = http.get(httpx.URL(flow["auth_uri"]).copy_merge_params(change))
    assert (response.status_code, response.json()["error_codes"]) == (400, [number])


def test_who_declines_in_the_browser_sends_the_app_an_error(
    sim: Simulator, http: httpx.Client, app: msal.PublicClientApplication, loopback: str
) -> None:
    sim.faults.consent_declined = True
    flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=loopback, response_mode="form_post")
    answer = authorized(http, flow["auth_uri"])
    assert (answer["error"], answer["state"]) == ("access_denied", flow["state"])
    assert "AADSTS65004" in answer["error_description"]


def test_a_policy_against_device_code_ends_its_sessions_and_spares_the_browsers(
    sim: Simulator, http: httpx.Client, new_app: Callable[..., msal.PublicClientApplication], loopback: str
) -> None:
    """Section 1.6: refresh tokens born in device code flow stay marked."""
    by_code, by_browser = new_app(), new_app()
    account = signed_in(sim, by_code)
    sim.faults.device_code_blocked = True
    flow = by_code.initiate_device_flow(scopes=SCOPES)
    sim.approve(flow["user_code"])
    assert poll(by_code, flow)["error_codes"] == [53003]
    assert by_code.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)["error_codes"] == [530036]
    browser = by_browser.initiate_auth_code_flow(SCOPES, redirect_uri=loopback, response_mode="form_post")
    assert "access_token" in by_browser.acquire_token_by_auth_code_flow(browser, authorized(http, browser["auth_uri"]))
    (other,) = by_browser.get_accounts()
    assert "access_token" in by_browser.acquire_token_silent_with_error(SCOPES, other, force_refresh=True)


def test_the_life_of_an_access_token_is_a_switch(
    sim: Simulator, http: httpx.Client, app: msal.PublicClientApplication
) -> None:
    sim.faults.token_lifetime_seconds = 400
    flow = app.initiate_device_flow(scopes=SCOPES)
    sim.approve(flow["user_code"])
    result = poll(app, flow)
    header = {"Authorization": f"Bearer {result['access_token']}"}
    assert result["expires_in"] == 400
    sim.clock.advance(399)
    assert http.get(PATH, headers=header).status_code == 200
    sim.clock.advance(2)
    assert http.get(PATH, headers=header).status_code == 401


@pytest.mark.parametrize("number", [50053, 50057, 50105, 65001, 70043, 90094, 530032])
def test_any_number_of_entra_can_be_planned(sim: Simulator, app: msal.PublicClientApplication, number: int) -> None:
    flow = app.initiate_device_flow(scopes=SCOPES)
    sim.faults.plan_token(TokenFault.INVALID_GRANT, number=number)
    result = poll(app, flow)
    assert (result["error"], result["error_codes"]) == ("invalid_grant", [number])
    assert result["error_description"].startswith(f"AADSTS{number}: ")
