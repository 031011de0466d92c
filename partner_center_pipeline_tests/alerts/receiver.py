"""A receiver of messages as a Teams Workflows webhook: real HTTPS on loopback, with answers that a test plans."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

PATH = "/workflows/0a1b2c/triggers/manual/paths/invoke"
SECRET = "sig=very-secret-signature"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver answers, and how many seconds it takes."""

    status: int = 202
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came, whatever was answered."""

    path: str
    id: str | None
    body: dict[str, Any]
    size: int

    @property
    def texts(self) -> list[str]:
        """Each text of the card, in order."""
        card = self.body["attachments"][0]["content"]
        return [run["text"] for block in card["body"] for run in block["inlines"]]


@dataclass
class Receiver:
    """A running receiver. It takes every message (202) unless answers are planned."""

    port: int
    ca: Path
    received: list[Received] = field(default_factory=list)
    planned: "deque[Answer]" = field(default_factory=deque)
    released: threading.Event = field(default_factory=threading.Event)
    """Set to end the waiting of answers that take their time."""

    @property
    def url(self) -> str:
        """The address of the webhook, with what nobody may see."""
        return f"https://localhost:{self.port}{PATH}?api-version=1&{SECRET}"

    def at(self, path: str) -> str:
        """Another address of the receiver, with what nobody may see."""
        return f"https://localhost:{self.port}{path}?{SECRET}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which it is told to."""
        return {
            "HUNTER_PARTNER_CENTER_ENABLED": "true",
            "HUNTER_TEAMS_WEBHOOK_URL": self.url,
            "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(self.ca),
        }

    @property
    def ids(self) -> list[str | None]:
        """The id of each message that came."""
        return [one.id for one in self.received]

    def plan(self, *answers: Answer) -> None:
        """Answer the next messages so."""
        self.planned.extend(answers)

    def forget(self) -> None:
        """Begin anew."""
        self.released.set()
        self.released = threading.Event()
        self.received.clear()
        self.planned.clear()


@contextmanager
def running(folder: Path, authority: trustme.CA | None = None) -> Iterator[Receiver]:
    """Run a receiver with a certificate of an authority of its own, unless one is given."""
    authority = authority or trustme.CA()
    authority.cert_pem.write_to_path(folder / "receiver-ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
            body = json.loads(raw) if raw else {}
            receiver.received.append(Received(self.path, self.headers["Idempotency-Key"], body, len(raw)))
            answer = receiver.planned.popleft() if receiver.planned else Answer()
            if answer.seconds:
                receiver.released.wait(answer.seconds)
            self.send_response(answer.status)
            for name, value in (*answer.headers, ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: a client that does not trust the certificate breaks off."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1], folder / "receiver-ca.pem")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join()
