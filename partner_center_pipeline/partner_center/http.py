"""The one HTTP client of a process: TLS context, timeouts, limits, and the adapter through which MSAL sends.

httpx limits the time of each read only, so an answer of one byte a second would never end. Here the whole answer has a
limit, from the connection to the last byte of the body, and so has its size.

Not here: what is asked (`client`, `sign_in`).
"""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import httpx

from partner_center_pipeline.partner_center.clock import Clock, SystemClock
from partner_center_pipeline.partner_center.errors import NotConnected, Throttled, Unreachable
from partner_center_pipeline.partner_center.odata import http_date, retry_after
from partner_center_pipeline.partner_center.retry import retrying
from partner_center_pipeline.settings import Settings, SettingsError, use_proxy_of_env_files

USER_AGENT: Final = f"partner-center-pipeline/{version('partner-center-pipeline')}"
TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""Seconds. A server may need a while for a page of 1,000 referrals, but not for a connection."""

ANSWER_SECONDS: Final = 120.0
"""Seconds that one answer may take, from the connection to the last byte, however steadily it comes."""

AT_ONCE_SECONDS: Final = 5.0
"""Seconds that an answer may take which is asked for after a run's deadline: a call that succeeds at once is made."""

LARGEST_ANSWER: Final = 64 << 20
"""Bytes of an answer, unpacked; a page of 1,000 referrals has about 1.5 MB."""

MAX_SIGN_IN_WAIT: Final = 60.0
"""Seconds that one sign-in request may wait between tries, all pauses together."""

_LIMITS: Final = httpx.Limits(max_connections=8, max_keepalive_connections=4)
_THROTTLED: Final = (429, 509)
_PERMANENT: Final = (501, 505, 507)
_OF_TRANSFER: Final = ("content-encoding", "transfer-encoding", "content-length")
"""Headers about the body as it was sent, not as it is unpacked."""
_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@dataclass(frozen=True, slots=True)
class Service:
    """Who is asked: its name in messages, and the setting that says where it is."""

    name: str
    setting: str


PARTNER_CENTER: Final = Service("Partner Center", "HUNTER_PARTNER_CENTER_BASE_URL")
SIGN_IN: Final = Service("Microsoft's sign-in service", "HUNTER_PARTNER_CENTER_AUTHORITY")


class AnswerTooSlow(httpx.RequestError):
    """The answer was not whole in time. `seconds`: how long it had."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the answer was not whole after {seconds:.0f} s")
        self.seconds = seconds


class AnswerTooLarge(httpx.RequestError):
    """The answer has more than LARGEST_ANSWER bytes."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """How long the present thread may take over answers: from `begun` to `ends` (seconds of `time.monotonic()`)."""

    begun: float
    ends: float

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends


_limit: Final[ContextVar[_Limit | None]] = ContextVar("limit of the present answer", default=None)


@contextmanager
def answered_within(seconds: float) -> Iterator[_Limit]:
    """Let no answer that is asked for in the block take longer than `seconds` from now, nor than a block around allows.

    The limit counts for the thread of the block, which also reads the answers.
    """
    now, outer = time.monotonic(), _limit.get()
    limit = _Limit(now, now + seconds)
    if outer is not None and outer.ends < limit.ends:
        limit = outer
    token = _limit.set(limit)
    try:
        yield limit
    finally:
        _limit.reset(token)


class _TimedSocket(ssl.SSLSocket):
    """A TLS socket on which no read and no write goes on after the limit of the present answer.

    httpcore sets a timeout before each read, and each byte that comes starts it anew. A TLS connection inside that to
    an https:// proxy is made without this class, so an answer through such a proxy has the timeouts of `TIMEOUT` only.
    """

    def recv(self, *arguments: Any, **options: Any) -> bytes:
        self._shorten_timeout()
        return super().recv(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:
        self._shorten_timeout()
        return super().send(*arguments, **options)

    def _shorten_timeout(self) -> None:
        limit = _limit.get()
        if limit is None:
            return
        left = limit.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        timeout = self.gettimeout()
        if timeout is None or timeout > left:
            self.settimeout(left)


class _Client(httpx.Client):
    """An httpx client whose answers are whole in ANSWER_SECONDS and have at most LARGEST_ANSWER bytes."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send, and return the whole answer. Raises AnswerTooSlow, AnswerTooLarge and httpx.RequestError."""
        with answered_within(ANSWER_SECONDS) as limit:
            try:
                response = super().send(request, **{**options, "stream": True})
                try:
                    body = _read_body(response)
                finally:
                    response.close()
            except httpx.TimeoutException as error:
                if not limit.is_over:
                    raise
                raise AnswerTooSlow(limit.ends - limit.begun) from error
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_TRANSFER]
        return httpx.Response(response.status_code, headers=headers, content=body, request=request)


