"""The Referrals API over HTTPS: who may ask, pages, errors, headers (partner_center_api.md, sections 1 to 4)."""

from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from partner_center_pipeline.windows import parse_ticks, ticks_of
from partner_center_pipeline_tests.simulator.conftest import ANCHOR, PATH, REFERRALS, Api, client_of, onward
from partner_center_simulator import Simulator, SimulatorClock

WINDOW = "updatedDateTime ge 2026-03-02T00:00:00Z and updatedDateTime lt 2026-03-02T09:00:00Z"


# Pages


@pytest.mark.parametrize("order", ["createdDateTime", "updatedDateTime"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("text", ["", WINDOW, "direction eq 'Incoming' and status eq 'New'"])
def test_following_next_links_gives_every_match_once_in_order(api: Api, order: str, direction: str, text: str) -> None:
    options = {"orderby": f"{order} {direction}", "top": "23"} | ({"filter": text} if text else {})
    rows = api.rows(**options)
    expected = {row["id"] for row in api.rows(**({"filter": text} if text else {}))}
    assert rows
    assert len(rows) == len(expected) == len({row["id"] for row in rows})
    assert {row["id"] for row in rows} == expected
    stamps = [parse_ticks(row[order]) for row in rows]
    assert stamps == sorted(stamps, reverse=direction == "desc")


def test_without_options_the_newest_fifty_come_first(api: Api) -> None:
    body = api.get().json()
    assert body["@odata.count"] == len(body["value"]) == 50
    assert body["@odata.context"] == "http://api.partner.microsoft.com/v1.0/$metadata#Referrals"
    stamps = [parse_ticks(row["updatedDateTime"]) for row in body["value"]]
    assert stamps == sorted(stamps, reverse=True)
    assert len(api.rows()) == REFERRALS


def test_a_page_holds_at_most_a_hundred(api: Api) -> None:
    assert len(api.get(top="1000").json()["value"]) == 100
    assert len(api.get(top="1").json()["value"]) == 1


def test_the_next_link_has_the_documented_oddities(api: Api) -> None:
    link = api.get(filter=WINDOW, top="1").json()["@odata.nextLink"]
    parts = urlsplit(link)
    assert (parts.scheme, parts.path) == ("http", "/v1.0/referrals")
    assert parts.netloc == urlsplit(api.sim.base_url).netloc
    assert list(parse_qs(parts.query)) == ["$skiptoken"]
    token = parts.query.removeprefix("$skiptoken=")
    assert len(token) > 200
    assert "%" in token
    assert token == token.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")


def test_the_plain_form_of_a_next_link_can_be_followed_as_it_is(api: Api) -> None:
    api.sim.faults.next_link_plain = True
    link = api.get(top="60").json()["@odata.nextLink"]
    assert link.startswith(f"{api.sim.base_url}{PATH}?$skiptoken=")
    assert len(api.get(link).json()["value"]) == 60


def test_a_skiptoken_that_was_touched_or_is_old_is_refused(api: Api) -> None:
    link = onward(api.get(top="5").json()["@odata.nextLink"])
    assert api.get(link).status_code == 200
    assert api.get(link[:-9] + "AAAA" + link[-5:]).status_code == 400
    assert api.get(skiptoken="nonsense").status_code == 400
    api.sim.clock.advance(3601)
    assert "expired" in api.get(link).json()["error"]["message"]


def test_skip_and_select(api: Api) -> None:
    full = api.rows(orderby="updatedDateTime asc")
    skipped = api.rows(orderby="updatedDateTime asc", skip="290", select="id,status")
    assert skipped == [{"id": row["id"], "status": row["status"]} for row in full[290:]]


@pytest.mark.parametrize(
    "options",
    [
        {"filter": "website eq 'x'"},
        {"filter": "updatedDateTime ge today"},
        {"orderby": "name"},
        {"top": "0"},
        {"top": "many"},
        {"skip": "-1"},
        {"count": "yes"},
        {"expand": "team"},
        {"search": "x"},
        {"select": "customerProfile/name"},
    ],
)
def test_an_option_the_server_does_not_know_is_refused_in_the_documented_shape(
    api: Api, options: dict[str, str]
) -> None:
    response = api.get(**options)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["target"]) == ("invalidRequest", "referral")
    assert error["message"]


def test_a_row_that_is_changed_while_paging_comes_again_at_the_end() -> None:
    with Simulator(seed=1, anchor=ANCHOR, referrals=40) as sim, client_of(sim) as http:
        api = Api(sim, http)
        first = api.get(orderby="updatedDateTime asc", top="30").json()
        moved = first["value"][3]["id"]
        sim.change(moved, {"salesStage": "60"})
        second = api.get(onward(first["@odata.nextLink"])).json()
        assert second["value"][-1]["id"] == moved
        assert second["value"][-1]["salesStage"] == "60"
        assert len(first["value"]) + len(second["value"]) == 41


# One referral


def test_one_referral_comes_whole_with_its_etag(api: Api) -> None:
    listed = next(row for row in api.rows() if "eTag" in row)
    response = api.get(f"{PATH}/{listed['id']}")
    body = response.json()
    assert body.pop("@odata.context").endswith("/v1.0/engagments/referrals/$metadata#Referrals/$entity")
    assert body == listed
    assert response.headers["ETag"] == listed["eTag"]


def test_an_unknown_referral_and_another_path_are_404(api: Api) -> None:
    response = api.get(f"{PATH}/00000000-0000-4000-8000-000000000000")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "itemNotFound")
    assert api.get("/v1/referrals").status_code == 404
    assert api.get("/v1.0/referrals").status_code == 404


