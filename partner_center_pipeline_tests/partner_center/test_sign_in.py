"""Device code once, silent renewal ever after, over real TLS against the local Microsoft."""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    ReferralsClient,
    SignIn,
    SignInStatus,
    build_http,
)
from partner_center_pipeline.partner_center.errors import SignInRequired, Unreachable
from partner_center_pipeline.partner_center.token_store import Flow, StoredSignIn, TokenStore
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline_tests.partner_center.browser import browse, form_of
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock
from partner_center_pipeline_tests.partner_center.machines import renewing_at_once
from partner_center_pipeline_tests.partner_center.tokens import let_token_end
from partner_center_simulator import Simulator
from partner_center_simulator.faults import TokenFault


def log_in(sign_in: SignIn, sim: Simulator) -> SignInStatus:
    code = sign_in.begin()
    sim.approve(code.user_code)
    return sign_in.finish(code)


def works(token: str, sim: Simulator, http: httpx.Client) -> bool:
    client = ReferralsClient(http, lambda *, renew=False: token, sim.base_url)
    return bool(client.get_page(PageQuery(1)).items)


def test_a_person_signs_in_once_and_the_pipeline_reads_referrals(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    code = sign_in.begin()
    assert code.user_code in code.message
    assert code.verification_uri in code.message
    assert code.expires_at == START + timedelta(minutes=15)
    sim.approve(code.user_code)
    status = sign_in.finish(code)
    assert (status.signed_in, status.signed_in_at, status.renewed_at, status.age_days) == (
        True,
        START,
        START,
        0,
    )
    assert works(sign_in.token(), sim, http)


def test_an_authority_that_microsoft_does_not_know_is_not_looked_up_at_microsoft(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    hosts: set[str] = set()
    http.event_hooks = {"request": [lambda request: hosts.add(request.url.host)]}
    try:
        log_in(sign_in, sim)
        sign_in.token(renew=True)
    finally:
        http.event_hooks = {}
    assert hosts == {"localhost"}


def test_another_process_needs_no_person(
    sim: Simulator, sign_in: SignIn, settings: Settings, http: httpx.Client, store: TokenStore
) -> None:
    log_in(sign_in, sim)
    assert works(SignIn(settings, http, store).token(), sim, http)


def test_nobody_signed_in_says_what_to_run(sign_in: SignIn) -> None:
    assert sign_in.status() == SignInStatus(signed_in=False)
    with pytest.raises(SignInRequired, match="run `partner-center login`") as refused:
        sign_in.token()
    assert not refused.value.transient


@pytest.mark.parametrize("name", ["CLIENT_ID", "TENANT_ID"])
def test_a_missing_id_stops_with_its_variable(
    settings: Settings, http: httpx.Client, store: TokenStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(f"HUNTER_PARTNER_CENTER_{name}")
    with pytest.raises(SettingsError, match=f"HUNTER_PARTNER_CENTER_{name}"):
        SignIn(Settings.load(), http, store).begin()


def test_an_unknown_tenant_stops_with_its_variable(
    settings: Settings, http: httpx.Client, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_TENANT_ID", "11111111-2222-3333-4444-555555555555")
    with pytest.raises(SettingsError, match="HUNTER_PARTNER_CENTER_TENANT_ID"):
        SignIn(Settings.load(), http, store).begin()


def test_an_app_that_may_not_use_device_code_is_told_which_switch_to_turn(sim: Simulator, sign_in: SignIn) -> None:
    sim.faults.public_client_off = True
    with pytest.raises(SignInRequired, match="Allow public client flows") as refused:
        sign_in.begin()
    assert refused.value.code == "AADSTS7000218"


def test_a_declined_an_expired_and_a_cancelled_sign_in_each_say_so(sim: Simulator, sign_in: SignIn) -> None:
    declined = sign_in.begin()
    sim.entra.deny(declined.user_code)
    with pytest.raises(SignInRequired, match="declined"):
        sign_in.finish(declined)
    expired = sign_in.begin()
    sim.clock.advance(timedelta(hours=1))
    with pytest.raises(SignInRequired, match="expired"):
        sign_in.finish(expired)
    with pytest.raises(SignInRequired, match="cancelled"):
        sign_in.finish(sign_in.begin(), cancelled=lambda: True)
    assert not sign_in.status().signed_in


def test_a_sign_in_that_fails_leaves_the_one_before(sim: Simulator, sign_in: SignIn, http: httpx.Client) -> None:
    log_in(sign_in, sim)
    code = sign_in.begin()
    sim.entra.deny(code.user_code)
    with pytest.raises(SignInRequired):
        sign_in.finish(code)
    assert works(sign_in.token(), sim, http)


def test_a_good_token_is_used_again_without_asking_or_writing(
    sim: Simulator, sign_in: SignIn, store: TokenStore, settings: Settings, http: httpx.Client
) -> None:
    log_in(sign_in, sim)
    before = (store.folder / "sign_in.bin").stat()
    sim.faults.refresh_blocked = True
    first = sign_in.token()
    assert sign_in.token() == first
    asked: list[str] = []
    http.event_hooks = {"request": [lambda request: asked.append(str(request.url))]}
    try:  # each run is a process of its own, and goes on while the sign-in service is away
        assert SignIn(settings, http, store).token() == first
    finally:
        http.event_hooks = {}
    assert asked == []
    after = (store.folder / "sign_in.bin").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_good_token_of_another_app_is_not_used(
    sim: Simulator, sign_in: SignIn, store: TokenStore, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(sign_in, sim)
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
    with pytest.raises(SignInRequired, match="does not belong to this tenant, app and scope"):
        SignIn(Settings.load(), http, store).token()


def test_a_good_token_of_another_scope_is_not_used(
    sim: Simulator, sign_in: SignIn, store: TokenStore, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(sign_in, sim)
    first = sign_in.token()
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_SCOPE", "https://api.partnercenter.microsoft.com/another_scope")
    sim.clock.advance(60)
    assert SignIn(Settings.load(), http, store).token() != first


def test_renewal_is_silent_stored_and_dated(
    sim: Simulator, sign_in: SignIn, http: httpx.Client, clock: PatientClock
) -> None:
    log_in(sign_in, sim)
    first = sign_in.token()
    clock.sleep(86_400)
    sim.clock.advance(timedelta(days=1))
    assert sign_in.status().age_days == 1
    second = sign_in.token(renew=True)
    assert second != first
    assert works(second, sim, http)
    status = sign_in.status()
    assert (status.signed_in_at, status.renewed_at) == (START, START + timedelta(days=1))


@pytest.mark.parametrize(("when", "seconds"), [("expires_on", 299), ("refresh_on", -1)])
def test_a_token_near_its_end_or_that_microsoft_wants_renewed_is_renewed_without_being_told(
    sim: Simulator, sign_in: SignIn, store: TokenStore, when: str, seconds: int
) -> None:
    log_in(sign_in, sim)
    before = let_token_end(store, when, seconds)
    sim.clock.advance(3300)
    assert sign_in.token() not in before.msal_cache


def test_a_token_that_another_process_renewed_is_taken_over(
    sim: Simulator, sign_in: SignIn, settings: Settings, http: httpx.Client, store: TokenStore
) -> None:
    log_in(sign_in, sim)
    other = SignIn(settings, http, store)
    assert sign_in.token() == other.token()
    sim.clock.advance(60)
    renewed = other.token(renew=True)
    sim.faults.refresh_blocked = True
    assert sign_in.token(renew=True) == renewed


@pytest.mark.parametrize(
    ("fault", "says", "code"),
    [
        (TokenFault.INVALID_GRANT, "revoked", "AADSTS50173"),
        (TokenFault.INTERACTION_REQUIRED, "multi-factor", "AADSTS50076"),
        (TokenFault.INVALID_CLIENT, "Allow public client flows", "AADSTS7000218"),
    ],
)
def test_a_renewal_that_needs_a_person_says_why_and_what_to_run(
    sim: Simulator, sign_in: SignIn, fault: TokenFault, says: str, code: str
) -> None:
    log_in(sign_in, sim)
    sim.faults.plan_token(fault)
    with pytest.raises(SignInRequired, match=says) as refused:
        sign_in.token(renew=True)
    assert refused.value.code == code
    assert "`partner-center login`" in str(refused.value)


def test_conditional_access_against_device_code_gets_its_own_next_step(sim: Simulator, sign_in: SignIn) -> None:
    log_in(sign_in, sim)
    sim.faults.refresh_blocked = True
    with pytest.raises(SignInRequired, match=r"Conditional Access policy blocks.*exclude") as refused:
        sign_in.token(renew=True)
    assert refused.value.code == "AADSTS53003"


def test_revoked_sessions_ask_for_a_person_who_can_sign_in_again(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    sim.clock.set(START - timedelta(hours=1))  # what is revoked before START touches no other test
    log_in(sign_in, sim)
    sim.entra.revoke_sessions()
    with pytest.raises(SignInRequired, match="revoked"):
        sign_in.token(renew=True)
    sim.clock.advance(5)
    log_in(sign_in, sim)
    assert works(sign_in.token(renew=True), sim, http)


def test_a_passing_trouble_of_the_sign_in_service_is_waited_out(
    sim: Simulator, sign_in: SignIn, http: httpx.Client, clock: PatientClock
) -> None:
    log_in(sign_in, sim)
    sim.faults.plan_token(TokenFault.UNAVAILABLE, times=3)
    assert works(sign_in.token(renew=True), sim, http)
    assert len(clock.pauses) == 3


def test_a_lasting_trouble_of_the_sign_in_service_asks_for_no_new_sign_in(sim: Simulator, sign_in: SignIn) -> None:
    log_in(sign_in, sim)
    sim.faults.plan_token(TokenFault.UNAVAILABLE, times=10_000)
    with pytest.raises(Unreachable, match="503") as failed:
        sign_in.token(renew=True)
    assert failed.value.transient


def test_no_message_and_no_status_names_the_account_or_a_token(sim: Simulator, sign_in: SignIn) -> None:
    code = sign_in.begin()
    assert code.flow["device_code"] not in repr(code)
    sim.approve(code.user_code)
    status = sign_in.finish(code)
    token = sign_in.token()
    said = [repr(status)]
    for fault in TokenFault:
        sim.clock.advance(60)
        sim.faults.plan_token(fault, times=10_000)
        try:
            sign_in.token(renew=True)
        except PartnerCenterError as error:
            said.append(str(error))
        sim.faults.clear()
    assert len(said) > 5
    for text in said:
        assert "@" not in text
        assert "ornekpartner" not in text
        assert token not in text


def test_threads_share_one_sign_in(sim: Simulator, sign_in: SignIn, http: httpx.Client) -> None:
    log_in(sign_in, sim)
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda number: sign_in.token(renew=number % 2 == 0), range(24)))
    assert all(works(token, sim, http) for token in set(tokens))
    assert works(sign_in.token(), sim, http)


def browser_of(sim: Simulator, pages: list[str]) -> Callable[[str], None]:
    """Somebody who opens the address and signs in, while the sign-in waits; `pages` is what they see at the end."""

    def open_address(address: str) -> None:
        Thread(target=lambda: pages.append(browse(address, sim.ca_bundle))).start()

    return open_address


def test_a_browser_signs_in_as_well_as_a_code(
    sim: Simulator, sign_in: SignIn, http: httpx.Client, settings: Settings, store: TokenStore
) -> None:
    pages: list[str] = []
    status = sign_in.through_browser(browser_of(sim, pages), seconds=20)
    assert (status.signed_in, status.signed_in_at, status.flow) == (True, START, Flow.BROWSER)
    assert works(sign_in.token(), sim, http)
    assert works(SignIn(settings, http, store).token(renew=True), sim, http)
    assert sign_in.status().flow is Flow.BROWSER
    assert "You can close this window" in pages[0]


def test_a_browser_is_asked_for_pkce_and_the_code_is_good_for_this_sign_in_alone(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    asked: dict[str, str] = {}
    forms: list[dict[str, str]] = []

    def take_the_code_and_leave(address: str) -> None:
        asked.update(parse_qsl(urlsplit(address).query))
        forms.append(form_of(address, sim.ca_bundle)[1])

    with pytest.raises(SignInRequired, match=r"did not come back within 0 s.*AADSTS50011.*--browser") as refused:
        sign_in.through_browser(take_the_code_and_leave, seconds=0)
    assert refused.value.code == "timeout"
    assert asked["code_challenge_method"] == "S256"
    assert urlsplit(asked["redirect_uri"]).hostname == "localhost"
    thief = {
        "grant_type": "authorization_code",
        "client_id": sim.client_id,
        "code": forms[0]["code"],
        "redirect_uri": asked["redirect_uri"],
        "code_verifier": "a" * 43,
    }
    token_address = f"{sim.authority}/{sim.tenant_id}/oauth2/v2.0/token"
    answer = http.post(token_address, data=thief)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"


def test_a_person_who_declines_in_the_browser_leaves_the_sign_in_before(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    log_in(sign_in, sim)
    sim.faults.consent_declined = True
    pages: list[str] = []
    with pytest.raises(SignInRequired, match=r"declined.*`partner-center login --browser`") as refused:
        sign_in.through_browser(browser_of(sim, pages), seconds=20)
    assert refused.value.code == "AADSTS65004"
    assert works(sign_in.token(), sim, http)
    assert sign_in.status().flow is Flow.DEVICE_CODE


def test_a_tenant_that_blocks_device_code_ends_its_sign_ins_and_lets_the_browser_in(
    sim: Simulator, sign_in: SignIn, http: httpx.Client
) -> None:
    log_in(sign_in, sim)
    waiting = sign_in.begin()
    sim.approve(waiting.user_code)
    sim.faults.device_code_blocked = True
    with pytest.raises(SignInRequired, match=r"Conditional Access.*`partner-center login --browser`") as renewal:
        sign_in.token(renew=True)
    assert renewal.value.code == "AADSTS530036"
    with pytest.raises(SignInRequired, match=r"Conditional Access.*`partner-center login --browser`") as poll:
        sign_in.finish(waiting)
    assert poll.value.code == "AADSTS53003"
    sign_in.through_browser(browser_of(sim, []), seconds=20)
    assert works(sign_in.token(renew=True), sim, http)


def test_a_renewal_that_needs_a_person_names_the_way_in_which_they_signed_in(sim: Simulator, sign_in: SignIn) -> None:
    sign_in.through_browser(browser_of(sim, []), seconds=20)
    sim.faults.plan_token(TokenFault.INVALID_GRANT)
    with pytest.raises(SignInRequired, match="Run `partner-center login --browser`"):
        sign_in.token(renew=True)


@pytest.mark.parametrize(("age", "warned"), [(0, False), (74.9, False), (75, True), (89, True), (120, True)])
def test_from_day_75_without_a_renewal_the_status_and_the_log_warn(
    sim: Simulator, sign_in: SignIn, clock: PatientClock, caplog: pytest.LogCaptureFixture, age: float, warned: bool
) -> None:
    log_in(sign_in, sim)
    clock.sleep(age * 86_400)
    status = sign_in.status()
    assert status.days_left == pytest.approx(max(0, 90 - age))
    assert (status.warning is not None) == warned
    sign_in.token(renew=True)
    logged = [record for record in caplog.records if "ends after 90 days without renewal" in record.message]
    assert len(logged) == warned
    if warned:
        assert f"last renewed {age} days ago" in logged[0].message
        assert "run `partner-center login`" in logged[0].message
    assert sign_in.status().warning is None


def test_an_old_sign_in_counts_as_one_by_device_code(sim: Simulator, sign_in: SignIn, store: TokenStore) -> None:
    log_in(sign_in, sim)
    stored = store.read()
    assert stored is not None
    without = json.loads(stored.model_dump_json())
    del without["flow"]
    assert StoredSignIn.model_validate(without) == stored


@pytest.mark.slow
def test_two_processes_that_renew_at_once_ask_once_and_both_go_on(
    sim: Simulator, sign_in: SignIn, settings: Settings, http: httpx.Client
) -> None:
    log_in(sign_in, sim)
    first = sign_in.token()
    homes = [settings.partner_center_token_cache_path.parent] * 2
    with renewing_at_once(homes) as renewed:
        sim.clock.advance(60)
        sim.faults.plan_token(TokenFault.INVALID_GRANT, after=1, times=10_000)  # a second renewal would fail
    assert first not in renewed
    assert renewed[0] == renewed[1]
    sim.faults.clear()
    assert works(renewed[0], sim, http)
    assert works(sign_in.token(renew=True), sim, http)


def _renew_often(folder: Path, times: int) -> None:
    settings = Settings.load()
    with build_http(settings) as http:
        for _ in range(times):
            SignIn(settings, http, TokenStore(folder)).token(renew=True)


@pytest.mark.slow
def test_two_processes_that_renew_at_once_leave_one_valid_sign_in(
    sim: Simulator, sign_in: SignIn, store: TokenStore, http: httpx.Client
) -> None:
    log_in(sign_in, sim)
    context = multiprocessing.get_context("spawn")
    renewing = [context.Process(target=_renew_often, args=(store.folder, 10)) for _ in range(2)]
    for process in renewing:
        process.start()
    for process in renewing:
        process.join()
    assert [process.exitcode for process in renewing] == [0, 0]
    assert works(sign_in.token(renew=True), sim, http)
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "sign_in.bin",
        "sign_in.key",
        "sign_in.lock",
    ]
