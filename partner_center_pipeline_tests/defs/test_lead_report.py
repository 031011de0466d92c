"""The asset `lead_report`, its schedule, and the numbers of `scored_segments` that plot."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._serdes import serialize_value
from openpyxl import load_workbook
from sqlalchemy import select

from partner_center_pipeline.defs.assets import lead_report
from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline_tests.defs.project import Project

pytestmark = pytest.mark.slow  # each makes workbooks in real runs

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def make(project: Project, day: str, **config: Any) -> dg.ExecuteInProcessResult:
    """Materialize the report of a day."""
    return project.definitions.resolve_job_def(lead_report.JOB_NAME).execute_in_process(
        instance=project.instance,
        partition_key=day,
        raise_on_error=False,
        run_config=QUIET | {"ops": {"lead_report": {"config": config}}},
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("lead_report")
    return {name: value.value for name, value in event.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = result.get_step_failure_events()
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


@pytest.fixture
def synced(project: Project) -> Project:
    """A project whose first two windows are through the chain: the second is a day of windows."""
    assert project.run(project.window(0)).success
    return project


def test_a_report_is_three_kinds_of_files_that_its_metadata_names(synced: Project) -> None:
    result = make(synced, today())
    assert result.success
    said = metadata_of(result)
    folder = synced.home / "reports"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    lists = ("due_first", "leads", "without_company", "new_and_moved")
    assert files == {f"{today()}.xlsx", f"{today()}.html", *(f"csv/{name}.csv" for name in lists)}
    assert said["file_xlsx"] == str(folder / f"{today()}.xlsx")
    assert said["file_csv_leads"] == str(folder / "csv" / "leads.csv")
    book = load_workbook(folder / f"{today()}.xlsx")
    assert book.sheetnames[0] == "Due first"
    assert book["Leads"].max_row == said["rows_leads"] + 1 > 10
    assert isinstance(said["due_within_72h"], int)


def test_the_first_rows_are_shown_without_personal_data(synced: Project) -> None:
    result = make(synced, today(), with_contacts=True)
    assert result.success
    said = metadata_of(result)
    assert said["with_contacts"] is True
    assert len(said["due_first"].records) <= lead_report.ROWS_SHOWN
    log = "\n".join(serialize_value(entry) for entry in synced.instance.all_logs(result.run_id))
    with synced.warehouse.read() as connection:
        contacts = connection.execute(select(schema.leads.c.contact_email, schema.leads.c.contact_name)).all()
    personal = {value for row in contacts for value in row if value}
    assert personal
    assert not [value for value in personal if value in log]
    assert any(value in (synced.home / "reports/csv/leads.csv").read_text(encoding="utf-8") for value in personal)


def test_a_report_without_contacts_holds_none(synced: Project) -> None:
    assert make(synced, today()).success
    with synced.warehouse.read() as connection:
        emails = [email for email in connection.execute(select(schema.leads.c.contact_email)).scalars() if email]
    for path in (synced.home / "reports").rglob("*.[ch][st][vm]*"):
        text = path.read_text(encoding="utf-8")
        assert not [email for email in emails if email in text], path


def test_a_report_covers_what_happened_since_that_of_an_earlier_day(synced: Project) -> None:
    first = metadata_of(make(synced, today()))
    made = datetime.fromisoformat(first["made_at"])
    assert timedelta(hours=23) < made - datetime.fromisoformat(first["since"]) < timedelta(hours=25)
    again = metadata_of(make(synced, today()))
    assert datetime.fromisoformat(again["since"]) < made - timedelta(hours=23)
    earlier = made - timedelta(days=3)
    synced.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "lead_report", partition=f"{earlier:%Y-%m-%d}", metadata={"made_at": earlier.isoformat()}
        )
    )
    assert metadata_of(make(synced, today()))["since"] == earlier.isoformat()


def test_only_the_report_of_the_present_day_can_be_made(synced: Project) -> None:
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    result = make(synced, yesterday)
    assert not result.success
    assert f"only that of {today()} (UTC) can be made, and none of {yesterday}" in failure_of(result)
    assert not (synced.home / "reports").exists()


def test_an_empty_warehouse_makes_no_report_and_says_the_next_step(project: Project) -> None:
    result = make(project, today())
    assert not result.success
    assert "holds no lead yet" in failure_of(result)
    assert "partner-center sync" in failure_of(result)
    assert not [path for path in (project.home / "reports").rglob("*") if path.is_file()]


def test_the_report_is_in_the_language_of_the_settings(synced: Project) -> None:
    synced.edit_env(HUNTER_REPORT_LANGUAGE="tr")
    assert make(synced, today()).success
    assert '<html lang="tr">' in (synced.home / f"reports/{today()}.html").read_text(encoding="utf-8")
    csv = (synced.home / "reports/csv/leads.csv").read_text(encoding="utf-8-sig")
    assert csv.startswith("List,Rank,Company,Domain,")


@pytest.mark.dagster_on_disk
def test_the_schedule_asks_for_the_present_day_once_there_are_leads_and_the_gate_is_open(project: Project) -> None:
    assert "no lead yet" in str(project.tick_schedule(datetime.now(UTC), "partner_center_report"))
    assert project.run(project.window(0)).success
    request = project.tick_schedule(datetime.now(UTC), "partner_center_report")
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == today()
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert "HUNTER_PARTNER_CENTER_ENABLED" in str(project.tick_schedule(datetime.now(UTC), "partner_center_report"))


def test_scored_segments_shows_counts_by_segment_and_category_as_numbers(project: Project) -> None:
    outcome = project.run(project.window(0))
    said = outcome.metadata["scored_segments", project.window(0).key]
    companies = project.counts()["companies"]
    assert sum(said[f"segment_{segment}"] for segment in Segment) == companies
    assert 0 < sum(said[f"category_{category}"] for category in Category) <= companies
    assert all(isinstance(said[f"category_{category}"], int) for category in Category)