# Headers


def test_each_answer_can_be_found_again_and_says_the_servers_time(api: Api, http: httpx.Client) -> None:
    mine = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
    response = http.get(PATH, headers={"client-request-id": mine})
    assert response.headers["client-request-id"] == mine
    assert UUID(response.headers["request-id"]).version == 4
    assert parse_ticks(response.headers["timestamp"]) == ticks_of(ANCHOR)
    again = api.get()
    assert again.headers["request-id"] != response.headers["request-id"]
    api.sim.clock.advance(0.999)
    assert api.get().headers.get_list("Date") == ["Mon, 02 Mar 2026 09:30:00 GMT"]
    api.sim.clock.advance(7200)
    assert parsedate_to_datetime(http.get("/nowhere").headers["Date"]).hour == 11


# Who may ask


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://api.partnercenter.microsoft.com"},
        {"aud": "https://graph.windows.net"},
        {"idtyp": "app", "scp": None},
        {"scp": "User.Read"},
        {"exp": 1},
        {"aud": None},
    ],
)
def test_a_token_that_does_not_fit_is_401(api: Api, claims: dict[str, Any]) -> None:
    response = api.get(PATH, api.sim.entra.issue(**claims))
    assert response.status_code == 401
    assert response.json()["error"]["innerError"]["code"] == "unauthenticated"


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30", "e30.e30.é", "é"])
def test_what_is_no_token_is_401(http: httpx.Client, sim: Simulator, token: str) -> None:
    assert http.get(PATH, headers={b"Authorization": f"Bearer {token}".encode()}).status_code == 401
    assert http.get(PATH, headers={"Authorization": f"Basic {sim.entra.issue()}"}).status_code == 401
    assert http.get(PATH).status_code == 401


def test_a_token_that_was_touched_is_401(api: Api) -> None:
    head, payload, signature = api.sim.entra.issue().split(".")
    assert api.get(PATH, f"{head}.{payload[:-2]}AA.{signature}").status_code == 401


def test_a_token_lives_an_hour_of_the_servers_clock(api: Api) -> None:
    token = api.sim.entra.issue()
    api.sim.clock.advance(3595)
    assert api.get(PATH, token).status_code == 200
    api.sim.clock.advance(10)
    assert api.get(PATH, token).status_code == 401


def test_a_token_without_mfa_is_900421(api: Api) -> None:
    response = api.get(PATH, api.sim.entra.issue(amr=["pwd"]))
    assert (response.status_code, response.json()["error"]["code"]) == (401, "900421")


def test_a_referral_user_sees_a_part_and_no_error(api: Api) -> None:
    everything = api.rows()
    api.sim.faults.referral_user = True
    seen = api.rows()
    assert 0 < len(seen) < len(everything)
    for row in seen:
        assert any(member["email"] == "entegrasyon@ornekpartner.com.tr" for member in row["team"])
    hidden = next(row for row in everything if row["id"] not in {each["id"] for each in seen})
    assert api.get(f"{PATH}/{hidden['id']}").status_code == 404


def test_the_same_seed_serves_the_same_bytes() -> None:
    def pages() -> list[bytes]:
        clock = SimulatorClock(ANCHOR, frozen=True)
        clock.set(ANCHOR + timedelta(hours=1))
        with Simulator(seed=5, anchor=ANCHOR, referrals=120, live=True, clock=clock) as sim, client_of(sim) as http:
            api = Api(sim, http)
            answers = [api.get(orderby="createdDateTime desc", skip=str(skip)).content for skip in (0, 50, 100)]
            return [answer.partition(b'"@odata.nextLink"')[0] for answer in answers]  # the link names the port

    first = pages()
    assert first == pages()
    assert len(set(first)) == 3
