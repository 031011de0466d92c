"""What is news in a payload: names and codes that no source of Microsoft's has, and nothing that a person wrote."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partner_center_pipeline.partner_center.schema_drift import DriftWatch, _known, _of_object
from partner_center_pipeline.referral import Drift, DriftKind
from partner_center_simulator.world import World

SAMPLES = Path(__file__).parent.parent / "data" / "referral_samples"
FIELD, VALUE = DriftKind.FIELD, DriftKind.VALUE


def drift_of(payload: dict[str, Any]) -> tuple[Drift, ...]:
    """What in one payload is unknown, looked for object by object; a watch must say the same of it."""
    found = tuple(sorted({found.drift for found in _of_object(payload, _known(), "")}))
    assert DriftWatch().new_drift([("id", payload)]) == [(item, "id") for item in found]
    return found


def samples() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(SAMPLES.glob("*.json")):
        body = json.loads(path.read_text(encoding="utf-8"))
        found += body.get("value", [body])
    return found


def changed(**values: Any) -> dict[str, Any]:
    """A documented payload in which these paths (`a__b__c`) hold something else."""
    payload = deepcopy(samples()[0])
    for path, value in values.items():
        *parents, last = path.split("__")
        at = payload
        for name in parents:
            at = at.setdefault(name, {})
        at[last] = value
    return payload


def test_nothing_in_microsofts_published_samples_is_news() -> None:
    assert len(samples()) == 5
    assert [drift_of(payload) for payload in samples()] == [()] * 5


@pytest.mark.slow
def test_of_the_simulated_past_only_the_qualification_that_no_document_names_is_news() -> None:
    world = World(7, datetime(2026, 3, 1, tzinfo=UTC), 2000)
    found = {item for payload in world.all() for item in drift_of(payload)}
    assert found == {Drift(VALUE, "qualification", "PartnerQualified")}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (changed(forecast={"id": 1}), Drift(FIELD, "forecast")),
        (changed(customerProfile__address__geo="x"), Drift(FIELD, "customerProfile.address.geo")),
        (
            changed(details__requirements__solutions=[{"id": "a"}, {"id": "b", "sku": "c"}]),
            Drift(FIELD, "details.requirements.solutions[].sku"),
        ),
        (changed(customerProfile__ids={"External": "EX-1"}), Drift(FIELD, "customerProfile.ids.External")),
        (changed(**{"team@odata.count": 2}), Drift(FIELD, "team@odata.count")),
        (changed(status="Paused"), Drift(VALUE, "status", "Paused")),
        (changed(status="new"), Drift(VALUE, "status", "new")),
        (changed(target=[{"type": "Offer", "id": "1"}]), Drift(VALUE, "target[].type", "Offer")),
        (changed(substatus=3), Drift(VALUE, "substatus", "(number)")),
        (changed(type=True), Drift(VALUE, "type", "(boolean)")),
        (changed(direction=["Incoming"]), Drift(VALUE, "direction", "(list)")),
        (changed(qualification={"id": "Direct"}), Drift(VALUE, "qualification", "(object)")),
    ],
    ids=[
        "field", "field of an object", "field of a list's item", "an object in a list's place", "annotation",
        "value", "other case", "value in a list", "number", "boolean", "list", "object",
    ],
)  # fmt: skip
def test_unknown_fields_and_values_are_named_by_their_path(payload: dict[str, Any], expected: Drift) -> None:
    assert drift_of(payload) == (expected,)


@pytest.mark.parametrize(
    "payload",
    [
        changed(details__requirements__products=[{"id": "Copilot2030"}]),
        changed(customerProfile__address__country="XX"),
        changed(salesStage="55"),
        changed(status=None, substatus="", customerProfile=None, details=[], team={}, target="none"),
    ],
    ids=["product", "country", "sales stage", "nothing there"],
)
def test_catalogues_that_grow_and_values_that_are_absent_are_not_news(payload: dict[str, Any]) -> None:
    assert drift_of(payload) == ()


def test_the_same_news_in_many_items_is_told_once() -> None:
    payload = changed(team=[{"nickname": "a"}, {"nickname": "b"}])
    assert drift_of(payload) == (Drift(FIELD, "team[].nickname"),)


PERSONAL = ["deniz@ornek.com.tr", "Deniz Örnek", "+90 555 000 00 00", "x" * 65, "a\x00b", "\ud83d"]


@pytest.mark.parametrize("text", PERSONAL, ids=ascii)
def test_what_a_person_may_have_written_is_not_taken_as_a_code(text: str) -> None:
    assert drift_of(changed(status=text)) == (Drift(VALUE, "status", "(other)"),)


@pytest.mark.parametrize("text", [*PERSONAL, "", "05550000000", "c5fbb3b6-be74-4795-9fb5-4324c73fed37"], ids=ascii)
def test_a_key_that_is_an_address_a_number_or_an_id_is_not_taken_as_a_name(text: str) -> None:
    assert drift_of(changed(**{text: 1})) == (Drift(FIELD, "(other)"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["status", "team", "details", "requirements", "solutions", "ids", "customerProfile", "type"])


@pytest.mark.slow
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, JSON) | st.lists(st.dictionaries(NAMES, JSON)) | JSON))
def test_no_payload_breaks_it_and_every_row_fits_an_index(payload: dict[str, Any]) -> None:
    for item in drift_of(payload):
        assert len(item.path) + len(item.value) < 600
        assert (item.path + item.value).isprintable()


PLACES = (
    "qualification", "status", "consent", "target", "team", "customerProfile__address", "customerProfile__ids",
    "customerProfile__team", "details__requirements", "details__requirements__solutions", "registrations", "forecast",
)  # fmt: skip


PAYLOADS = st.lists(
    st.tuples(st.sampled_from(PLACES), JSON | st.lists(st.dictionaries(st.sampled_from(["id", "sku"]), JSON))).map(
        lambda it: changed(**{it[0]: it[1]})
    ),
    max_size=4,
)


EMPTY_NAME_IN_OBJECT_THEN_IN_LIST = [
    [changed(details=[{"requirements": {"": None}}, {"requirements": [{"": None}]}])],
]
SAME_NAME_IN_OBJECT_THEN_IN_LIST = [[changed(team={"nickname": "a"})], [changed(team=[{"nickname": "a"}])]]


@pytest.mark.slow
@example(EMPTY_NAME_IN_OBJECT_THEN_IN_LIST)
@example(SAME_NAME_IN_OBJECT_THEN_IN_LIST)
@given(st.lists(PAYLOADS, max_size=3))
def test_a_watch_reports_each_drift_once_with_the_first_payload_that_shows_it(
    pages: list[list[dict[str, Any]]],
) -> None:
    watch = DriftWatch()
    told: dict[Drift, str] = {}
    for number, page in enumerate(pages):
        referrals = [(f"{number}-{place}", payload) for place, payload in enumerate(page)]
        expected: dict[Drift, str] = {}
        for referral_id, payload in referrals:
            for item in drift_of(payload):
                if item not in told:
                    expected.setdefault(item, referral_id)
        assert watch.new_drift(referrals) == sorted(expected.items())
        told |= expected


def test_what_a_watch_told_is_usual_to_it_and_to_no_other() -> None:
    payload = changed(status="Paused", team=[{"nickname": "a"}])
    watch = DriftWatch()
    assert watch.new_drift([("a", payload), ("b", payload)]) == [
        (Drift(FIELD, "team[].nickname"), "a"),
        (Drift(VALUE, "status", "Paused"), "a"),
    ]
    assert watch._are_usual([payload])
    assert not DriftWatch()._are_usual([payload])
    assert len(drift_of(payload)) == 2


def test_a_watch_learns_no_key_that_may_be_another_in_each_referral() -> None:
    watch = DriftWatch()
    pages = [[(str(n), changed(**{f"{n}@ornek.com.tr": 1}, status=f"Deniz {n}"))] for n in range(9)]
    assert [len(watch.new_drift(page)) for page in pages] == [2, *[0] * 8]
    assert not any("ornek" in name for name in watch._known.names)
    assert not any("Deniz" in str(value) for value in watch._known.values["status"])


def test_lists_in_lists_as_deep_as_the_contract_lets_pass_are_followed() -> None:
    inner: Any = [{"nickname": "a"}]
    for _ in range(250):
        inner = [inner]
    (found,) = drift_of(changed(team=inner))
    assert found.path.endswith("[][].nickname")
