"""The one HTTP client of a process: TLS context, timeouts, limits, and the adapter through which MSAL sends.

Not here: what is asked (`client`, `sign_in`).
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
"""Seconds. A server may need a while for a page of 1,000 referrals, but not for a connection."""

MAX_SIGN_IN_WAIT: Final = 60.0
"""Seconds that one sign-in request may wait between tries, all pauses together."""

_LIMITS: Final = httpx.Limits(max_connections=8, max_keepalive_connections=4)
_THROTTLED: Final = (429, 509)
_PERMANENT: Final = (501, 505, 507)
_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


def build_http(settings: Settings) -> httpx.Client:
    """Return a new client; the caller closes it.

    It obeys HTTPS_PROXY and NO_PROXY (`trust_env`), which many companies need. The TLS context is made here, so that
    SSL_CERT_FILE, SSL_CERT_DIR and REQUESTS_CA_BUNDLE do not change whom the pipeline trusts: the certificates in
    HUNTER_PARTNER_CENTER_CA_BUNDLE alone, or certifi's when it is not set. Redirects are not followed, because a token
    is sent with the request. Raises SettingsError when HUNTER_PARTNER_CENTER_CA_BUNDLE cannot be read.
    """
    context = _tls_context(settings)
    return httpx.Client(
        verify=context,
        timeout=TIMEOUT,
        limits=_LIMITS,
        follow_redirects=False,
        headers={"User-Agent": USER_AGENT},
        # A proxy cannot reach this machine's loopback address, where the simulator listens.
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
    """The `http_client` that MSAL is given: `get`, `post` and `close` over the process's one client.

    With a client that is not its own MSAL retries nothing, and repeats an error that it remembers without sending
    anything (partner_center_api.md, section 8). So transient trouble is retried here: broken connections, 429, 5xx, and
    answers that are not JSON. Raises Unreachable or Throttled when that does not help within `MAX_SIGN_IN_WAIT`.
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
        return self._send_with_retries("GET", url, params=params, headers=headers)

    def post(
        self,
        url: str,
        params: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **_: object,
    ) -> httpx.Response:
        return self._send_with_retries("POST", url, params=params, data=data, headers=headers)

    def close(self) -> None:
        """Do nothing: the client belongs to the process, not to MSAL."""

    def _send_with_retries(self, method: str, url: str, **options: Any) -> httpx.Response:
        deadline = self._clock.monotonic() + MAX_SIGN_IN_WAIT
        return retrying(self._clock, deadline)(self._send_once, method, url, **options)

    def _send_once(self, method: str, url: str, **options: Any) -> httpx.Response:
        request = self._http.build_request(method, url, **options)
        response = send_mapping_errors(self._http, request, setting="HUNTER_PARTNER_CENTER_AUTHORITY")
        raise_for_transient_status(response, self._clock)
        try:
            json.loads(response.text)
        except ValueError:
            raise Unreachable(
                f"{response.url.host} answered {response.status_code} with something other than JSON. A "
                "proxy or the network's own sign-in page may stand in between; then try again.",
                status=response.status_code,
            ) from None
        return response


def send_mapping_errors(http: httpx.Client, request: httpx.Request, *, setting: str) -> httpx.Response:
    """Send once and return the whole answer, whatever its status; raise Unreachable when there is none.

    `setting` is the variable that names the host, for the message. Only for a certificate that is not trusted the error
    is not transient.
    """
    host = request.url.host
    try:
        return http.send(request)
    except httpx.RequestError as error:
        if _is_untrusted_certificate(error):
            raise Unreachable(
                f"The certificate of {host} is not trusted. Where a proxy opens TLS, and for the local "
                "Microsoft, name the CA file in HUNTER_PARTNER_CENTER_CA_BUNDLE.",
                transient=False,
            ) from error
        raise Unreachable(
            f"{host} cannot be reached, or broke off its answer ({type(error).__name__}). Check the "
            f"network and {setting}, then try again."
        ) from error


def raise_for_transient_status(response: httpx.Response, clock: Clock) -> None:
    """Raise Throttled for 429 and 509, and Unreachable for 408 and 5xx without 501, 505 and 507, which would repeat.

    The error has the seconds of `Retry-After`. Source: partner_center_api.md, section 4.
    """
    status = response.status_code
    if status not in _THROTTLED and (status in _PERMANENT or not (status == 408 or status >= 500)):
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


def _is_untrusted_certificate(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