def _read_body(response: httpx.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise AnswerTooLarge(f"the answer has more than {LARGEST_ANSWER:,} bytes")
        parts.append(part)
    return b"".join(parts)


def build_http(settings: Settings) -> httpx.Client:
    """Return a new client; the caller closes it.

    It obeys HTTPS_PROXY and NO_PROXY (`trust_env`) of `.env` and the environment, which many companies need. The TLS
    context is made here, so that SSL_CERT_FILE, SSL_CERT_DIR and REQUESTS_CA_BUNDLE do not change whom the pipeline
    trusts: the certificates in HUNTER_PARTNER_CENTER_CA_BUNDLE alone, or certifi's when it is not set. Redirects are
    not followed, because a token is sent with the request. Raises SettingsError when HUNTER_PARTNER_CENTER_CA_BUNDLE
    cannot be read, or a proxy's address cannot be used.
    """
    use_proxy_of_env_files()
    context = tls_context(settings)
    context.sslsocket_class = _TimedSocket
    try:
        return _Client(
            verify=context,
            timeout=TIMEOUT,
            limits=_LIMITS,
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT},
            # A proxy cannot reach this machine's loopback address, where the simulator listens.
            mounts={pattern: httpx.HTTPTransport(verify=context, limits=_LIMITS) for pattern in _LOOPBACK},
        )
    except (ValueError, ImportError, httpx.InvalidURL):  # not quoted: it may hold a password
        raise SettingsError(
            "HTTPS_PROXY",
            "this, HTTP_PROXY, ALL_PROXY or NO_PROXY is no address that can be used; a proxy is written like "
            "http://proxy.example.com:8080",
        ) from None


def tls_context(settings: Settings) -> ssl.SSLContext:
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
    answers that are not JSON. Raises Unreachable or Throttled when that does not help within `wait` seconds,
    `MAX_SIGN_IN_WAIT` if not given. Without `retries` the caller tries again, which then knows until when; an answer
    still has those seconds.
    """

    def __init__(
        self, http: httpx.Client, clock: Clock | None = None, wait: float | None = None, *, retries: bool = True
    ) -> None:
        self._http = http
        self._clock = clock or SystemClock()
        self._wait = wait
        self._retries = retries

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
        deadline = self._clock.monotonic() + min(MAX_SIGN_IN_WAIT, self._wait or MAX_SIGN_IN_WAIT)
        if not self._retries:
            return self._send_before(deadline, method, url, **options)
        return retrying(self._clock, deadline)(self._send_before, deadline, method, url, **options)

    def _send_before(self, deadline: float, method: str, url: str, **options: Any) -> httpx.Response:
        with answered_within(max(deadline - self._clock.monotonic(), AT_ONCE_SECONDS)):
            return self._send_once(method, url, **options)

    def _send_once(self, method: str, url: str, **options: Any) -> httpx.Response:
        request = self._http.build_request(method, url, **options)
        response = send_mapping_errors(self._http, request, SIGN_IN)
        raise_for_transient_status(response, self._clock, SIGN_IN)
        try:
            json.loads(response.text)
        except ValueError:
            raise Unreachable(
                f"{SIGN_IN.name} answered {response.status_code} with something other than JSON. A proxy or the "
                f"network's own sign-in page may stand in between ({response.url.host}); then try again.",
                status=response.status_code,
            ) from None
        return response


def send_mapping_errors(http: httpx.Client, request: httpx.Request, service: Service) -> httpx.Response:
    """Send once and return the whole answer, whatever its status; raise Unreachable when there is none.

    The error is not transient for a certificate that is not trusted and for an answer that is too large.
    """
    name, where = service.name, f"{service.setting} ({request.url.host})"
    try:
        return http.send(request)
    except AnswerTooSlow as error:
        raise Unreachable(
            f"{name} had not sent its whole answer after {error.seconds:.0f} s, and was not waited for any longer. The "
            "server or something on the way is very slow. Check the network, then try again."
        ) from error
    except AnswerTooLarge as error:
        raise Unreachable(
            f"{name} sent more than {LARGEST_ANSWER:,} bytes in one answer, which is not what was asked for; the rest "
            f"was not read. Look for a proxy in between, and check {where}.",
            transient=False,
        ) from error
    except httpx.RequestError as error:
        if _caused_by(error, ssl.SSLCertVerificationError):
            raise Unreachable(
                f"The certificate of {request.url.host} is not trusted. Where a proxy opens TLS, and for the local "
                "Microsoft, name the CA file in HUNTER_PARTNER_CENTER_CA_BUNDLE.",
                transient=False,
            ) from error
        kind = NotConnected if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else Unreachable
        raise kind(f"{name} {_how_it_failed(error)}. Check the network and {where}, then try again.") from error


def _how_it_failed(error: httpx.RequestError) -> str:
    match error:
        case httpx.ConnectTimeout():
            return f"cannot be reached (no connection within {TIMEOUT.connect:.0f} s)"
        case httpx.ConnectError() if _caused_by(error, ConnectionRefusedError):
            return "cannot be reached (connection refused)"
        case httpx.ConnectError() if _caused_by(error, socket.gaierror):
            return "cannot be reached (its name has no address)"
        case httpx.ConnectError() | httpx.ProxyError():
            return f"cannot be reached ({type(error).__name__})"
        case httpx.TimeoutException():
            return f"did not answer ({type(error).__name__})"
        case _:
            return f"broke off the connection ({type(error).__name__})"


def raise_for_transient_status(response: httpx.Response, clock: Clock, service: Service) -> None:
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
        f"{service.name} {what} (HTTP {status}){asked}. Nothing is to be done but to try again later.",
        status=status,
        request_id=response.headers.get("request-id"),
        retry_after=seconds,
    )


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
