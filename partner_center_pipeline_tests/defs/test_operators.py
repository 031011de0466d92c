"""The job that tells operators beside the chain, its schedule, and the call to a monitor after each complete window."""

import time
from datetime import UTC, datetime

import dagster as dg
import pytest

from partner_center_pipeline.alerts import without_warehouse
from partner_center_pipeline.alerts.delivery import sending
from partner_center_pipeline.warehouse import breaker, outbox
from partner_center_pipeline_tests.alerts.receiver import SECRET, Answer, Receiver
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.receiving import receiver

__all__ = ["receiver"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.dagster_on_disk]

JOB = "partner_center_operators"
PING = "/ping/3f1c"


def tick(project: Project) -> dg.RunRequest | str:
    return project.tick_schedule(datetime.now(UTC), JOB)


def tell(project: Project) -> dict[str, object]:
    """Run the job to its good end; the metadata of its step."""
    result = project.definitions.resolve_job_def(JOB).execute_in_process(instance=project.instance)
    assert result.success
    (step,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in step.step_output_data.metadata.items()}


def said(receiver: Receiver) -> list[tuple[str, str]]:
    return sorted((one["subject"], one["change"]) for got in receiver.received for one in got.body["conditions"])


def pings(receiver: Receiver) -> list[str]:
    return [one.path for one in receiver.received if one.path.startswith(PING)]


def test_off_by_default_no_run_is_asked_for(project: Project) -> None:
    assert str(tick(project)).startswith("operators are told nothing: set HUNTER_OPERATORS_TEAMS_WEBHOOK_URL")


def test_the_schedule_asks_for_a_run_when_something_changed_and_then_for_none(
    project: Project, receiver: Receiver
) -> None:
    project.edit_env(HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"))
    assert isinstance(tick(project), dg.RunRequest)  # two days of windows are missed
    assert tell(project)["raised"] == ["sync"]
    assert tick(project) == "nothing changed"
    project.mark_done((project.window(0), project.last_due()))
    with project.warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "The service is unavailable.", lambda: datetime.now(UTC))
    assert isinstance(tick(project), dg.RunRequest)
    shown = tell(project)
    assert (shown["raised"], shown["cleared"]) == (["breaker"], ["sync"])
    assert tick(project) == "nothing changed"
    assert said(receiver) == [("breaker", "raised"), ("sync", "cleared"), ("sync", "raised")]


def test_a_receiver_that_is_dead_fails_no_run_and_what_waits_is_tried_again(
    project: Project, receiver: Receiver
) -> None:
    project.edit_env(HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"))
    receiver.plan(Answer(503))
    tell(project)
    assert tick(project) == "the last message failed; it is tried again later"


def test_a_warehouse_that_cannot_be_used_is_told_by_the_job_too(project: Project, receiver: Receiver) -> None:
    project.edit_env(HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"))
    usable = str(project.warehouse.url)
    project.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://hunter:x@127.0.0.1:1/hunter")
    assert isinstance(tick(project), dg.RunRequest)
    assert tell(project)["raised"] == ["warehouse"]
    assert "127.0.0.1:1" in str(tick(project))  # it was told, so no run is needed
    assert tell(project)["raised"] == []
    project.edit_env(HUNTER_DATABASE_URL=usable)
    assert isinstance(tick(project), dg.RunRequest)
    assert "warehouse" in str(tell(project)["cleared"])
    assert [one for one in said(receiver) if one[0] == "warehouse"] == [
        ("warehouse", "cleared"), ("warehouse", "raised"),
    ]  # fmt: skip


def test_beside_another_sender_the_job_says_so_and_ends_well(project: Project, receiver: Receiver) -> None:
    project.edit_env(HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"))
    with sending(project.warehouse, outbox.OPERATORS_LEASE, "another", lambda: datetime.now(UTC), time.sleep):
        assert "another process is sending alerts; nothing was done" in log_of_a_good_run(project)
    project.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://hunter:x@127.0.0.1:1/hunter")
    with without_warehouse.alone():
        assert "another process is sending alerts; nothing was done" in log_of_a_good_run(project)
    assert receiver.received == []


def log_of_a_good_run(project: Project) -> str:
    result = project.definitions.resolve_job_def(JOB).execute_in_process(instance=project.instance)
    assert result.success
    return project.event_log(result.run_id)


def test_a_turned_off_schedule_is_told_though_the_daemon_runs(project: Project, receiver: Receiver) -> None:
    project.mark_done((project.window(0), project.last_due()))
    project.edit_env(HUNTER_OPERATORS_WEBHOOK_URL=receiver.at("/ops/hook"))
    project.instance.event_log_storage.set_concurrency_slots("partner_center_api", 0)
    assert tell(project)["raised"] == ["pools"]


def test_a_monitor_is_asked_after_each_complete_window_and_after_no_other(project: Project, receiver: Receiver) -> None:
    project.edit_env(HUNTER_PING_URL=receiver.at(PING))
    project.mark_done((project.window(0), project.window(9)))
    assert project.run(project.window(9), force=True).success  # done before
    assert project.run(project.window(10), assets=["raw_referrals"]).success  # not whole
    assert pings(receiver) == []
    assert project.run(project.window(10), project.window(11)).success
    assert pings(receiver) == [f"{PING}?{SECRET}"]

    receiver.plan(Answer(500))
    done = project.run(project.window(12))
    assert done.success
    log = project.event_log(done.run_id)
    assert "ping: localhost does not take it (HTTP 500). Check HUNTER_PING_URL" in log
    assert SECRET not in log
    assert PING not in log
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert not project.run(project.window(13)).success
    assert len(pings(receiver)) == 2
