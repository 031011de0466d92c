"""Answers of the Referrals API in the documented shapes (partner_center_api.md, section 4).

Not here: when they are sent (`referrals`, `paging`, `edits`).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

_GATEWAY_PAGE: Final = (
    "<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>Microsoft-Azure-Application-Gateway/v2</body></html>"
)


class ApiError(Exception):
    """An error response in the documented shape (section 4)."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"code": code, "message": message, "target": "referral"}}
        if inner is not None:
            self.body["error"]["innerError"] = {"code": inner, "message": message}


def invalid(message: str) -> ApiError:
    """Return 400, for a query or a body that the server does not understand or allow."""
    return ApiError(400, "invalidRequest", message)


def spoiled(status: int) -> ApiError:
    """Return the error of a page that the server cannot print, because of one of its rows or of its size."""
    return ApiError(status, "generalException", "The page cannot be returned.")


def unauthorized(message: str) -> ApiError:
    """Return 401, spelled as in Microsoft's own sample."""
    return ApiError(401, "unAuthorized", message, "unauthenticated")


def mfa_required() -> ApiError:
    """Return 401, for a token without an MFA claim, since 1 April 2026 (section 1.3)."""
    return ApiError(401, "900421", "MFA is required for this request.")


def forbidden() -> ApiError:
    """Return 403, for a caller without a Referral role."""
    return ApiError(403, "accessDenied", "Caller is not authorized to access the resource.", "roleMissing")


def not_found() -> ApiError:
    """Return 404, for a referral that does not exist or that the caller may not see."""
    return ApiError(404, "itemNotFound", "The referral does not exist or is not visible to the caller.")


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return a JSON response. The body may hold corrupt rows."""
    try:
        data = orjson.dumps(body)
    except TypeError:  # a lone surrogate, a huge number or deep nesting; the standard library writes them
        data = json.dumps(body).encode()
    return Response(data, status, media_type="application/json")


def html_response(title: str, status: int) -> Response:
    """Return an HTML page of the gateway in front of the API."""
    return Response(_GATEWAY_PAGE.format(title), status, media_type="text/html")
