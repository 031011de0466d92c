"""Query text, next links, error bodies and Retry-After, as Microsoft writes them."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.partner_center.errors import ForeignHost
from partner_center_pipeline.partner_center.odata import (
    DateLiteral,
    PageQuery,
    http_date,
    next_url,
    read_problem,
    retry_after,
)
from partner_center_pipeline.windows import parse_ticks

BASE = "https://api.partner.microsoft.com"
ENDPOINT = f"{BASE}/v1.0/engagements/referrals"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def options(query: PageQuery, literal: DateLiteral = DateLiteral.BARE) -> dict[str, list[str]]:
    return parse_qs(query.text(literal))


def test_a_query_filters_orders_and_sizes() -> None:
    query = PageQuery(50, parse_ticks("2026-03-01T00:00:00.1234567Z"), parse_ticks("2026-03-02T00:00:00Z"))
    bare = "updatedDateTime ge 2026-03-01T00:00:00.1234567Z and updatedDateTime lt 2026-03-02T00:00:00Z"
    quoted = "updatedDateTime ge '2026-03-01T00:00:00.1234567Z' and updatedDateTime lt '2026-03-02T00:00:00Z'"
    assert options(query) == {"$filter": [bare], "$orderby": ["updatedDateTime asc"], "$top": ["50"]}
    assert options(query, DateLiteral.QUOTED)["$filter"] == [quoted]
    assert "$filter" not in options(PageQuery(1))


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (
            "http://api.partner.microsoft.com/v1.0/referrals?$skiptoken=a%2fb%2Bc+d",
            f"{ENDPOINT}?$skiptoken=a%2fb%2Bc+d",
        ),
        (
            "https://api.partner.microsoft.com/v1.0/engagements/referrals?$skiptoken=x",
            f"{ENDPOINT}?$skiptoken=x",
        ),
        ("https://API.partner.microsoft.com:443/v1.0/engagments/referrals?$skip=5", f"{ENDPOINT}?$skip=5"),
        ("http://api.partner.microsoft.com:80/v1.0/referrals?a=b", f"{ENDPOINT}?a=b"),
        ("/v1.0/referrals?$skiptoken=x", f"{ENDPOINT}?$skiptoken=x"),
        ("?$skiptoken=x", f"{ENDPOINT}?$skiptoken=x"),
        ("https://api.partner.microsoft.com/v2.0/referrals?x", f"{BASE}/v2.0/referrals?x"),
    ],
)
def test_microsofts_next_links_lead_to_the_real_endpoint_with_their_query_untouched(link: str, url: str) -> None:
    assert next_url(link, BASE) == url


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/referrals?$skiptoken=x",
        "//evil.example/v1.0/referrals",
        "https://api.partner.microsoft.com.evil.example/v1.0/referrals",
        "https://api.partner.microsoft.com:8443/v1.0/referrals",
        "https://user@api.partner.microsoft.com/v1.0/referrals",
        "https://api.partner.microsoft.com@evil.example/v1.0/referrals",
        "https://evil.example\\@api.partner.microsoft.com/v1.0/referrals",
        "ftp://api.partner.microsoft.com/v1.0/referrals",
        "https://[broken/v1.0/referrals",
        "javascript:alert(1)",
    ],
)
def test_a_link_to_another_place_is_refused(link: str) -> None:
    with pytest.raises(ForeignHost, match=r"api\.partner\.microsoft\.com"):
        next_url(link, BASE)


@given(st.text(max_size=80) | st.text("/:@\\.?#[]ahtps", max_size=30))
def test_no_link_leads_off_the_configured_host(link: str) -> None:
    try:
        url = next_url(link, "https://localhost:8443")
    except ForeignHost:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.port, parts.username) == ("https", "localhost", 8443, None)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {
                "error": {
                    "code": "unAuthorized",
                    "message": "outer",
                    "innerError": {"code": "innerErrorCode", "message": "x"},
                }
            },
            "unAuthorized",
            "outer",
        ),
        (
            {
                "error": {
                    "code": "generalException",
                    "message": "a",
                    "innererror": {"code": "itemNotFound", "message": "b"},
                }
            },
            "itemNotFound",
            "b",
        ),
        ({"error": {"code": "brandNew", "message": "kept"}}, "brandNew", "kept"),
        ({"statusCode": 429, "message": "Rate limit is exceeded."}, "429", "Rate limit is exceeded."),
        (
            {"code": "900421", "description": "MFA is required", "data": [], "source": "x"},
            "900421",
            "MFA is required",
        ),
        ({"error": "invalid"}, "", ""),
        ({"error": {"code": None, "message": ["odd"]}}, "", "['odd']"),
        ([], "", ""),
        (None, "", ""),
    ],
)
def test_every_shape_of_error_body_is_read(body: object, code: str, message: str) -> None:
    problem = read_problem(body)
    assert (problem.code, problem.message) == (code, message)


def test_an_error_message_is_cut_and_names_nobody() -> None:
    problem = read_problem({"error": {"code": "x", "message": "user someone@example.com " + "y " * 2000}})
    assert "example.com" not in problem.message
    assert len(problem.message) <= 300


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("The value 'Ayşe Yılmaz' of 'customer/team'", "The value '(value)' of 'customer/team'"),
        ('No member "Mehmet" in the team', 'No member "(value)" in the team'),
        ("Call +90 (532) 123 45 67 or 0212-555-01-02.", "Call (number) or (number)."),
        ("Ring (0532) 123 4567 now", "Ring (number) now"),
        ("Line one\r\n\x1b[31mline two\x00", "Line one [31mline two"),
    ],
)
def test_an_error_text_loses_what_may_be_of_a_person(message: str, shown: str) -> None:
    assert read_problem({"error": {"code": "x", "message": message}}).message == shown


@pytest.mark.parametrize(
    "message",
    [
        "Can't read the user's field 'status', doesn't exist",
        "Cannot compare 'Edm.DateTimeOffset' with '2026-11-28T10:00:00Z'",
        "Trace 0f8fad5b-d9cb-469f-a165-70867728950e at 2026-11-28 10:00:00",
        "Only 100 of 1,000,000,000 rows in 00:00:10.000000",
    ],
)
def test_an_error_text_keeps_fields_dates_and_ids(message: str) -> None:
    assert read_problem({"error": {"code": "x", "message": message}}).message == message


@pytest.mark.parametrize("part", ["'", '"', "+", "0 ", "(0", "'a ", "+9 "])
def test_an_error_text_of_any_length_is_read_at_once(part: str) -> None:
    assert len(read_problem({"error": {"message": part * 100_000}}).message) <= 300


def test_an_error_message_of_any_length_costs_no_time() -> None:
    began = time.process_time()
    assert read_problem({"error": {"message": "a" * 200_000 + "@b.com"}}).message == "(address)"
    assert time.process_time() - began < 2


def test_what_an_error_body_says_is_one_line_that_holds_no_token_and_moves_no_cursor() -> None:
    problem = read_problem(
        {"error": {"code": "a\tb", "message": f"bad\r\n\x1b[2J token {'eyJ' * 30}.x, id {'4' * 36}"}}
    )
    assert (problem.code, problem.message) == ("a b", f"bad [2J token (left out), id {'4' * 36}")


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert retry_after("57", NOW) == 57
    assert retry_after(format_datetime(NOW + timedelta(seconds=90), usegmt=True), NOW) == 90
    assert retry_after(format_datetime(NOW - timedelta(days=1), usegmt=True), NOW) == 0
    assert retry_after("99999999999", NOW) == 99_999_999_999


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "nan", "inf", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_that_makes_no_sense_is_no_retry_after(text: str | None) -> None:
    assert retry_after(text, NOW) is None


@given(st.text(max_size=40))
def test_no_header_makes_the_readers_raise(text: str) -> None:
    http_date(text)
    retry_after(text, NOW)
