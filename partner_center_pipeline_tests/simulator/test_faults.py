"""Every fault does what it says, and stops when it should."""

import html
import json
import time
from email.utils import parsedate_to_datetime
from threading import Timer

import httpx
import orjson
import pytest

from partner_center_pipeline.windows import parse_ticks
from partner_center_pipeline_tests.simulator.conftest import PATH, Api, onward
from partner_center_simulator import (
    CorruptRow,
    DateHeader,
    DateLiteral,
    DnsFault,
    Faults,
    HttpFault,
    IdsShape,
    TokenFault,
)

ASKED = {"orderby": "updatedDateTime asc", "top": "10"}


@pytest.mark.parametrize(
    ("fault", "status", "piece"),
    [
        (HttpFault.UNAUTHORIZED, 401, '"unAuthorized"'),
        (HttpFault.FORBIDDEN, 403, '"accessDenied"'),
        (HttpFault.INSUFFICIENT_CLAIMS, 403, '"insufficent_claims"'),
        (HttpFault.THROTTLED, 429, '"statusCode":429'),
        (HttpFault.SERVER_ERROR, 500, '"generalException"'),
        (HttpFault.UNAVAILABLE, 503, '"serviceNotAvailable"'),
        (HttpFault.UNAVAILABLE_HTML, 503, "<html>"),
        (HttpFault.BAD_GATEWAY, 502, "<html>"),
        (HttpFault.GATEWAY_TIMEOUT, 504, "<html>"),
        (HttpFault.MFA_REQUIRED, 401, '"900421"'),
        (HttpFault.BANDWIDTH, 509, '"serviceNotAvailable"'),
        (HttpFault.HTML, 200, "<html>"),
    ],
)
def test_a_planned_answer_comes_as_often_as_planned(api: Api, fault: HttpFault, status: int, piece: str) -> None:
    api.sim.faults.plan(fault, times=2, after=1)
    answers = [api.get(**ASKED) for _ in range(4)]
    assert [answer.status_code for answer in answers[1:3]] == [status, status]
    assert all(piece in answer.text for answer in answers[1:3])
    assert all(answer.json()["value"] for answer in (answers[0], answers[3]))


def test_plans_run_one_behind_the_other(api: Api) -> None:
    api.sim.faults.plan(HttpFault.SERVER_ERROR)
    api.sim.faults.plan(HttpFault.THROTTLED, after=1)
    assert [api.get().status_code for _ in range(4)] == [500, 200, 429, 200]


@pytest.mark.parametrize(("given", "sent"), [(7, "7"), ("soon", "soon"), (None, None)])
def test_retry_after_is_sent_as_asked(api: Api, given: int | str | None, sent: str | None) -> None:
    api.sim.faults.plan(HttpFault.THROTTLED, retry_after=given)
    response = api.get()
    assert response.headers.get("Retry-After") == sent
    if isinstance(given, int):
        assert "in 7 seconds" in response.json()["message"]


def test_retry_after_can_be_a_date_by_the_servers_clock(api: Api) -> None:
    api.sim.faults.plan(HttpFault.UNAVAILABLE, retry_after="date")
    response = api.get()
    sent, now = (parsedate_to_datetime(response.headers[name]) for name in ("Retry-After", "Date"))
    assert (sent - now).total_seconds() == 60


def test_retry_after_can_be_a_date_that_has_passed(api: Api) -> None:
    api.sim.faults.plan(HttpFault.THROTTLED, retry_after="past")
    response = api.get()
    sent, now = (parsedate_to_datetime(response.headers[name]) for name in ("Retry-After", "Date"))
    assert (sent - now).total_seconds() == -60


@pytest.mark.parametrize("status", [406, 410, 411, 413, 416, 422, 423, 501, 507])
def test_every_other_status_of_the_documents_can_be_planned(api: Api, status: int) -> None:
    api.sim.faults.plan(HttpFault.SERVER_ERROR, status=status)
    response = api.get()
    assert (response.status_code, response.json()["error"]["code"]) == (status, "generalException")
    assert api.get().status_code == 200


def test_the_date_header_can_be_ahead_behind_missing_or_garbled(api: Api) -> None:
    api.sim.faults.date_skew_seconds = 90
    assert api.get().headers["Date"] == "Mon, 02 Mar 2026 09:31:30 GMT"
    api.sim.faults.date_skew_seconds = -3600
    response = api.get()
    assert response.headers["Date"] == "Mon, 02 Mar 2026 08:30:00 GMT"
    assert response.headers["timestamp"] == "2026-03-02T09:30:00Z"
    api.sim.faults.date_header = DateHeader.GARBLED
    assert api.get().headers["Date"] == "sometime today"
    api.sim.faults.date_header = DateHeader.MISSING
    assert "Date" not in api.get().headers


@pytest.mark.parametrize("switch", ["app_only", "wrong_audience"])
def test_a_token_of_the_wrong_kind_is_401_while_the_switch_is_on(api: Api, switch: str) -> None:
    setattr(api.sim.faults, switch, True)
    assert [api.get().status_code for _ in range(2)] == [401, 401]
    setattr(api.sim.faults, switch, False)
    assert api.get().status_code == 200


