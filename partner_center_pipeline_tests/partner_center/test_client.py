"""What each answer of the Referrals API becomes: a page, a pause, or an error with the next step."""

import itertools
import logging
from datetime import timedelta

import httpx
import pytest

from partner_center_pipeline.partner_center import (
    Capability,
    DateLiteral,
    PageQuery,
    PartnerCenterError,
    ReferralsClient,
)
from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import (
    AccessDenied,
    ApiRefused,
    FilterRefused,
    ForeignHost,
    SignInRequired,
    Throttled,
    Unreachable,
)
from partner_center_pipeline.windows import BEGINNING, ticks_of
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock
from partner_center_simulator import Simulator
from partner_center_simulator.faults import HttpFault
from partner_center_simulator.odata import DateLiteral as Takes

EVERYTHING = PageQuery(5, BEGINNING, ticks_of(START))


def test_a_page_holds_rows_the_link_to_more_and_the_servers_time(sim: Simulator, client: ReferralsClient) -> None:
    page = client.get_page(EVERYTHING)
    assert len(page.items) == 5
    assert page.next_link
    assert page.server_ticks // 10_000_000 == ticks_of(sim.clock.now()) // 10_000_000
    assert abs(page.skew_seconds) <= 2
    assert page.request_id


def test_the_skew_between_both_clocks_is_measured(sim: Simulator, client: ReferralsClient) -> None:
    sim.clock.advance(-90)
    assert client.get_page(EVERYTHING).skew_seconds == pytest.approx(-90, abs=2)


def test_next_links_are_followed_to_the_end_whichever_way_they_are_written(
    sim: Simulator, client: ReferralsClient
) -> None:
    for plain in (False, True):
        sim.faults.next_link_plain = plain
        ids: list[str] = []
        page: Page | None = client.get_page(PageQuery(70, BEGINNING, ticks_of(START)))
        while page is not None:
            ids += [row["id"] for row in page.items]
            page = client.get_page(page.next_link) if page.next_link else None
        assert sorted(ids) == sorted(row["id"] for row in sim.world.all() if row["updatedDateTime"] < "2026-03-02T09")


