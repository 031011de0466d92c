"""A company's proxy on loopback: it takes CONNECT, opens TLS with certificates of its own, and asks the simulator."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import trustme

from partner_center_simulator import Simulator

HOST = "partner.example.com"
"""What the pipeline asks for. No name server knows it: only the proxy gets there."""


@dataclass
class Proxy:
    """A running proxy."""

    url: str
    ca: Path
    """Whom to trust: the proxy, and the simulator where it is asked directly."""
    asked: list[str] = field(default_factory=list)
    """The targets of CONNECT."""

    def environment(self) -> dict[str, str]:
        """The settings by which the Referrals API is asked through it; the sign-in is at the simulator itself."""
        return {
            "HUNTER_PARTNER_CENTER_BASE_URL": f"https://{HOST}",
            "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(self.ca),
            "HTTPS_PROXY": self.url,
        }


@contextmanager
def running_proxy(simulator: Simulator, folder: Path) -> Iterator[Proxy]:
    """Run a proxy in front of a simulator."""
    authority = trustme.CA()
    ca = folder / "proxy_ca.pem"
    ca.write_bytes(authority.cert_pem.bytes() + simulator.ca_bundle.read_bytes())
    inner = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(inner)
    outer = ssl.create_default_context(cafile=simulator.ca_bundle)
    port = int(simulator.base_url.rpartition(":")[2])

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            method, target, *_ = self.rfile.readline().decode().split()
            while self.rfile.readline().strip():
                pass
            assert method == "CONNECT"
            proxy.asked.append(target)
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with (
                suppress(OSError),
                inner.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port)) as connection,
                outer.wrap_socket(connection, server_hostname="localhost") as server,
            ):
                _relay(client, server)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", ca)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()


def _relay(client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    """Send what comes from each side to the other, until one of them ends.

    In one thread: OpenSSL allows no other thread to write to a connection while one waits for what comes from it.
    """
    others = {client: server, server: client}
    while True:
        ready = [source for source in others if source.pending()] or select.select(list(others), [], [])[0]
        for source in ready:
            source.setblocking(False)
            try:
                part = source.recv(65536)
            except ssl.SSLWantReadError:  # a part of a record, or a session ticket
                continue
            finally:
                source.setblocking(True)
            if not part:
                return
            others[source].sendall(part)
