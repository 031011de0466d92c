"""A listener on 127.0.0.1 for the browser that comes back from Microsoft's sign-in page (RFC 8252, section 7.3).

MSAL has one, too, but inside a container that one listens on every network interface. Not here: what is asked, and what
is done with the answer (`sign_in`).
"""

import hmac
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, Self
from urllib.parse import parse_qs

_MAX_BYTES: Final = 65_536
_SECONDS_PER_REQUEST: Final = 10.0
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Partner Center pipeline</title>
<h1>{title}</h1><p>{text}</p></html>"""


class Loopback:
    """A listener for one sign-in, until the `with` block ends. The answer is a form post that contains `state`."""

    def __init__(self, state: str) -> None:
        self._answers: SimpleQueue[dict[str, str]] = SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state, self._answers))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """The port that the operating system chose."""
        return self._server.server_port

    @property
    def redirect_uri(self) -> str:
        """Where Microsoft sends the browser. For http://localhost Entra accepts any port."""
        return f"http://localhost:{self.port}"

    def answer(self, seconds: float) -> dict[str, str] | None:
        """Return the fields of the answer, with `code` or `error`; None when none came within `seconds`."""
        try:
            return self._answers.get(timeout=seconds)
        except Empty:
            return None


def _handler(state: str, answers: "SimpleQueue[dict[str, str]]") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS_PER_REQUEST

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _MAX_BYTES:
                return self._show(HTTPStatus.BAD_REQUEST, "Nothing to see here", "This is no answer from Microsoft.")
            fields = {name: values[0] for name, values in parse_qs(self.rfile.read(int(length)).decode()).items()}
            state_fits = hmac.compare_digest(fields.get("state", "").encode(), state.encode())
            if not state_fits or not fields.keys() & {"code", "error"}:
                return self._show(HTTPStatus.BAD_REQUEST, "Nothing to see here", "This answer is not for this sign-in.")
            if "code" in fields:
                self._show(HTTPStatus.OK, "Almost done", "You can close this window; the terminal says how it went.")
            else:
                self._show(HTTPStatus.OK, "Not signed in", "You can close this window; the terminal says why.")
            return answers.put(fields)

        def do_GET(self) -> None:
            self._show(HTTPStatus.NOT_FOUND, "Nothing to see here", "Only Microsoft's sign-in page leads here.")

        def _show(self, status: HTTPStatus, title: str, text: str) -> None:
            page = _PAGE.format(title=title, text=text).encode()
            with suppress(ConnectionError):  # the window was closed already
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Log nothing: a browser also asks for icons."""

    return Handler
