"""The world of referrals: the same every time, in order, at any size, and moving on with time."""

import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.windows import TICKS_PER_SECOND, parse_ticks, render_ticks, ticks_of
from partner_center_simulator.odata import EVERYTHING, Filter, Order, parse_filter
from partner_center_simulator.payloads import Payload, expiration_of, samples
from partner_center_simulator.world import LIVE_PERIOD, Position, World

ANCHOR = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
NOW = ticks_of(ANCHOR)
HOUR = 3600 * TICKS_PER_SECOND
RECENT = ANCHOR - timedelta(hours=9)


def world(referrals: int = 400, *, seed: int = 3, live: bool = False) -> World:
    return World(seed, ANCHOR, referrals, recent_from=RECENT, live=live)


def snapshot(of: World) -> bytes:
    return orjson.dumps(list(of.all()))


def paged(of: World, condition: Filter, order: Order, size: int, *, descending: bool) -> list[Payload]:
    """All rows that match, read page by page, each page beginning behind the last row of the one before."""
    rows: list[Payload] = []
    after: Position | None = None
    while page := of.select(condition, order, descending=descending, after=after, limit=size):
        rows += [row for _, row in page]
        after = page[-1][0]
    return rows


# The base year


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert snapshot(world()) == snapshot(world())
    assert snapshot(world()) != snapshot(world(seed=4))


@pytest.mark.parametrize("referrals", [0, 1, 3, 5, 6, 7, 250, 1000])
def test_there_are_as_many_referrals_as_asked_for_each_with_an_id_of_its_own(referrals: int) -> None:
    ids = {row["id"] for row in world(referrals).all()}
    assert len(ids) == world(referrals).count() == referrals


def test_updated_never_falls_and_lies_before_the_anchor() -> None:
    stamps = [parse_ticks(row["updatedDateTime"]) for row in world(2000).all()]
    assert stamps == sorted(stamps)
    assert stamps[0] > NOW - 366 * 24 * HOUR
    assert stamps[-1] < NOW


def test_the_hours_before_the_anchor_have_rows_for_windows_of_the_day() -> None:
    rows = world(1000).select(Filter(ticks_of(RECENT), NOW, None, None, EVERYTHING.rest))
    assert len(rows) >= 140


def test_instants_are_printed_as_microsoft_prints_them() -> None:
    digits = set()
    for row in world(1000).all():
        for field in ("createdDateTime", "updatedDateTime", "acceptedDateTime", "closedDateTime"):
            text = row.get(field)
            if text:
                assert render_ticks(parse_ticks(text)) == text
                digits.add(len(text.removesuffix("Z").partition(".")[2]))
    assert digits == set(range(8))


def test_some_rows_share_an_instant() -> None:
    counted = Counter(row["updatedDateTime"] for row in world(2000).all())
    assert max(counted.values()) >= 3


def test_each_row_agrees_with_itself() -> None:
    """Section 6: states, their times, the 14 days; section 3.2: the eTag holds the second of the last change."""
    allowed = {
        "New": {"Pending", "Received"},
        "Active": {"Accepted"},
        "Closed": {"Won", "Lost", "Declined", "Expired"},
        "None": {"None"},
    }
    for row in world(2000).all():
        assert row["substatus"] in allowed[row["status"]]
        created, updated = parse_ticks(row["createdDateTime"]), parse_ticks(row["updatedDateTime"])
        assert created <= updated
        if row["status"] == "New":
            assert parse_ticks(row["expirationDateTime"]) > NOW
        if "direction" not in row:
            continue  # one of Microsoft's samples, which keep their own ways
        assert (row["closedDateTime"] is not None) == (row["status"] == "Closed")
        assert row["eTag"].startswith('"')
        assert int(row["eTag"].strip('"').split("-")[-1][:8], 16) == updated // TICKS_PER_SECOND
        if row["status"] == "New":
            assert row["expirationDateTime"] == render_ticks(expiration_of(created))
        if row["substatus"] == "Expired":
            assert parse_ticks(row["expirationDateTime"]) <= updated


