"""A process that is killed while it sends: nothing is lost, and what is sent twice has the same id."""

import os
from pathlib import Path
from signal import SIGKILL

import pytest

from partner_center_pipeline.alerts.delivery import SenderBusyError
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.alerts import killed
from partner_center_pipeline_tests.alerts.companies import domains, end_leases, enter, send, states
from partner_center_pipeline_tests.alerts.receiver import Receiver
from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment
from partner_center_pipeline_tests.conftest import Databases

pytestmark = pytest.mark.slow

KILLED = f"{killed.__name__}:{killed.send.__name__}"


@pytest.mark.parametrize(
    ("kind", "where", "nth", "messages"),
    [
        ("after", "alerts.teams:Webhook.send", 1, 2),  # sent, not marked: the one case in which it comes twice
        ("before", "alerts.teams:Webhook.send", 1, 1),  # claimed, not sent
    ],
)
def test_a_sender_that_is_killed_loses_nothing_and_repeats_one_message_at_most_with_its_id(
    kind: str,
    where: str,
    nth: int,
    messages: int,
    databases: Databases,
    home: Path,
    settings: Settings,
    receiver: Receiver,
) -> None:
    warehouse = Warehouse.open(databases.migrated())
    enter(warehouse, "P1", "a.com.tr", "b.com.tr")
    environment = clean_environment(home, **receiver.environment, HUNTER_DATABASE_URL=warehouse.url)
    done = forking.run([*COMMAND, kind, where, str(nth)], environment, home, 120, KILLED)
    assert done.returncode == -SIGKILL, done.stderr
    assert len(receiver.received) == messages - 1
    assert {state for _, state in states(warehouse)} == {"waiting"}

    with pytest.raises(SenderBusyError):
        send(warehouse, settings)  # the killed one's lease lasts for 45 s
    assert len(receiver.received) == messages - 1
    end_leases(warehouse)
    assert send(warehouse, settings).messages == 2
    assert len(receiver.received) == messages + 1
    assert len(set(receiver.ids)) == 2
    assert {state for _, state in states(warehouse)} == {"sent"}
    assert send(warehouse, settings).messages == 0
    assert len(receiver.received) == messages + 1
    warehouse.close()


def test_two_commands_at_once_send_nothing_twice(databases: Databases, home: Path, receiver: Receiver) -> None:
    warehouse = Warehouse.open(databases.migrated())
    enter(warehouse, "P1", *domains(4))
    environment = clean_environment(home, **receiver.environment, HUNTER_DATABASE_URL=warehouse.url)
    with Path(os.devnull).open("r+b") as nothing:
        descriptors = (nothing.fileno(), nothing.fileno(), nothing.fileno())
        both = [forking.start([*COMMAND, "alerts", "send"], environment, home, descriptors) for _ in range(2)]
    for one in both:
        one.wait(120)
    assert 0 in [one.returncode for one in both]
    assert len(receiver.received) == len(set(receiver.ids)) == 4
    warehouse.close()
