"""A process that is killed while it tells operators: nothing is lost, and what comes twice has the same id."""

from pathlib import Path
from signal import SIGKILL

import pytest

from partner_center_pipeline.alerts.delivery import SenderBusyError
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts import killed
from partner_center_pipeline_tests.alerts.checking import WELL, WRONG, checked, noted
from partner_center_pipeline_tests.alerts.companies import end_leases
from partner_center_pipeline_tests.alerts.mailbox import Mailbox
from partner_center_pipeline_tests.alerts.receiver import Receiver
from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment
from partner_center_pipeline_tests.conftest import Databases

pytestmark = pytest.mark.slow

CHECK = f"{killed.__name__}:{killed.check.__name__}"
WEBHOOK = "alerts.teams:Webhook.send"
MAIL = "alerts.mail:MailServer.send"
NOTED = "alerts.operators:_note"


def check_and_die(home: Path, variables: dict[str, str], kind: str, where: str) -> None:
    """Check in a process that kills itself."""
    done = forking.run([*COMMAND, kind, where, "1"], clean_environment(home, **variables), home, 120, CHECK)
    assert done.returncode == -SIGKILL, done.stderr


@pytest.fixture
def variables(receiver: Receiver, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A webhook and mail."""
    given = {
        "HUNTER_PARTNER_CENTER_ENABLED": "true",
        **mailbox.environment,
        "HUNTER_OPERATORS_WEBHOOK_URL": receiver.at("/ops/hook"),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.mark.parametrize(
    ("kind", "where", "hooks", "mails"),
    [
        ("after", NOTED, 1, 1),
        ("before", WEBHOOK, 1, 1),
        ("after", WEBHOOK, 2, 1),  # sent, not marked: it comes twice, with its id
        ("after", MAIL, 1, 2),
    ],
)
def test_a_check_that_is_killed_loses_nothing_and_repeats_one_message_at_most_with_its_id(
    kind: str,
    where: str,
    hooks: int,
    mails: int,
    databases: Databases,
    home: Path,
    variables: dict[str, str],
    receiver: Receiver,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = Warehouse.open(databases.migrated())
    monkeypatch.setenv("HUNTER_DATABASE_URL", warehouse.url)
    check_and_die(home, {**variables, "HUNTER_DATABASE_URL": warehouse.url}, kind, where)
    settings = Settings.load()
    with pytest.raises(SenderBusyError):
        checked(settings, WRONG)  # the killed one's lease lasts for 45 s
    end_leases(warehouse)
    checked(settings, WRONG)
    checked(settings, WRONG)
    assert (len(receiver.received), len(set(receiver.ids))) == (hooks, 1)
    assert (len(mailbox.received), len(set(mailbox.ids))) == (mails, 1)
    assert [(row.detail, row.state) for row in noted(warehouse)] == [("raised", "sent")] * 2
    checked(settings, WELL)
    assert (len(receiver.received), len(mailbox.received)) == (hooks + 1, mails + 1)
    warehouse.close()


@pytest.mark.parametrize(("kind", "hooks"), [("after", 2), ("before", 1)])
def test_without_a_warehouse_too(
    kind: str,
    hooks: int,
    home: Path,
    variables: dict[str, str],
    receiver: Receiver,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unreachable = "postgresql+psycopg://hunter:x@127.0.0.1:1/hunter"
    check_and_die(home, {**variables, "HUNTER_DATABASE_URL": unreachable}, kind, WEBHOOK)
    monkeypatch.setenv("HUNTER_DATABASE_URL", unreachable)
    for _ in range(2):
        checked(Settings.load())
    assert (len(receiver.received), len(set(receiver.ids))) == (hooks, 1)
    assert len(mailbox.received) == 1


def test_a_check_that_is_killed_when_the_warehouse_can_be_used_again_tells_that_once(
    databases: Databases,
    home: Path,
    variables: dict[str, str],
    receiver: Receiver,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse = Warehouse.open(databases.migrated())
    monkeypatch.setenv("HUNTER_DATABASE_URL", "postgresql+psycopg://hunter:x@127.0.0.1:1/hunter")
    checked(Settings.load())
    check_and_die(
        home, {**variables, "HUNTER_DATABASE_URL": warehouse.url}, "before", "alerts.without_warehouse:Kept.forget"
    )
    monkeypatch.setenv("HUNTER_DATABASE_URL", warehouse.url)
    end_leases(warehouse)
    checked(Settings.load(), WRONG)
    said = [(one["subject"], one["change"]) for body in receiver.received for one in body.body["conditions"]]
    assert sorted(said) == [("breaker", "raised"), ("warehouse", "cleared"), ("warehouse", "raised")]
    warehouse.close()