def test_the_year_looks_like_a_turkish_partners_year() -> None:
    rows = list(world(1500).all())
    text = orjson.dumps(rows).decode()
    kinds = {(row["type"], row["qualification"]) for row in rows}
    assert {("Shared", "SalesQualified"), ("Independent", "Direct"), ("Independent", "MarketingQualified")} <= kinds
    assert {row["substatus"] for row in rows} >= {
        "Pending",
        "Received",
        "Accepted",
        "Won",
        "Lost",
        "Declined",
        "Expired",
    }
    assert {_shape(row["customerProfile"]["ids"]) for row in rows} == {"dict", "list", "items", "NoneType"}
    for piece in "İışğ":
        assert piece in text
    for piece in (
        "R&amp;B",
        "A.Ş.",
        "Ltd. Şti.",
        "@gmail.com",
        "@hotmail.com.tr",
        ".onmicrosoft.com",
        ".com.tr",
        "xn--",
    ):
        assert piece in text, piece
    assert any(row["customerProfile"]["team"] == [] for row in rows)
    assert any(row["customerProfile"]["size"] is None for row in rows)
    assert any("customerMarketplaceIntent" in row for row in rows)
    engagements = Counter(row["engagementId"] for row in rows)
    pairs = [row for row in rows if engagements[row["engagementId"]] == 2]
    assert 0.05 < len(pairs) / len(rows) < 0.25
    assert {row["organizationId"] == "msft" for row in pairs} == {True, False}


def _shape(ids: object) -> str:
    return "items" if isinstance(ids, list) and ids else type(ids).__name__


def test_about_a_third_has_an_address_at_a_company_of_the_world() -> None:
    of = world(1000)
    owned: Counter[str] = Counter()
    for row in of.all():
        for member in row["customerProfile"]["team"]:
            company = of.companies.owner(member["email"].rpartition("@")[2])
            if company is not None:
                owned[company.domain] += 1
    assert 220 < sum(owned.values()) < 420
    assert max(owned.values()) >= 3


def test_microsofts_sample_shapes_are_served() -> None:
    """Times and, where an id comes twice, the id are the world's; all else is as Microsoft published it."""
    moved = {"createdDateTime", "updatedDateTime", "expirationDateTime", "eTag", "id", "@odata.context"}
    served = [_without(row, moved) for row in world(50).all()]
    for sample in samples():
        assert _without(sample, moved) in served
    shapes = [row for row in world(50).all() if row["organizationName"] == "Contoso Company"]
    assert any(row["customerProfile"]["ids"] == {} for row in shapes)
    assert any("eTag" not in row for row in shapes)
    assert any("/engagments/" in row["links"]["self"]["uri"] for row in shapes)


def _without(row: Payload, names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


# Searching


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "updatedDateTime ge 2025-06-01T00:00:00Z and updatedDateTime lt 2025-12-24T00:00:00Z",
        "status eq 'Closed' or direction eq 'Outgoing'",
        "not status eq 'Closed' and updatedDateTime gt 2025-09-01T00:00:00Z",
        "createdDateTime lt 2025-08-01T00:00:00Z",
        "status ne 'nothing'",
    ],
)
def test_pages_hold_every_match_once_and_in_order(text: str, order: Order, *, descending: bool) -> None:
    of = world(live=True)
    of.advance(NOW + 2 * HOUR)
    condition = parse_filter(text)
    rows = paged(of, condition, order, 7, descending=descending)
    expected = [
        row["id"]
        for row in of.all()
        if condition.rest.matches(row)
        and (condition.lower or 0) <= parse_ticks(row["updatedDateTime"]) < (condition.upper or 1 << 62)
    ]
    assert expected
    assert sorted(row["id"] for row in rows) == sorted(expected)
    stamps = [parse_ticks(row[order]) for row in rows]
    assert stamps == sorted(stamps, reverse=descending)