def test_a_role_for_some_locations_sees_their_referrals_and_no_error(api: Api, http: httpx.Client) -> None:
    """Section 1.3, "Data visibility"."""
    everything = api.rows()
    known = http.get("/_sim/state").json()["locations"]
    parts = []
    for location in known:
        api.sim.faults.locations = frozenset({location})
        parts.append(api.rows())
        assert parts[-1]
        assert all(location in {target["id"] for target in row["target"]} for row in parts[-1])
    assert sum(map(len, parts)) < len(everything)
    assert api.get(f"{PATH}/{parts[0][0]['id']}").status_code == 404
    api.sim.faults.locations = frozenset()
    assert api.rows() == []


@pytest.mark.parametrize(
    ("shape", "looks"), [(IdsShape.EMPTY_OBJECT, {}), (IdsShape.EMPTY_LIST, []), (IdsShape.NULL, None)]
)
def test_ids_have_the_shape_that_is_switched(api: Api, shape: IdsShape, looks: object) -> None:
    api.sim.faults.ids_shape = shape
    assert all(row["customerProfile"]["ids"] == looks for row in api.rows())
    api.sim.faults.ids_shape = IdsShape.LIST
    assert all(row["customerProfile"]["ids"][0]["profileType"] == "External" for row in api.rows())


def test_instants_can_have_seven_digits_and_mean_the_same(api: Api) -> None:
    clean = api.rows()
    api.sim.faults.padded_fractions = True
    for row, before in zip(api.rows(), clean, strict=True):
        assert len(row["updatedDateTime"]) == 28
        assert parse_ticks(row["updatedDateTime"]) == parse_ticks(before["updatedDateTime"])


def test_names_can_be_html(api: Api) -> None:
    clean = api.rows()
    api.sim.faults.html_names = True
    rows = api.rows()
    names = [row["customerProfile"]["name"] for row in rows]
    assert all(name.isascii() for name in names)
    assert any("&#" in name for name in names)
    assert any("&amp;" in name for name in names)
    before = [html.unescape(row["customerProfile"]["name"]) for row in clean]
    assert [html.unescape(name) for name in names] == before


@pytest.mark.parametrize("fault", [HttpFault.RESET, HttpFault.CUT_OFF])
def test_a_broken_connection_is_an_error_of_transport(api: Api, fault: HttpFault) -> None:
    api.sim.faults.plan(fault)
    with pytest.raises(httpx.TransportError):
        api.get(**ASKED)
    assert api.get(**ASKED).status_code == 200


def test_truncated_json_arrives_complete_as_http(api: Api) -> None:
    whole = api.get(**ASKED)
    api.sim.faults.plan(HttpFault.TRUNCATED)
    half = api.get(**ASKED)
    assert half.status_code == 200
    assert whole.content.startswith(half.content)
    with pytest.raises(json.JSONDecodeError):
        half.json()


def test_an_expired_skiptoken_meets_only_requests_with_one(api: Api) -> None:
    api.sim.faults.plan(HttpFault.SKIPTOKEN_EXPIRED)
    link = onward(api.get(**ASKED).json()["@odata.nextLink"])
    assert api.get(link).json()["error"]["code"] == "invalidRequest"
    assert api.get(link).status_code == 200


def test_a_slow_server_is_slow(api: Api) -> None:
    api.sim.faults.slow_seconds = 0.2
    started = time.monotonic()
    assert api.get(**ASKED).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_a_missing_role_and_missing_mfa_last_until_switched_off(api: Api) -> None:
    api.sim.faults.role_missing = True
    assert [api.get().status_code for _ in range(2)] == [403, 403]
    api.sim.faults.mfa_missing = True
    assert api.get().json()["error"]["code"] == "900421"
    api.sim.faults.clear()
    assert api.get().status_code == 200


@pytest.mark.parametrize("takes", DateLiteral)
def test_the_date_literal_is_taken_as_switched(api: Api, takes: DateLiteral) -> None:
    api.sim.faults.date_literal = takes
    bare = api.get(filter="updatedDateTime ge 2026-01-01T00:00:00Z").status_code
    quoted = api.get(filter="updatedDateTime ge '2026-01-01T00:00:00Z'").status_code
    assert (bare == 200) == (takes in (DateLiteral.EITHER, DateLiteral.BARE))
    assert (quoted == 200) == (takes in (DateLiteral.EITHER, DateLiteral.QUOTED))
    assert {bare, quoted} <= {200, 400}


def test_a_foreign_next_link_names_another_host(api: Api) -> None:
    api.sim.faults.next_link_foreign = True
    assert api.get(**ASKED).json()["@odata.nextLink"].startswith("http://referrals.example.net/")


def test_a_next_link_loop_never_leaves_the_page(api: Api) -> None:
    first = api.get(**ASKED).json()
    api.sim.faults.next_link_loop = True
    second = api.get(onward(first["@odata.nextLink"])).json()
    third = api.get(onward(second["@odata.nextLink"])).json()
    assert first["value"] != second["value"] == third["value"]


