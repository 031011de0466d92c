"""Of an erased person nothing stays in a document; of everybody else everything does."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.privacy import Identifier, Keyed, Kind, Tombstones, stones_in_referral, stones_of
from partner_center_pipeline_tests.leads.strategies import payloads

KEYED = Keyed(b"a key of these tests")
SAMPLES = Path(__file__).parents[1] / "data/referral_samples"
SUE = {
    "firstName": "Şule", "lastName": "Işık", "email": "Sule.ISIK@firma.com.tr", "phoneNumber": "0532 123 45 67",
    "contactPreference": {"locale": "tr-tr", "disableNotifications": False},
}  # fmt: skip
JOE = {"firstName": "Joe", "lastName": "Hansen", "email": "joe@firma.com.tr", "phoneNumber": "+90 212 555 00 00"}
OF_SUE = ("sule", "şule", "isik@", "ışık", "532 123", "5321234567")


def stones(email: str = "", phone: str = "", name: str = "") -> Tombstones:
    """The tombstones of one person."""
    given = {Kind.EMAIL: email, Kind.PHONE: phone, Kind.NAME: name}
    return Tombstones(KEYED, stones_of(KEYED, [Identifier.read(kind, text) for kind, text in given.items() if text]))


def referral(*team: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A referral with these contacts of the customer."""
    return {"id": "r1", "status": "New", "customerProfile": {"name": "Firma", "team": deepcopy(list(team))}, **more}


BY_EMAIL = stones(email="sule.isik@firma.com.tr")


@pytest.mark.parametrize(
    "who",
    [
        BY_EMAIL,
        stones(phone="+905321234567"),
        stones(name="Sule Isik"),
        stones(name="Işık Şule"),
        stones(phone="5321234567"),
    ],
    ids=["address", "number", "name", "last name first", "number without 0"],
)
def test_a_contact_goes_as_a_whole_and_the_others_stay(who: Tombstones) -> None:
    notes = "Ask ŞULE IŞIK (sule.isik@firma.com.tr, 0532 1234567) or Joe Hansen, 0212 555 00 00."
    document = referral(SUE, JOE, details={"notes": notes, "dealValue": 5})
    done = who.blank(document, "r1")
    assert {change.path for change in done.changes} == {"customerProfile.team[0]", "details.notes"}
    sue, joe = document["customerProfile"]["team"]
    assert sue == {**dict.fromkeys(SUE), "email": "@firma.com.tr", "contactPreference": SUE["contactPreference"]}
    assert joe == JOE
    assert document["details"]["notes"] == "Ask *** (@firma.com.tr, ***) or Joe Hansen, 0212 555 00 00."
    assert not any(part in json.dumps(document, ensure_ascii=False).lower() for part in OF_SUE)


def test_the_company_of_an_erased_contact_is_found_as_before() -> None:
    document = referral(SUE)
    before = read_lead(document, frozenset())
    BY_EMAIL.blank(document, "r1")
    after = read_lead(document, frozenset())
    assert (after.contact_name, after.contact_email, after.contact_phone) == (None, None, None)
    assert after.domain == before.domain == "firma.com.tr"


def test_somebody_with_the_same_number_or_name_but_another_address_stays_and_is_counted() -> None:
    who = stones(email="sule.isik@firma.com.tr", phone="0212 555 00 00", name="Joe Hansen")
    document = referral(SUE, JOE)
    done = who.blank(document, "r1")
    assert document["customerProfile"]["team"][1] == JOE
    assert done.spared == 1


def test_a_name_within_a_referral_is_the_same_person_whatever_address_comes() -> None:
    (stone, *_) = stones_of(KEYED, [Identifier.read(Kind.EMAIL, "sule.isik@firma.com.tr")])
    who = Tombstones(
        KEYED, [stone, *stones_in_referral(KEYED, stone.person, "r1", Identifier.read(Kind.NAME, "Şule Işık"))]
    )
    changed = {**SUE, "email": "sule@new.com", "phoneNumber": "0533 765 43 21"}
    here, elsewhere = referral(changed), referral(changed, id="r2")
    assert who.blank(here, "r1").changes
    assert here["customerProfile"]["team"][0]["firstName"] is None
    assert not who.blank(elsewhere, "r2").changes
    note = {"note": "Şule Işık aradı"}
    who.blank(note, "r1")
    assert note == {"note": "*** aradı"}