def test_a_referral_and_its_engagement_are_found_without_a_search() -> None:
    of = world(1_000_000)
    row = of.payloads.of(500_000, of.updated(500_000))
    assert [found for _, found in of.select(parse_filter(f"id eq '{row['id']}'"))] == [row]
    engagement = [found["id"] for _, found in of.select(parse_filter(f"engagementId eq '{row['engagementId']}'"))]
    assert row["id"] in engagement
    assert len(engagement) <= 2
    assert of.get(row["id"]) == row
    assert of.get("00000000-0000-4000-8000-000000000000") is None
    assert of.get("not an id") is None


def test_a_million_referrals_take_no_memory_and_are_served_anywhere() -> None:
    tracemalloc.start()
    try:
        of = world(1_000_000)
        deep = of.select(parse_filter("updatedDateTime ge 2025-11-11T00:00:00Z"), limit=100)
        last = of.select(descending=True, limit=100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert of.count() == 1_000_000
    assert [row["updatedDateTime"][:10] for _, row in deep] == ["2025-11-11"] * 100
    assert all(parse_ticks(row["updatedDateTime"]) < NOW for _, row in last)
    assert peak < 20_000_000  # bytes


@pytest.mark.slow
def test_paging_through_a_long_stretch_of_a_million_loses_nothing() -> None:
    of = world(1_000_000)
    low, high = 700_000, 703_000
    condition = Filter(of.updated(low), of.updated(high), None, None, EVERYTHING.rest)
    rows = paged(of, condition, Order.UPDATED, 1000, descending=False)
    expected = [
        index for index in range(low - 10, high + 10) if of.updated(low) <= of.updated(index) < of.updated(high)
    ]
    assert [row["id"] for row in rows] == [of.payloads.ids.of(index) for index in expected]


# Changing


def test_a_changed_referral_leaves_its_old_place() -> None:
    of = world()
    _, row = of.select(limit=1, skip=100)[0]
    changed = of.change(row["id"], NOW + HOUR, {"details/dealValue": 7, "status": "Active"})
    assert of.count() == 400
    assert changed["details"] == {**row["details"], "dealValue": 7}
    assert changed["updatedDateTime"] == render_ticks(NOW + HOUR)
    assert changed["eTag"] != row["eTag"]
    assert of.get(row["id"]) == changed
    assert [each["id"] for each in of.all()][-1] == row["id"]
    assert [each["id"] for each in of.all()].count(row["id"]) == 1
    with pytest.raises(KeyError):
        of.change("unknown", NOW, {})


def test_what_a_caller_gets_is_a_copy() -> None:
    of = world()
    created = of.create(NOW, {"name": "One"})
    created["customerProfile"]["name"] = "spoilt"
    again = of.get(created["id"])
    assert again is not None
    again["customerProfile"]["name"] = "spoilt"
    assert "spoilt" not in snapshot(of).decode()


def test_created_referrals_follow_each_other_and_carry_what_was_asked() -> None:
    of = world(10)
    rows = [of.create(NOW + step, {"externalReferenceId": f"X-{step}"}) for step in range(20)]
    assert of.count() == 30
    assert len({row["id"] for row in rows}) == 20
    assert [row["externalReferenceId"] for row in list(of.all())[-20:]] == [f"X-{step}" for step in range(20)]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["create", "change", "put"]), st.integers(0, 40), st.integers(-100, 100)), max_size=30
    )
)
def test_any_history_leaves_each_referral_once_and_in_order(history: list[tuple[str, int, int]]) -> None:
    of = world(30)
    model = {row["id"]: row for row in of.all()}
    for action, which, shift in history:
        at = NOW + shift * HOUR
        if action == "create":
            row = of.create(at)
        elif action == "change":
            row = of.change(sorted(model)[which % len(model)], at, {"salesStage": str(which)})
        else:
            row = {**model[sorted(model)[which % len(model)]], "updatedDateTime": render_ticks(at)}
            of.put(row)
        model[row["id"]] = row
    rows = list(of.all())
    assert {row["id"]: row for row in rows} == model
    assert len(rows) == of.count() == len(model)
    stamps = [parse_ticks(row["updatedDateTime"]) for row in rows]
    assert stamps == sorted(stamps)
    assert {row["id"] for row in paged(of, EVERYTHING, Order.CREATED, 7, descending=True)} == set(model)


