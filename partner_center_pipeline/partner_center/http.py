"""The one HTTP client of a process: one TLS context, timeouts, limits, and the face that MSAL wants to see.

Here belongs how connections are made and trusted. What does not belong here: what is asked (`client`,
`sign_in`).
"""

import json
import ssl
from importlib.metadata import version
from typing import Any, Final

import httpx

from partner_center_pipeline.partner_center.clock import Clock, SystemClock
from partner_center_pipeline.partner_center.errors import Throttled, Unreachable
from partner_center_pipeline.partner_center.odata import http_date, retry_after
from partner_center_pipeline.partner_center.retry import retrying
from partner_center_pipeline.settings import Settings, SettingsError

USER_AGENT: Final = f"partner-center-pipeline/{version('partner-center-pipeline')}"
TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""Seconds. A page of 1,000 referrals may take a while to be made, a connection may not."""

MAX_SIGN_IN_WAIT: Final = 60.0
"""Seconds that one sign-in request may spend waiting between tries, all tries together."""

_LIMITS: Final = httpx.Limits(max_connections=8, max_keepalive_connections=4)
_THROTTLED: Final = (429, 509)
_LASTING: Final = (501, 505, 507)
_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


def build_http(settings: Settings) -> httpx.Client:
    """A new client; the caller closes it.

    `trust_env` stays on for the sake of HTTPS_PROXY and NO_PROXY, which many companies need. The TLS context
    is made here, explicitly, so that SSL_CERT_FILE, SSL_CERT_DIR and REQUESTS_CA_BUNDLE cannot change whom
    the pipeline trusts: that is HUNTER_PARTNER_CENTER_CA_BUNDLE alone, or certifi's store when it is not set.
    Redirects are not followed, because a token travels with the request.

    Raises SettingsError when HUNTER_PARTNER_CENTER_CA_BUNDLE cannot be read.
    """
    context = _tls_context(settings)
    return httpx.Client(
        verify=context,
        timeout=TIMEOUT,
        limits=_LIMITS,
        follow_redirects=False,
        headers={"User-Agent": USER_AGENT},
        # A proxy cannot reach this machine's own loopback, where the local Microsoft listens.
        mounts={pattern: httpx.HTTPTransport(verify=context, limits=_LIMITS) for pattern in _LOOPBACK},
    )


def _tls_context(settings: Settings) -> ssl.SSLContext:
    bundle = settings.partner_center_ca_bundle
    if bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=bundle)
    except (OSError, ssl.SSLError) as error:
        problem = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "not a PEM file"
        raise SettingsError(
            "HUNTER_PARTNER_CENTER_CA_BUNDLE", f"{bundle} cannot be used as a CA bundle ({problem})"
        ) from None


class MsalHttp:
    """What MSAL wants as `http_client`: `get`, `post`, `close`, over the process's one client.

    MSAL retries nothing with a foreign client and remembers errors instead (429 and 5xx for Retry-After or 5
    s), so what passes by itself is retried in here: broken connections, 429, 5xx, and answers that are not
    JSON. Raises Unreachable or Throttled when that does not help within `MAX_SIGN_IN_WAIT`.
    """

    def __init__(self, http: httpx.Client, clock: Clock | None = None) -> None:
        self._http = http
        self._clock = clock or SystemClock()

    def get(
        self,
        url: str,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **_: object,
    ) -> httpx.Response:
        """GET for MSAL."""
        return self._send("GET", url, params=params, headers=headers)

    def post(
        self,
        url: str,
        params: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **_: object,
    ) -> httpx.Response:
        """POST for MSAL."""
        return self._send("POST", url, params=params, data=data, headers=headers)

    def close(self) -> None:
        """Nothing: the client belongs to the process, not to MSAL."""

    def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        give_up_at = self._clock.monotonic() + MAX_SIGN_IN_WAIT
        return retrying(self._clock, give_up_at)(self._once, method, url, **request)

    def _once(self, method: str, url: str, **request: Any) -> httpx.Response:
        response = send(
            self._http,
            self._http.build_request(method, url, **request),
            at_fault="HUNTER_PARTNER_CENTER_AUTHORITY",
        )
        raise_if_busy(response, self._clock)
        try:
            json.loads(response.text)
        except ValueError:
            raise Unreachable(
                f"{response.url.host} answered {response.status_code} with something other than JSON. A "
                "proxy or the network's own sign-in page may stand in between; then try again.",
                status=response.status_code,
            ) from None
        return response


def send(http: httpx.Client, request: httpx.Request, *, at_fault: str) -> httpx.Response:
    """Send once and read the whole answer, whatever its status.

    Raises Unreachable when there is none; `at_fault` is the variable that names the host. An untrusted
    certificate is the one such error that is not transient.
    """
    host = request.url.host
    try:
        return http.send(request)
    except httpx.RequestError as error:
        if _untrusted(error):
            raise Unreachable(
                f"The certificate of {host} is not trusted. Where a proxy opens TLS, and for the local "
                "Microsoft, name the CA file in HUNTER_PARTNER_CENTER_CA_BUNDLE.",
                transient=False,
            ) from error
        raise Unreachable(
            f"{host} cannot be reached, or broke off its answer ({type(error).__name__}). Check the "
            f"network and {at_fault}, then try again."
        ) from error


def raise_if_busy(response: httpx.Response, clock: Clock) -> None:
    """Raise Throttled or Unreachable for a status that passes by itself; both honour Retry-After.

    partner_center_api.md, section 4: 429 and 509 throttle; 408 and 5xx are transient but for 501, 505 and
    507, which repeat.
    """
    status = response.status_code
    if status not in _THROTTLED and (status in _LASTING or not (status == 408 or status >= 500)):
        return
    now = http_date(response.headers.get("date")) or clock.utc()
    seconds = retry_after(response.headers.get("retry-after"), now)
    asked = "" if seconds is None else f" and asks to wait {seconds:.0f} s"
    kind, what = (Throttled, "has had too many calls") if status in _THROTTLED else (Unreachable, "is in trouble")
    raise kind(
        f"{response.url.host} {what} (HTTP {status}){asked}. Nothing is to be done but to try again later.",
        status=status,
        request_id=response.headers.get("request-id"),
        retry_after=seconds,
    )


def _untrusted(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLCertVerificationError):
        seen = seen.__cause__ or seen.__context__
    return seen is not None
