"""The local Referrals API: `/v1.0/engagements/referrals` (partner_center_api.md, sections 1, 3.5, 4 and 9).

Not here: lists (`paging`), the rules of writing (`edits`), the referrals (`world`), the switches (`faults`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
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
from partner_center_simulator.instants import TICKS_PER_SECOND, parse_ticks, render_ticks, ticks_or_none
from partner_center_simulator.odata import EVERYTHING, AnyOf, Comparison, Condition, Exists, Not
from partner_center_simulator.paging import PATH, Pages
from partner_center_simulator.payloads import Payload
from partner_center_simulator.responses import (
    ApiError,
    forbidden,
    html_response,
    invalid,
    json_response,
    mfa_required,
    not_found,
    unauthorized,
)
from partner_center_simulator.row_variants import as_sent
from partner_center_simulator.world import World

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ENTITY_CONTEXT: Final = "https://api.partner.microsoft.com/v1.0/engagments/referrals/$metadata#Referrals/$entity"
_PAUSE: Final = 0.05
"""Seconds to wait before a connection is reset, so that the client has read what was sent."""

_IN_TEAM: Final = Exists(("team",), Comparison(("email",), "eq", USER))


class ReferralsApi:
    """The Referrals API of one world. `reset` resets the connection of a request (see `server`)."""

    def __init__(
        self, world: World, clock: SimulatorClock, faults: Faults, entra: Entra, reset: Callable[[Request], None]
    ) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults
        self._entra = entra
        self._reset = reset
        self._pages = Pages(world, clock, faults)
        self.requests = 0
        """Number of requests to this API since the start, refused ones included."""

    def routes(self) -> list[Route]:
        """Return the routes of the API. Microsoft's definition has kinds of PATCH that differ in slashes at the end."""
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
                    return json_response(self._pages.page(request.query_params, host, self._visibility()))
                case "POST":
                    return self._create(_json_body(request, body))
                case _:
                    raise _not_allowed()

        return await self._respond(request, respond)

    async def _item(self, request: Request) -> Response:
        body = await request.body()
        referral_id: str = request.path_params["id"]

        def respond() -> Response:
            match request.method:
                case "GET":
                    return self._entity(self._visible_row(referral_id))
                case "PATCH":
                    return self._patch(request, self._visible_row(referral_id), _json_body(request, body))
                case "PUT":
                    return self._put(request, self._visible_row(referral_id), _json_body(request, body))
                case _:
                    raise _not_allowed()

        return await self._respond(request, respond)

    async def _respond(self, request: Request, respond: Callable[[], Response]) -> Response:
        self.requests += 1
        try:
            if self._faults.slow_seconds:
                await asyncio.sleep(self._faults.slow_seconds)
            due = self._faults.next_http(has_skiptoken="$skiptoken" in request.query_params)
            if due is None:
                response = self._respond_if_authorized(request, respond)
            else:
                response = self._respond_with_fault(due, request, respond)
        except ApiError as error:
            response = json_response(error.body, error.status)
        response.headers["request-id"] = str(uuid4())
        response.headers["client-request-id"] = request.headers.get("client-request-id", str(uuid4()))
        response.headers["timestamp"] = render_ticks(self._clock.ticks())
        response.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Simulator","Slice":"SliceA"}}'
        return response

    # Authorization

    def _respond_if_authorized(self, request: Request, respond: Callable[[], Response]) -> Response:
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

    def _visibility(self) -> tuple[Condition, ...]:
        """Return the conditions of the rows that the account's role may see (section 1.3, "Data visibility")."""
        conditions: list[Condition] = []
        if self._faults.referral_user:
            conditions.append(_IN_TEAM)
        if self._faults.locations is not None:
            targets = AnyOf(tuple(Comparison(("id",), "eq", place) for place in sorted(self._faults.locations)))
            conditions.append(Exists(("target",), targets))
        if self._faults.hidden_referrals:
            hidden = AnyOf(tuple(Comparison(("id",), "eq", each) for each in sorted(self._faults.hidden_referrals)))
            conditions.append(Not(hidden))
        return tuple(conditions)

    def _visible_row(self, referral_id: str) -> Payload:
        row = self._world.get(referral_id)
        if row is None or not all(condition.matches(row) for condition in self._visibility()):
            raise not_found()
        return row

    # One referral

    def _entity(self, row: Payload, status: int = 200) -> Response:
        response = json_response({"@odata.context": _ENTITY_CONTEXT} | as_sent(row, self._faults), status)
        return _with_etag(response, row)

    def _create(self, document: object) -> Response:
        body = edits.read_body(document)
        engagement_id = body.get("engagementId")
        if engagement_id and not self._world.select(replace(EVERYTHING, engagement_id=engagement_id), limit=1):
            raise invalid("There is no such engagement.")
        at = self._clock.ticks()
        now = render_ticks(at)
        row = edits.new_referral(body, self._world.server_fields(at), now)
        shared = edits.is_shared_with_microsoft(body)
        if shared and engagement_id:  # the engagement has the partner's record already; this is Microsoft's
            row |= edits.MICROSOFT_FIELDS
        self._world.put(row)
        if shared and not engagement_id:
            second = edits.new_referral(body, self._world.server_fields(at), now)
            self._world.put(second | edits.MICROSOFT_FIELDS | {"engagementId": row["engagementId"]})
        return self._entity(row, 201 if self._faults.created_status_201 else 200)

    def _patch(self, request: Request, row: Payload, document: object) -> Response:
        self._check_etag(request, row)
        row = self._store(row, edits.apply_patch(row, document, self._change_instant(row), conflict=self._conflict))
        if "return=representation" in request.headers.get("prefer", "").replace(" ", "").lower():
            return self._entity(row)
        return _with_etag(Response(status_code=204), row)

    def _put(self, request: Request, row: Payload, document: object) -> Response:
        if "if-match" not in request.headers:
            raise invalid("The header 'If-Match' is missing.")
        self._check_etag(request, row)
        if isinstance(document, dict) and "links" in document:
            raise invalid("'links' cannot be updated.")
        if isinstance(document, dict) and document.get("id", row["id"]) != row["id"]:
            raise invalid("The id in the body is another referral's.")
        body = edits.read_body(document)
        return self._entity(
            self._store(row, edits.apply_put(row, body, self._change_instant(row), conflict=self._conflict))
        )

    @property
    def _conflict(self) -> int:
        return 409 if self._faults.illegal_transition_409 else 400

    def _change_instant(self, row: Payload) -> str:
        """Return the instant of a change: now, but later than the previous change, so that the eTags differ.

        A date that is missing, or in the future, is not followed: a change corrects it.
        """
        now = self._clock.ticks()
        before = ticks_or_none(row.get("updatedDateTime"))
        return render_ticks(now if before is None or before > now + TICKS_PER_SECOND else max(now, before + 1))

    def _store(self, before: Payload, after: Payload) -> Payload:
        changes = {name: value for name, value in after.items() if name not in ("updatedDateTime", "eTag")}
        return self._world.change(before["id"], parse_ticks(self._change_instant(before)), changes)

    def _check_etag(self, request: Request, row: Payload) -> None:
        wanted = request.headers.get("if-match")
        if wanted not in (None, "*", row.get("eTag")):
            raise ApiError(412, "preconditionFailed", "The referral was changed meanwhile.", "resourceModified")

    # Faults

    def _respond_with_fault(self, due: DueFault, request: Request, respond: Callable[[], Response]) -> Response:
        response = self._fault_response(due, request, respond)
        if due.status is not None:
            response.status_code = due.status
        if due.retry_after is not None:
            minutes = {"date": 1, "past": -1}.get(str(due.retry_after))
            text = str(due.retry_after)
            if minutes is not None:
                moment = self._clock.now().replace(microsecond=0) + timedelta(minutes=minutes)
                text = format_datetime(moment, usegmt=True)
            response.headers["Retry-After"] = text
        return response

    def _fault_response(self, due: DueFault, request: Request, respond: Callable[[], Response]) -> Response:
        match due.fault:
            case HttpFault.THROTTLED:
                wait = due.retry_after if isinstance(due.retry_after, int) else 57
                message = f"Rate limit is exceeded. Try again in {wait} seconds."
                return json_response({"statusCode": 429, "message": message}, 429)
            case HttpFault.UNAVAILABLE_HTML:
                return html_response("503 Service Unavailable", 503)
            case HttpFault.BAD_GATEWAY:
                return html_response("502 Bad Gateway", 502)
            case HttpFault.GATEWAY_TIMEOUT:
                return html_response("504 Gateway Time-out", 504)
            case HttpFault.HTML:
                return html_response("Maintenance", 200)
            case HttpFault.RESET:
                self._reset(request)
                return Response(status_code=500)
            case HttpFault.CUT_OFF | HttpFault.TRUNCATED:
                whole = bytes(self._respond_if_authorized(request, respond).body)
                half = whole[: len(whole) // 2]
                if due.fault is HttpFault.TRUNCATED:
                    return Response(half, media_type="application/json")
                length = {"content-length": str(len(whole))}
                return StreamingResponse(self._cut_off(request, half), 200, length, "application/json")
            case _:
                error = _ERRORS[due.fault]
                return json_response(error.body, error.status)

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


def _with_etag(response: Response, row: Payload) -> Response:
    if "eTag" in row:
        response.headers["ETag"] = row["eTag"]
    return response
