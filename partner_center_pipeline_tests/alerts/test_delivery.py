"""What waits in the outbox is told once, to a real HTTPS receiver: whatever that answers, and with what state."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest

from partner_center_pipeline.alerts import delivery, sales, teams
from partner_center_pipeline.alerts.cards import LARGEST
from partner_center_pipeline.alerts.delivery import SenderBusyError, pause_after
from partner_center_pipeline.alerts.sales import reason_to_wait
from partner_center_pipeline.alerts.teams import Webhook
from partner_center_pipeline.leads.decisions import Author, Decision, DecisionKind, Mark
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import decisions, demo, outbox, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts.companies import (
    PERSON,
    domains,
    enter,
    in_hours,
    known,
    referrals,
    rows,
    scored,
    send,
    states,
    utc,
    wait_for,
)
from partner_center_pipeline_tests.alerts.receiver import PATH, SECRET, Answer, Receiver
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.reports.made_up import HOSTILE


def at(settings: Settings, monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> Settings:
    """The settings with variables changed, or taken out (None)."""
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    return Settings.load()


# What is told ---------------------------------------------------------------------------------------------------------


def test_a_company_that_enters_p1_is_told_once(warehouse: Warehouse, settings: Settings, receiver: Receiver) -> None:
    enter(warehouse, "P1", "a.com.tr")
    done = send(warehouse, settings)
    assert (done.messages, done.events, done.waiting, done.failed) == (1, 1, 0, None)
    (message,) = receiver.received
    assert message.path.startswith(PATH)
    assert message.body["type"] == "message"
    assert message.body["attachments"][0]["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert message.texts[0] == "New in P1: Firma a.com.tr"
    assert message.id == rows(warehouse)[0].id
    assert f"Message {message.id}" in message.texts
    with warehouse.write() as connection:
        scores.write(connection, scored("P1", "a.com.tr"), tell=True)
    send(warehouse, settings)
    assert len(receiver.received) == 1


def test_an_event_is_kept_with_the_score_that_brings_it_about_or_not_at_all(warehouse: Warehouse) -> None:
    with warehouse.engine.connect() as connection, connection.begin() as transaction:
        known(connection, "a.com.tr")
        scores.write(connection, scored("P1", "a.com.tr"), tell=True)
        assert [row.subject for row in outbox.waiting(connection, outbox.SALES)] == ["a.com.tr"]
        transaction.rollback()
    assert rows(warehouse) == []
    enter(warehouse, "P1", "a.com.tr")
    assert states(warehouse) == [("a.com.tr", "waiting")]


def test_a_company_that_comes_back_is_told_again_after_a_week_and_not_before(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    first = utc() - timedelta(days=9)
    enter(warehouse, "P2", "a.com.tr", at=first)
    send(warehouse, settings, first)
    for category, days in (("P5", 1), ("P2", 2), ("P5", 3), ("P2", 7.5), ("P5", 8), ("P1", 8.5)):
        with warehouse.write() as connection:
            scores.write(connection, scored(category, "a.com.tr", at=first + timedelta(days=days)), tell=True)
    assert [(row.detail, row.happened_at - first) for row in rows(warehouse)] == [
        ("P2", timedelta(0)),
        ("P2", timedelta(days=7.5)),
        ("P1", timedelta(days=8.5)),
    ]
    assert len({row.id for row in rows(warehouse)}) == 3


def test_what_is_no_longer_so_when_its_turn_comes_is_not_told_and_the_row_says_why(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    enter(warehouse, "P1", "left.com.tr")
    enter(warehouse, "P1", "closed.com.tr", status="Closed")
    with warehouse.write() as connection:
        scores.write(connection, scored("P4", "left.com.tr"), tell=True)
    done = send(warehouse, settings)
    assert (done.messages, done.outdated, done.waiting) == (0, 2, 0)
    assert receiver.received == []
    assert [(row.subject, row.state, row.reason) for row in rows(warehouse)] == [
        ("closed.com.tr", "outdated", sales.NO_OPEN_REFERRAL),
        ("left.com.tr", "outdated", sales.NO_LONGER_IN_CATEGORY),
    ]


def test_a_good_leads_deadline_within_72_hours_is_told_once_and_a_new_deadline_again(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    with warehouse.write() as connection:
        known(connection, "late.com.tr", expirationDateTime=in_hours(80))
        known(connection, "poor.com.tr", expirationDateTime=in_hours(10))
        known(connection, "good.com.tr", expirationDateTime=in_hours(71))
        known(connection, "past.com.tr", expirationDateTime=in_hours(-1))
        scores.write(connection, scored("P2", "late.com.tr", "good.com.tr", "past.com.tr"))
        scores.write(connection, scored("P5", "poor.com.tr"))
        referrals(connection, {"r-qualified": {"qualification": "SalesQualified", "expirationDateTime": in_hours(20)}})
    done = send(warehouse, settings)
    assert (done.messages, done.events) == (2, 2)
    assert {message.texts[0].split(": ")[1] for message in receiver.received} == {
        "Firma good.com.tr",
        "Firma r-qualified",
    }
    send(warehouse, settings)
    assert len(receiver.received) == 2
    with warehouse.write() as connection:
        referrals(connection, {"r-good.com.tr": {"domain": "good.com.tr", "expirationDateTime": in_hours(30)}})
    send(warehouse, settings)
    assert len(set(receiver.ids)) == len(receiver.received) == 3


def test_a_lead_that_was_closed_before_its_turn_is_not_told(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    with warehouse.write() as connection:
        known(connection, "a.com.tr", expirationDateTime=in_hours(5))
        scores.write(connection, scored("P1", "a.com.tr"))
    receiver.plan(Answer(503))
    send(warehouse, settings)
    with warehouse.write() as connection:
        closed = {"domain": "a.com.tr", "expirationDateTime": in_hours(5), "status": "Closed"}
        referrals(connection, {"r-a.com.tr": closed})
    send(warehouse, settings, ignore_pause=True)
    assert len(receiver.received) == 1
    assert [(row.state, row.reason) for row in rows(warehouse)] == [("outdated", sales.NO_LONGER_DUE)]


def test_what_a_person_set_aside_is_not_told_until_it_is_reopened(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    def mark(choice: Mark, *referral_ids: str) -> None:
        with warehouse.write() as connection:
            made = [Decision(kind=DecisionKind.MARK, subject=one, choice=choice) for one in referral_ids]
            decisions.append(connection, made, Author("Ali", utc()))

    with warehouse.write() as connection:
        known(connection, "due.com.tr", expirationDateTime=in_hours(5))
        known(connection, "enters.com.tr")
        scores.write(connection, scored("P2", "due.com.tr"))
        scores.write(connection, scored("P1", "enters.com.tr"), tell=True)
    mark(Mark.NOT_INTERESTED, "r-due.com.tr", "r-enters.com.tr")
    done = send(warehouse, settings)
    assert (done.messages, done.outdated) == (0, 1)
    assert [(row.state, row.reason) for row in rows(warehouse)] == [("outdated", sales.SET_ASIDE)]
    mark(Mark.REOPENED, "r-due.com.tr", "r-enters.com.tr")
    send(warehouse, settings)
    assert [message.texts[0].split(": ")[1] for message in receiver.received] == ["Firma due.com.tr"]


@pytest.mark.slow
def test_many_at_once_are_one_card_that_is_small_enough(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    hostile = [HOSTILE["long"], HOSTILE["emoji"], HOSTILE["html"], HOSTILE["quotes"]]
    names = domains(100)
    due = {"expirationDateTime": in_hours(48)}
    with warehouse.write() as connection:
        payloads = {
            f"r-{name}": {"customerProfile": {"name": hostile[number % 4], "website": name}, "domain": name, **due}
            for number, name in enumerate(names)
        }
        referrals(connection, payloads)
        scores.write(connection, scored("P1", *names), tell=True)
    done = send(warehouse, settings)
    assert (done.messages, done.events, done.waiting) == (1, 200, 0)
    (message,) = receiver.received
    assert message.size < LARGEST
    assert message.texts[0] == "200 alerts"
    assert {"New in P1 or P2: 100", "To answer within 72 hours: 100"} <= set(message.texts)
    assert message.texts.count("and 85 more; the report has all of them") == 2
    assert {row.message_id for row in rows(warehouse)} == {message.id}


def test_no_message_holds_a_contact(warehouse: Warehouse, settings: Settings, receiver: Receiver) -> None:
    enter(warehouse, "P1", *domains(8), expirationDateTime=in_hours(50))
    send(warehouse, settings)
    enter(warehouse, "P1", "one.com.tr")
    send(warehouse, settings)
    assert len(receiver.received) == 2
    for value in PERSON.values():
        assert all(value not in str(message.body) for message in receiver.received)


def test_the_demos_companies_are_told_to_no_real_channel(
    warehouse: Warehouse, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(warehouse, "P1", "a.com.tr", expirationDateTime=in_hours(5))
    with warehouse.write() as connection:
        demo.found(connection, demo.DemoWorld(1, utc(), utc(), 1))
    real = at(settings, monkeypatch, HUNTER_TEAMS_WEBHOOK_URL="https://teams.invalid/hook")
    done = send(warehouse, real)
    assert (done.outdated, done.waiting, done.failed) == (1, 0, None)
    assert [(row.state, row.reason) for row in rows(warehouse)] == [("outdated", delivery.OF_THE_DEMO)]
    with warehouse.read() as connection:
        assert reason_to_wait(connection, real, utc()) == delivery.OF_THE_DEMO
        assert reason_to_wait(connection, settings, utc()) is None  # a receiver on this machine


# What the receiver answers --------------------------------------------------------------------------------------------


def test_a_receiver_that_asks_to_wait_is_left_alone_so_long_and_told_with_the_same_id(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    now = utc()
    receiver.plan(Answer(429, (("Retry-After", "600"),)))
    enter(warehouse, "P1", "a.com.tr", at=now)
    done = send(warehouse, settings, now)
    assert done.failed == "localhost has had too many messages (HTTP 429). It asks to wait 600 s."
    enter(warehouse, "P1", "b.com.tr", at=now + timedelta(seconds=1))
    assert send(warehouse, settings, now + timedelta(minutes=9)).paused_until == now + timedelta(minutes=10)
    assert len(receiver.received) == 1
    done = send(warehouse, settings, now + timedelta(minutes=11))
    assert (done.messages, done.waiting, done.failed) == (2, 0, None)
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]


@pytest.mark.parametrize(
    ("attempts", "asked", "minutes"),
    [(1, None, 1), (2, None, 2), (5, 3.0, 16), (7, None, 60), (500, None, 60), (1, 7200.0, 120), (1, 1e9, 360)],
)
def test_each_failure_waits_longer_up_to_an_hour_or_as_asked_up_to_six(
    attempts: int, asked: float | None, minutes: int
) -> None:
    assert pause_after(attempts, asked) == timedelta(minutes=minutes)


@pytest.mark.slow
def test_a_receiver_in_trouble_is_tried_again_after_a_while_until_it_takes_the_message(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    now = utc()
    enter(warehouse, "P1", "a.com.tr", at=now)
    receiver.plan(Answer(500), Answer(503), Answer(502))
    sent_at = []
    for minute in range(12):
        before = len(receiver.received)
        done = send(warehouse, settings, now + timedelta(minutes=minute))
        if len(receiver.received) > before:
            sent_at.append(minute)
    assert sent_at == [0, 1, 3, 7]
    assert len(set(receiver.ids)) == 1
    assert done.waiting == 0
    assert states(warehouse) == [("a.com.tr", "sent")]


@pytest.mark.slow
def test_a_receiver_that_never_answers_is_not_waited_for(
    warehouse: Warehouse, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams, "ANSWER_SECONDS", 0.3)
    receiver.plan(Answer(seconds=60))
    enter(warehouse, "P1", "a.com.tr", "b.com.tr")
    done = send(warehouse, settings)
    assert done.failed is not None
    assert done.failed.startswith("localhost had not sent its whole answer after 0 s")
    assert len(receiver.received) == 1
    done = send(warehouse, settings, ignore_pause=True)
    assert (done.messages, done.waiting) == (2, 0)
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(401),
            "localhost refuses the address: its signature is wrong or no longer valid. Copy the address anew",
        ),
        (Answer(404), "localhost knows no workflow at this address: it was deleted, or the address is not whole."),
        (Answer(400), "localhost does not take it. Check HUNTER_TEAMS_WEBHOOK_URL (HTTP 400)."),
        (Answer(307, (("Location", "/elsewhere"),)), "localhost points to another address, which is not followed."),
    ],
)
def test_an_address_that_is_wrong_is_said_and_what_waits_is_kept(
    answer: Answer, said: str, warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    receiver.plan(answer)
    enter(warehouse, "P1", "a.com.tr")
    done = send(warehouse, settings)
    assert done.failed is not None
    assert done.failed.startswith(said)
    assert [(row.state, row.reason) for row in rows(warehouse)] == [("waiting", done.failed)]
    assert [message.path.partition("?")[0] for message in receiver.received] == [PATH]


@pytest.mark.slow
def test_an_untrusted_certificate_and_a_closed_port_are_said_without_the_secret(
    warehouse: Warehouse,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    enter(warehouse, "P1", "a.com.tr")
    send_ok = [send(warehouse, settings)]
    enter(warehouse, "P1", "b.com.tr")
    untrusting = at(settings, monkeypatch, HUNTER_PARTNER_CENTER_CA_BUNDLE=None)
    untrusted = send(warehouse, untrusting)
    assert untrusted.failed is not None
    assert untrusted.failed.startswith("The certificate of localhost is not trusted.")
    nobody = f"https://localhost:{free_port()}{PATH}?{SECRET}"
    closed = send(warehouse, at(settings, monkeypatch, HUNTER_TEAMS_WEBHOOK_URL=nobody), ignore_pause=True)
    assert closed.failed is not None
    assert "cannot be reached" in closed.failed
    assert "HUNTER_TEAMS_WEBHOOK_URL" in closed.failed
    for text in (caplog.text, str([*send_ok, untrusted, closed]), str(rows(warehouse)), repr(settings)):
        assert SECRET.partition("=")[2] not in text
        assert "workflows" not in text


@pytest.mark.slow
def test_what_is_not_taken_for_48_hours_is_given_up_with_the_reason(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    now = utc()
    enter(warehouse, "P1", "a.com.tr", at=now)
    receiver.plan(*[Answer(503)] * 3)
    for hours in (0, 24, 47.9):
        assert send(warehouse, settings, now + timedelta(hours=hours)).failed is not None
    done = send(warehouse, settings, now + timedelta(hours=48.1))
    assert len(receiver.received) == 3
    assert (done.given_up, done.waiting) == (1, 0)
    assert [(row.state, row.reason) for row in rows(warehouse)] == [("given_up", "localhost is in trouble (HTTP 503).")]
    with warehouse.read() as connection:
        found = outbox.summary(connection, [outbox.SALES], now + timedelta(days=3))
        later = outbox.summary(connection, [outbox.SALES], now + timedelta(days=10))
    assert (found.given_up, found.reason) == (1, "localhost is in trouble (HTTP 503).")
    assert later.given_up == 0


@pytest.mark.slow
def test_a_message_that_is_always_refused_does_not_hold_the_others_back(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    now = utc()
    enter(warehouse, "P1", "a.com.tr", at=now - timedelta(minutes=1))
    receiver.plan(*[Answer(400)] * 4)
    for _ in range(4):
        send(warehouse, settings, now, ignore_pause=True)
    enter(warehouse, "P1", "b.com.tr", at=now)
    receiver.plan(Answer(202), Answer(400))
    send(warehouse, settings, now, ignore_pause=True)
    assert states(warehouse) == [("a.com.tr", "waiting"), ("b.com.tr", "sent")]


# How often ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_events_of_a_failed_digest_stay_together_under_its_id(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    enter(warehouse, "P2", *domains(6))
    receiver.plan(Answer(500))
    send(warehouse, settings)
    enter(warehouse, "P2", "later.com.tr")
    done = send(warehouse, settings, ignore_pause=True)
    assert (done.messages, done.events) == (2, 7)
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]
    assert receiver.received[1].texts[0] == "6 alerts"


@pytest.mark.slow
def test_two_senders_at_once_send_nothing_twice(warehouse: Warehouse, settings: Settings, receiver: Receiver) -> None:
    enter(warehouse, "P1", *domains(5))
    receiver.plan(Answer(seconds=60))
    first = threading.Thread(target=send, args=(warehouse, settings))
    first.start()
    wait_for(lambda: receiver.received)
    another = Warehouse(warehouse.url)
    with pytest.raises(SenderBusyError, match="another process is sending alerts; nothing was done"):
        send(another, settings)
    another.close()
    receiver.released.set()
    first.join()
    send(warehouse, settings)
    assert len(receiver.received) == len(set(receiver.ids)) == 5


def test_a_sender_that_lost_its_turn_marks_nothing_and_stops(
    warehouse: Warehouse, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(warehouse, "P1", "a.com.tr", "b.com.tr")
    original = Webhook.send

    def sleeping(self: Webhook, *arguments: object) -> object:
        with warehouse.write() as connection:
            connection.exec_driver_sql("UPDATE leases SET holder = 'another' WHERE name = 'outbox'")
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Webhook, "send", sleeping)
    with pytest.raises(SenderBusyError, match="took over"):
        send(warehouse, settings)
    assert len(receiver.received) == 1
    assert {state for _, state in states(warehouse)} == {"waiting"}


@pytest.mark.slow
def test_events_are_kept_for_90_days_after_they_ended(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    now = utc()
    enter(warehouse, "P1", "a.com.tr", at=now - timedelta(days=100))
    send(warehouse, settings, now - timedelta(days=100))
    enter(warehouse, "P1", "b.com.tr", at=now - timedelta(days=80))
    send(warehouse, settings, now - timedelta(days=80))
    send(warehouse, settings, now)
    assert states(warehouse) == [("b.com.tr", "sent")]


def test_a_pause_from_a_clock_that_was_wrong_holds_nothing_back(
    warehouse: Warehouse, settings: Settings, receiver: Receiver
) -> None:
    receiver.plan(Answer(500))
    enter(warehouse, "P1", "a.com.tr")
    send(warehouse, settings)
    with warehouse.write() as connection:
        outbox.mark_failed(connection, [rows(warehouse)[0].id], "x", datetime(2090, 1, 1, tzinfo=UTC))
    assert send(warehouse, settings).messages == 1


# The address ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://prod.example.invalid/very-secret",
        "very-secret",
        "https:///very-secret",
        "https://user:very-secret@example.invalid/x",
        "https://example.invalid/very-secret#x",
        "https://example.invalid:port/very-secret",
        "https://example.invalid/very secret",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_quoting_it(
    address: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="HUNTER_TEAMS_WEBHOOK_URL") as caught:
        at(settings, monkeypatch, HUNTER_TEAMS_WEBHOOK_URL=address)
    assert "very" not in str(caught.value)
