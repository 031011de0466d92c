"""The local Entra ID: device code, code with PKCE, silent renewal, metadata (partner_center_api.md, 1.3 to 1.6).

Not here: the Referrals API, which takes the tokens (`referrals`).

A token holds its claims and a signature with a key from the world's seed, so a restarted simulator accepts it, too.
"""

import base64
import binascii
import hashlib
import hmac
import html
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.faults import Faults, TokenFault
from partner_center_simulator.seeded_random import guid

AUDIENCE: Final = "https://api.partner.microsoft.com"
"""The audience of a token for the Referrals API (section 1.3)."""

USER: Final = "entegrasyon@ornekpartner.com.tr"
"""The account that signs in."""

_REFRESH_TOKEN_SECONDS: Final = 90 * 86_400
_DEVICE_CODE_SECONDS: Final = 900
_DEVICE_CODE_INTERVAL: Final = 5
"""Seconds that a client waits between two polls."""
_AUTHORIZATION_CODE_SECONDS: Final = 600

_USER_CODE_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ23456789"
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"

_AADSTS: Final[Mapping[str, tuple[int, str]]] = {
    "authorization_pending": (70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
    "slow_down": (70016, "The client polls too often."),
    "authorization_declined": (65004, "User declined to consent to access the app."),
    "bad_verification_code": (70018, "Invalid verification code due to user typing in a wrong user code."),
    "expired_token": (70019, "Verification code expired. Have the user retry the sign-in."),
    "invalid_grant": (50173, "The provided grant has expired due to it being revoked, a fresh auth token is needed."),
    "interaction_required": (50076, "You must use multi-factor authentication to access the resource."),
    "invalid_client": (
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    "access_denied": (65004, "User declined to consent to access the app."),
    "temporarily_unavailable": (90033, "A transient error has occurred. Please try again."),
    "unauthorized_client": (700016, "Application was not found in the directory."),
    "invalid_tenant": (90002, "Tenant not found. Check to make sure you have the correct tenant ID."),
    "invalid_scope": (70011, "The provided value for the input parameter 'scope' is not valid."),
    "unsupported_grant_type": (70003, "The app requested an unsupported grant type."),
    "invalid_request": (900144, "The request body lacks a required parameter."),
}
"""The AADSTS number and the text of each OAuth error (section 1.5)."""


@dataclass(slots=True)
class _DeviceCode:
    """A sign-in by device code. `state` is pending, approved, denied or used; `expires` is in ticks."""

    user_code: str
    device_code: str
    scope: str
    expires: int
    state: str = "pending"


@dataclass(frozen=True, slots=True)
class _AuthorizationCode:
    """A sign-in by browser. The app may redeem it once, with the verifier of `challenge`, before `expires` (ticks)."""

    scope: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    expires: int


class Entra:
    """The sign-in service of one tenant with one app registration and one user, or another by `another_account`.

    `tenant_of` returns the tenant id of a customer's domain, or None. `base_url` must be set when the port is known.
    """

    def __init__(
        self, seed: int, clock: SimulatorClock, faults: Faults, tenant_of: Callable[[str], str | None]
    ) -> None:
        self.tenant_id = guid(seed, "own tenant")
        self.client_id = guid(seed, "app registration")
        self.base_url = "https://localhost"
        self.device_code_interval = _DEVICE_CODE_INTERVAL
        self._user_id = guid(seed, "service account")
        self._other_user_id = guid(seed, "other account")
        self._key = f"simulator {seed}".encode()
        self._clock = clock
        self._faults = faults
        self._tenant_of = tenant_of
        self._device_codes: dict[str, _DeviceCode] = {}
        self._authorization_codes: dict[str, _AuthorizationCode] = {}
        self._revoked_at = 0

    # What a person does at the sign-in page

    def approve(self, user_code: str) -> None:
        """Sign in with a device code. Raises KeyError for a code that is unknown, expired or used."""
        self._pending_code(user_code).state = "approved"

    def deny(self, user_code: str) -> None:
        """Decline a sign-in by device code. Raises KeyError for a code that is unknown, expired or used."""
        self._pending_code(user_code).state = "denied"

    def pending_codes(self) -> list[str]:
        """Return the user codes that wait for a person, oldest first."""
        return [code.user_code for code in self._pending()]

    def revoke_sessions(self) -> None:
        """End every session: refuse the refresh tokens issued until now (AADSTS50173)."""
        self._revoked_at = self._seconds() + 1

    def _pending(self) -> list[_DeviceCode]:
        now = self._clock.ticks()
        return [code for code in self._device_codes.values() if code.state == "pending" and code.expires > now]

    def _pending_code(self, user_code: str) -> _DeviceCode:
        wanted = user_code.strip().upper()
        for code in self._pending():
            if code.user_code == wanted:
                return code
        raise KeyError(user_code)

    # Tokens

    def issue(self, **claims: Any) -> str:
        """Issue an access token for the Referrals API. `claims` replace its claims; None removes one."""
        now = self._seconds()
        payload = {
            "aud": AUDIENCE,
            "iss": f"https://sts.windows.net/{self.tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + self._faults.token_lifetime_seconds + 1,
            "amr": ["pwd", "mfa"],
            "appid": self.client_id,
            "idtyp": "user",
            "oid": self._user_id,
            "scp": "user_impersonation",
            "tid": self.tenant_id,
            "upn": USER,
            "ver": "1.0",
        } | claims
        return self._sign({name: value for name, value in payload.items() if value is not None})

    def claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token of this service, even an expired one; None for any other text."""
        try:
            signed, _, signature = token.rpartition(".")
            payload = json.loads(_from_base64url(signed.split(".")[1])) if signed.count(".") == 1 else None
        except (ValueError, binascii.Error):
            return None
        valid = isinstance(payload, dict) and hmac.compare_digest(signature.encode(), self._signature(signed).encode())
        return payload if valid else None

    def _sign(self, payload: Mapping[str, Any]) -> str:
        header = {"typ": "JWT", "alg": "HS256", "kid": "simulator"}
        signed = ".".join(_to_base64url(json.dumps(part).encode()) for part in (header, payload))
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _to_base64url(hmac.digest(self._key, signed.encode(), "sha256"))

    def _seconds(self) -> int:
        return self._clock.ticks() // 10_000_000

    def _token_response(
        self, scope: str, *, by_device_code: bool, nonce: str | None = None, user_id: str | None = None
    ) -> Response:
        """Return tokens. The refresh token stores who signed in, and how (section 1.6, "Protocol tracked").

        `user_id` is the user of a renewal; None for a sign-in.
        """
        now = self._seconds()
        if user_id is None:
            user_id = self._other_user_id if self._faults.another_account else self._user_id
        refresh = {
            "kind": "refresh",
            "iat": now,
            "exp": now + _REFRESH_TOKEN_SECONDS,
            "jti": secrets.token_hex(8),
            "by_device_code": by_device_code,
            "oid": user_id,
        }
        identity = {
            "aud": self.client_id,
            "iss": f"{self.base_url}/{self.tenant_id}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + self._faults.token_lifetime_seconds + 1,
            "name": "Entegrasyon Hesabı",
            "oid": user_id,
            "preferred_username": USER,
            "sub": user_id,
            "tid": self.tenant_id,
            "ver": "2.0",
        } | ({} if nonce is None else {"nonce": nonce})
        client_info = json.dumps({"uid": user_id, "utid": self.tenant_id})
        # Entra returns both forms; with the first alone MSAL would not find its cached token again (section 8).
        granted = f"{AUDIENCE}/user_impersonation {AUDIENCE}/.default"
        return JSONResponse(
            {
                "token_type": "Bearer",
                "scope": granted,
                "expires_in": self._faults.token_lifetime_seconds,
                "ext_expires_in": self._faults.token_lifetime_seconds,
                "access_token": self.issue(oid=user_id),
                "refresh_token": self._sign(refresh),
                "client_info": _to_base64url(client_info.encode()),
            }
            | ({"id_token": self._sign(identity)} if "openid" in scope.split() else {}),
            headers={"Cache-Control": "no-store"},
        )

    # HTTP

    def routes(self) -> list[Route]:
        """Return the routes of the sign-in service."""
        return [
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self._metadata),
            Route("/{tenant}/.well-known/openid-configuration", self._metadata),
            Route("/{tenant}/oauth2/v2.0/authorize", self._authorize),
            Route("/{tenant}/oauth2/v2.0/devicecode", self._device_code, methods=["POST"]),
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
            Route("/device", self._device_page, methods=["GET", "POST"]),
        ]

    async def _metadata(self, request: Request) -> Response:
        tenant = request.path_params["tenant"].lower()
        own = tenant in (self.tenant_id, "organizations", "common", "ornekpartner.com.tr")
        tenant_id = self.tenant_id if own else self._tenant_of(tenant)
        if tenant_id is None:
            return self._error("invalid_tenant")
        base = f"{self.base_url}/{tenant_id}"
        return JSONResponse(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "tenant_region_scope": "EU",
                "cloud_instance_name": "microsoftonline.com",
                "cloud_graph_host_name": "graph.windows.net",
                "msgraph_host": "graph.microsoft.com",
            }
        )

    def _refusal(self, tenant: str, form: Mapping[str, str]) -> Response | None:
        if tenant.lower() not in (self.tenant_id, "organizations", "ornekpartner.com.tr"):
            return self._error("invalid_tenant")
        if form.get("client_id") != self.client_id:
            return self._error("unauthorized_client")
        if self._faults.public_client_off:
            return self._error("invalid_client", status=401)
        return None

    async def _authorize(self, request: Request) -> Response:
        """Sign the person at a browser in at once and send the result to `redirect_uri`.

        Like Entra, it shows an error in the app's own request here, and does not send it to `redirect_uri`.
        """
        query = dict(request.query_params)
        refusal = self._refusal(request.path_params["tenant"], query)
        if refusal is not None:
            return refusal
        redirect_uri = query.get("redirect_uri", "")
        address = urlsplit(redirect_uri)  # an app on this machine: loopback, on any port
        if address.scheme != "http" or address.hostname not in ("localhost", "127.0.0.1"):
            return self._error("invalid_request", number=50011)
        if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
            return self._error("invalid_request")
        if self._faults.consent_declined:
            number, text = _AADSTS["access_denied"]
            result = {"error": "access_denied", "error_description": f"AADSTS{number}: {text}"}
        else:
            code = secrets.token_urlsafe(48)
            self._authorization_codes[code] = _AuthorizationCode(
                scope=query.get("scope", ""),
                redirect_uri=redirect_uri,
                challenge=query.get("code_challenge", ""),
                nonce=query.get("nonce"),
                expires=self._clock.ticks() + _AUTHORIZATION_CODE_SECONDS * 10_000_000,
            )
            result = {"code": code}
        result |= {"state": query["state"]} if "state" in query else {}
        if query.get("response_mode") == "form_post":
            return _form_post(redirect_uri, result)
        return RedirectResponse(f"{redirect_uri}?{urlencode(result)}", HTTPStatus.FOUND)

    async def _device_code(self, request: Request) -> Response:
        form = await _form(request)
        refusal = self._refusal(request.path_params["tenant"], form)
        if refusal is not None:
            return refusal
        scope = form.get("scope", "")
        if not any(part.startswith(f"{AUDIENCE}/") for part in scope.split()):
            return self._error("invalid_scope")
        code = _DeviceCode(
            user_code="".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(9)),
            device_code=secrets.token_urlsafe(48),
            scope=scope,
            expires=self._clock.ticks() + _DEVICE_CODE_SECONDS * 10_000_000,
        )
        self._device_codes[code.device_code] = code
        address = f"{self.base_url}/device"
        return JSONResponse(
            {
                "user_code": code.user_code,
                "device_code": code.device_code,
                "verification_uri": address,
                "expires_in": _DEVICE_CODE_SECONDS,
                "interval": self.device_code_interval,
                "message": f"To sign in, use a web browser to open the page {address} and enter the code "
                f"{code.user_code} to authenticate.",
            }
        )

    async def _token(self, request: Request) -> Response:
        form = await _form(request)
        refusal = self._refusal(request.path_params["tenant"], form)
        if refusal is not None:
            return refusal
        due = self._faults.next_token()
        if due is not None:
            statuses = {TokenFault.UNAVAILABLE: 503, TokenFault.INVALID_CLIENT: 401}
            return self._error(due.fault.value, status=statuses.get(due.fault, 400), number=due.number)
        match form.get("grant_type"):
            case grant if grant == _DEVICE_GRANT:
                return self._redeem_device_code(form)
            case "authorization_code":
                return self._redeem_authorization_code(form)
            case "refresh_token":
                return self._redeem_refresh_token(form)
            case _:
                return self._error("unsupported_grant_type")

    def _redeem_device_code(self, form: Mapping[str, str]) -> Response:
        code = self._device_codes.get(form.get("device_code", ""))
        if code is None:
            return self._error("bad_verification_code")
        if code.state == "used":
            return self._error("invalid_grant", number=54005)
        if code.state == "denied":
            return self._error("authorization_declined")
        if code.expires <= self._clock.ticks():
            return self._error("expired_token")
        if code.state == "pending":
            return self._error("authorization_pending")
        if self._faults.device_code_blocked:
            return self._error("invalid_grant", number=53003, suberror="message_only")
        code.state = "used"
        return self._token_response(code.scope, by_device_code=True)

    def _redeem_authorization_code(self, form: Mapping[str, str]) -> Response:
        code = self._authorization_codes.pop(form.get("code", ""), None)
        if code is None:
            return self._error("invalid_grant", number=54005)
        if code.expires <= self._clock.ticks():
            return self._error("invalid_grant", number=70008)
        challenge = _to_base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if form.get("redirect_uri") != code.redirect_uri or not hmac.compare_digest(challenge, code.challenge):
            return self._error("invalid_grant", number=501481)
        return self._token_response(code.scope, by_device_code=False, nonce=code.nonce)

    def _redeem_refresh_token(self, form: Mapping[str, str]) -> Response:
        claims = self.claims(form.get("refresh_token", ""))
        if claims is None or claims.get("kind") != "refresh":
            return self._error("invalid_grant", number=70000, suberror="bad_token")
        if claims["exp"] <= self._seconds():
            return self._error("invalid_grant", number=700082)
        if claims["iat"] < self._revoked_at:
            return self._error("invalid_grant", number=50173, suberror="bad_token")
        if self._faults.refresh_blocked:
            return self._error("invalid_grant", number=53003, suberror="message_only")
        by_device_code = bool(claims.get("by_device_code"))
        if by_device_code and self._faults.device_code_blocked:
            return self._error("invalid_grant", number=530036, suberror="bad_token")
        return self._token_response(
            form.get("scope", ""), by_device_code=by_device_code, user_id=claims.get("oid", self._user_id)
        )

    async def _device_page(self, request: Request) -> Response:
        """Show the page where a person enters the code (GET), or approve or deny it by the form's `action` (POST)."""
        if request.method == "GET":
            return _device_html("", request.query_params.get("code", ""))
        form = await _form(request)
        code = form.get("code", "")
        approve = form.get("action", "approve") != "deny"
        try:
            (self.approve if approve else self.deny)(code)
        except KeyError:
            return _device_html("That code is not known, has expired or was used. Check it and try again.", code, 400)
        done = "You have signed in to the local Microsoft." if approve else "You have declined the sign-in."
        return _device_html(f"{done} You can close this window.")

    def _error(
        self, error: str, *, status: int = 400, number: int | None = None, suberror: str | None = None
    ) -> Response:
        default_number, text = _AADSTS[error]
        number = number or default_number
        stamp = self._clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        trace, correlation = guid("trace", secrets.token_hex(8)), guid("correlation", secrets.token_hex(8))
        body: dict[str, Any] = {
            "error": error,
            "error_description": f"AADSTS{number}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\n"
            f"Timestamp: {stamp}",
            "error_codes": [number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"{self.base_url}/error?code={number}",
        }
        if suberror is not None:
            body["suberror"] = suberror
        return JSONResponse(body, status_code=status)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a URL-encoded body. Starlette's own parser needs python-multipart even for these."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _to_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _form_post(address: str, fields: Mapping[str, str]) -> Response:
    """Return a page that posts the fields to an address (OAuth 2.0 Form Post Response Mode)."""
    inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Local Microsoft: signing in</title>
<body onload="document.forms[0].submit()"><form method="post" action="{html.escape(address)}">{inputs}
<noscript><button>Continue</button></noscript></form></body></html>"""
    )


def _device_html(message: str, code: str = "", status: int = HTTPStatus.OK) -> Response:
    form = f"""<form method="post" action="/device"><label>Code <input name="code" value="{html.escape(code)}" autofocus
 autocomplete="off" required></label> <button name="action" value="approve">Sign in</button>
 <button name="action" value="deny">Decline</button></form>"""
    status_line = f'<p role="status">{html.escape(message)}</p>' if message else ""
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Local Microsoft: enter code</title>
<h1>Enter code</h1><p>This is the local simulator, not Microsoft.</p>
{status_line}{form if not message or status >= 400 else ""}</html>""",
        status_code=status,
    )
