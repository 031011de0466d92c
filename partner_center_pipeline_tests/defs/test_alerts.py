"""The job that sends alerts beside the chain: what syncs tell, off by default, and a receiver that is dead."""

from datetime import UTC, datetime

import dagster as dg
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from partner_center_pipeline.cli import main
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline_tests.alerts.companies import rules_of_p1
from partner_center_pipeline_tests.alerts.receiver import PATH, SECRET, Receiver
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.receiving import receiver

__all__ = ["receiver"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.dagster_on_disk]

JOB = "partner_center_alerts"


def everyone_is_p1(project: Project) -> None:
    """Let rules put each company into P1: how many of the local Microsoft's are good depends on the hour."""
    project.edit_env(HUNTER_SCORING_RULES=str(rules_of_p1(project.home)))


def deliver(project: Project) -> dict[str, object]:
    """Run the job to its good end; the metadata of its step."""
    result = project.definitions.resolve_job_def(JOB).execute_in_process(instance=project.instance)
    assert result.success
    (step,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in step.step_output_data.metadata.items()}


def outbox(project: Project) -> list[str]:
    """The state of each row."""
    with project.warehouse.read() as connection:
        return list(connection.execute(select(schema.outbox.c.state).order_by(schema.outbox.c.id)).scalars())


def good_companies(project: Project) -> int:
    """Companies in P1 and P2."""
    with project.warehouse.read() as connection:
        return len(
            connection.execute(
                select(schema.company_scores.c.domain).where(schema.company_scores.c.category.in_(("P1", "P2")))
            ).all()
        )


def test_off_by_default_a_sync_keeps_nothing_for_sending_and_no_run_is_asked_for(project: Project) -> None:
    everyone_is_p1(project)
    assert project.run(project.window(0)).success
    assert good_companies(project) > 5
    assert outbox(project) == []
    assert project.tick_schedule(datetime.now(UTC), JOB) == "alerts are off: HUNTER_TEAMS_WEBHOOK_URL is not set"


def test_the_first_sync_of_a_tenant_is_told_in_one_card_and_then_there_is_nothing_to_tell(
    project: Project, receiver: Receiver
) -> None:
    project.edit_env(HUNTER_TEAMS_WEBHOOK_URL=receiver.url, HUNTER_REPORT_LANGUAGE="tr")
    everyone_is_p1(project)
    assert project.run(project.window(0)).success
    assert len(outbox(project)) == good_companies(project) > 5
    assert receiver.received == []  # a sync asks no receiver, so none can delay it
    assert isinstance(project.tick_schedule(datetime.now(UTC), JOB), dg.RunRequest)
    shown = deliver(project)
    assert (shown["messages"], shown["waiting"]) == (1, 0)
    (message,) = receiver.received
    assert message.texts[0] == f"{shown['events']} bildirim"
    assert set(outbox(project)) <= {"sent", "outdated"}
    assert project.tick_schedule(datetime.now(UTC), JOB) == "there is nothing to tell"
    assert project.run(project.window(0), force=True).success
    assert project.tick_schedule(datetime.now(UTC), JOB) == "there is nothing to tell"


def test_a_rescore_tells_too_and_a_dry_one_does_not(project: Project, receiver: Receiver) -> None:
    assert project.run(project.window(0)).success
    project.edit_env(HUNTER_TEAMS_WEBHOOK_URL=receiver.url)
    before = good_companies(project)
    everyone_is_p1(project)
    assert CliRunner().invoke(main, ["rescore", "--dry-run"]).exit_code == 0
    assert outbox(project) == []
    assert CliRunner().invoke(main, ["rescore"]).exit_code == 0
    assert len(outbox(project)) >= good_companies(project) - before > 5


def test_a_dead_receiver_fails_neither_a_sync_nor_the_job_that_sends(project: Project, receiver: Receiver) -> None:
    project.edit_env(HUNTER_TEAMS_WEBHOOK_URL=f"https://localhost:{free_port()}{PATH}?{SECRET}")
    everyone_is_p1(project)
    outcome = project.run(project.window(0))
    assert outcome.success
    shown = deliver(project)
    assert shown["waiting"] == outbox(project).count("waiting") > 5
    assert "localhost cannot be reached" in str(shown["failed"])
    assert SECRET not in project.event_log(outcome.run_id)
    assert "the last message failed; nothing is sent until" in str(project.tick_schedule(datetime.now(UTC), JOB))


def test_the_switch_of_partner_center_switches_alerts_off_too(project: Project, receiver: Receiver) -> None:
    project.edit_env(HUNTER_TEAMS_WEBHOOK_URL=receiver.url, HUNTER_PARTNER_CENTER_ENABLED="false")
    assert "HUNTER_PARTNER_CENTER_ENABLED" in str(project.tick_schedule(datetime.now(UTC), JOB))