def test_each_call_has_its_own_id_which_is_logged_with_microsofts_and_asks_for_json(
    sim: Simulator, http: httpx.Client, client: ReferralsClient, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[httpx.Request] = []
    answered: list[str] = []
    http.event_hooks = {
        "request": [sent.append],
        "response": [lambda response: answered.append(response.headers["request-id"])],
    }
    caplog.set_level(logging.DEBUG, "partner_center_pipeline.partner_center.client")
    try:
        sim.faults.plan(HttpFault.SERVER_ERROR)
        client.get_page(EVERYTHING)
    finally:
        http.event_hooks = {}
    ids = [request.headers["client-request-id"] for request in sent]
    assert len(ids) == len(set(ids)) == 2
    logged = [message for message in caplog.messages if message.startswith("GET referrals")]
    for mine, theirs, line in zip(ids, answered, logged, strict=True):
        assert mine in line
        assert theirs in line
    assert {request.headers["accept"] for request in sent} == {"application/json"}


# 401, 403


class Tokens:
    """A token source that counts, and whose first token is good only when told so."""

    def __init__(self, sim: Simulator, *, first_is_good: bool) -> None:
        self.renewals = 0
        self._good = sim.entra.issue()
        self._first = self._good if first_is_good else sim.entra.issue(exp=1)

    def __call__(self, *, renew: bool = False) -> str:
        self.renewals += renew
        return self._good if self.renewals else self._first


def test_an_expired_token_is_renewed_once_and_nobody_notices(sim: Simulator, http: httpx.Client) -> None:
    tokens = Tokens(sim, first_is_good=False)
    client = ReferralsClient(http, tokens, sim.base_url)
    assert client.get_page(EVERYTHING).items
    assert client.get_page(EVERYTHING).items
    assert tokens.renewals == 1


def test_a_renewed_token_that_is_refused_too_asks_for_a_sign_in(sim: Simulator, http: httpx.Client) -> None:
    tokens = Tokens(sim, first_is_good=True)
    sim.faults.plan(HttpFault.UNAUTHORIZED, times=5)
    before = sim.api.requests
    with pytest.raises(SignInRequired, match="`partner-center login`") as refused:
        ReferralsClient(http, tokens, sim.base_url).get_page(EVERYTHING)
    assert (tokens.renewals, sim.api.requests - before) == (1, 2)
    assert (refused.value.status, refused.value.transient) == (401, False)
    assert refused.value.request_id


@pytest.mark.parametrize("claims", [{"aud": "https://graph.microsoft.com"}, {"idtyp": "app", "scp": None}])
def test_a_token_of_the_wrong_kind_names_what_to_check(
    sim: Simulator, http: httpx.Client, claims: dict[str, str | None]
) -> None:
    client = ReferralsClient(http, lambda *, renew=False: sim.entra.issue(**claims), sim.base_url)
    with pytest.raises(SignInRequired, match=r"HUNTER_PARTNER_CENTER_SCOPE.*user_impersonation"):
        client.get_page(EVERYTHING)


def test_a_sign_in_without_mfa_gets_its_own_message(sim: Simulator, client: ReferralsClient) -> None:
    sim.faults.mfa_missing = True
    with pytest.raises(SignInRequired, match="multi-factor") as refused:
        client.get_page(EVERYTHING)
    assert refused.value.code == "900421"


def test_403_names_the_roles_the_account_needs(sim: Simulator, client: ReferralsClient) -> None:
    sim.faults.role_missing = True
    with pytest.raises(AccessDenied, match="Referral Admin for the entire company") as refused:
        client.get_page(EVERYTHING)
    assert (refused.value.status, refused.value.transient) == (403, False)
    assert client.seconds_waited == 0


def test_403_by_conditional_access_says_so(sim: Simulator, client: ReferralsClient) -> None:
    sim.faults.plan(HttpFault.INSUFFICIENT_CLAIMS)
    with pytest.raises(AccessDenied, match="Conditional Access"):
        client.get_page(EVERYTHING)


# 429


@pytest.mark.parametrize(("retry_after", "least", "most"), [(57, 57, 57), ("date", 57, 61), (0, 0, 1), ("soon", 0, 1)])
def test_429_is_waited_out_as_long_as_retry_after_says(
    sim: Simulator,
    client: ReferralsClient,
    clock: PatientClock,
    retry_after: int | str,
    least: float,
    most: float,
) -> None:
    sim.faults.plan(HttpFault.THROTTLED, retry_after=retry_after)
    assert client.get_page(EVERYTHING).items
    assert len(clock.pauses) == 1
    assert least <= client.seconds_waited <= most
    assert client.seconds_waited == clock.monotonic()


@pytest.mark.parametrize("retry_after", [None, "-5", "Fri, 01 Jan 2021 00:00:00 GMT"])
def test_429_without_a_sensible_retry_after_backs_off(
    sim: Simulator, client: ReferralsClient, clock: PatientClock, retry_after: str | None
) -> None:
    sim.faults.plan(HttpFault.THROTTLED, times=4, retry_after=retry_after)
    assert client.get_page(EVERYTHING).items
    assert len(clock.pauses) == 4
    assert clock.monotonic() < 10


@pytest.mark.parametrize("retry_after", [301, 10**12, "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_pause_beyond_the_deadline_is_not_begun(
    sim: Simulator, client: ReferralsClient, clock: PatientClock, retry_after: int | str
) -> None:
    sim.faults.plan(HttpFault.THROTTLED, retry_after=retry_after)
    with pytest.raises(Throttled, match="asks to wait") as refused:
        client.get_page(EVERYTHING)
    assert clock.pauses == []
    assert refused.value.transient
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 300


def test_the_deadline_counts_from_the_clients_beginning(
    sim: Simulator, client: ReferralsClient, clock: PatientClock
) -> None:
    sim.faults.plan(HttpFault.THROTTLED, times=3, retry_after=120)
    with pytest.raises(Throttled, match="waited 240 s"):
        client.get_page(EVERYTHING)
    assert clock.pauses == [120, 120]


# 5xx, broken connections


@pytest.mark.parametrize(
    "fault",
    [
        HttpFault.SERVER_ERROR,
        HttpFault.UNAVAILABLE,
        HttpFault.UNAVAILABLE_HTML,
        HttpFault.GATEWAY_TIMEOUT,
        HttpFault.HTML,
        HttpFault.RESET,
        HttpFault.CUT_OFF,
        HttpFault.TRUNCATED,
    ],
)
def test_passing_trouble_is_tried_again_with_jitter(
    sim: Simulator, client: ReferralsClient, clock: PatientClock, fault: HttpFault
) -> None:
    sim.faults.plan(fault, times=3)
    assert len(client.get_page(EVERYTHING).items) == 5
    assert len(clock.pauses) == len(set(clock.pauses)) == 3
    assert all(0 <= pause <= bound for pause, bound in zip(clock.pauses, (0.5, 1, 2), strict=True))


def test_503_honours_retry_after(sim: Simulator, client: ReferralsClient, clock: PatientClock) -> None:
    sim.faults.plan(HttpFault.UNAVAILABLE, retry_after=20)
    assert client.get_page(EVERYTHING).items
    assert clock.pauses == [20]


@pytest.mark.parametrize("fault", [HttpFault.SERVER_ERROR, HttpFault.RESET, HttpFault.TRUNCATED])
def test_lasting_trouble_ends_at_the_deadline_and_says_how_long_was_waited(
    sim: Simulator, client: ReferralsClient, clock: PatientClock, fault: HttpFault
) -> None:
    sim.faults.plan(fault, times=10_000)
    with pytest.raises(Unreachable, match=r"Tried \d+ times, waited \d+ s") as failed:
        client.get_page(EVERYTHING)
    assert failed.value.transient
    assert 200 < clock.monotonic() <= 300


def test_a_server_that_is_not_there_is_unreachable(http: httpx.Client, clock: PatientClock) -> None:
    client = ReferralsClient(http, lambda *, renew=False: "", "https://localhost:9", clock=clock, deadline_seconds=5)
    with pytest.raises(Unreachable, match="HUNTER_PARTNER_CENTER_BASE_URL"):
        client.get_page(EVERYTHING)


@pytest.mark.parametrize("allowed", [300, 3 * 3600])
def test_a_first_call_that_cannot_connect_is_given_up_soon(
    http: httpx.Client, clock: PatientClock, allowed: int
) -> None:
    client = ReferralsClient(
        http, lambda *, renew=False: "", "https://localhost:9", clock=clock, deadline_seconds=allowed
    )
    with pytest.raises(Unreachable, match="cannot be reached"):
        client.get_page(EVERYTHING)
    assert 15 < clock.monotonic() <= 45


def test_once_it_was_answered_a_lost_connection_is_tried_until_the_deadline(
    client: ReferralsClient, clock: PatientClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get_page(EVERYTHING)
    monkeypatch.setattr(client, "_base_url", "https://localhost:9")
    with pytest.raises(Unreachable, match="cannot be reached"):
        client.get_page(EVERYTHING)
    assert 200 < clock.monotonic() <= 300


# Anything else


def test_any_other_refusal_holds_code_message_and_request_id(sim: Simulator, client: ReferralsClient) -> None:
    with pytest.raises(ApiRefused) as refused:
        client.get_page(f"{sim.base_url}/v1.0/referrals?$skiptoken=worn-out")
    error = refused.value
    assert (error.code, error.status, error.transient) == ("invalidRequest", 400, False)
    assert error.request_id
    for part in ("invalidRequest", "$skiptoken is not valid", error.request_id):
        assert part in str(error)


def test_an_address_without_referrals_points_at_the_base_url(sim: Simulator, client: ReferralsClient) -> None:
    with pytest.raises(ApiRefused, match=r"HTTP 404.*HUNTER_PARTNER_CENTER_BASE_URL"):
        client.get_page(f"{sim.base_url}/v9.0/referrals")


def test_an_answer_that_is_no_list_of_referrals_is_refused(sim: Simulator, client: ReferralsClient) -> None:
    some_id = client.get_page(EVERYTHING).items[0]["id"]
    with pytest.raises(ApiRefused, match="no list of referrals"):
        client.get_page(f"{sim.base_url}/v1.0/engagements/referrals/{some_id}")


def test_a_next_link_to_another_host_is_refused_before_the_token_is_sent(
    sim: Simulator, http: httpx.Client, client: ReferralsClient
) -> None:
    sim.faults.next_link_foreign = True
    link = client.get_page(EVERYTHING).next_link
    assert link is not None
    sent: list[httpx.Request] = []
    http.event_hooks = {"request": [sent.append]}
    try:
        with pytest.raises(ForeignHost):
            client.get_page(link)
        with pytest.raises(ForeignHost):
            client.get_page(f"{sim.base_url}/v1.0/referrals?\x00")
    finally:
        http.event_hooks = {}
    assert sent == []


@pytest.mark.slow
def test_no_message_holds_the_token(sim: Simulator, http: httpx.Client) -> None:
    token = sim.entra.issue()
    said = []
    for fault in HttpFault:
        sim.faults.plan(fault, times=10_000)
        client = ReferralsClient(http, lambda *, renew=False: token, sim.base_url, clock=PatientClock())
        try:
            client.get_page(EVERYTHING)
        except PartnerCenterError as error:
            said.append(str(error))
        sim.faults.clear()
    assert len(said) >= 10
    assert not any(token in text or "Bearer" in text for text in said)


# What the API takes


@pytest.mark.parametrize(
    ("takes", "found", "requests"),
    [
        (Takes.EITHER, DateLiteral.BARE, [1, 1]),
        (Takes.BARE, DateLiteral.BARE, [1, 1]),
        (Takes.QUOTED, DateLiteral.QUOTED, [2, 1]),
    ],
)
def test_the_date_literal_is_found_once_and_remembered_with_its_date(
    sim: Simulator, client: ReferralsClient, takes: Takes, found: DateLiteral, requests: list[int]
) -> None:
    sim.faults.date_literal = takes
    asked = [sim.api.requests]
    for _ in requests:
        assert client.get_page(EVERYTHING).items
        asked.append(sim.api.requests)
    assert client.capability == Capability(found, START)
    assert [after - before for before, after in itertools.pairwise(asked)] == requests


def test_an_api_without_a_filter_on_dates_is_known_by_the_same_query_without_one(
    sim: Simulator, client: ReferralsClient
) -> None:
    sim.faults.date_literal = Takes.REFUSED
    before = sim.api.requests
    with pytest.raises(FilterRefused, match="updatedDateTime") as refused:
        client.get_page(EVERYTHING)
    assert refused.value.status == 400
    assert client.capability == Capability(None, START)
    assert not client.filters
    assert sim.api.requests - before == 5


def test_a_query_that_is_refused_for_another_reason_says_nothing_about_filters(client: ReferralsClient) -> None:
    with pytest.raises(ApiRefused) as refused:
        client.get_page(PageQuery(0, updated_before=ticks_of(START)))  # $top=0 is refused
    assert not isinstance(refused.value, FilterRefused)
    assert client.capability is None
    assert client.filters


def test_what_is_remembered_is_asked_anew_once_it_is_refused(sim: Simulator, client: ReferralsClient) -> None:
    sim.faults.date_literal = Takes.QUOTED
    client.capability = Capability(DateLiteral.BARE, START)
    assert client.get_page(EVERYTHING).items
    assert client.capability == Capability(DateLiteral.QUOTED, START)


@pytest.mark.parametrize("days", [30, -1])
def test_what_was_found_30_days_ago_or_in_the_future_is_asked_anew(
    sim: Simulator, client: ReferralsClient, days: int
) -> None:
    client.capability = Capability(None, START - timedelta(days=days))
    assert client.filters
    assert client.get_page(EVERYTHING).items
    assert client.capability == Capability(DateLiteral.BARE, START)


def test_a_query_without_dates_proves_nothing_about_dates(client: ReferralsClient) -> None:
    assert client.get_page(PageQuery(1)).items
    assert client.capability is None
