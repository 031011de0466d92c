"""The local Microsoft keeps to Microsoft's own definition of the API, but for the deviations in `definition`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from partner_center_pipeline_tests.simulator.conftest import ANCHOR, PATH, Api, client_of, onward
from partner_center_pipeline_tests.simulator.definition import DATA, DEFINITION, DEVIATIONS, Deviation, amended
from partner_center_simulator import HttpFault, Simulator, SimulatorClock
from partner_center_simulator.odata import parse_filter

pytestmark = pytest.mark.slow

LIST: Final = "/referrals"
ONE: Final = "/referrals/{id}"
SAMPLES: Final = DATA / "referral_samples"

BODY: Final[dict[str, Any]] = {
    "name": "Uygunluk",
    "type": "Shared",
    "qualification": "SalesQualified",
    "customerProfile": {"name": "Orman Mobilya", "address": {"country": "TR"}, "team": [], "ids": []},
    "consent": {"consentToContact": True},
    "details": {"dealValue": 10000, "currency": "TRY"},
    "target": [{"type": "SolutionProfile", "id": "SOL-00000-AAA"}],
}


def _schema(deviations: tuple[Deviation, ...]) -> Any:
    return schemathesis.openapi.from_dict(amended(deviations))


SCHEMA: Final = _schema(DEVIATIONS)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Simulator]:
    """A local Microsoft whose referrals may be changed, with a clock that stands still."""
    clock = SimulatorClock(ANCHOR, frozen=True)
    with Simulator(seed=12, anchor=ANCHOR, referrals=400, recent_from=ANCHOR - timedelta(hours=9), clock=clock) as sim:
        yield sim


OPERATIONS: Final = [(path, method) for path, methods in DEFINITION["paths"].items() for method in methods]


def as_documented(body: dict[str, Any]) -> dict[str, Any]:
    """A body that the definition allows, with what only the documents ask for: four fields, and closed sets."""
    answered = {"id", "engagementId", "status", "substatus", "links"}
    rest = {name: value for name, value in body.items() if name not in answered}
    if "address" in rest.get("customerProfile", {}):
        rest["customerProfile"]["address"]["country"] = "TR"
    return BODY | rest | {name: BODY[name] for name in ("type", "qualification", "target")}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_operation_answers_as_the_definition_says(
    scratch: Simulator, path: str, method: str, mode: GenerationMode, data: st.DataObject
) -> None:
    """Requests that the definition allows and such that it does not; most are about a referral that is there."""
    case = data.draw(SCHEMA[path][method].as_strategy(mode))
    if "{id}" in path and data.draw(st.integers(0, 9)) < 8:
        editable = scratch.world.select(parse_filter("status ne 'Closed'"), limit=50, descending=True)
        case.path_parameters["id"] = data.draw(st.sampled_from([row["id"] for _, row in editable]))
        if method == "put":
            case.headers["if-match"] = "*"
    if method in ("post", "put") and mode is GenerationMode.POSITIVE:
        case.body = as_documented(case.body)
    case.call_and_validate(
        base_url=f"{scratch.base_url}/v1.0/engagements",
        headers={"Authorization": f"Bearer {scratch.entra.issue()}"},
        verify=str(scratch.ca_bundle),
        checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for an operation of the definition."""

    path: str
    method: str
    response: httpx.Response


def fits(schema: Any, answer: Answer) -> bool:
    """Whether status and body are what a (perhaps amended) definition says."""
    operation = schema[answer.path][answer.method]
    if str(answer.response.status_code) not in schema.raw_schema["paths"][answer.path][answer.method]["responses"]:
        return False
    try:
        operation.validate_response(answer.response)
    except (Failure, FailureGroup):
        return False
    return True


def _response(body: object, method: str = "GET") -> httpx.Response:
    """An answer that no server gave."""
    request = httpx.Request(method, f"https://api.partner.microsoft.com{PATH}")
    response = httpx.Response(200, json=body, request=request)
    response.elapsed = timedelta(0)
    return response


