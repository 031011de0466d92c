"""The call to a monitor on another machine: what it does when the monitor does not answer, and what it never says."""

import logging

import pytest

from partner_center_pipeline.alerts import ping as calling
from partner_center_pipeline.alerts.ping import ping
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import demo
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts.companies import utc
from partner_center_pipeline_tests.alerts.receiver import SECRET, Answer, Receiver
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.conftest import SqliteFiles

PATH = "/ping/3f1c"


@pytest.fixture
def db(sqlite: SqliteFiles) -> Warehouse:
    return Warehouse(sqlite.migrated())


@pytest.fixture
def on(settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HUNTER_PING_URL", receiver.at(PATH))
    return Settings.load()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Each line, none of which has what nobody may see."""
    assert SECRET.partition("=")[2] not in caplog.text
    assert PATH not in caplog.text
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_monitor_is_asked_once_and_nothing_is_said(
    on: Settings, db: Warehouse, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ping(db, on)
    assert [one.path for one in receiver.received] == [f"{PATH}?{SECRET}"]
    assert warnings(caplog) == []


def test_off_nobody_is_asked(settings: Settings, db: Warehouse, receiver: Receiver) -> None:
    ping(db, settings)
    assert receiver.received == []


def test_a_monitor_that_refuses_hangs_or_is_gone_is_a_warning_and_is_not_waited_for(
    on: Settings,
    db: Warehouse,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.plan(Answer(404))
    ping(db, on)
    assert warnings(caplog) == ["ping: localhost does not take it (HTTP 404). Check HUNTER_PING_URL"]
    caplog.clear()
    monkeypatch.setattr(calling, "PING_SECONDS", 0.2)
    receiver.plan(Answer(seconds=60))
    ping(db, on)
    assert "had not sent its whole answer" in warnings(caplog)[0]
    caplog.clear()
    monkeypatch.setenv("HUNTER_PING_URL", f"https://localhost:{free_port()}{PATH}?{SECRET}")
    ping(db, Settings.load())
    assert "cannot be reached (connection refused). Check the network and HUNTER_PING_URL" in warnings(caplog)[0]


def test_the_demo_asks_no_real_monitor(
    on: Settings, db: Warehouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.write() as connection:
        demo.found(connection, demo.DemoWorld(1, utc(), utc(), 1))
    monkeypatch.setenv("HUNTER_PING_URL", f"https://ping.invalid{PATH}?{SECRET}")
    ping(db, Settings.load())
    assert "invented referrals" in warnings(caplog)[0]
