"""The control plane under /_sim, as another process uses it."""

import asyncio
from dataclasses import fields
from datetime import timedelta
from typing import Any

import httpx
import pytest

from partner_center_pipeline_tests.simulator.conftest import ANCHOR, Api
from partner_center_simulator import Faults, Simulator, TokenFault


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = http.post(f"/_sim/{path}", json=body)
    assert response.status_code == 200, response.text
    state: dict[str, Any] = response.json()
    return state


def test_the_state_says_what_is_on(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.slow_seconds = 1.5
    state = http.get("/_sim/state").json()
    assert (state["now"], state["frozen"], state["referrals"]) == ("2026-03-02T09:30:00Z", True, 300)
    assert state["switches"]["slow_seconds"] == 1.5
    assert state["switches"]["dns"] is None
    assert {"requests", "questions", "pending_codes"} <= set(state)


def test_the_clock_is_set_advanced_frozen_and_resumed(sim: Simulator, http: httpx.Client) -> None:
    assert post(http, "clock", {"set": "2026-05-01T00:00:00Z"})["now"] == "2026-05-01T00:00:00Z"
    assert post(http, "clock", {"advance": 90})["now"] == "2026-05-01T00:01:30Z"
    assert post(http, "clock", {"frozen": False})["frozen"] is False
    assert post(http, "clock", {"frozen": True, "set": "2026-03-02T12:30:00+03:00"})["now"] == "2026-03-02T09:30:00Z"
    assert sim.clock.now() == ANCHOR


def test_faults_are_switched_planned_and_cleared(api: Api, http: httpx.Client) -> None:
    state = post(
        http,
        "faults",
        {
            "switches": {"dns": "timeout", "date_literal": "quoted", "corrupt_rows": ["no_id"]},
            "plan": [{"fault": "throttled", "times": 2, "retry_after": 5}],
            "plan_token": [{"fault": "slow_down"}],
        },
    )
    assert state["switches"]["date_literal"] == "quoted"
    assert state["switches"]["corrupt_rows"] == ["no_id"]
    assert [api.get().status_code for _ in range(3)] == [429, 429, 200]
    assert api.sim.faults.dns_fault("firma.com.tr") == "timeout"
    met = api.sim.faults.next_token()
    assert met is not None
    assert met.fault is TokenFault.SLOW_DOWN
    assert post(http, "faults", {"clear": True})["switches"]["dns"] is None


def test_a_sign_in_is_approved_and_denied(sim: Simulator, http: httpx.Client) -> None:
    def code() -> str:
        response = http.post(
            f"/{sim.tenant_id}/oauth2/v2.0/devicecode",
            data={"client_id": sim.client_id, "scope": "https://api.partner.microsoft.com/.default"},
        )
        return str(response.json()["user_code"])

    first, second = code(), code()
    assert {first, second} <= set(http.get("/_sim/state").json()["pending_codes"])
    post(http, "sign-in", {"user_code": first})
    assert not {first, second} & set(post(http, "sign-in", {"user_code": second, "approve": False})["pending_codes"])
    assert http.post("/_sim/sign-in", json={"user_code": first}).status_code == 404


def test_referrals_are_created_and_changed_now() -> None:
    sim = Simulator(seed=1, anchor=ANCHOR, referrals=20)
    sim.clock.freeze()
    sim.clock.set(ANCHOR + timedelta(hours=1))

    async def calls() -> tuple[dict[str, Any], dict[str, Any], int]:
        transport = httpx.ASGITransport(sim.asgi_app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
            created = (await client.post("/_sim/referrals", json={"changes": {"name": "Yeni"}})).json()
            path = f"/_sim/referrals/{created['id']}"
            changed = (await client.post(path, json={"changes": {"details/dealValue": 5}})).json()
            missing = await client.post("/_sim/referrals/unknown", json={})
            return created, changed, missing.status_code

    created, changed, missing = asyncio.run(calls())
    assert (created["name"], created["updatedDateTime"]) == ("Yeni", "2026-03-02T10:30:00Z")
    assert changed["details"]["dealValue"] == 5
    assert missing == 404
    assert sim.world.count() == 21
    assert sim.world.get(created["id"]) == changed


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {"set": "2026-05-01T00:00:00"}),
        ("clock", {"speed": 2}),
        ("faults", {"switches": {"no_such_switch": True}}),
        ("faults", {"switches": {"dns": "sleepy"}}),
        ("faults", {"plan": [{"fault": "tired"}]}),
        ("faults", {"plan": [{"fault": "reset", "times": 0}]}),
        ("faults", {"switches": {"largest_page": 0}}),
        ("faults", {"switches": {"token_lifetime_seconds": -1}}),
        ("sign-in", {}),
        ("referrals", {"changes": 5}),
    ],
)
def test_what_it_does_not_know_is_refused_and_nothing_changes(
    sim: Simulator, http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    before = http.get("/_sim/state").json()
    response = http.post(f"/_sim/{path}", json=body)
    assert response.status_code == 400
    assert response.json()["error"]
    assert http.get("/_sim/state").json() == before


def test_only_this_machine_and_no_web_page_may_ask(sim: Simulator, http: httpx.Client) -> None:
    form = http.post(
        "/_sim/faults", content='{"switches": {"role_missing": true}}', headers={"Content-Type": "text/plain"}
    )
    assert form.status_code == 415
    assert not sim.faults.role_missing

    async def from_elsewhere() -> int:
        transport = httpx.ASGITransport(sim.asgi_app, client=("192.0.2.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
            return (await client.get("/_sim/state")).status_code

    assert asyncio.run(from_elsewhere()) == 403


def test_every_switch_is_flipped_and_shown(sim: Simulator, http: httpx.Client) -> None:
    """Whatever `Faults` has can be flipped from outside, and comes back as it was set."""
    special: dict[str, Any] = {
        "locations": ["a"],
        "hidden_referrals": ["a"],
        "poisoned_rows": ["a"],
        "corrupt_rows": ["nul"],
        "largest_page": 5,
        "date_literal": "bare",
        "compares": "text",
        "date_header": "missing",
        "ids_shape": "{}",
        "dns": "refused",
        "dns_names": {"firma.com.tr": "timeout"},
    }
    shown = http.get("/_sim/state").json()["switches"]
    assert set(shown) == {each.name for each in fields(Faults) if not each.name.startswith("_")}
    for name, now in shown.items():
        new = special.get(name, not now if isinstance(now, bool) else 7)
        after = post(http, "faults", {"switches": {name: new}})["switches"]
        assert after == shown | {name: new}
        post(http, "faults", {"clear": True})


def test_plans_carry_their_numbers(api: Api, http: httpx.Client) -> None:
    plan = {"fault": "server_error", "status": 507, "retry_after": 3}
    token = {"fault": "invalid_grant", "number": 50057}
    post(http, "faults", {"plan": [plan], "plan_token": [token]})
    response = api.get()
    assert (response.status_code, response.headers["Retry-After"]) == (507, "3")
    assert api.sim.faults.next_token() == (TokenFault.INVALID_GRANT, 50057)
