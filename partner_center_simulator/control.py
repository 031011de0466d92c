"""The control plane `/_sim/...`: how another process controls the simulator, in JSON over loopback.

Not here: what the requests change (`clock`, `faults`, `entra`, `world`).

    GET  /_sim/state           clock, switches, locations of the role, pending sign-in codes, counters
    POST /_sim/clock           {"set": "2026-01-31T09:30:00Z"} or {"advance": 600} and/or {"frozen": true}
    POST /_sim/faults          {"clear": true, "switches": {"slow_seconds": 2, "dns": "timeout"},
                                "plan": [{"fault": "throttled", "times": 3, "after": 1, "retry_after": 5}],
                                "plan_token": [{"fault": "slow_down"}]}; names and values: see `faults`
    POST /_sim/sign-in         {"user_code": "ABCDEFGHJ", "approve": true}
    POST /_sim/referrals       {"changes": {"details/dealValue": 5}}: create a referral
    POST /_sim/referrals/{id}  {"changes": {...}}: change a referral

The last two requests return the referral, the others the state.
"""

from collections.abc import Callable
from dataclasses import fields
from ipaddress import ip_address
from typing import Any, Final, TypeVar, get_type_hints

from pydantic import AwareDatetime, BaseModel, ConfigDict, PositiveInt, ValidationError, create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.entra import Entra
from partner_center_simulator.faults import Faults, HttpFault, TokenFault
from partner_center_simulator.payloads import Payload
from partner_center_simulator.world import World

Body = TypeVar("Body", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ClockBody(_Strict):
    set: AwareDatetime | None = None
    advance: float | None = None
    frozen: bool | None = None


class _HttpPlan(_Strict):
    fault: HttpFault
    times: PositiveInt = 1
    after: int = 0
    retry_after: int | str | None = None
    status: int | None = None


class _TokenPlan(_Strict):
    fault: TokenFault
    times: PositiveInt = 1
    after: int = 0
    number: int | None = None


_SWITCH_TYPES: Final[dict[str, Any]] = {
    each.name: get_type_hints(Faults, include_extras=True)[each.name]
    for each in fields(Faults)
    if not each.name.startswith("_")
}
_SWITCH_DEFAULTS: Final[dict[str, Any]] = {name: (kind, None) for name, kind in _SWITCH_TYPES.items()}
_Switches = create_model("_Switches", __base__=_Strict, **_SWITCH_DEFAULTS)


class _FaultsBody(_Strict):
    clear: bool = False
    switches: dict[str, Any] = {}
    plan: list[_HttpPlan] = []
    plan_token: list[_TokenPlan] = []


class _SignInBody(_Strict):
    user_code: str
    approve: bool = True


class _ReferralBody(_Strict):
    changes: dict[str, Any] = {}


class Control:
    """The control plane of a simulator. `counters` returns what `/_sim/state` adds: requests and DNS questions."""

    def __init__(
        self,
        clock: SimulatorClock,
        faults: Faults,
        entra: Entra,
        world: World,
        counters: Callable[[], dict[str, int]],
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._entra = entra
        self._world = world
        self._counters = counters

    def routes(self) -> list[Route]:
        """Return the routes of the control plane."""
        return [
            Route("/_sim/state", self._state, methods=["GET"]),
            Route("/_sim/clock", self._set_clock, methods=["POST"]),
            Route("/_sim/faults", self._set_faults, methods=["POST"]),
            Route("/_sim/sign-in", self._sign_in, methods=["POST"]),
            Route("/_sim/referrals", self._create, methods=["POST"]),
            Route("/_sim/referrals/{id}", self._change, methods=["POST"]),
        ]

    async def _state(self, request: Request) -> Response:
        return _refusal(request) or self._state_response()

    async def _set_clock(self, request: Request) -> Response:
        body = await _read(request, _ClockBody)
        if isinstance(body, Response):
            return body
        if body.frozen:
            self._clock.freeze()
        if body.set is not None:
            self._clock.set(body.set)
        if body.advance is not None:
            self._clock.advance(body.advance)
        if body.frozen is False:
            self._clock.resume()
        return self._state_response()

    async def _set_faults(self, request: Request) -> Response:
        body = await _read(request, _FaultsBody)
        if isinstance(body, Response):
            return body
        try:
            switches = _Switches.model_validate(body.switches)
        except ValidationError as error:
            return _invalid(error)
        if body.clear:
            self._faults.clear()
        for name in switches.model_fields_set:
            setattr(self._faults, name, getattr(switches, name))
        for plan in body.plan:
            self._faults.plan(**dict(plan))
        for token_plan in body.plan_token:
            self._faults.plan_token(**dict(token_plan))
        return self._state_response()

    async def _sign_in(self, request: Request) -> Response:
        body = await _read(request, _SignInBody)
        if isinstance(body, Response):
            return body
        try:
            (self._entra.approve if body.approve else self._entra.deny)(body.user_code)
        except KeyError:
            return JSONResponse({"error": "that code is not known, has expired or was used"}, 404)
        return self._state_response()

    async def _create(self, request: Request) -> Response:
        return await self._write(request, self._world.create)

    async def _change(self, request: Request) -> Response:
        referral_id: str = request.path_params["id"]
        return await self._write(request, lambda at, changes: self._world.change(referral_id, at, changes))

    async def _write(self, request: Request, write: Callable[[int, dict[str, Any]], Payload]) -> Response:
        body = await _read(request, _ReferralBody)
        if isinstance(body, Response):
            return body
        now = self._clock.ticks()
        self._world.advance(now)
        try:
            return JSONResponse(write(now, body.changes))
        except KeyError:
            return JSONResponse({"error": "no such referral"}, 404)

    def _state_response(self) -> Response:
        switches = {name: getattr(self._faults, name) for name in _SWITCH_TYPES}
        return JSONResponse(
            {
                "now": self._clock.now().isoformat().replace("+00:00", "Z"),
                "frozen": self._clock.frozen,
                "referrals": self._world.count(),
                "locations": self._world.payloads.locations,
                "pending_codes": self._entra.pending_codes(),
                "switches": _Switches.model_construct(**switches).model_dump(mode="json"),
                **self._counters(),
            }
        )


def _refusal(request: Request) -> Response | None:
    """Return an error for a request from another machine or from a web page, which cannot send JSON without CORS."""
    if request.client is None or not ip_address(request.client.host).is_loopback:
        return JSONResponse({"error": "loopback only"}, 403)
    if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
        return JSONResponse({"error": "send application/json"}, 415)
    return None


async def _read(request: Request, model: type[Body]) -> Body | Response:
    refusal = _refusal(request)
    if refusal is not None:
        return refusal
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        return _invalid(error)


def _invalid(error: ValidationError) -> Response:
    problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
    return JSONResponse({"error": "; ".join(problems)}, 400)
