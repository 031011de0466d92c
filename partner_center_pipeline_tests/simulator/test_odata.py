"""The $filter and $orderby grammar (partner_center_api.md, sections 2 and 9)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.windows import parse_ticks, render_ticks
from partner_center_simulator.odata import (
    DateLiteral,
    Filter,
    Order,
    QueryError,
    parse_filter,
    parse_orderby,
)

ROW: dict[str, Any] = {
    "id": "1",
    "engagementId": "e-1",
    "name": "O'Neil",
    "status": "New",
    "substatus": "Pending",
    "qualification": "SalesQualified",
    "type": "Shared",
    "direction": "Incoming",
    "statusReason": None,
    "createdDateTime": "2026-03-01T00:00:00Z",
    "updatedDateTime": "2026-03-01T12:00:00.5Z",
    "closedDateTime": None,
    "isSpam": False,
    "customerProfile": {"address": {"country": "TR"}},
    "details": {"dealValue": 500.0},
    "team": [{"email": "a@contoso.com"}, {"email": "b@contoso.com"}],
}


def keeps(text: str) -> bool:
    """Whether a $filter keeps `ROW`, by both of its halves."""
    found = parse_filter(text)
    updated = parse_ticks(ROW["updatedDateTime"])
    return (
        (found.lower is None or updated >= found.lower)
        and (found.upper is None or updated < found.upper)
        and found.id in (None, ROW["id"])
        and found.engagement_id in (None, ROW["engagementId"])
        and found.rest.matches(ROW)
    )


@pytest.mark.parametrize(
    "text",
    [
        # Microsoft's own examples (section 2), with values of the row.
        "engagementId eq 'e-1'",
        "status eq 'New' and qualification eq 'SalesQualified'",
        "customerProfile/address/country eq 'TR' and direction eq 'Incoming'",
        "(type eq 'Shared' and direction eq 'Incoming')",
        "team/any(t:t/email eq 'b@contoso.com')",
        "updatedDateTime ge 2026-03-01T12:00:00Z and updatedDateTime lt 2026-03-01T12:00:01Z",
        "updatedDateTime ge '2026-03-01T12:00:00.5Z' and updatedDateTime le '2026-03-01T12:00:00.5000000Z'",
        "updatedDateTime gt 2026-03-01T12:00:00.4999999Z",
        "updatedDateTime eq 2026-03-01T12:00:00.50Z",
        "createdDateTime lt 2026-03-01T00:00:00.0000001Z",
        "not (status eq 'Closed' or status eq 'Active')",
        "status eq 'Closed' or status eq 'New' and not type eq 'Independent'",
        "name eq 'O''Neil'",
        "statusReason eq null and closedDateTime eq null and status ne null",
        "closedDateTime ne 2026-01-01T00:00:00Z",
        "details/dealValue ge 500 and isSpam eq false",
        "id eq '1'",
    ],
)
def test_what_holds_is_kept_and_its_negation_is_not(text: str) -> None:
    assert keeps(text)
    assert not keeps(f"not ({text})")


@pytest.mark.parametrize(
    "text",
    [
        "updatedDateTime lt 2026-03-01T12:00:00.5Z",
        "updatedDateTime gt '2026-03-01T12:00:00.5Z'",
        "closedDateTime lt 2027-01-01T00:00:00Z",  # null is never less
        "team/any(t:t/email eq 'c@contoso.com')",
        "id eq '1' and id eq '2'",
        "status eq 'new'",
        "engagementId eq '1'",
    ],
)
def test_what_does_not_hold_is_left_out(text: str) -> None:
    assert not keeps(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status",
        "status eq",
        "status eq New",
        "status is 'New'",
        "website eq 'x'",
        "customerProfile/website eq 'x'",
        "status eq 'New' and",
        "(status eq 'New'",
        "status eq 'New')",
        "status eq 'New",
        "status eq 2026-01-01T00:00:00Z",
        "updatedDateTime ge yesterday",
        "updatedDateTime ge 2026-01-01",
        "updatedDateTime ge '2026-13-01T00:00:00Z'",
        "updatedDateTime ge datetime'2026-01-01T00:00:00Z'",
        "updatedDateTime ge 5",
        "isSpam eq 'no'",
        "isSpam eq 1",
        "details/dealValue ge true",
        "links/any(l:l/uri eq 'x')",
        "team/any(t:x/email eq 'x')",
        "team/any(t:t/website eq 'x')",
        "contains(name, 'x')",
        "status eq 'New' ; drop",
    ],
)
def test_what_the_server_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_filter(text)


@given(st.text(alphabet="abcdeqornt()':/ 0123456789-TZ.$", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(QueryError):
        assert isinstance(parse_filter(text), Filter)


@given(
    low=st.integers(0, 2 * 10**16),
    width=st.integers(0, 10**9),
    updated=st.integers(0, 2 * 10**16),
    quoted=st.booleans(),
)
def test_a_window_of_ticks_means_exactly_these_ticks(low: int, width: int, updated: int, *, quoted: bool) -> None:
    mark = "'" if quoted else ""
    start, end = (f"{mark}{render_ticks(ticks)}{mark}" for ticks in (low, low + width))
    found = parse_filter(f"updatedDateTime ge {start} and updatedDateTime lt {end}")
    assert (found.lower, found.upper) == (low, low + width)
    inverse = parse_filter(f"not (updatedDateTime ge {start} and updatedDateTime lt {end})")
    assert inverse.rest.matches({"updatedDateTime": render_ticks(updated)}) == (not low <= updated < low + width)


@pytest.mark.parametrize(
    ("takes", "bare", "quoted"),
    [
        (DateLiteral.EITHER, True, True),
        (DateLiteral.BARE, True, False),
        (DateLiteral.QUOTED, False, True),
        (DateLiteral.REFUSED, False, False),
    ],
)
def test_the_form_of_a_date_literal_is_a_switch(takes: DateLiteral, *, bare: bool, quoted: bool) -> None:
    for literal, allowed in (("2026-01-01T00:00:00Z", bare), ("'2026-01-01T00:00:00Z'", quoted)):
        text = f"updatedDateTime ge {literal}"
        if allowed:
            assert parse_filter(text, takes).lower == parse_ticks("2026-01-01T00:00:00Z")
        else:
            with pytest.raises(QueryError):
                parse_filter(text, takes)


def test_only_two_fields_order() -> None:
    assert parse_orderby("updatedDateTime") == (Order.UPDATED, False)
    assert parse_orderby(" createdDateTime  desc") == (Order.CREATED, True)
    for text in ("", "name asc", "updatedDateTime up", "updatedDateTime asc, id", "updatedDateTime asc id"):
        with pytest.raises(QueryError):
            parse_orderby(text)
