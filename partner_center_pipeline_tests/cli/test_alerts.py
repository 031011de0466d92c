"""`partner-center alerts`: sending, listing, trying the webhook; and what `doctor` says of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts.companies import enter
from partner_center_pipeline_tests.alerts.receiver import SECRET, Answer, Receiver, running
from partner_center_pipeline_tests.cli.conftest import Home


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with running(tmp_path) as receiver:
        yield receiver


@pytest.fixture
def told(home: Path, receiver: Receiver) -> Home:
    """A home folder with alerts on."""
    place = Home(home)
    place.edit_env(**receiver.environment)
    return place


def with_event(home: Home) -> None:
    db = Warehouse.open(f"sqlite:///{home.path / '.hunter/hunter.db'}")
    enter(db, "P1", "a.com.tr")
    db.close()


def test_a_test_card_is_sent_at_once_and_nothing_is_kept(told: Home, receiver: Receiver) -> None:
    shown = told.invoke("alerts", "test")
    assert shown.exit_code == 0, shown.output
    (message,) = receiver.received
    assert message.texts[0] == "A test of the alerts"
    assert f"localhost took the message {message.id}" in shown.output
    again = json.loads(told.invoke("alerts", "test", "--json").stdout)
    assert again == {"message_id": receiver.ids[-1], "host": "localhost"}
    assert "There is no alert." in told.invoke("alerts", "list", "--all").output


def test_a_receiver_that_refuses_a_test_card_is_told_of_without_the_secret(told: Home, receiver: Receiver) -> None:
    receiver.plan(Answer(401))
    shown = told.invoke("alerts", "test")
    assert shown.exit_code == 1
    assert "Copy the address anew from the workflow (HTTP 401)" in shown.output
    assert SECRET.partition("=")[2] not in shown.output


@pytest.mark.parametrize("command", [("send",), ("test",)])
def test_without_an_address_a_command_says_which_setting_is_missing(command: tuple[str, ...], home: Path) -> None:
    place = Home(home)
    place.edit_env(HUNTER_PARTNER_CENTER_ENABLED="true")
    shown = place.invoke("alerts", *command)
    assert shown.exit_code == 1
    assert "HUNTER_TEAMS_WEBHOOK_URL" in shown.output


def test_what_was_not_taken_is_listed_with_the_reason_and_sent_later(told: Home, receiver: Receiver) -> None:
    with_event(told)
    receiver.plan(Answer(503))
    failed = told.invoke("alerts", "send")
    assert failed.exit_code == 1
    assert "localhost is in trouble (HTTP 503)." in failed.output
    (row,) = json.loads(told.invoke("alerts", "list", "--json").stdout)
    assert (row["subject"], row["detail"], row["state"], row["attempts"]) == ("a.com.tr", "P1", "waiting", 1)
    assert row["reason"] == "localhost is in trouble (HTTP 503)."
    (finding,) = [
        one for one in json.loads(told.invoke("doctor", "--json").stdout)["findings"] if one["subject"] == "alerts"
    ]
    assert finding["state"] == "note"
    assert finding["text"].startswith("cards go to localhost; 1 wait to be sent. localhost is in trouble (HTTP 503).")

    waits = told.invoke("alerts", "send")
    assert waits.exit_code == 0
    assert "nothing is sent until" in waits.output
    done = told.invoke("alerts", "send", "--now", "--json")
    assert json.loads(done.stdout)["messages"] == 1
    assert receiver.ids == [row["id"], row["id"]]
    assert "No alert waits" in told.invoke("alerts", "list").output
    assert "a.com.tr" in told.invoke("alerts", "list", "--all").output


@pytest.mark.parametrize(("is_on", "said"), [(True, "cards go to localhost"), (False, "off: HUNTER_TEAMS_WEBHOOK_URL")])
def test_doctor_says_where_cards_go_or_that_they_are_off(is_on: bool, said: str, told: Home) -> None:
    if not is_on:
        told.edit_env(HUNTER_TEAMS_WEBHOOK_URL=None)
    told.invoke("migrate")
    shown = told.invoke("doctor")
    assert said in shown.output
    assert SECRET.partition("=")[2] not in shown.output
