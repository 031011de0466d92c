"""POST, PATCH and PUT over HTTPS (partner_center_api.md, sections 3.5, 4 and 6)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from partner_center_pipeline.windows import parse_ticks
from partner_center_pipeline_tests.simulator.conftest import ANCHOR, PATH, client_of
from partner_center_simulator import Simulator, SimulatorClock
from partner_center_simulator.edits import NEXT_STATUSES, SUBSTATUSES

BODY: dict[str, Any] = {
    "name": "Azure landing zone",
    "type": "Shared",
    "qualification": "SalesQualified",
    "status": "New",
    "substatus": "Pending",
    "customerProfile": {"name": "Orman Mobilya", "address": {"country": "TR"}, "team": [], "ids": []},
    "consent": {"consentToContact": True},
    "details": {"dealValue": 10000, "currency": "TRY"},
    "target": [{"type": "SolutionProfile", "id": "SOL-00000-AAA"}],
}


class Writer:
    """A signed-in caller of one simulator."""

    def __init__(self, sim: Simulator, http: httpx.Client) -> None:
        self.sim = sim
        self._http = http

    def send(self, method: str, path: str = PATH, body: object = None, **headers: str) -> httpx.Response:
        """A request with a token and, where there is one, a JSON body."""
        token = {"Authorization": f"Bearer {self.sim.entra.issue()}"}
        return self._http.request(method, path, json=body, headers=token | headers)

    def patch(self, row: dict[str, Any], changes: dict[str, Any], **headers: str) -> httpx.Response:
        """Replace values at paths."""
        operations = [{"op": "replace", "path": path, "value": value} for path, value in changes.items()]
        return self.send("PATCH", f"{PATH}/{row['id']}", operations, **headers)

    def now(self, row: dict[str, Any]) -> dict[str, Any]:
        """The referral as it is now."""
        found: dict[str, Any] = self.send("GET", f"{PATH}/{row['id']}").json()
        return found


@pytest.fixture(scope="module")
def writable() -> Iterator[Writer]:
    clock = SimulatorClock(ANCHOR, frozen=True)
    with Simulator(seed=13, anchor=ANCHOR, referrals=60, clock=clock) as sim, client_of(sim) as http:
        yield Writer(sim, http)


@pytest.fixture
def api(writable: Writer) -> Iterator[Writer]:
    writable.sim.faults.clear()
    yield writable
    writable.sim.faults.clear()


@pytest.fixture
def lead(api: Writer) -> dict[str, Any]:
    """A new lead that waits for an answer."""
    return api.sim.create({"status": "New", "substatus": "Pending", "direction": "Incoming", "registrations": []})


# Creating


def test_a_deal_that_the_partner_creates_comes_back_accepted(api: Writer) -> None:
    response = api.send("POST", PATH, BODY)
    row = response.json()
    assert response.status_code == 200
    assert (row["status"], row["substatus"], row["direction"]) == ("Active", "Accepted", "Outgoing")
    assert row["acceptedDateTime"] == row["createdDateTime"] == row["updatedDateTime"]
    assert (row["customerProfile"], row["details"]) == (BODY["customerProfile"], BODY["details"])
    assert response.headers["ETag"] == row["eTag"]
    assert api.now(row) == row
    listed = api.send("GET", f"{PATH}?$filter=engagementId eq '{row['engagementId']}'").json()["value"]
    assert [each["id"] for each in listed] == [row["id"]]


@pytest.mark.parametrize("field", ["type", "customerProfile", "consent", "details"])
def test_four_fields_are_required(api: Writer, field: str) -> None:
    before = api.sim.world.count()
    response = api.send("POST", PATH, {name: value for name, value in BODY.items() if name != field})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalidRequest")
    assert field in response.json()["error"]["message"]
    assert api.sim.world.count() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "Solo"},
        {"qualification": "PartnerQualified"},
        {"customerProfile": {"address": {"country": "Türkiye"}}},
        {"details": {"dealValue": "much"}},
        {"team": {}},
        {"target": [{"type": "Somewhere"}]},
        {"engagementId": "00000000-0000-4000-8000-000000000000"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_value_that_does_not_fit_is_refused(api: Writer, wrong: dict[str, Any]) -> None:
    assert api.send("POST", PATH, BODY | wrong).status_code == 400


def test_a_refusal_does_not_repeat_what_was_sent(api: Writer) -> None:
    person = {"team": [{"email": ["deniz@ornek.example"]}]}
    assert "deniz" not in api.send("POST", PATH, BODY | {"customerProfile": person}).text


def test_sharing_with_microsoft_makes_the_second_record_of_the_engagement(api: Writer) -> None:
    """Section 3.3: a co-sell deal is two records with one engagementId."""
    microsoft = {"target": [{"type": "BusinessProfileLocation", "id": "msft"}]}
    own = api.send("POST", PATH, BODY).json()
    second = api.send("POST", PATH, BODY | microsoft | {"engagementId": own["engagementId"]}).json()
    at_once = api.send("POST", PATH, BODY | microsoft).json()
    for row in (second, at_once):
        both = api.send("GET", f"{PATH}?$filter=engagementId eq '{row['engagementId']}'").json()["value"]
        assert sorted(each["organizationName"] for each in both) == ["Microsoft", "Örnek Partner A.Ş."]
    assert second["organizationId"] == "msft"
    assert at_once["organizationId"] != "msft"


def test_created_is_200_or_201_by_assumption(api: Writer) -> None:
    api.sim.faults.created_status_201 = True
    assert api.send("POST", PATH, BODY).status_code == 201


# Patching


def test_a_patch_answers_204_or_the_referral_when_preferred(api: Writer, lead: dict[str, Any]) -> None:
    first = api.patch(lead, {"/details/dealValue": "10000"})
    after = api.now(lead)
    assert (first.status_code, first.content) == (204, b"")
    assert first.headers["ETag"] == after["eTag"] != lead["eTag"]
    assert after["details"]["dealValue"] == 10000
    assert parse_ticks(after["updatedDateTime"]) > parse_ticks(lead["updatedDateTime"])
    second = api.patch(lead, {"/salesStage": "40"}, Prefer="return=representation")
    assert second.status_code == 200
    assert second.json() == api.now(lead)


def test_a_list_is_replaced_or_grows_at_its_end(api: Writer, lead: dict[str, Any]) -> None:
    path = f"{PATH}/{lead['id']}"
    members = [{"email": f"{name}@ornek.example"} for name in ("a", "b")]
    assert api.patch(lead, {"/team": members[:1]}).status_code == 204
    assert api.send("PATCH", path, [{"op": "add", "path": "/team/-", "value": members[1]}]).status_code == 204
    assert api.now(lead)["team"] == members
    assert api.patch(lead, {"/team/-": members[0]}).status_code == 400


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/team"},
        {"op": "test", "path": "/status", "value": "New"},
        {"op": "replace", "path": "/name", "value": "x"},
        {"op": "replace", "path": "/details", "value": {}},
        {"op": "replace", "path": "/customerProfile/team/0", "value": {}},
        {"op": "replace", "path": "status", "value": "New"},
        {"op": "replace", "path": "/details/notes"},
        {"op": "replace", "path": "/details/notes", "value": 5},
        {"op": "replace", "path": "/team", "value": "nobody"},
        {"op": "replace", "path": "/registrations/0/contract/term", "value": "Finite"},
    ],
    ids=lambda operation: f"{operation['op']}{operation['path'].replace('/', '.')}",
)
def test_a_patch_that_is_not_allowed_changes_nothing(
    api: Writer, lead: dict[str, Any], operation: dict[str, Any]
) -> None:
    good = {"op": "replace", "path": "/salesStage", "value": "60"}
    response = api.send("PATCH", f"{PATH}/{lead['id']}", [good, operation])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalidRequest")
    assert api.now(lead)["salesStage"] == lead["salesStage"]
    assert api.now(lead)["eTag"] == lead["eTag"]


def test_a_patch_is_an_array_of_operations(api: Writer, lead: dict[str, Any]) -> None:
    assert api.send("PATCH", f"{PATH}/{lead['id']}", {"status": "Active"}).status_code == 400


def test_a_tag_that_is_no_longer_right_is_412_and_no_tag_is_no_check(api: Writer, lead: dict[str, Any]) -> None:
    assert api.patch(lead, {"/salesStage": "20"}, **{"If-Match": lead["eTag"]}).status_code == 204
    stale = api.patch(lead, {"/salesStage": "40"}, **{"If-Match": lead["eTag"]})
    assert (stale.status_code, stale.json()["error"]["code"]) == (412, "preconditionFailed")
    assert api.now(lead)["salesStage"] == "20"
    assert api.patch(lead, {"/salesStage": "40"}).status_code == 204
    assert api.patch(lead, {"/salesStage": "60"}, **{"If-Match": "*"}).status_code == 204


def test_a_registration_is_added_and_then_edited(api: Writer, lead: dict[str, Any]) -> None:
    path = f"{PATH}/{lead['id']}"
    new = {"type": "AzureIPCoSell", "contract": {"value": 5}, "solutionDetails": [{"id": "SOL-1"}]}
    assert api.send("PATCH", path + "/", [{"op": "add", "path": "/registrations/-", "value": new}]).status_code == 204
    edit = [{"op": "replace", "path": "/registrations/0/solutionDetails/0/pricingModel", "value": "Other"}]
    assert api.send("PATCH", path + "//", edit).status_code == 204
    row = api.now(lead)
    (registration,) = row["registrations"]
    assert (row["registrationStatus"], registration["status"]) == ("ReviewPending", "ReviewPending")
    assert registration["solutionDetails"] == [{"id": "SOL-1", "pricingModel": "Other"}]


# States


@pytest.mark.parametrize("status", sorted(SUBSTATUSES))
@pytest.mark.parametrize("was", sorted(SUBSTATUSES))
def test_states_follow_each_other_as_documented(api: Writer, was: str, status: str) -> None:
    start, goal = (sorted(SUBSTATUSES[each])[0] for each in (was, status))
    row = api.sim.create({"status": was, "substatus": start})
    response = api.patch(row, {"/status": status, "/substatus": goal})
    allowed = {("New", "New"), ("New", "Active"), ("New", "Closed"), ("Active", "Active"), ("Active", "Closed")}
    assert response.status_code == (204 if (was, status) in allowed else 400)
    after = api.now(row)
    assert (after["status"], after["substatus"]) == ((status, goal) if (was, status) in allowed else (was, start))
    assert set(NEXT_STATUSES) == set(SUBSTATUSES)


def test_a_substatus_belongs_to_its_status(api: Writer, lead: dict[str, Any]) -> None:
    assert api.patch(lead, {"/status": "Active"}).status_code == 400
    assert api.patch(lead, {"/substatus": "Won"}).status_code == 400


def test_an_answer_ends_the_deadline_and_an_end_has_its_instant(api: Writer, lead: dict[str, Any]) -> None:
    api.patch(lead, {"/status": "Active", "/substatus": "Accepted"})
    active = api.now(lead)
    assert active["acceptedDateTime"] == active["updatedDateTime"]
    assert active["expirationDateTime"] is None
    api.patch(lead, {"/status": "Closed", "/substatus": "Won"})
    closed = api.now(lead)
    assert closed["closedDateTime"] == closed["updatedDateTime"]
    assert api.patch(lead, {"/details/notes": "late"}).status_code == 400
    register = [{"op": "add", "path": "/registrations/-", "value": {"type": "AzureIPCoSell"}}]
    assert api.send("PATCH", f"{PATH}/{lead['id']}/", register).status_code == 204


def test_an_illegal_change_of_state_is_400_or_409_by_assumption(api: Writer, lead: dict[str, Any]) -> None:
    api.sim.faults.illegal_transition_409 = True
    assert api.patch(lead, {"/substatus": "Won"}).status_code == 409


# Putting


def test_a_put_needs_the_tag_and_no_links(api: Writer, lead: dict[str, Any]) -> None:
    path, tag = f"{PATH}/{lead['id']}", {"If-Match": lead["eTag"]}
    whole = api.now(lead) | {"name": "Yeni ad"}
    bare = {name: value for name, value in whole.items() if name != "links"}
    assert api.send("PUT", path, bare).status_code == 400
    assert api.send("PUT", path, whole, **tag).status_code == 400
    assert api.send("PUT", path, bare | {"id": "another"}, **tag).status_code == 400
    assert api.send("PUT", path, bare | {"engagementId": "another"}, **tag).status_code == 400
    response = api.send("PUT", path, bare, **tag)
    assert (response.status_code, response.json()["name"]) == (200, "Yeni ad")
    assert response.json() == api.now(lead)
    assert response.json()["links"] == lead["links"]
    assert api.send("PUT", path, bare, **tag).status_code == 412


# What goes before


def test_what_is_not_there_or_not_visible_is_404(api: Writer, lead: dict[str, Any]) -> None:
    unknown = {"id": "00000000-0000-4000-8000-000000000000"}
    assert api.patch(unknown, {"/salesStage": "20"}).status_code == 404
    api.sim.faults.referral_user = True
    assert api.patch(lead, {"/salesStage": "20"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", PATH), ("PUT", PATH), ("PATCH", PATH), ("DELETE", f"{PATH}/x"), ("POST", f"{PATH}/x")],
)
def test_another_method_is_405(api: Writer, method: str, path: str) -> None:
    response = api.send(method, path, {})
    assert (response.status_code, response.json()["error"]["target"]) == (405, "referral")


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("PATCH", f"{PATH}/%s"), ("PUT", f"{PATH}/%s")])
def test_a_body_is_json_and_says_so(api: Writer, lead: dict[str, Any], method: str, path: str) -> None:
    path = path.replace("%s", lead["id"])
    headers = {"Authorization": f"Bearer {api.sim.entra.issue()}", "If-Match": "*"}
    with client_of(api.sim) as http:
        plain = http.request(method, path, content="{}", headers=headers | {"Content-Type": "text/plain"})
        broken = http.request(method, path, content="{", headers=headers | {"Content-Type": "application/json"})
        nobody = http.request(method, path, json=BODY)
    assert (plain.status_code, broken.status_code, nobody.status_code) == (415, 400, 401)


# Dates that no comparison finds, and referrals that are shown no more


def ids(api: Writer, options: str = "") -> set[str]:
    """The ids on the first page of a list, the newest first where nothing else is asked for."""
    response = api.send("GET", f"{PATH}?$top=100{options}")
    assert response.status_code == 200, response.text
    return {row["id"] for row in response.json()["value"]}


@pytest.mark.parametrize("updated", [None, "9999-12-31T23:59:59Z"])
def test_no_comparison_finds_a_null_or_future_date_until_a_change_corrects_it(api: Writer, updated: str | None) -> None:
    row = api.sim.create({"updatedDateTime": updated})
    dated = "&$filter=updatedDateTime ge 2026-03-02T00:00:00Z and updatedDateTime lt 2100-01-01T00:00:00Z"
    assert row["id"] not in ids(api, dated)
    for order in ("createdDateTime desc", f"updatedDateTime {'desc' if updated else 'asc'}"):
        assert row["id"] in ids(api, f"&$orderby={order}")
    assert api.patch(row, {"/details/dealValue": 5}).status_code == 204
    assert row["id"] in ids(api, dated)


def test_a_hidden_referral_is_in_no_list_and_is_not_found_by_its_id(api: Writer, lead: dict[str, Any]) -> None:
    assert lead["id"] in ids(api)
    api.sim.faults.hidden_referrals = frozenset({lead["id"]})
    assert lead["id"] not in ids(api)
    assert api.send("GET", f"{PATH}/{lead['id']}").status_code == 404
