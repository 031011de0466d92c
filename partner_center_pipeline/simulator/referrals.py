"""The local Referrals API: `/v1.0/engagements/referrals` (partner_center_api.md, sections 1, 2, 4 and 9).

What belongs here: HTTP in front of the world: who may ask, query options, pages, errors, and carrying out HTTP
faults. What does not: the referrals (`world`), the switches (`faults`).

Assumptions, where Microsoft documents nothing (section 9): `$top` is the size of a page and `@odata.nextLink` follows
it; without `$orderby` rows come newest first; `@odata.count` is the number of rows in the page; a `$skiptoken` lives
an hour; a missing client-request-id is no error.
"""

import asyncio
import base64
import binascii
import hmac
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from partner_center_pipeline.simulator.clock import SimulatorClock
from partner_center_pipeline.simulator.draws import guid
from partner_center_pipeline.simulator.entra import AUDIENCE, USER, Entra
from partner_center_pipeline.simulator.faults import CorruptRow, Faults, HttpFault
from partner_center_pipeline.simulator.odata import (
    EVERYTHING,
    All,
    Comparison,
    Exists,
    Order,
    QueryError,
    parse_filter,
    parse_orderby,
)
from partner_center_pipeline.simulator.payloads import Payload
from partner_center_pipeline.simulator.world import Position, World
from partner_center_pipeline.windows import TICKS_PER_SECOND, render_ticks

PATH: Final = "/v1.0/engagements/referrals"
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 100
SKIPTOKEN_SECONDS: Final = 3600

_OPTIONS: Final = frozenset({"$filter", "$orderby", "$top", "$skip", "$select", "$count", "$skiptoken"})
_LIST_CONTEXT: Final = "http://api.partner.microsoft.com/v1.0/$metadata#Referrals"
_ENTITY_CONTEXT: Final = "https://api.partner.microsoft.com/v1.0/engagments/referrals/$metadata#Referrals/$entity"
_GATEWAY_PAGE: Final = (
    "<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>Microsoft-Azure-Application-Gateway/v2</body></html>"
)
_PAUSE: Final = 0.05
"""Seconds between what was sent and the end of a connection, so that the client has read it."""


_IN_TEAM: Final = Exists(("team",), Comparison(("email",), "eq", USER))


