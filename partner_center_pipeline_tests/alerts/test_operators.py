"""What operators are told, by real receivers of each kind: each once, by each channel, whatever another one answers."""

import json
import logging
import threading
from datetime import timedelta

import pytest

from partner_center_pipeline.alerts import operators, without_warehouse
from partner_center_pipeline.alerts.cards import LARGEST
from partner_center_pipeline.alerts.delivery import OF_THE_DEMO, SenderBusyError
from partner_center_pipeline.alerts.operators import MAIL, NOT_SET_UP, TEAMS, WEBHOOK
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import demo, outbox
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts.checking import DISK, WELL, WRONG, checked, noted
from partner_center_pipeline_tests.alerts.companies import PERSON, enter, send, utc, wait_for
from partner_center_pipeline_tests.alerts.mailbox import OPERATOR, PASSWORD, Mailbox
from partner_center_pipeline_tests.alerts.receiver import SECRET, Answer, Received, Receiver

ALL = (TEAMS, WEBHOOK, MAIL)


@pytest.fixture
def told(
    home: object, warehouse: Warehouse, receiver: Receiver, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """All channels are set up, the sales team's too."""
    variables = {
        **receiver.environment,
        **mailbox.environment,
        "HUNTER_OPERATORS_TEAMS_WEBHOOK_URL": receiver.at("/ops/teams"),
        "HUNTER_OPERATORS_WEBHOOK_URL": receiver.at("/ops/hook"),
        "HUNTER_DATABASE_URL": warehouse.url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def to(receiver: Receiver, path: str) -> list[Received]:
    return [one for one in receiver.received if one.path.startswith(f"{path}?")]


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> Settings:
    for name in names:
        monkeypatch.delenv(name)
    return Settings.load()


@pytest.mark.slow
def test_each_channel_is_told_once_and_once_when_it_is_over(
    told: Settings, receiver: Receiver, mailbox: Mailbox, warehouse: Warehouse
) -> None:
    done = checked(told, WRONG, DISK)
    assert (done.raised, done.open, done.failures) == (["breaker", "disk"], ["breaker", "disk"], [])
    assert {name: one.messages for name, one in done.channels.items()} == dict.fromkeys(ALL, 2)
    cards, bodies = to(receiver, "/ops/teams"), to(receiver, "/ops/hook")
    assert sorted(card.texts[0] for card in cards) == [
        "Warning: little room on the disk",
        "Wrong: the breaker is open: Partner Center is not asked",
    ]
    assert all("actions" not in card.body["attachments"][0]["content"] for card in cards)
    (disk,) = [body.body for body in bodies if body.body["conditions"][0]["subject"] == "disk"]
    (condition,) = disk["conditions"]
    assert (condition["change"], condition["grade"], condition["text"]) == ("raised", "warning", DISK.text)
    assert disk["id"] in [body.id for body in bodies]
    assert len(mailbox.received) == 2
    assert checked(told, WRONG, DISK).channels[MAIL].messages == 0

    assert checked(told, WELL, DISK).cleared == ["breaker"]
    assert to(receiver, "/ops/teams")[-1].texts[0].startswith("Over: the breaker is open")
    assert to(receiver, "/ops/hook")[-1].body["conditions"][0]["change"] == "cleared"
    assert str(mailbox.received[-1]["Subject"]).strip().startswith("Partner Center: Over: ")
    assert len(receiver.received) == 6
    assert len({row.id for row in noted(warehouse)}) == len(noted(warehouse)) == 9
    assert {row.state for row in noted(warehouse)} == {"sent"}


@pytest.mark.slow
def test_the_sales_team_is_told_nothing_of_it_and_operators_nothing_of_companies(
    told: Settings, receiver: Receiver, warehouse: Warehouse
) -> None:
    enter(warehouse, "P1", "a.com.tr")
    checked(told, WRONG)
    assert {one.path.partition("?")[0] for one in receiver.received} == {"/ops/teams", "/ops/hook"}
    receiver.received.clear()
    checked(told, WELL)
    receiver.received.clear()
    assert send(warehouse, told).messages == 1
    assert [one.texts[0] for one in receiver.received] == ["New in P1: Firma a.com.tr"]
    assert all(value not in str(one.body) for one in receiver.received for value in PERSON.values())


def test_many_at_once_are_one_message(told: Settings, receiver: Receiver, mailbox: Mailbox) -> None:
    subjects = ("sync", "open windows", "breaker", "daemon", "pools", "schema", "referrals shown")
    items = [Item(name, Grade.WRONG if name != "schema" else Grade.OK, "x" * 5000) for name in subjects]
    done = checked(told, *items)
    assert {name: (one.messages, one.events) for name, one in done.channels.items()} == dict.fromkeys(ALL, (1, 6))
    assert to(receiver, "/ops/teams")[0].texts[0] == "6 alerts about the pipeline"
    assert all(one.size < LARGEST for one in receiver.received)
    assert mailbox.received[0]["Subject"] == "Partner Center: 6 alerts about the pipeline"


def test_turkish_operators_read_turkish(told: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_REPORT_LANGUAGE", "tr")
    checked(Settings.load(), DISK)
    (card,) = to(receiver, "/ops/teams")
    assert card.texts[0] == "Uyarı: diskte az yer var"
    assert "Makine: " in card.texts


@pytest.mark.slow
def test_a_channel_that_is_dead_holds_no_other_back_and_is_told_later_in_order(
    told: Settings, receiver: Receiver, mailbox: Mailbox, warehouse: Warehouse
) -> None:
    now = utc()
    mailbox.answers.extend(["451 later"] * 5)
    done = checked(told, WRONG, now=now)
    assert done.failures == ["localhost did not take the message (SMTP 451)."]
    assert (done.channels[TEAMS].messages, done.channels[MAIL].waiting) == (1, 1)
    assert len(receiver.received) == 2
    for tries in range(1, 5):
        checked(told, WRONG, now=now + timedelta(seconds=tries), ignore_pause=True)
    assert len(set(mailbox.ids)) == 1  # the same id, as nobody knows whether it arrived
    mailbox.forget()
    checked(told, WELL, now=now + timedelta(hours=3))
    assert [mail["Subject"].split(": ")[1] for mail in mailbox.received] == ["Wrong", "Over"]
    assert {row.state for row in noted(warehouse)} == {"sent"}
    assert len(receiver.received) == 4


@pytest.mark.slow
def test_what_is_still_so_is_told_however_late_and_what_is_over_is_given_up_after_48_hours(
    told: Settings, receiver: Receiver, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = without(monkeypatch, "HUNTER_OPERATORS_WEBHOOK_URL", "HUNTER_OPERATORS_MAIL_TO", "HUNTER_SMTP_SERVER")
    now = utc()
    receiver.plan(*[Answer(503)] * 4)
    checked(settings, WRONG, DISK, now=now)
    checked(settings, WELL, DISK, now=now + timedelta(hours=1))
    checked(settings, WELL, DISK, now=now + timedelta(hours=30))
    later = checked(settings, WELL, DISK, now=now + timedelta(hours=50))
    assert (later.channels[TEAMS].given_up, later.channels[TEAMS].waiting) == (2, 1)
    assert checked(settings, WELL, DISK, now=now + timedelta(hours=70)).channels[TEAMS].messages == 1
    assert [(row.subject, row.detail, row.state) for row in noted(warehouse)] == [
        ("breaker", "raised", "given_up"),
        ("disk", "raised", "sent"),
        ("breaker", "cleared", "given_up"),
    ]


@pytest.mark.slow
def test_a_channel_whose_settings_cannot_be_used_is_said_and_the_others_are_told(
    told: Settings, receiver: Receiver, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = checked(without(monkeypatch, "HUNTER_OPERATORS_MAIL_FROM"), WRONG)
    (failure,) = done.failures
    assert failure.startswith("HUNTER_OPERATORS_MAIL_FROM: is not set")
    assert len(receiver.received) == 2
    assert [(row.state, row.reason) for row in noted(warehouse, [MAIL])] == [("waiting", failure)]
    with warehouse.read() as connection:
        wait = operators.reason_to_wait(connection, told, [WRONG], utc())
    assert wait == "the last message failed; it is tried again later"
    assert checked(told, WRONG, ignore_pause=True).channels[MAIL].messages == 1


@pytest.mark.slow
def test_what_waits_for_a_channel_that_is_set_up_no_more_is_told_to_nobody(
    told: Settings, mailbox: Mailbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox.answers.append("451 later")
    checked(told, WRONG)
    settings = without(monkeypatch, "HUNTER_OPERATORS_MAIL_TO", "HUNTER_SMTP_SERVER")
    checked(settings, WRONG)
    (row,) = noted(warehouse, [MAIL])
    assert (row.state, row.reason) == ("outdated", NOT_SET_UP)


def test_the_demos_conditions_are_told_to_no_real_receiver(
    told: Settings, receiver: Receiver, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warehouse.write() as connection:
        demo.found(connection, demo.DemoWorld(1, utc(), utc(), 1))
    monkeypatch.setenv("HUNTER_OPERATORS_TEAMS_WEBHOOK_URL", "https://teams.invalid/hook")
    monkeypatch.setenv("HUNTER_SMTP_SERVER", "smtp.invalid")
    done = checked(Settings.load(), WRONG)
    assert (done.failures, len(to(receiver, "/ops/hook"))) == ([], 1)
    assert {row.channel: (row.state, row.reason) for row in noted(warehouse)} == {
        TEAMS: ("outdated", OF_THE_DEMO),
        MAIL: ("outdated", OF_THE_DEMO),
        WEBHOOK: ("sent", None),
    }


def test_while_one_process_checks_another_one_does_nothing(
    told: Settings, receiver: Receiver, warehouse: Warehouse
) -> None:
    receiver.plan(Answer(seconds=60))
    first = threading.Thread(target=checked, args=(told, WRONG))
    first.start()
    wait_for(lambda: receiver.received)
    with pytest.raises(SenderBusyError):
        checked(told, WELL)
    receiver.released.set()
    first.join()
    assert [row.detail for row in noted(warehouse)] == ["raised"] * 3


@pytest.mark.slow
def test_there_is_something_to_do_when_something_changed_or_waits_and_not_otherwise(
    told: Settings, receiver: Receiver, warehouse: Warehouse
) -> None:
    def wait(*items: Item) -> str | None:
        with warehouse.read() as connection:
            return operators.reason_to_wait(connection, told, items, utc())

    assert wait(WELL) == "nothing changed"
    assert wait(WRONG) is None
    receiver.plan(Answer(503))
    checked(told, WRONG)
    assert wait(WRONG) == "the last message failed; it is tried again later"
    assert wait(WELL) is None


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HUNTER_PARTNER_CENTER_ENABLED": "false"}, "HUNTER_PARTNER_CENTER_ENABLED"),
        (
            dict.fromkeys(
                ("HUNTER_OPERATORS_TEAMS_WEBHOOK_URL", "HUNTER_OPERATORS_WEBHOOK_URL", "HUNTER_OPERATORS_MAIL_TO",
                 "HUNTER_SMTP_SERVER"), "",
            ),
            "set HUNTER_OPERATORS_TEAMS_WEBHOOK_URL",
        ),
    ],
)  # fmt: skip
def test_off_nobody_is_told_and_the_sales_channel_is_no_substitute(
    variables: dict[str, str], said: str, home: object, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = {**receiver.environment, "HUNTER_OPERATORS_WEBHOOK_URL": receiver.url}
    for name, value in {**on, **variables}.items():
        monkeypatch.setenv(name, value)
    assert said in str(operators.reason_not_to_check(Settings.load()))


def test_no_secret_is_in_a_log_a_row_or_a_reason(
    told: Settings,
    receiver: Receiver,
    mailbox: Mailbox,
    warehouse: Warehouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.plan(Answer(401), Answer(404))
    mailbox.refused.add(OPERATOR)
    done = checked(told, WRONG)
    assert len(done.failures) == 3
    with warehouse.read() as connection:
        shown = json.dumps([row.shown() for row in outbox.listed(connection, everything=True)], default=str)
    for text in (caplog.text, shown, str(done.shown()), repr(told)):
        assert SECRET.partition("=")[2] not in text
        assert "/ops/" not in text
        assert PASSWORD not in text


# Without a warehouse --------------------------------------------------------------------------------------------------


@pytest.fixture
def unreachable(told: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same with a database that nobody answers for."""
    monkeypatch.setenv("HUNTER_DATABASE_URL", "postgresql+psycopg://hunter:hush-hush@127.0.0.1:1/hunter")
    return Settings.load()


@pytest.mark.slow
def test_a_warehouse_that_cannot_be_used_is_told_once_and_once_when_it_can(
    unreachable: Settings, receiver: Receiver, mailbox: Mailbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert checked(unreachable).open == ["warehouse"]
    (card,) = to(receiver, "/ops/teams")
    assert card.texts[0] == "Wrong: the database cannot be used"
    assert "127.0.0.1:1" in str(card.body)
    assert "hush-hush" not in str([one.body for one in receiver.received]) + str(mailbox.received[0])
    assert (len(receiver.received), len(mailbox.received)) == (2, 1)

    monkeypatch.setenv("HUNTER_DATABASE_URL", warehouse.url)
    again = Settings.load()
    assert checked(again, WELL).cleared == ["warehouse"]
    assert checked(again, WELL).cleared == []
    assert to(receiver, "/ops/teams")[-1].texts[0] == "Over: the database cannot be used"
    assert (len(receiver.received), len(mailbox.received)) == (4, 2)
    assert without_warehouse.noted() is None


@pytest.mark.slow
def test_a_channel_that_did_not_take_it_is_told_both_when_the_warehouse_can_be_used_again(
    unreachable: Settings, receiver: Receiver, mailbox: Mailbox, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox.answers.append("451 later")
    assert checked(unreachable).failures == ["localhost did not take the message (SMTP 451)."]
    (first,) = mailbox.ids
    monkeypatch.setenv("HUNTER_DATABASE_URL", warehouse.url)
    checked(Settings.load(), WELL)
    assert mailbox.ids[1] == first
    assert [mail["Subject"].split(": ")[1] for mail in mailbox.received[1:]] == ["Wrong", "Over"]
    assert len(to(receiver, "/ops/teams")) == 2


def test_a_local_microsofts_troubles_are_told_to_no_real_receiver_without_a_warehouse(
    unreachable: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_BASE_URL", "https://localhost:8443")
    monkeypatch.setenv("HUNTER_OPERATORS_TEAMS_WEBHOOK_URL", "https://teams.invalid/hook")
    done = checked(Settings.load())
    assert (done.failures, done.channels[TEAMS].outdated) == ([], 1)
    assert len(to(receiver, "/ops/hook")) == 1