def test_duplicate_rows_come_over_the_page_border(api: Api) -> None:
    clean = [row["id"] for row in api.rows(**ASKED)]
    api.sim.faults.duplicate_rows = True
    rows = [row["id"] for row in api.rows(**ASKED)]
    assert len(rows) > len(clean)
    assert list(dict.fromkeys(rows)) == clean


@pytest.mark.parametrize("kind", CorruptRow)
def test_a_corrupt_row_is_one_more_row_in_each_page(api: Api, kind: CorruptRow) -> None:
    clean = api.get(**ASKED).json()["value"]
    api.sim.faults.corrupt_rows = frozenset({kind})
    response = api.get(**ASKED)
    rows = response.json()["value"]
    assert rows[:-1] == clean
    broken = rows[-1]
    match kind:
        case CorruptRow.NO_ID:
            assert "id" not in broken
        case CorruptRow.BAD_DATE:
            with pytest.raises(ValueError, match="not an instant"):
                parse_ticks(broken["updatedDateTime"])
        case CorruptRow.NUL:
            assert "\x00" in broken["customerProfile"]["name"]
            assert b"\\u0000" in response.content
        case CorruptRow.NUMBER_ID:
            assert isinstance(broken["id"], int)
        case CorruptRow.NO_DATE:
            assert "updatedDateTime" not in broken
        case CorruptRow.HUGE_NUMBER:
            assert broken["details"]["dealValue"] > 10**399
        case CorruptRow.TOO_DEEP:
            with pytest.raises(orjson.JSONEncodeError):
                orjson.dumps(broken)
        case CorruptRow.NOT_AN_OBJECT:
            assert isinstance(broken, str)
        case CorruptRow.LONE_SURROGATE:
            assert b"\\ud83d " in response.content
            with pytest.raises(UnicodeEncodeError):
                broken["customerProfile"]["name"].encode()


def test_unknown_keys_and_values_come_and_go(api: Api) -> None:
    clean = api.get(**ASKED).json()["value"]
    api.sim.faults.unknown_values = True
    rows = api.get(**ASKED).json()["value"]
    assert all("forecastCategory" in row for row in rows)
    assert {row["substatus"] for row in rows} > {"Paused"}
    assert [row["id"] for row in rows] == [row["id"] for row in clean]
    api.sim.faults.unknown_values = False
    assert api.get(**ASKED).json()["value"] == clean


def test_clearing_leaves_nothing(api: Api) -> None:
    faults = api.sim.faults
    faults.plan(HttpFault.SERVER_ERROR, times=9)
    faults.plan_token(TokenFault.SLOW_DOWN, times=9)
    faults.role_missing = faults.next_link_loop = True
    faults.dns_names["firma.com.tr"] = DnsFault.TIMEOUT
    faults.clear()
    assert faults.next_token() is None
    assert faults.next_http(has_skiptoken=False) is None
    assert faults.dns_fault("firma.com.tr") is None
    assert api.get(PATH).status_code == 200


def test_a_dns_fault_of_a_name_holds_below_it_and_nowhere_else() -> None:
    faults = Faults(dns_names={"firma.com.tr": DnsFault.SERVFAIL})
    assert faults.dns_fault("firma.com.tr") is faults.dns_fault("_dmarc.firma.com.tr") is DnsFault.SERVFAIL
    assert faults.dns_fault("otherfirma.com.tr") is faults.dns_fault("com.tr") is None
    faults.dns = DnsFault.REFUSED
    assert faults.dns_fault("otherfirma.com.tr") is DnsFault.REFUSED


@pytest.mark.parametrize("kind", [CorruptRow.NO_DATE, CorruptRow.BAD_DATE])
def test_a_row_without_a_date_is_on_no_page_of_a_filter_that_compares_dates(api: Api, kind: CorruptRow) -> None:
    api.sim.faults.corrupt_rows = frozenset({kind})
    filtered: list[dict[str, str]] = api.get(**ASKED, filter="updatedDateTime lt 2100-01-01T00:00:00Z").json()["value"]
    assert filtered
    assert all("updatedDateTime" in row and row["updatedDateTime"] != "yesterday" for row in filtered)
    assert len(api.get(**ASKED).json()["value"]) == len(filtered) + 1


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["drip_bytes_per_second", "drip_sign_in_bytes_per_second"])
def test_a_body_drips_at_its_rate_on_its_own_service(api: Api, switch: str) -> None:
    setattr(api.sim.faults, switch, 500.0)
    sign_in = f"/{api.sim.tenant_id}/v2.0/.well-known/openid-configuration"
    dripping, other = (PATH, sign_in) if switch == "drip_bytes_per_second" else (sign_in, PATH)
    started = time.monotonic()
    size = len(api.get(dripping, top="1").content)
    assert time.monotonic() - started >= size / 500
    started = time.monotonic()
    assert api.get(other, top="1").status_code == 200
    assert time.monotonic() - started < size / 500


def test_headers_drip_without_an_end_until_it_is_switched_off(api: Api) -> None:
    api.sim.faults.drip_headers_per_second = 50.0
    Timer(0.5, api.sim.faults.clear).start()
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(top="1")
    assert api.get(top="1").status_code == 200