class ApiError(Exception):
    """An answer other than success, in the documented shape (section 4)."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"code": code, "message": message, "target": "referral"}}
        if inner is not None:
            self.body["error"]["innerError"] = {"code": inner, "message": message}


@dataclass(frozen=True, slots=True)
class _Query:
    """What a list request asks, and from where; it travels in the $skiptoken."""

    filter: str | None
    order: Order
    descending: bool
    size: int
    skip: int
    select: tuple[str, ...]
    after: Position | None = None
    last_id: str | None = None
    issued: int = 0


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
        self._default_page_size = default_page_size
        self._max_page_size = max_page_size
        self._key = f"skiptoken {world.seed}".encode()
        self.requests = 0
        """Requests to this API since the start, refused ones included."""

    def routes(self) -> list[Route]:
        """The API's addresses."""
        return [
            Route(PATH, self._list, methods=["GET"]),
            Route(PATH + "/{id}", self._one, methods=["GET"]),
        ]

    # Requests

    async def _list(self, request: Request) -> Response:
        return await self._answer(request, lambda: self._page(request))

    async def _one(self, request: Request) -> Response:
        return await self._answer(request, lambda: self._entity(request.path_params["id"]))

    async def _answer(self, request: Request, respond: Callable[[], Response]) -> Response:
        self.requests += 1
        try:
            if self._faults.slow_seconds:
                await asyncio.sleep(self._faults.slow_seconds)
            response = self._faulty(request, respond) or self._authorized(request, respond)
        except ApiError as error:
            response = _json(error.body, error.status)
        response.headers["request-id"] = str(uuid4())
        response.headers["client-request-id"] = request.headers.get("client-request-id", str(uuid4()))
        response.headers["timestamp"] = render_ticks(self._clock.ticks())
        response.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Simulator","Slice":"SliceA"}}'
        return response

    def _authorized(self, request: Request, respond: Callable[[], Response]) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = self._entra.claims(token) if scheme.lower() == "bearer" else None
        if claims is None:
            raise _unauthorized("No valid bearer token.")
        if claims.get("exp", 0) <= self._clock.ticks() // TICKS_PER_SECOND:
            raise _unauthorized("The token has expired.")
        if claims.get("aud") != AUDIENCE:
            raise _unauthorized("The token is for another audience.")
        if claims.get("idtyp") == "app" or "user_impersonation" not in str(claims.get("scp", "")).split():
            raise _unauthorized("Only App+User tokens are supported.")
        if self._faults.mfa_missing or "mfa" not in claims.get("amr", ()):
            raise ApiError(401, "900421", "MFA is required for this request.")
        if self._faults.role_missing:
            raise _forbidden()
        self._world.advance(self._clock.ticks())
        return respond()

    def _entity(self, referral_id: str) -> Response:
        row = self._world.get(referral_id)
        if row is None or (self._faults.referral_user and not _IN_TEAM.matches(row)):
            raise ApiError(404, "itemNotFound", "The referral does not exist or is not visible to the caller.")
        response = _json({"@odata.context": _ENTITY_CONTEXT} | self._dressed(row))
        if "eTag" in row:
            response.headers["ETag"] = row["eTag"]
        return response

    def _page(self, request: Request) -> Response:
        query = self._query(request)
        try:
            condition = EVERYTHING if query.filter is None else parse_filter(query.filter, self._faults.date_literal)
        except QueryError as error:
            raise _invalid(str(error)) from None
        if self._faults.referral_user:
            condition = replace(condition, rest=All((*condition.rest.parts, _IN_TEAM)))
        found = self._world.select(
            condition,
            query.order,
            descending=query.descending,
            after=query.after,
            skip=query.skip,
            limit=query.size + 1,
        )
        more = len(found) > query.size
        found = found[: query.size]
        rows = [self._dressed(row) for _, row in found]
        if self._faults.duplicate_rows and query.last_id is not None:
            again = self._world.get(query.last_id)
            rows = [self._dressed(again), *rows] if again is not None else rows
        if found:
            rows += [_corrupt(found[0][1], kind) for kind in CorruptRow if kind in self._faults.corrupt_rows]
        if query.select:
            rows = [{name: row[name] for name in query.select if name in row} for row in rows]
        body: dict[str, Any] = {"@odata.context": _LIST_CONTEXT, "@odata.count": len(rows), "value": rows}
        if more:
            onward = replace(query, skip=0, after=found[-1][0], last_id=found[-1][1]["id"], issued=self._clock.ticks())
            body["@odata.nextLink"] = self._next_link(request, query if self._faults.next_link_loop else onward)
        return _json(body)

    def _query(self, request: Request) -> _Query:
        options = request.query_params
        for name in options:
            if name not in _OPTIONS:
                raise _invalid(f"The query option '{name}' is not supported.")
        token = options.get("$skiptoken")
        if token is not None:
            return self._read_skiptoken(token)
        order, descending = Order.UPDATED, True
        if "$orderby" in options:
            try:
                order, descending = parse_orderby(options["$orderby"])
            except QueryError as error:
                raise _invalid(str(error)) from None
        if options.get("$count", "false") not in ("true", "false"):
            raise _invalid("The value of '$count' is not a boolean.")
        size = min(_whole(options.get("$top"), "$top", self._default_page_size), self._max_page_size)
        select = tuple(name.strip() for name in options.get("$select", "").split(",") if name.strip())
        if any("/" in name for name in select):
            raise _invalid("Only top-level properties can be selected.")
        return _Query(options.get("$filter"), order, descending, size, _whole(options.get("$skip"), "$skip", 0), select)

    # Paging

    def _next_link(self, request: Request, query: _Query) -> str:
        # Microsoft's own tokens carry lower-case escapes (%2f, %2b), which a client must not rewrite.
        token = re.sub("%..", lambda escape: escape[0].lower(), quote(self._write_skiptoken(query), safe=""))
        host = request.headers.get("host", "localhost")
        if self._faults.next_link_foreign:
            host = "referrals.example.net"
        if self._faults.next_link_plain:
            return f"https://{host}{PATH}?$skiptoken={token}"
        return f"http://{host}/v1.0/referrals?$skiptoken={token}"

    def _write_skiptoken(self, query: _Query) -> str:
        state = json.dumps(
            [
                query.filter, query.order, query.descending, query.size, query.skip, query.select, query.after,
                query.last_id, query.issued,
            ]
        )  # fmt: skip
        packed = zlib.compress(state.encode())
        return base64.b64encode(hmac.digest(self._key, packed, "sha512") + packed).decode()

    def _read_skiptoken(self, token: str) -> _Query:
        try:
            raw = base64.b64decode(token, validate=True)
        except binascii.Error:
            raise _invalid("The $skiptoken is not valid.") from None
        signature, packed = raw[:64], raw[64:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, packed, "sha512")):
            raise _invalid("The $skiptoken is not valid.")
        text, order, descending, size, skip, select, after, last_id, issued = json.loads(zlib.decompress(packed))
        age = timedelta(microseconds=(self._clock.ticks() - issued) // 10) if issued else timedelta()
        if age > timedelta(seconds=SKIPTOKEN_SECONDS):
            raise _invalid("The $skiptoken has expired.")
        place = None if after is None else (after[0], after[1], after[2])
        return _Query(text, Order(order), descending, size, skip, tuple(select), place, last_id, issued)

    # Faults

    def _faulty(self, request: Request, respond: Callable[[], Response]) -> Response | None:
        met = self._faults.next_http(has_skiptoken="$skiptoken" in request.query_params)
        if met is None:
            return None
        fault, retry_after = met
        match fault:
            case HttpFault.UNAUTHORIZED:
                raise _unauthorized("The token was not accepted.")
            case HttpFault.FORBIDDEN:
                raise _forbidden()
            case HttpFault.INSUFFICIENT_CLAIMS:
                raise ApiError(403, "accessDenied", "Conditional access claims are missing.", "insufficent_claims")
            case HttpFault.SKIPTOKEN_EXPIRED:
                raise _invalid("The $skiptoken has expired.")
            case HttpFault.THROTTLED:
                wait = retry_after if isinstance(retry_after, int) else 57
                message = f"Rate limit is exceeded. Try again in {wait} seconds."
                response = _json({"statusCode": 429, "message": message}, 429)
            case HttpFault.SERVER_ERROR:
                response = _json(ApiError(500, "generalException", "An unexpected error occurred.").body, 500)
            case HttpFault.UNAVAILABLE:
                response = _json(ApiError(503, "serviceNotAvailable", "The service is not available.").body, 503)
            case HttpFault.UNAVAILABLE_HTML:
                response = _page_of("503 Service Unavailable", 503)
            case HttpFault.GATEWAY_TIMEOUT:
                response = _page_of("504 Gateway Time-out", 504)
            case HttpFault.HTML:
                response = _page_of("Maintenance", 200)
            case HttpFault.RESET:
                self._reset(request)
                response = Response(status_code=500)
            case HttpFault.CUT_OFF | HttpFault.TRUNCATED:
                whole = bytes(self._authorized(request, respond).body)
                half = whole[: len(whole) // 2]
                if fault is HttpFault.TRUNCATED:
                    response = Response(half, media_type="application/json")
                else:
                    length = {"content-length": str(len(whole))}
                    response = StreamingResponse(self._cut_off(request, half), 200, length, "application/json")
        if retry_after is not None:
            minute = timedelta(minutes=1)
            dated = format_datetime(self._clock.now().replace(microsecond=0) + minute, usegmt=True)
            response.headers["Retry-After"] = dated if retry_after == "date" else str(retry_after)
        return response

    async def _cut_off(self, request: Request, half: bytes) -> AsyncIterator[bytes]:
        yield half
        await asyncio.sleep(_PAUSE)
        self._reset(request)
        await asyncio.sleep(_PAUSE)

    def _dressed(self, row: Payload) -> Payload:
        """The row as it is sent: with things no document names, while that switch is on."""
        if not self._faults.unknown_values:
            return row
        odd = {"substatus": "Paused", "qualification": "AssistantQualified"} if row["id"][0] in "02468ace" else {}
        return row | odd | {"forecastCategory": {"id": "fc-1", "confidence": 0.5}}


def _corrupt(row: Payload, kind: CorruptRow) -> Payload:
    broken = row | {"id": guid("corrupt", kind, row["id"])}
    match kind:
        case CorruptRow.NO_ID:
            del broken["id"]
        case CorruptRow.BAD_DATE:
            broken["updatedDateTime"] = "yesterday"
        case CorruptRow.NUL:
            broken["customerProfile"] = broken["customerProfile"] | {"name": "Bozuk\x00Kayıt"}
        case CorruptRow.LONE_SURROGATE:
            broken["customerProfile"] = broken["customerProfile"] | {"name": "Bozuk \ud83d Kayıt"}
    return broken


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    try:
        data = orjson.dumps(body)
    except TypeError:  # a lone surrogate, which only the standard library writes (as an escape)
        data = json.dumps(body).encode()
    return Response(data, status, media_type="application/json")


def _page_of(title: str, status: int) -> Response:
    return Response(_GATEWAY_PAGE.format(title), status, media_type="text/html")


def _whole(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not text.isdecimal() or (name == "$top" and int(text) == 0):
        raise _invalid(f"The value of '{name}' is not a positive integer.")
    return int(text)


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalidRequest", message)


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unAuthorized", message, "unauthenticated")


def _forbidden() -> ApiError:
    return ApiError(403, "accessDenied", "Caller is not authorized to access the resource.", "roleMissing")
