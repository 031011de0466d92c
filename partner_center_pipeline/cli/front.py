"""What stands before Dagster's webserver, which has no sign-in and takes mutations by GET from any page.

`Front` is an ASGI application around Dagster's: it lets a request through when a browser shows the UI's own page to a
person who signed in, and refuses it otherwise. `refusal` holds the rules. Not here: who starts it (`cli.serving`).
"""

import asyncio
import hmac
import html
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

SIGN_IN: Final = "/sign-in"
_GRAPHQL: Final = "graphql"
_CODE_LASTS: Final = 24 * 3600.0
"""Seconds in which a link may be opened."""
_SESSION_LASTS: Final = 30 * 24 * 3600.0
"""Seconds after which a browser signs in anew, if the server runs that long."""
_FORM_BYTES: Final = 4096
_WRONG_PASSWORDS: Final = 10
_WRONG_WITHIN: Final = 60.0
"""So many wrong passwords in so many seconds, and none is looked at until the first of them is older."""
_ADDED: Final = {
    "X-Frame-Options": "SAMEORIGIN",  # a page around the UI would lead a person's clicks
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides on a request, as the client sent it; `None` for a header that is not there.

    method      the HTTP method, or `WEBSOCKET`
    path        decoded
    has_query   whether the address has the parameter `query`, by which Dagster takes GraphQL
    hosts       every value of the header Host
    """

    method: str
    path: str
    has_query: bool
    hosts: tuple[str, ...]
    origin: str | None
    content_type: str
    fetch_site: str | None
    fetch_mode: str | None
    fetch_dest: str | None

    @classmethod
    def of(cls, scope: Scope) -> "Asked":
        """Take what decides from an ASGI scope."""
        headers = Headers(scope=scope)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        return cls(
            method="WEBSOCKET" if scope["type"] == "websocket" else scope["method"],
            path=scope["path"],
            has_query="query" in query,
            hosts=tuple(headers.getlist("host")),
            origin=headers.get("origin"),
            content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
            fetch_site=headers.get("sec-fetch-site"),
            fetch_mode=headers.get("sec-fetch-mode"),
            fetch_dest=headers.get("sec-fetch-dest"),
        )


@dataclass(frozen=True, slots=True)
class Hosts:
    """By which names a browser may ask for the UI.

    An address in numbers cannot be made to point here by a stranger's name server, so those of this machine count
    always, and others where the UI is open to other machines.
    """

    names: frozenset[str] = frozenset()
    is_remote: bool = False

    def allow(self, host: str) -> bool:
        """Say whether the UI may be asked for by this value of the header Host."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.is_remote


def refusal(asked: Asked, hosts: Hosts) -> tuple[HTTPStatus, str] | None:
    """Return with which status and for which reason a request is refused whoever asks; None lets it go on."""
    if len(asked.hosts) != 1 or not hosts.allow(asked.hosts[0]):
        return HTTPStatus.MISDIRECTED_REQUEST, (
            "This UI is not asked for by this name. Open the link that `partner-center ui` printed; "
            "`partner-center ui --name NAME` lets browsers use another name."
        )
    if asked.origin is not None and not _is_own(asked.origin, asked.hosts[0]):
        return HTTPStatus.FORBIDDEN, "A page of another origin may not use this UI."
    is_page = (asked.method, asked.fetch_mode, asked.fetch_dest) == ("GET", "navigate", "document")
    if asked.fetch_site not in (None, "same-origin", "none") and not is_page:
        return HTTPStatus.FORBIDDEN, "A page of another origin may not use this UI."
    if asked.method == "POST":
        wanted = "application/x-www-form-urlencoded" if asked.path == SIGN_IN else "application/json"
        if asked.content_type != wanted:
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"POST is taken with Content-Type: {wanted} only."
    elif asked.method not in ("GET", "HEAD", "WEBSOCKET"):
        return HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD and POST are taken."
    elif asked.method != "WEBSOCKET" and asked.has_query and asked.path.strip("/") == _GRAPHQL:
        return HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is taken by POST with Content-Type: application/json only."
    return None


def _is_own(origin: str, host: str) -> bool:
    """Say whether an Origin is that of the page itself. A proxy may have taken TLS off, so both schemes count."""
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def new_code(folder: Path, clock: Callable[[], float] = time.time) -> str:
    """Make a code that signs a browser in once, and return it. `folder` keeps its digest until it is used."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in folder.iterdir():
        if file.stat().st_mtime < clock() - _CODE_LASTS:
            file.unlink(missing_ok=True)
    code = secrets.token_urlsafe(24)
    (folder / _digest(code)).touch(mode=0o600)
    return code


def use_code(folder: Path, code: str, clock: Callable[[], float] = time.time) -> bool:
    """Say whether a code is good, and let it be so no more."""
    file = folder / _digest(code)
    try:
        made = file.stat().st_mtime
        file.unlink()  # of two that use it at once, one finds no file
    except FileNotFoundError:
        return False
    return clock() - made < _CODE_LASTS


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class SignIn:
    """Who is signed in: browsers by a cookie, programs by the password as a bearer token.

    codes       the folder of the codes that links hold
    password    None: links only
    cookie      its name, which holds the port: browsers send cookies to each port of a machine
    """

    codes: Path
    password: str | None
    cookie: str
    clock: Callable[[], float] = time.monotonic
    _sessions: dict[str, float] = field(default_factory=dict)
    _wrong: list[float] = field(default_factory=list)

    def begin(self) -> str:
        """Begin a session and return what the cookie holds."""
        now = self.clock()
        self._sessions = {session: ends for session, ends in self._sessions.items() if ends > now}
        session = secrets.token_urlsafe(32)
        self._sessions[session] = now + _SESSION_LASTS
        return session

    def has_session(self, cookies: Mapping[str, str]) -> bool:
        """Say whether these cookies hold a session."""
        return self._sessions.get(cookies.get(self.cookie, ""), 0.0) > self.clock()

    def is_locked(self) -> bool:
        """Say whether too many wrong passwords came just now."""
        self._wrong = [at for at in self._wrong if at > self.clock() - _WRONG_WITHIN]
        return len(self._wrong) >= _WRONG_PASSWORDS

    def is_password(self, given: str) -> bool:
        """Say whether this is the password; none is right while `is_locked`."""
        if self.password is None or self.is_locked():
            return False
        if hmac.compare_digest(given.encode(), self.password.encode()):
            return True
        self._wrong.append(self.clock())
        return False


@dataclass(frozen=True, slots=True)
class Front:
    """The ASGI application before Dagster's (`app`)."""

    app: ASGIApp
    hosts: Hosts
    sign_in: SignIn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it to Dagster."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)  # before it was accepted: the client reads 403
        else:
            await answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to a request that Dagster shall not see, or None."""
        asked = Asked.of(scope)
        refused = refusal(asked, self.hosts)
        if refused is not None:
            return PlainTextResponse(f"{refused[1]}\n", refused[0])
        if asked.path == SIGN_IN and asked.method != "WEBSOCKET":
            return await self._sign_in(Request(scope, receive))
        connection = HTTPConnection(scope)
        kind, _, token = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.sign_in.password is not None:
            if self.sign_in.is_password(token.strip()):
                return None
            return self._wrong_password(PlainTextResponse("The token is not the password of this UI.\n", 401))
        if not self.sign_in.has_session(connection.cookies):
            return self._page(asked, HTTPStatus.UNAUTHORIZED, "You are not signed in to this UI.")
        if asked.method in ("POST", "WEBSOCKET") and asked.origin is None:
            return PlainTextResponse("With a cookie, the header Origin is needed: browsers send it.\n", 403)
        return None

    async def _sign_in(self, request: Request) -> Response:
        asked = Asked.of(request.scope)
        if request.method == "POST":
            form = parse_qs((await _body(request)).decode("utf-8", "replace"))
            if asked.origin is None or not self.sign_in.is_password(form.get("password", [""])[0]):
                await asyncio.sleep(0.5)
                page = self._page(asked, HTTPStatus.FORBIDDEN, "This is not the password.")
                return self._wrong_password(page)
            return self._signed_in(request)
        code = request.query_params.get("code", "")
        if request.method == "GET" and code and use_code(self.sign_in.codes, code):
            return self._signed_in(request)
        if self.sign_in.has_session(request.cookies):
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        said = "This link was used already, or is older than a day." if code else "You are not signed in to this UI."
        return self._page(asked, HTTPStatus.FORBIDDEN, said)

    def _signed_in(self, request: Request) -> Response:
        # A page that goes on by itself, no redirect: the chain of a redirect begins where the link was clicked, and
        # from there the browser would not send a cookie that is `SameSite=Strict`.
        page = _html("You are signed in", '<p><a href="/">Go on to the UI</a></p>', goes_on=True)
        page.set_cookie(
            self.sign_in.cookie,
            self.sign_in.begin(),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return page

    def _wrong_password(self, answer: Response) -> Response:
        if not self.sign_in.is_locked():
            return answer
        said = "Too many wrong passwords came. Try again in a minute, or use a link of `partner-center ui --link`.\n"
        return PlainTextResponse(said, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": f"{_WRONG_WITHIN:.0f}"})

    def _page(self, asked: Asked, status: HTTPStatus, said: str) -> Response:
        """Say how to sign in."""
        body = f"<p>{html.escape(said)} Run this on the machine of the UI, and open the link that it prints:</p>"
        body += "<pre>partner-center ui --link</pre>"
        if self.sign_in.password is not None:
            body += (
                f'<form method="post" action="{SIGN_IN}"><p>Or give the password (HUNTER_UI_PASSWORD): '
                '<input type="password" name="password" autocomplete="current-password" required> '
                "<button>Sign in</button></p></form>"
            )
        if asked.method == "GET" and asked.path != SIGN_IN:
            # A link of another page brings no `SameSite=Strict` cookie; one of this page does.
            here = html.escape("/" + asked.path.lstrip("/"))
            body += f'<p>You did sign in, and came by a link of another page? <a href="{here}">Go on</a></p>'
        return _html("Sign in", body, status)


def _html(title: str, body: str, status: HTTPStatus = HTTPStatus.OK, *, goes_on: bool = False) -> Response:
    refresh = '<meta http-equiv="refresh" content="0; url=/">' if goes_on else ""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{refresh}</head>'
        f'<body style="font-family: sans-serif; max-width: 44em; margin: 3em auto"><h1>{title}</h1>{body}</body>'
        "</html>",
        status,
        {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
            "frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        },
    )


async def _body(request: Request) -> bytes:
    """Return the body of a form, as far as one of ours is long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            break
    return body[:_FORM_BYTES]


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ADDED.items():
                headers[name] = value
        await send(message)

    return sending


def names_of(given: Collection[str]) -> frozenset[str]:
    """Return names as `Hosts` compares them."""
    return frozenset(name.strip().lower().rstrip(".") for name in given)
