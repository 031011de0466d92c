"""A mail server on loopback: real SMTP with STARTTLS or TLS, a sign-in, and answers that a test plans."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from partner_center_pipeline_tests.cli.commands import free_port

USER = "pipeline"
PASSWORD = "very-secret-mail-password"
OPERATOR = "operator@example.com"


@dataclass
class Mailbox:
    """A running mail server, and what it took. It takes each mail unless an answer is planned."""

    ca: Path
    port: int = 0
    is_tls: bool = False
    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Recipients that are not taken."""
    answers: list[str] = field(default_factory=list)
    """What is answered to the next mails, after they were received."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which it is told to."""
        return {
            "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(self.ca),
            "HUNTER_OPERATORS_MAIL_TO": OPERATOR,
            "HUNTER_OPERATORS_MAIL_FROM": "pipeline@example.com",
            "HUNTER_SMTP_SERVER": f"localhost:{self.port}",
            "HUNTER_SMTP_SECURITY": "tls" if self.is_tls else "starttls",
            "HUNTER_SMTP_USER": USER,
            "HUNTER_SMTP_PASSWORD": PASSWORD,
        }

    @property
    def ids(self) -> list[str]:
        """The id of each mail that came, from before it was taken."""
        return [str(mail["Message-ID"]).strip("<>").partition("@")[0] for mail in self.received]

    def forget(self) -> None:
        """Begin anew."""
        for kept in (self.received, self.recipients, self.refused, self.answers):
            kept.clear()


class _Handler:
    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    async def handle_RCPT(  # noqa: N802  aiosmtpd looks for this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.mailbox.refused:
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert server.transport is not None
        assert server.transport.get_extra_info("ssl_object"), "a mail came without TLS"
        assert isinstance(envelope.content, bytes)
        self.mailbox.received.append(message_from_bytes(envelope.content, policy=policy.default))
        self.mailbox.recipients.append(list(envelope.rcpt_tos))
        return self.mailbox.answers.pop(0) if self.mailbox.answers else "250 OK"


def _signed_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known, handled=known)


@contextmanager
def running_mailbox(authority: trustme.CA, ca: Path, *, is_tls: bool) -> Iterator[Mailbox]:
    """Run a mail server whose certificate is of this authority, whose own is in the file `ca`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    mailbox = Mailbox(ca, is_tls=is_tls)
    options: dict[str, Any] = {"authenticator": _signed_in, "hostname": "127.0.0.1", "port": free_port()}
    if is_tls:
        options |= {"ssl_context": context, "auth_require_tls": False}
    else:
        options |= {"tls_context": context, "require_starttls": True, "auth_required": True}
    controller = Controller(_Handler(mailbox), **options)
    controller.start()
    try:
        mailbox.port = controller.port
        yield mailbox
    finally:
        controller.stop()
