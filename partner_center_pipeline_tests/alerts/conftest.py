"""One receiver for all tests, and settings that name it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.alerts.receiver import Receiver, running


@pytest.fixture(scope="session")
def running_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


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
