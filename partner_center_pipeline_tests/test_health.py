"""The rules that grade how well the pipeline does, over plain data."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from partner_center_pipeline import health
from partner_center_pipeline.health import (
    Arrivals,
    Comparison,
    Daemon,
    DagsterFacts,
    Failure,
    Grade,
    Item,
    Shown,
    SignInFacts,
    WarehouseFacts,
)
from partner_center_pipeline.windows import WindowGrid, catch_up, ticks_of

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 11, 12, 3, tzinfo=UTC)
GRID = WindowGrid.of(START, 600, 120)
MINUTES, HOURS, DAYS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))

WELL = WarehouseFacts(
    newest_end=ticks_of(NOW.replace(minute=0)),
    open_windows=0,
    oldest_open=None,
    attempts=True,
    is_working=False,
    last_failure=None,
    breaker=None,
    pending=0,
    oldest_pending=None,
    quarantined=0,
    quarantine=None,
    drift=0,
    newest_drift=None,
    comparisons=(),
    size=1_500_000,
    scored_by=("3",),
)
DAGSTER = DagsterFacts(
    daemons=[Daemon("SENSOR", NOW - 20 * timedelta(seconds=1)), Daemon("SCHEDULER", NOW - 4 * MINUTES)],
    stopped=(),
    limits={"partner_center_api": 1, "somebody_elses": 0},
    expected_pools=("partner_center_api", "mail_dns"),
    wide_pools=("mail_dns",),
    queued=0,
    oldest_queued=None,
)


def behind(time: timedelta) -> WarehouseFacts:
    """The whole chain is done up to so long ago, and nothing after that."""
    end = ticks_of(NOW - time) // GRID.width * GRID.width
    missing = catch_up(GRID, NOW, [(-(10**18), end)], ())
    count = sum(high - low for low, high in missing) // GRID.width
    return replace(WELL, newest_end=end, open_windows=count, oldest_open=missing[0][0] if missing else None)


def sync(facts: WarehouseFacts, allowed: int = 6) -> dict[str, Item]:
    return {item.subject: item for item in health.of_sync(facts, GRID, NOW, allowed)}


def warehouse(facts: WarehouseFacts) -> dict[str, Item]:
    return {item.subject: item for item in health.of_warehouse(facts, NOW)}


def dagster(facts: DagsterFacts | None) -> dict[str, Item]:
    return {item.subject: item for item in health.of_dagster(facts, NOW)}


@pytest.mark.parametrize(("time", "allowed", "grade"), [
    (timedelta(0), 6, Grade.OK), (15 * MINUTES, 6, Grade.OK), (33 * MINUTES, 6, Grade.OK),
    (45 * MINUTES, 6, Grade.WARNING), (63 * MINUTES, 6, Grade.WARNING), (65 * MINUTES, 6, Grade.WRONG),
    (2 * DAYS, 6, Grade.WRONG), (65 * MINUTES, 12, Grade.WARNING), (25 * MINUTES, 1, Grade.WRONG),
    (-3 * HOURS, 6, Grade.OK),
])  # fmt: skip
def test_a_lag_is_warned_about_from_half_of_what_is_allowed_and_wrong_beyond_it(
    time: timedelta, allowed: int, grade: Grade
) -> None:
    assert sync(behind(time), allowed)["sync"].grade is grade


def test_two_days_of_missed_windows_are_said_with_their_number_and_the_next_step() -> None:
    item = sync(behind(2 * DAYS))["sync"]
    assert "2 d 0 h ago: 288 windows since then are due and not done" in item.text
    assert "partner-center sync" in item.text
    assert item.figures["windows_missed"] == 288
    assert item.figures["newest_complete_end"] == "2026-03-09T12:00:00Z"


def test_nothing_complete_is_a_warning_on_the_first_day_and_wrong_after_tries_or_later() -> None:
    nothing = replace(WELL, newest_end=None, attempts=False, open_windows=9, oldest_open=GRID.first)
    assert sync(nothing)["sync"].grade is Grade.WRONG
    new = WindowGrid.of(NOW - 20 * HOURS, 600, 120)
    (lag, still_open, _) = health.of_sync(replace(nothing, oldest_open=new.first), new, NOW, 6)
    assert lag.grade is still_open.grade is Grade.WARNING
    (lag, *_) = health.of_sync(replace(nothing, oldest_open=new.first, attempts=True), new, NOW, 6)
    assert lag.grade is Grade.WRONG
    (lag, *_) = health.of_sync(replace(nothing, oldest_open=new.first, attempts=True, is_working=True), new, NOW, 6)
    assert lag.grade is Grade.WARNING
    (unset,) = health.of_sync(nothing, WindowGrid.of(None, 600, 120), NOW, 6)
    assert (unset.grade, "HUNTER_SYNC_START" in unset.text) == (Grade.WARNING, True)


@pytest.mark.parametrize(("age", "working", "grade"), [
    (20 * MINUTES, False, Grade.OK), (3 * HOURS, False, Grade.WARNING), (3 * DAYS, False, Grade.WRONG),
    (3 * DAYS, True, Grade.WARNING),
])  # fmt: skip
def test_a_hole_behind_the_newest_window_is_wrong_after_a_day(age: timedelta, working: bool, grade: Grade) -> None:
    start = ticks_of(NOW - age) // GRID.width * GRID.width - GRID.width
    item = sync(replace(WELL, open_windows=1, oldest_open=start, is_working=working))["open windows"]
    assert item.grade is grade
    assert item.figures["oldest"] == GRID.window(start).key


def test_an_account_that_sees_far_less_than_before_is_wrong_and_few_vanished_leads_are_not() -> None:
    subject = "referrals shown"
    assert warehouse(WELL)[subject].grade is Grade.OK
    few = warehouse(replace(WELL, shown=Shown(NOW, 90, 2, None)))[subject]
    assert (few.grade, "showed 88 of 90 leads" in few.text) == (Grade.OK, True)
    many = warehouse(replace(WELL, shown=Shown(NOW, 90, 60, "60 of 90 leads. Check the role.")))[subject]
    assert (many.grade, many.figures["vanished"]) == (Grade.WRONG, 60)
    assert many.text == "2026-03-11 12:03 UTC found 60 of 90 leads. Check the role."


@pytest.mark.parametrize(("yesterday", "before", "grade"), [
    (5, (30, 20, 25, 25), Grade.OK), (4, (30, 20, 25, 25), Grade.WARNING), (0, (9, 9, 9, 9), Grade.OK),
    (0, (40,), Grade.OK), (None, (30, 20, 25, 25), Grade.OK),
])  # fmt: skip
def test_a_day_that_brought_less_than_a_fifth_of_what_is_usual_is_a_warning(
    yesterday: int | None, before: tuple[int, ...], grade: Grade
) -> None:
    item = warehouse(replace(WELL, arrivals=Arrivals(yesterday, before)))["referrals come"]
    assert item.grade is grade
    assert item.figures["yesterday"] == yesterday
    assert ("Referral Admin" in item.text) == (grade is Grade.WARNING)
    assert warehouse(WELL)["referrals come"].grade is Grade.OK


def test_the_last_failure_is_told_in_words_and_is_no_warning_once_a_window_was_done() -> None:
    failed = Failure(GRID.first or 0, NOW - HOURS, "Partner Center could not be reached.", 0)
    item = sync(replace(WELL, last_failure=failed))["last failure"]
    assert item.grade is Grade.WARNING
    assert "2026-03-11 11:03 UTC, window 2026-03-01-00:00: Partner Center could not be reached." in item.text
    later = sync(replace(WELL, last_failure=replace(failed, done_since=3)))["last failure"]
    assert (later.grade, later.text.endswith("(3 done since then)")) == (Grade.OK, True)


@pytest.mark.parametrize(("subject", "changed", "grade"), [
    ("breaker", {}, Grade.OK), ("breaker", {"breaker": "left alone"}, Grade.WRONG),
    ("pending", {"pending": 5, "oldest_pending": NOW - 5 * MINUTES}, Grade.OK),
    ("pending", {"pending": 5, "oldest_pending": NOW - 2 * HOURS}, Grade.WARNING),
    ("quarantine", {"quarantined": 1, "quarantine": "1 row"}, Grade.WARNING),
    ("drift", {"drift": 2, "newest_drift": NOW - 6 * DAYS}, Grade.WARNING),
    ("drift", {"drift": 2, "newest_drift": NOW - 8 * DAYS}, Grade.OK),
    ("reconcile, full", {}, Grade.OK),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - 8 * DAYS, True, 0, None)]}, Grade.OK),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - 10 * DAYS, True, 0, None)]}, Grade.WARNING),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - DAYS, True, 3, None)]}, Grade.WARNING),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - HOURS, True, 0, "refused")]}, Grade.WARNING),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - HOURS, False, 0, None)]}, Grade.OK),
    ("reconcile, full", {"comparisons": [Comparison("full", NOW - 2 * DAYS, False, 0, None)]}, Grade.WARNING),
    ("reconcile, recent", {"comparisons": [Comparison("recent", NOW - 3 * DAYS, True, 0, None)]}, Grade.WARNING),
])  # fmt: skip
def test_what_the_warehouse_says(subject: str, changed: dict[str, object], grade: Grade) -> None:
    assert warehouse(replace(WELL, **changed))[subject].grade is grade  # type: ignore[arg-type]


def test_the_size_of_the_database_is_told() -> None:
    item = warehouse(WELL)["database"]
    assert (item.text, item.figures) == ("1.5 MB", {"bytes": 1_500_000})


def test_a_daemon_that_is_silent_for_minutes_is_wrong_and_one_that_never_ran_is_a_warning() -> None:
    assert dagster(DAGSTER)["daemon"].grade is Grade.OK
    silent = replace(DAGSTER, daemons=[DAGSTER.daemons[0], Daemon("SCHEDULER", NOW - 6 * MINUTES)])
    assert dagster(silent)["daemon"].grade is Grade.WRONG
    assert dagster(silent)["daemon"].text.startswith("SCHEDULER gave no sign of life since 2026-03-11 11:57 UTC")
    half = replace(DAGSTER, daemons=[DAGSTER.daemons[0], Daemon("SCHEDULER", None)])
    assert dagster(half)["daemon"].grade is Grade.WRONG
    never = replace(DAGSTER, daemons=[Daemon("SENSOR", None), Daemon("SCHEDULER", None)])
    assert dagster(never)["daemon"].grade is dagster(None)["daemon"].grade is Grade.WARNING
    failing = replace(DAGSTER, daemons=[Daemon("SENSOR", NOW, "OperationalError")])
    assert dagster(failing)["daemon"].grade is Grade.WARNING
    assert "SENSOR (OperationalError)" in dagster(failing)["daemon"].text


@pytest.mark.parametrize(("subject", "changed", "grade"), [
    ("schedules and sensors", {}, Grade.OK),
    ("schedules and sensors", {"stopped": ["partner_center_sync_schedule"]}, Grade.WRONG),
    ("pools", {}, Grade.OK), ("pools", {"limits": {"partner_center_api": 0}}, Grade.WRONG),
    ("pools", {"limits": {"mail_dns": 0}}, Grade.WRONG), ("pools", {"limits": {"mail_dns": 2}}, Grade.OK),
    ("pools", {"limits": {"partner_center_api": 2, "mail_dns": 2}}, Grade.WARNING),
    ("queue", {}, Grade.OK), ("queue", {"queued": 3, "oldest_queued": NOW - 10 * MINUTES}, Grade.OK),
    ("queue", {"queued": 3, "oldest_queued": NOW - 2 * HOURS}, Grade.WARNING),
])  # fmt: skip
def test_what_dagster_says(subject: str, changed: dict[str, object], grade: Grade) -> None:
    item = dagster(replace(DAGSTER, **changed))[subject]  # type: ignore[arg-type]
    assert item.grade is grade
    if "stopped" in changed:
        assert "partner_center_sync_schedule" in item.text


@pytest.mark.parametrize(("age", "grade"), [(1, Grade.OK), (74, Grade.OK), (76, Grade.WARNING), (90, Grade.WRONG)])
def test_the_sign_in_is_told_with_its_age_and_its_end(age: float, grade: Grade) -> None:
    item = health.of_sign_in(SignInFacts(True, NOW - 100 * DAYS, age, "partner-center login --browser"))
    assert item.grade is grade
    assert item.figures["days_left"] == 90 - age
    assert (grade is Grade.OK) is ("partner-center login --browser" not in item.text)


def test_nobody_signed_in_is_wrong() -> None:
    assert health.of_sign_in(SignInFacts(False)).grade is Grade.WRONG


@pytest.mark.parametrize(("free", "grade"), [
    (10**12, Grade.OK), (1_900_000_000, Grade.WARNING), (499_000_000, Grade.WRONG)
])  # fmt: skip
def test_a_disk_that_fills_is_told_before_writing_fails(free: int, grade: Grade) -> None:
    assert health.of_disk(free, "/srv").grade is grade


def test_versions_of_schema_and_rules() -> None:
    assert health.of_schema(True, "0009", is_sqlite=True).grade is Grade.OK
    assert health.of_schema(False, None, is_sqlite=True).grade is Grade.WARNING
    assert health.of_schema(False, "0003", is_sqlite=True).grade is Grade.WARNING
    assert health.of_schema(False, None, is_sqlite=False).grade is Grade.WRONG
    assert "partner-center migrate" in health.of_schema(False, "0003", is_sqlite=False).text
    assert health.of_rules("3", ["3"]).grade is health.of_rules("3", []).grade is Grade.OK
    assert "partner-center rescore" in health.of_rules("4", ["3", "4"]).text


def test_while_the_flag_is_off_what_stands_still_is_a_warning_and_never_ok() -> None:
    off = {item.subject: item.grade for item in health.while_off(health.of_sync(behind(2 * DAYS), GRID, NOW, 6))}
    assert off["sync"] is off["open windows"] is Grade.WARNING
    assert health.of_flag(False).grade is Grade.WARNING
    assert health.of_flag(True).grade is Grade.OK


def test_the_worst_item_decides_the_exit_code() -> None:
    items = [Item("a", Grade.WRONG, ""), Item("b", Grade.WARNING, ""), Item("c", Grade.OK, "")]
    assert [health.EXIT_CODES[health.worst(items[at:])] for at in range(4)] == [2, 1, 0, 0]
