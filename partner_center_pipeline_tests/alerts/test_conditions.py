"""When operators are told of what was found: once, once more when it becomes worse, and once when it is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.alerts.conditions import PATIENCE, WARNED, explained, judged
from partner_center_pipeline.health import EXIT_CODES, Grade, Item
from partner_center_pipeline.texts import tables
from partner_center_pipeline.warehouse.conditions import Condition
from partner_center_pipeline.warehouse.outbox import Change

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
OK, WARNING, WRONG = Grade.OK, Grade.WARNING, Grade.WRONG


def followed(subject: str, *grades: Grade | tuple[Grade, int], step: timedelta = STEP) -> list[str]:
    """What is told while a subject has these grades one after the other, and each size where there is one."""
    known: dict[str, Condition] = {}
    said = []
    for number, one in enumerate(grades):
        grade, size = one if isinstance(one, tuple) else (one, 0)
        told, known = judged(known, [Item(subject, grade, "x", {"open": size, "missed": size})], NOW + number * step)
        said.append(" ".join(f"{each.change} {each.condition.grade}" for each in told) or "-")
    return said


def test_what_is_wrong_is_told_once_and_once_when_it_is_over() -> None:
    assert followed("breaker", OK, WRONG, WRONG, WRONG, OK, OK, WRONG) == [
        "-", "raised wrong", "-", "-", "cleared wrong", "-", "raised wrong",
    ]  # fmt: skip


@pytest.mark.parametrize("subject", sorted(WARNED))
def test_a_warning_of_these_is_told_and_told_again_when_it_becomes_wrong(subject: str) -> None:
    assert followed(subject, WARNING, WARNING, WRONG, WRONG, OK) == [
        "raised warning", "-", "worse wrong", "-", "cleared wrong",
    ]  # fmt: skip


@pytest.mark.parametrize("subject", ["sync", "open windows", "daemon", "pools", "drift", "last failure", "flag"])
def test_a_warning_of_others_is_not_told(subject: str) -> None:
    assert followed(subject, OK, WARNING, WARNING, OK) == ["-"] * 4


def test_a_lag_that_goes_up_and_down_around_its_limit_is_told_once_a_day_at_most() -> None:
    assert followed("sync", *[WRONG, WARNING] * 20) == ["raised wrong"] + ["-"] * 39
    said = followed("sync", WRONG, WARNING, WRONG, WARNING, OK, step=PATIENCE)
    assert said == ["raised wrong", "-", "worse wrong", "-", "cleared warning"]


def test_a_quarantine_that_doubles_is_told_again_after_a_day_and_not_before() -> None:
    assert followed("quarantine", (WARNING, 3), (WARNING, 60)) == ["raised warning", "-"]
    sizes = [3, 5, 6, 7, 11, 12, 2, 4]
    assert followed("quarantine", *[(WARNING, size) for size in sizes], step=PATIENCE) == [
        "raised warning", "-", "worse warning", "-", "-", "worse warning", "-", "worse warning",
    ]  # fmt: skip


def test_what_could_not_be_found_out_is_neither_over_nor_new() -> None:
    _, known = judged({}, [Item("breaker", WRONG, "x"), Item("disk", WARNING, "x")], NOW)
    told, after = judged(known, [Item("disk", OK, "x")], NOW + STEP)
    assert [one.change for one in told] == [Change.CLEARED]
    assert list(after) == ["breaker"]


def test_what_stops_the_sync_is_told_with_the_last_failure() -> None:
    failure = Item("last failure", WARNING, "The service is unavailable.")
    (late, other, _) = explained([Item("sync", WRONG, "late"), Item("disk", WRONG, "full"), failure])
    assert (late.text, other.text) == ("late. Last failure: The service is unavailable.", "full")
    assert explained([Item("sync", WRONG, "late"), replace(failure, grade=OK)])[0].text == "late"


def test_each_subject_that_is_told_has_a_name_for_people() -> None:
    assert tables()["condition"] >= WARNED
    assert tables()["grade"] == {"warning", "wrong"}


SUBJECTS = ("sync", "disk", "quarantine")


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(SUBJECTS), st.tuples(st.sampled_from(Grade), st.integers(0, 50))),
            st.sampled_from([STEP, timedelta(hours=7), PATIENCE]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_each_condition_is_told_once_until_it_is_over(
    rounds: list[tuple[dict[str, tuple[Grade, int]], timedelta]],
) -> None:
    known: dict[str, Condition] = {}
    is_open: set[str] = set()
    worst: dict[str, Grade] = {}
    told_at: dict[str, datetime] = {}
    now = NOW
    for found, passed in rounds:
        now += passed
        items = [Item(name, grade, "x", {"open": size}) for name, (grade, size) in found.items()]
        told, known = judged(known, items, now)
        assert len({one.condition.subject for one in told}) == len(told)
        for one in told:
            name = one.condition.subject
            match one.change:
                case Change.RAISED:
                    assert name not in is_open
                    is_open.add(name)
                case Change.CLEARED:
                    assert name in is_open
                    is_open.remove(name)
                    assert found[name][0] is OK
                case Change.WORSE:
                    assert name in is_open
                    first = EXIT_CODES[found[name][0]] > EXIT_CODES[worst[name]]
                    assert first or now - told_at[name] >= PATIENCE
            worst[name] = max(found[name][0], worst.get(name, OK), key=EXIT_CODES.__getitem__)
            if one.change is Change.CLEARED:
                del worst[name]
            told_at[name] = now
        assert known.keys() == is_open
        for name, (grade, _) in found.items():
            assert (grade is OK) <= (name not in is_open)
            assert (grade is WRONG) <= (name in is_open)
