"""The local Referrals API: `/v1.0/engagements/referrals` (partner_center_api.md, sections 1, 3.5, 4 and 9).

Who may ask, methods, headers, HTTP faults. Not here: lists (`paging`), the rules of writing (`edits`), the referrals
(`world`), the switches (`faults`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Final
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from partner_center_simulator import edits
from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.entra import AUDIENCE, USER, Entra
from partner_center_simulator.faults import DueFault, Faults, HttpFault
from partner_center_simulator.instants import TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_simulator.odata import AnyOf, Comparison, Condition, Exists, parse_filter
from partner_center_simulator.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, PATH, Pages
from partner_center_simulator.payloads import Payload
from partner_center_simulator.responses import (
    ApiError,
    forbidden,
    html_answer,
    invalid,
    json_answer,
    mfa_required,
    not_found,
    unauthorized,
)
from partner_center_simulator.row_variants import as_sent
from partner_center_simulator.world import World

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ENTITY_CONTEXT: Final = "https://api.partner.microsoft.com/v1.0/engagments/referrals/$metadata#Referrals/$entity"
_PAUSE: Final = 0.05
"""Seconds between what was sent and the end of a connection, so that the client has read it."""

_IN_TEAM: Final = Exists(("team",), Comparison(("email",), "eq", USER))


class ReferralsApi:
    """The API in front of one world. `reset` breaks a request's connection; it needs the server (see `server`)."""

    def __init__(
        self,
        world: World,
        clock: SimulatorClock,
        faults: Faults,
        entra: Entra,
        reset: Callable[[Request], None],
        *,
        default_page_size: int = DEFAULT_PAGE_SIZE,
        max_page_size: int = MAX_PAGE_SIZE,
    ) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults
        self._entra = entra
        self._reset = reset
        self._pages = Pages(world, clock, faults, default_size=default_page_size, max_size=max_page_size)
        self.requests = 0
        """Requests to this API since the start, refused ones included."""

    def routes(self) -> list[Route]:
        """Return the API's addresses. Microsoft's definition tells two kinds of PATCH apart by slashes at the end."""
        return [
            Route(PATH, self._collection, methods=_METHODS),
            *(Route(PATH + "/{id}" + slashes, self._item, methods=_METHODS) for slashes in ("", "/", "//")),
        ]

    # Requests

    async def _collection(self, request: Request) -> Response:
        body = await request.body()

        def respond() -> Response:
            match request.method:
                case "GET":
                    host = request.headers.get("host", "localhost")
                    return json_answer(self._pages.page(request.query_params, host, self._visible()))
                case "POST":
                    return self._create(_json_body(request, body))
                case _:
                    raise _not_allowed()

        return await self._answer(request, respond)

    async def _item(self, request: Request) -> Response:
        body = await request.body()
        referral_id: str = request.path_params["id"]

        def respond() -> Response:
            match request.method:
                case "GET":
                    return self._entity(self._found(referral_id))
                case "PATCH":
                    return self._patch(request, self._found(referral_id), _json_body(request, body))
                case "PUT":
                    return self._put(request, self._found(referral_id), _json_body(request, body))
                case _:
                    raise _not_allowed()

        return await self._answer(request, respond)

    async def _answer(self, request: Request, respond: Callable[[], Response]) -> Response:
        self.requests += 1
        try:
            if self._faults.slow_seconds:
                await asyncio.sleep(self._faults.slow_seconds)
            met = self._faults.next_http(has_skiptoken="$skiptoken" in request.query_params)
            response = self._authorized(request, respond) if met is None else self._with_fault(met, request, respond)
        except ApiError as error:
            response = json_answer(error.body, error.status)
        response.headers["request-id"] = str(uuid4())
        response.headers["client-request-id"] = request.headers.get("client-request-id", str(uuid4()))
        response.headers["timestamp"] = render_ticks(self._clock.ticks())
        response.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Simulator","Slice":"SliceA"}}'
        return response

    # Who may ask, and for what

    def _authorized(self, request: Request, respond: Callable[[], Response]) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = self._entra.claims(token) if scheme.lower() == "bearer" else None
        faults = self._faults
        if claims is None:
            raise unauthorized("No valid bearer token.")
        if claims.get("exp", 0) <= self._clock.ticks() // TICKS_PER_SECOND:
            raise unauthorized("The token has expired.")
        if faults.wrong_audience or claims.get("aud") != AUDIENCE:
            raise unauthorized("The token is for another audience.")
        delegated = claims.get("idtyp") != "app" and "user_impersonation" in str(claims.get("scp", "")).split()
        if faults.app_only or not delegated:
            raise unauthorized("Only App+User tokens are supported.")
        if faults.mfa_missing or "mfa" not in claims.get("amr", ()):
            raise mfa_required()
        if faults.role_missing:
            raise forbidden()
        if faults.client_request_id_required and "client-request-id" not in request.headers:
            raise invalid("The header 'client-request-id' is missing.")
        self._world.advance(self._clock.ticks())
        return respond()

    def _visible(self) -> tuple[Condition, ...]:
        """Return what the account's role lets it see (section 1.3, "Data visibility")."""
        conditions: list[Condition] = []
        if self._faults.referral_user:
            conditions.append(_IN_TEAM)
        if self._faults.locations is not None:
            there = AnyOf(tuple(Comparison(("id",), "eq", each) for each in sorted(self._faults.locations)))
            conditions.append(Exists(("target",), there))
        return tuple(conditions)

    def _found(self, referral_id: str) -> Payload:
        row = self._world.get(referral_id)
        if row is None or not all(condition.matches(row) for condition in self._visible()):
            raise not_found()
        return row

    # One referral

    def _entity(self, row: Payload, status: int = 200) -> Response:
        response = json_answer({"@odata.context": _ENTITY_CONTEXT} | as_sent(row, self._faults), status)
        return _tagged(response, row)

    def _create(self, document: object) -> Response:
        body = edits.read_body(document)
        engagement_id = body.get("engagementId")
        if engagement_id and not self._world.select(parse_filter(_engagement(engagement_id)), limit=1):
            raise invalid("There is no such engagement.")
        at = self._clock.ticks()
        now = render_ticks(at)
        row = edits.created(body, self._world.skeleton(at), now)
        twin = edits.shared_with_microsoft(body)
        if twin and engagement_id:  # the partner's own record is there already; this is the second one
            row |= edits.MICROSOFTS_SIDE
        self._world.put(row)
        if twin and not engagement_id:
            skeleton = self._world.skeleton(at)
            side = edits.MICROSOFTS_SIDE | {"engagementId": row["engagementId"]}
            self._world.put(edits.created(body, skeleton, now) | side)
        return self._entity(row, 201 if self._faults.created_status_201 else 200)

    def _patch(self, request: Request, row: Payload, document: object) -> Response:
        self._check_tag(request, row)
        row = self._stored(row, edits.patched(row, document, self._now(row), conflict=self._conflict))
        if "return=representation" in request.headers.get("prefer", "").replace(" ", "").lower():
            return self._entity(row)
        return _tagged(Response(status_code=204), row)

    def _put(self, request: Request, row: Payload, document: object) -> Response:
        if "if-match" not in request.headers:
            raise invalid("The header 'If-Match' is missing.")
        self._check_tag(request, row)
        if isinstance(document, dict) and "links" in document:
            raise invalid("'links' cannot be updated.")
        if isinstance(document, dict) and document.get("id", row["id"]) != row["id"]:
            raise invalid("The id in the body is another referral's.")
        body = edits.read_body(document)
        return self._entity(self._stored(row, edits.replaced(row, body, self._now(row), conflict=self._conflict)))

    @property
    def _conflict(self) -> int:
        return 409 if self._faults.illegal_transition_409 else 400

    def _now(self, row: Payload) -> str:
        """Return the instant of a change: now, and after the change before it, so that no two share an eTag."""
        return render_ticks(max(self._clock.ticks(), parse_ticks(row["updatedDateTime"]) + 1))

    def _stored(self, before: Payload, after: Payload) -> Payload:
        changes = {name: value for name, value in after.items() if name not in ("updatedDateTime", "eTag")}
        return self._world.change(before["id"], parse_ticks(self._now(before)), changes)

    def _check_tag(self, request: Request, row: Payload) -> None:
        wanted = request.headers.get("if-match")
        if wanted not in (None, "*", row.get("eTag")):
            raise ApiError(412, "preconditionFailed", "The referral was changed meanwhile.", "resourceModified")

    # Faults

    def _with_fault(self, met: DueFault, request: Request, respond: Callable[[], Response]) -> Response:
        response = self._planned(met, request, respond)
        if met.status is not None:
            response.status_code = met.status
        if met.retry_after is not None:
            minutes = {"date": 1, "past": -1}.get(str(met.retry_after))
            text = str(met.retry_after)
            if minutes is not None:
                moment = self._clock.now().replace(microsecond=0) + timedelta(minutes=minutes)
                text = format_datetime(moment, usegmt=True)
            response.headers["Retry-After"] = text
        return response

    def _planned(self, met: DueFault, request: Request, respond: Callable[[], Response]) -> Response:
        match met.fault:
            case HttpFault.THROTTLED:
                wait = met.retry_after if isinstance(met.retry_after, int) else 57
                message = f"Rate limit is exceeded. Try again in {wait} seconds."
                return json_answer({"statusCode": 429, "message": message}, 429)
            case HttpFault.UNAVAILABLE_HTML:
                return html_answer("503 Service Unavailable", 503)
            case HttpFault.BAD_GATEWAY:
                return html_answer("502 Bad Gateway", 502)
            case HttpFault.GATEWAY_TIMEOUT:
                return html_answer("504 Gateway Time-out", 504)
            case HttpFault.HTML:
                return html_answer("Maintenance", 200)
            case HttpFault.RESET:
                self._reset(request)
                return Response(status_code=500)
            case HttpFault.CUT_OFF | HttpFault.TRUNCATED:
                whole = bytes(self._authorized(request, respond).body)
                half = whole[: len(whole) // 2]
                if met.fault is HttpFault.TRUNCATED:
                    return Response(half, media_type="application/json")
                length = {"content-length": str(len(whole))}
                return StreamingResponse(self._cut_off(request, half), 200, length, "application/json")
            case _:
                error = _ERRORS[met.fault]
                return json_answer(error.body, error.status)

    async def _cut_off(self, request: Request, half: bytes) -> AsyncIterator[bytes]:
        yield half
        await asyncio.sleep(_PAUSE)
        self._reset(request)
        await asyncio.sleep(_PAUSE)


_ERRORS: Final = {
    HttpFault.UNAUTHORIZED: unauthorized("The token was not accepted."),
    HttpFault.MFA_REQUIRED: mfa_required(),
    HttpFault.FORBIDDEN: forbidden(),
    HttpFault.INSUFFICIENT_CLAIMS: ApiError(
        403, "accessDenied", "Conditional access claims are missing.", "insufficent_claims"
    ),
    HttpFault.SKIPTOKEN_EXPIRED: invalid("The $skiptoken has expired."),
    HttpFault.SERVER_ERROR: ApiError(500, "generalException", "An unexpected error occurred."),
    HttpFault.UNAVAILABLE: ApiError(503, "serviceNotAvailable", "The service is not available."),
    HttpFault.BANDWIDTH: ApiError(509, "serviceNotAvailable", "The bandwidth limit is exceeded."),
}


def _json_body(request: Request, body: bytes) -> object:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "invalidRequest", "The body must be application/json.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("The body is not JSON.") from None


def _not_allowed() -> ApiError:
    return ApiError(405, "invalidRequest", "The method is not supported here.")


def _tagged(response: Response, row: Payload) -> Response:
    if "eTag" in row:
        response.headers["ETag"] = row["eTag"]
    return response


def _engagement(engagement_id: str) -> str:
    quoted = engagement_id.replace("'", "''")
    return f"engagementId eq '{quoted}'"
