"""A mail to operators over real SMTP: with TLS and a checked certificate or not at all, and what a refusal says."""

import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import trustme

from partner_center_pipeline.alerts import mail as sending
from partner_center_pipeline.alerts.mail import MailServer
from partner_center_pipeline.alerts.operator_messages import Changed, Message, mail
from partner_center_pipeline.alerts.teams import Failed
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse.outbox import Change
from partner_center_pipeline_tests.alerts.mailbox import OPERATOR, PASSWORD, Mailbox, running_mailbox
from partner_center_pipeline_tests.alerts.receiver import Receiver
from partner_center_pipeline_tests.cli.commands import free_port

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
CHANGED = Changed("disk", Change.RAISED, "warning", "1.5 GB free at /srv\r\nBcc: x@example.com", NOW, NOW)
MESSAGE = Message([CHANGED], "00000000-0000-5000-8000-000000000002", "a-machine")


@pytest.fixture
def variables(home: object, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    for name, value in mailbox.environment.items():
        monkeypatch.setenv(name, value)
    return mailbox


@pytest.fixture(scope="module")
def tls_mailbox(authority: trustme.CA, running_receiver: Receiver) -> Iterator[Mailbox]:
    with running_mailbox(authority, running_receiver.ca, is_tls=True) as mailbox:
        yield mailbox


def send(language: str = "en") -> Failed | None:
    return MailServer(Settings.load()).send(mail(MESSAGE, Texts(language), NOW))


def failure(language: str = "en") -> str:
    failed = send(language)
    assert failed is not None
    for secret in (PASSWORD, OPERATOR, "pipeline@example.com"):
        assert secret not in failed.reason
    return failed.reason


@pytest.mark.usefixtures("variables")
def test_a_mail_says_what_was_found_and_holds_no_line_of_its_own_making(mailbox: Mailbox) -> None:
    assert send() is None
    (got,) = mailbox.received
    assert mailbox.recipients == [[OPERATOR]]
    assert got["Subject"] == "Partner Center: Warning: little room on the disk"
    assert got["Bcc"] is None
    assert mailbox.ids == [MESSAGE.id]
    text = got.get_content()
    assert "What was found: 1.5 GB free at /srv Bcc: x@example.com" in text
    assert "Since: 2026-11-28 12:00 UTC" in text
    assert "Machine: a-machine" in text
    assert f"Message {MESSAGE.id}" in text


@pytest.mark.usefixtures("variables")
def test_a_mail_in_turkish(mailbox: Mailbox) -> None:
    assert send("tr") is None
    (got,) = mailbox.received
    assert got["Subject"] == "Partner Center: Uyarı: diskte az yer var"
    assert "Başlangıç: 28.11.2026 12:00 UTC" in got.get_content()


def test_a_server_with_tls_from_the_first_byte(
    home: object, tls_mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in tls_mailbox.environment.items():
        monkeypatch.setenv(name, value)
    assert send() is None
    assert tls_mailbox.ids == [MESSAGE.id]
    monkeypatch.setenv("HUNTER_SMTP_SECURITY", "starttls")
    monkeypatch.setattr(sending, "ANSWER_SECONDS", 0.3)
    assert "localhost did not answer within" in failure()


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"HUNTER_SMTP_PASSWORD": "wrong"}, "refuses the sign-in (SMTP 535). Check HUNTER_SMTP_USER and"),
        ({"HUNTER_SMTP_SECURITY": "tls"}, "speaks no TLS there. Check HUNTER_SMTP_SECURITY and the port."),
        ({"HUNTER_PARTNER_CENTER_CA_BUNDLE": ""}, "has a certificate that is not trusted; no mail was sent."),
    ],
)
def test_what_hinders_a_mail_is_said_without_a_secret_or_an_address(
    changes: dict[str, str], said: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    assert failure().startswith(f"localhost {said}")
    assert mailbox.received == []


@pytest.mark.usefixtures("variables")
def test_a_certificate_of_another_name_is_not_trusted(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_SMTP_SERVER", f"127.0.0.1:{mailbox.port}")
    assert failure().startswith("127.0.0.1 has a certificate that is not trusted")
    assert mailbox.received == []


@pytest.mark.usefixtures("variables")
def test_a_closed_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_SMTP_SERVER", f"localhost:{free_port()}")
    assert failure() == "localhost cannot be reached (connection refused). Check HUNTER_SMTP_SERVER."


@pytest.mark.usefixtures("variables")
def test_recipients_that_are_refused_are_said_and_the_others_get_the_mail(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refused.add(OPERATOR)
    assert failure() == "localhost refuses the recipients (SMTP 550). Check HUNTER_OPERATORS_MAIL_TO."
    monkeypatch.setenv("HUNTER_OPERATORS_MAIL_TO", f"{OPERATOR}, another@example.com")
    with caplog.at_level(logging.WARNING):
        assert send() is None
    assert mailbox.recipients == [["another@example.com"]]
    assert "not for 1 of 2 recipients (SMTP 550)" in caplog.text
    assert "example.com" not in caplog.text


@pytest.mark.usefixtures("variables")
def test_a_server_without_tls_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 plain\r\n")
                while (line := connection.recv(1000)).strip():
                    heard.append(line)
                    connection.sendall(b"250-plain\r\n250 AUTH PLAIN LOGIN\r\n" if b"ehlo" in line else b"250 OK\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("HUNTER_SMTP_SERVER", f"localhost:{server.getsockname()[1]}")
        assert "offers no STARTTLS" in failure()
        thread.join(5)
    assert heard == [b"ehlo example.com\r\n"]


@pytest.mark.usefixtures("variables")
def test_a_server_that_never_comes_to_an_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MAIL_SECONDS", 0.3)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while not ended.wait(0.05):
                    connection.sendall(b"220-and another line\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("HUNTER_SMTP_SERVER", f"localhost:{server.getsockname()[1]}")
        assert "localhost broke off" in failure()
        ended.set()
        thread.join(5)


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize("missing", ["HUNTER_SMTP_SERVER", "HUNTER_OPERATORS_MAIL_FROM", "HUNTER_OPERATORS_MAIL_TO"])
def test_a_setting_that_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=missing):
        MailServer(Settings.load())