def test_a_company_keeps_a_name_that_holds_the_persons_unless_it_is_the_persons() -> None:
    document = referral(SUE, organizationName="Şule Işık")
    document["customerProfile"]["name"] = "Şule Işık İnşaat Ltd. Şti."
    BY_EMAIL.blank(document, "r1")
    assert document["customerProfile"]["name"] == "Şule Işık İnşaat Ltd. Şti."
    assert document["organizationName"] is None


@pytest.mark.parametrize(
    "text",
    ["sule.isik [at] firma.com.tr", "sule.isik@ firma.com.tr", "Şule <SULE.ISIK@FİRMA.COM.TR>"],
)
def test_an_address_that_is_torn_or_written_out_is_the_persons_too(text: str) -> None:
    document = referral({**SUE, "email": text}, details={"notes": f"mail: {text} ok"})
    assert len(BY_EMAIL.blank(document, "r1").changes) == 2
    assert "isik" not in json.dumps(document).lower()


def test_a_number_that_is_a_json_number_goes_too() -> None:
    document = {"id": "r1", "team": [{"firstName": "Ş", "phoneNumber": 5321234567}], "x": {"mobile": 905321234567}}
    stones(phone="0532 123 45 67").blank(document, "r1")
    assert document == {"id": "r1", "team": [{"firstName": None, "phoneNumber": None}], "x": {"mobile": None}}


def test_ids_dates_and_states_of_a_referral_are_never_touched() -> None:
    document = referral(JOE, engagementId="0532 123 45 67", closedDateTime="0532 123 45 67")
    assert not stones(phone="0532 123 45 67").blank(document, "r1").changes


def test_any_depth_is_looked_through() -> None:
    document: Any = {"note": "0532 123 45 67"}
    for _ in range(5_000):
        document = [document]
    assert len(stones(phone="05321234567").blank(document).changes) == 1


def test_everybody_goes_where_nobody_is_to_be_kept() -> None:
    document = referral(SUE, JOE, details={"notes": "Joe Hansen asked"}, team=[deepcopy(JOE)])
    nobody = Tombstones(KEYED, ())
    assert len(nobody.blank(document, "r1", everybody=True).changes) == 4
    assert "hansen" not in json.dumps(document).lower()
    assert not nobody.blank(document, "r1", everybody=True).changes


@settings(max_examples=40)
@given(payload=payloads, at=st.integers(0, 3))
@example(payload=json.loads((SAMPLES / "single_referral.json").read_text(encoding="utf-8")), at=0)
def test_nothing_of_the_person_stays_nothing_else_goes_and_again_changes_nothing(payload: Any, at: int) -> None:
    document = json.loads(json.dumps(payload))
    untouched = json.dumps(document)
    assert not BY_EMAIL.blank(document, "r1").changes
    assert json.dumps(document) == untouched, "without a match not a byte differs"

    profile = document.get("customerProfile")
    profile = profile if isinstance(profile, dict) else {}
    team = profile.get("team")
    team = list(team) if isinstance(team, list) else []
    others = json.loads(json.dumps(team))
    place = min(at, len(team))
    team.insert(place, deepcopy(SUE))
    document["customerProfile"] = {**profile, "team": team}
    BY_EMAIL.blank(document, "r1")
    after = document["customerProfile"]["team"]
    assert [one for number, one in enumerate(after) if number != place] == others
    assert after[place]["firstName"] is None
    once = json.dumps(document)
    assert not any(part in once.lower() for part in ("sule", "isik@", "532 123"))
    assert not BY_EMAIL.blank(document, "r1").changes
    assert json.dumps(document) == once
