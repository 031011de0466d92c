"""`partner-center alerts check`, `alerts test --operators`, and the end of `sync`: what operators are told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from partner_center_pipeline.warehouse import breaker, outbox
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline_tests.alerts.mailbox import Mailbox, running_mailbox
from partner_center_pipeline_tests.alerts.receiver import SECRET, Answer, Receiver, running
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def receiver(tmp_path: Path, authority: trustme.CA) -> Iterator[Receiver]:
    with running(tmp_path, authority) as receiver:
        yield receiver


@pytest.fixture
def mailbox(authority: trustme.CA, receiver: Receiver) -> Iterator[Mailbox]:
    with running_mailbox(authority, receiver.ca, is_tls=False) as mailbox:
        yield mailbox


def trusting(home: Home, receiver: Receiver, folder: Path) -> str:
    """A file of certificates with the local Microsoft's and the receiver's."""
    both = folder / "both.pem"
    both.write_bytes(Path(home.variables["HUNTER_PARTNER_CENTER_CA_BUNDLE"]).read_bytes() + receiver.ca.read_bytes())
    return str(both)


@pytest.fixture
def told(ready: Home, receiver: Receiver, tmp_path: Path, warehouse: Warehouse) -> Home:
    """An installation of four days on a warehouse of each kind, whose operators have a webhook."""
    days_ago = datetime.now(UTC) - timedelta(days=4)
    ready.edit_env(
        HUNTER_PARTNER_CENTER_CA_BUNDLE=trusting(ready, receiver, tmp_path),
        HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"),
        HUNTER_DATABASE_URL=warehouse.url,
        HUNTER_SYNC_START=f"{days_ago:%Y-%m-%dT00:00:00Z}",
    )
    return ready


def check(home: Home) -> dict[str, object]:
    done = home.invoke("alerts", "check", "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def said(receiver: Receiver) -> list[tuple[str, str]]:
    """Subject and change of each condition that was told, in order."""
    return [(one["subject"], one["change"]) for got in receiver.received for one in got.body["conditions"]]


def trip(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "The service is unavailable.", lambda: datetime.now(UTC))


def test_what_status_calls_wrong_is_told_once_and_once_when_it_is_over(
    told: Home, receiver: Receiver, warehouse: Warehouse
) -> None:
    trip(warehouse)
    assert check(told)["raised"] == ["sync", "breaker"]
    assert check(told)["raised"] == []
    assert sorted(said(receiver)) == [("breaker", "raised"), ("sync", "raised")]
    with warehouse.write() as connection:
        breaker.close(connection)
    assert check(told)["cleared"] == ["breaker"]
    assert said(receiver)[2:] == [("breaker", "cleared")]
    shown = told.invoke("alerts", "check")
    assert "Not well: sync." in shown.output
    assert "breaker" in told.invoke("alerts", "list", "--all").output


def test_a_dead_receiver_is_an_exit_code_and_in_doctor_and_is_told_later(
    told: Home, receiver: Receiver, warehouse: Warehouse
) -> None:
    receiver.plan(Answer(503))
    failed = told.invoke("alerts", "check")
    assert failed.exit_code == 1
    assert "localhost is in trouble (HTTP 503)." in failed.output
    findings = json.loads(told.invoke("doctor", "--json").stdout)["findings"]
    (finding,) = [one for one in findings if one["subject"] == "operators"]
    assert finding["state"] == "note"
    assert finding["text"].startswith("what stops the sync is told to localhost; 1 wait to be sent. localhost is in")
    assert told.invoke("alerts", "check", "--now").exit_code == 0
    assert said(receiver) == [("sync", "raised")] * 2
    assert len(set(receiver.ids)) == 1


def test_while_another_process_tells_it_does_nothing_and_that_is_no_failure(
    told: Home, receiver: Receiver, warehouse: Warehouse
) -> None:
    Lease(warehouse, "another", lambda: datetime.now(UTC), outbox.OPERATORS_LEASE).acquire(0, lambda _: None)
    assert "another process is telling operators" in str(check(told)["skipped"])
    assert receiver.received == []


def test_off_it_says_so_and_tells_nobody(told: Home, receiver: Receiver) -> None:
    told.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    off = told.invoke("alerts", "check")
    assert (off.exit_code, "HUNTER_PARTNER_CENTER_ENABLED" in off.output) == (0, True)
    told.edit_env(HUNTER_PARTNER_CENTER_ENABLED="true", HUNTER_OPERATORS_WEBHOOK_URL=None)
    unset = told.invoke("alerts", "check")
    assert (unset.exit_code, "HUNTER_OPERATORS_WEBHOOK_URL" in unset.output) == (1, True)
    assert receiver.received == []


def test_a_warehouse_that_does_not_answer_is_told(told: Home, receiver: Receiver, warehouse: Warehouse) -> None:
    told.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://hunter:hush-hush@127.0.0.1:1/hunter")
    assert check(told)["raised"] == ["warehouse"]
    assert check(told)["raised"] == []
    told.edit_env(HUNTER_DATABASE_URL=warehouse.url)
    assert check(told)["cleared"] == ["warehouse"]
    assert sorted(said(receiver)) == [("sync", "raised"), ("warehouse", "cleared"), ("warehouse", "raised")]
    assert "hush-hush" not in str([one.body for one in receiver.received])


def test_each_channel_is_tried_also_after_one_that_failed(told: Home, receiver: Receiver, mailbox: Mailbox) -> None:
    mail = {name: value for name, value in mailbox.environment.items() if "CA_BUNDLE" not in name}
    told.edit_env(**mail, HUNTER_OPERATORS_TEAMS_WEBHOOK_URL=receiver.at("/ops/teams"))
    done = told.invoke("alerts", "test", "--operators", "--json")
    tried = json.loads(done.stdout)
    assert [(one["channel"], one["host"], one["failed"]) for one in tried] == [
        ("operators_teams", "localhost", None),
        ("operators_webhook", "localhost", None),
        ("operators_mail", "localhost", None),
    ]
    assert (len(receiver.received), mailbox.ids) == (2, [tried[0]["message_id"]])
    receiver.plan(Answer(404))
    failed = told.invoke("alerts", "test", "--operators")
    assert failed.exit_code == 1
    assert "localhost knows no workflow at this address" in failed.output
    assert SECRET.partition("=")[2] not in failed.output
    assert len(mailbox.received) == 2


def test_a_sync_tells_at_its_end_whether_it_went_well_or_not(
    ready: Home, receiver: Receiver, microsoft: Simulator, tmp_path: Path
) -> None:
    ready.edit_env(
        HUNTER_PARTNER_CENTER_CA_BUNDLE=trusting(ready, receiver, tmp_path),
        HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"),
    )
    cache = ready.path / ".token_cache"
    cache.rename(tmp_path / "signed_in")
    refused = run(ready.path, "sync")
    assert (refused.returncode, "Nobody is signed in" in refused.stderr) == (1, True)
    assert ("sign-in", "raised") in said(receiver)
    (tmp_path / "signed_in").rename(cache)

    receiver.plan(Answer(500))
    done = run(ready.path, "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert "operators could not be told: localhost is in trouble (HTTP 500)." in done.stderr
    assert json.loads(done.stdout)["failures"] == []
    assert ("sign-in", "cleared") in said(receiver)


def test_rules_that_cannot_be_used_are_wrong_and_keep_no_alert_back(told: Home, receiver: Receiver) -> None:
    (told.path / "rules.toml").write_text("version = 1", encoding="utf-8")
    told.edit_env(HUNTER_SCORING_RULES="rules.toml")
    assert check(told)["raised"] == ["sync", "rules"]
    assert sorted(said(receiver)) == [("rules", "raised"), ("sync", "raised")]
    (item,) = [one for one in json.loads(told.invoke("status", "--json").stdout)["items"] if one["subject"] == "rules"]
    assert (item["grade"], "rules.toml" in item["text"]) == ("wrong", True)