# Time


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_live_world_depends_on_the_moment_not_on_how_it_was_reached(minutes: list[int]) -> None:
    stepwise, at_once = world(live=True), world(live=True)
    at = NOW
    for step in minutes:
        at += step * 60 * TICKS_PER_SECOND
        stepwise.advance(at)
    at_once.advance(at)
    assert snapshot(stepwise) == snapshot(at_once)


def test_something_happens_at_each_period_of_a_live_world_and_nothing_in_a_still_one() -> None:
    moving, still = world(live=True), world()
    period = LIVE_PERIOD // timedelta(microseconds=1) * 10
    for each in (moving, still):
        each.advance(NOW + 100 * period)
    news = moving.select(Filter(NOW + 1, None, None, None, EVERYTHING.rest))
    assert all((parse_ticks(row["updatedDateTime"]) - NOW) % period == 0 for _, row in news)
    assert moving.count() > still.count() == 400
    assert len({row["status"] for _, row in news}) == 3
    assert snapshot(still) == snapshot(world())


def test_time_that_was_reached_stays_reached() -> None:
    of = world(live=True)
    of.advance(NOW + HOUR)
    before = snapshot(of)
    of.advance(NOW)
    of.advance(NOW + HOUR)
    assert snapshot(of) == before


@pytest.mark.parametrize("live", [False, True])
def test_a_referral_nobody_answers_expires_minutes_after_its_deadline(*, live: bool) -> None:
    of = world(live=live)
    waiting = {row["id"]: parse_ticks(row["expirationDateTime"]) for row in of.all() if row["status"] == "New"}
    assert waiting
    for deadline in sorted(set(waiting.values()))[:4]:
        of.advance(deadline)
        due = [each for each in waiting if waiting[each] == deadline]
        before = {each: of.get(each) for each in due}
        of.advance(deadline + HOUR)
        for each in due:
            was, now = before[each], of.get(each)
            assert was
            assert now
            if was["status"] == "New":
                assert (now["status"], now["substatus"]) == ("Closed", "Expired") or live
            else:
                assert now["substatus"] != "Expired"
            if now["substatus"] == "Expired":
                assert deadline < parse_ticks(now["closedDateTime"]) < deadline + HOUR
    assert not live or of.count() > 400


def test_an_answer_stops_the_clock() -> None:
    of = world()
    row = of.create(
        NOW, {"status": "New", "substatus": "Pending", "expirationDateTime": render_ticks(expiration_of(NOW))}
    )
    of.change(row["id"], NOW + HOUR, {"status": "Active", "substatus": "Accepted", "expirationDateTime": None})
    of.advance(NOW + 30 * 24 * HOUR)
    after = of.get(row["id"])
    assert after
    assert after["status"] == "Active"


def test_a_reset_undoes_what_was_changed_and_what_time_brought() -> None:
    """The tests' own Microsoft is reset after each test: nothing may be left for the next one."""
    changed, untouched = world(live=True), world(live=True)
    changed.advance(NOW + 20 * HOUR)
    first = changed.create(NOW + 21 * HOUR)
    changed.change(next(changed.all())["id"], NOW + 22 * HOUR, {"status": "Closed"})
    assert snapshot(changed) != snapshot(untouched)
    changed.reset()
    assert (snapshot(changed), changed.count()) == (snapshot(untouched), untouched.count())
    assert changed.create(NOW + 21 * HOUR) == untouched.create(NOW + 21 * HOUR) != first
    for each in (changed, untouched):
        each.advance(NOW + 50 * HOUR)
    assert snapshot(changed) == snapshot(untouched)
