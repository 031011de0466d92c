"""One receiver for all tests, and settings that name it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.alerts.mailbox import Mailbox, running_mailbox
from partner_center_pipeline_tests.alerts.receiver import Receiver, running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def running_receiver(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Receiver]:
    with running(tmp_path_factory.mktemp("receiver"), authority) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def running_mail(authority: trustme.CA, running_receiver: Receiver) -> Iterator[Mailbox]:
    with running_mailbox(authority, running_receiver.ca, is_tls=False) as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(running_mail: Mailbox) -> Iterator[Mailbox]:
    """A mail server with STARTTLS, taking every mail."""
    yield running_mail
    running_mail.forget()


@pytest.fixture
def receiver(running_receiver: Receiver) -> Iterator[Receiver]:
    """The receiver, taking every message."""
    yield running_receiver
    running_receiver.forget()


@pytest.fixture
def settings(home: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Switched on, with the receiver's address."""
    for name, value in receiver.environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load()
