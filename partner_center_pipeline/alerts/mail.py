"""Sending one message by SMTP, over TLS whose certificate is checked. Not here: what it says (`operator_messages`)."""

import logging
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from threading import Timer
from typing import Final

from partner_center_pipeline.alerts.teams import Failed
from partner_center_pipeline.partner_center.http import tls_context
from partner_center_pipeline.settings import MailSecurity, Settings, SettingsError

SERVER: Final = "HUNTER_SMTP_SERVER"
_TO: Final = "HUNTER_OPERATORS_MAIL_TO"

ANSWER_SECONDS: Final = 15.0
"""Seconds that one answer of the server may take."""

MAIL_SECONDS: Final = 45.0
"""Seconds after which the connection is broken off, whatever was sent by then."""

_log = logging.getLogger(__name__)

_PORTS: Final = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465}


class MailServer:
    """The mail server that HUNTER_SMTP_SERVER names, and to whom mails go."""

    def __init__(self, settings: Settings) -> None:
        """Read the settings; nothing is asked. Raises SettingsError for one that is missing or cannot be used."""
        missing = {
            SERVER: settings.smtp_server,
            "HUNTER_OPERATORS_MAIL_FROM": settings.operators_mail_from,
            _TO: settings.operators_mail_to,
        }
        for variable, value in missing.items():
            if not value:
                raise SettingsError(variable, "is not set, so no mail is sent to operators (docs/alerts.md)")
        if settings.smtp_password is not None and settings.smtp_user is None:
            raise SettingsError("HUNTER_SMTP_USER", "is not set, and HUNTER_SMTP_PASSWORD is")
        assert settings.smtp_server is not None  # noqa: S101  mypy does not see it above
        self.host, port = settings.smtp_server
        self._port: Final = port or _PORTS[settings.smtp_security]
        self._security: Final = settings.smtp_security
        self._user: Final = settings.smtp_user
        self._password: Final = settings.smtp_password
        self._sender: Final = settings.operators_mail_from or ""
        self._to: Final = settings.operators_mail_to
        self._context: Final = tls_context(settings)

    def send(self, message: EmailMessage) -> Failed | None:
        """Send a message once; return None when the server took it for everybody, else why it did not.

        The reason names the host and no address. A server without TLS is told nothing.
        """
        message["From"] = self._sender
        message["To"] = ", ".join(self._to)
        try:
            with self._connected() as server:
                refused = server.send_message(message)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            return Failed(f"{self.host} {self._why(error)}.")
        if refused:
            codes = ", ".join(sorted({str(code) for code, _ in refused.values()}))
            _log.warning(
                "%s took the mail, but not for %d of %d recipients (SMTP %s). Check %s",
                self.host, len(refused), len(self._to), codes, _TO,
            )  # fmt: skip
        return None

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        myself = self._sender.partition("@")[
            2
        ]  # smtplib would ask DNS for this machine's name, for as long as it takes
        if self._security is MailSecurity.TLS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                local_hostname=myself, timeout=ANSWER_SECONDS, context=self._context
            )
        else:
            server = smtplib.SMTP(local_hostname=myself, timeout=ANSWER_SECONDS)
        limit = Timer(MAIL_SECONDS, _break_off, (server,))
        limit.daemon = True
        limit.start()
        try:
            # The class takes the name that the certificate is checked against when it connects by itself only.
            server._host = self.host  # type: ignore[attr-defined]
            code, said = server.connect(self.host, self._port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, said)
            if self._security is MailSecurity.STARTTLS:
                server.starttls(context=self._context)
            if self._user is not None:
                server.login(self._user, "" if self._password is None else self._password.get_secret_value())
            yield server
            with suppress(OSError, smtplib.SMTPException):  # the message was taken; how the server leaves is its affair
                server.quit()
        finally:
            limit.cancel()
            server.close()

    def _why(self, error: OSError | UnicodeError) -> str:
        if isinstance(error.__context__, TimeoutError):  # smtplib tells it as a connection that was closed
            error = error.__context__
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    "has a certificate that is not trusted; no mail was sent. Name the CA file of your own mail server "
                    "in HUNTER_PARTNER_CENTER_CA_BUNDLE"
                )
            case smtplib.SMTPNotSupportedError():
                return (
                    "offers no STARTTLS, or no sign-in; no mail was sent. Check HUNTER_SMTP_SECURITY and "
                    "HUNTER_SMTP_USER"
                )
            case smtplib.SMTPAuthenticationError():
                return f"refuses the sign-in (SMTP {error.smtp_code}). Check HUNTER_SMTP_USER and HUNTER_SMTP_PASSWORD"
            case smtplib.SMTPRecipientsRefused():
                codes = sorted({code for code, _ in error.recipients.values()})
                return f"refuses the recipients (SMTP {', '.join(map(str, codes))}). Check {_TO}"
            case smtplib.SMTPSenderRefused():
                return f"refuses the sender (SMTP {error.smtp_code}). Check HUNTER_OPERATORS_MAIL_FROM"
            case smtplib.SMTPResponseException():
                return f"did not take the message (SMTP {error.smtp_code})"
            case ssl.SSLError():
                return "speaks no TLS there. Check HUNTER_SMTP_SECURITY and the port"
            case TimeoutError():
                return f"did not answer within {ANSWER_SECONDS:.0f} s. Check the network and {SERVER}"
            case ConnectionRefusedError():
                return f"cannot be reached (connection refused). Check {SERVER}"
            case socket.gaierror() | UnicodeError():
                return f"cannot be reached (its name has no address). Check {SERVER}"
            case _:
                return f"broke off ({type(error).__name__}). Check the network and {SERVER}"


def _break_off(server: smtplib.SMTP) -> None:
    with suppress(OSError, AttributeError):
        server.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