@cache
def _samples() -> list[Answer]:
    """Microsoft's own published answers."""

    def sample(name: str, path: str, method: str) -> Answer:
        body = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
        return Answer(path, method, _response(body, method))

    return [
        sample("list_page", LIST, "get"),
        sample("single_referral", ONE, "get"),
        sample("created_referral", LIST, "post"),
        sample("updated_referral", ONE, "put"),
    ]


def _answers(sim: Simulator, http: httpx.Client) -> list[Answer]:
    """Every page of the world, every kind of write, and every status."""
    sim.faults.clear()
    headers = {"Authorization": f"Bearer {sim.entra.issue()}"}
    answers = []
    response = Api(sim, http).get(top="100")
    while True:
        answers.append(Answer(LIST, "get", response))
        link = response.json().get("@odata.nextLink")
        if link is None:
            break
        response = Api(sim, http).get(onward(link))

    def send(method: str, path: str, body: object = None, **more: str) -> httpx.Response:
        response = http.request(method, path, json=body, headers=headers | more)
        answers.append(Answer(LIST if path == PATH else ONE, method.lower(), response))
        return response

    one = f"{PATH}/{send('POST', PATH, BODY).json()['id']}"
    send("PATCH", one, [{"op": "replace", "path": "/details/notes", "value": "x"}])
    send("PATCH", one, [{"op": "add", "path": "/team/-", "value": {"email": "a@b.tr"}}], Prefer="return=representation")
    send("PATCH", one, [], **{"If-Match": '"old"'})
    http_answer = http.patch(one, content="[]", headers=headers | {"Content-Type": "text/plain"})
    answers.append(Answer(ONE, "patch", http_answer))
    sim.faults.created_status_201 = sim.faults.illegal_transition_409 = True
    send("POST", PATH, BODY)
    send("PATCH", one, [{"op": "replace", "path": "/status", "value": "New"}])
    for fault in HttpFault:
        if fault not in (HttpFault.RESET, HttpFault.CUT_OFF, HttpFault.TRUNCATED, HttpFault.HTML):
            sim.faults.plan(fault)
            send("GET", one)
            sim.faults.clear()
    return answers


@pytest.fixture(scope="module")
def answers(scratch: Simulator) -> Iterator[list[Answer]]:
    with client_of(scratch) as http:
        yield _samples() + _answers(scratch, http)
    scratch.faults.clear()


def test_microsofts_samples_and_all_pages_and_writes_fit_the_amended_definition(answers: list[Answer]) -> None:
    misfits = [(each.method, each.response.status_code) for each in answers if not fits(SCHEMA, each)]
    assert misfits == []
    assert {each.response.status_code for each in answers} >= {200, 201, 204, 401, 403, 409, 412, 415, 429, 500, 503}


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda each: each.name.replace(" ", "_").replace("/", "."))
def test_each_deviation_is_needed(answers: list[Answer], deviation: Deviation) -> None:
    """A deviation that nothing needs any more has to go: without it something must not fit."""
    without = _schema(tuple(each for each in DEVIATIONS if each is not deviation))
    assert not all(fits(without, each) for each in answers)


def test_what_a_row_must_not_be_is_seen(answers: list[Answer]) -> None:
    """The checks above can fail: a page with one wrong type does not fit."""
    page = answers[0].response.json()
    page["value"][0]["status"] = 5
    assert not fits(SCHEMA, Answer(LIST, "get", _response(page)))


def test_the_definition_and_the_deviations_name_their_sources() -> None:
    assert DEFINITION["host"] == "api.partner.microsoft.com"
    assert DEFINITION["basePath"] == "/v1.0/engagements/"
    assert all(each.source for each in DEVIATIONS)
    assert len({each.name for each in DEVIATIONS}) == len(DEVIATIONS)
