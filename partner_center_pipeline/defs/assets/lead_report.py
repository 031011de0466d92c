"""lead_report: the sales team's report of a day, as files in the home folder.

The report shows the warehouse as it is when it is written, so only the partition of the present day can be made. Its
daily schedule is here, too: the run is of an asset, not of a job of its own (`periodic`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import dagster as dg
from pydantic import Field

from partner_center_pipeline.defs.asset_run import as_dagster_failure, permanent
from partner_center_pipeline.defs.catalog import GROUP, LISTS, SALES
from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, UNFINISHED, logged
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.reports.model import About, LeadRow, ListName, ReportError
from partner_center_pipeline.reports.reading import read_listings
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.reports.writing import FOLDER, Report, write_folder
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings, home
from partner_center_pipeline.warehouse import reporting
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.windows import WindowGrid, datetime_of

NAME: Final = "lead_report"
JOB_NAME: Final = "partner_center_report"
CRON: Final = "7 4 * * *"
"""Each day at 04:07 UTC, 07:07 in Türkiye: before the sales team begins."""

ROWS_SHOWN: Final = 10
"""Rows of the list "Due first" that the run shows."""
_REPORTS_SEARCHED: Final = 50
"""Materializations that are searched for the last report of an earlier day."""
_KEY: Final = "%Y-%m-%d"

REPORT_JOB: Final = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(NAME),
    executor_def=dg.in_process_executor,
    description="The sales team's report of the present day, as files.",
    tags=NO_RUN_RETRIES,
)


class ReportConfig(dg.Config):
    """What a person may choose for a report."""

    with_contacts: bool = Field(
        default=False, description="Write names, addresses and telephone numbers of contacts (personal data), too."
    )


def lead_report(grid: WindowGrid) -> dg.AssetsDefinition:
    """Make the asset, with a partition for each day since the grid's start, the present day included."""

    @dg.asset(
        name=NAME,
        partitions_def=report_days(grid),
        deps=list(LISTS),  # views, which have no windows: it shows all that is known
        group_name=GROUP,
        kinds={"excel", "html", "csv"},
        owners=[SALES],
        description="Send these files to the people who sell, or let them open the folder. The sales team's report of "
        f"a day: a workbook, a page and CSV files in the folder `{FOLDER}`.",
    )
    def report(
        context: dg.AssetExecutionContext, config: ReportConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        now = utc_now()
        day = context.partition_key
        if day != now.strftime(_KEY):
            raise permanent(
                f"a report shows the warehouse as it is now, so only that of {now:{_KEY}} (UTC) can be made, and none "
                f"of {day}; nothing was written. Files of earlier reports are kept in the folder {FOLDER}."
            )
        with as_dagster_failure(), warehouse.open() as db:
            settings = Settings.load()
            words = Words(load_rules(settings.scoring_rules), settings.report_language)
            about = About(
                made_at=now,
                since=_last_report(context.instance, day) or now - timedelta(days=1),
                language=words.language,
                with_contacts=config.with_contacts,
            )
            folder = home() / FOLDER
            try:
                written = write_folder(db, folder, about, words)
            except ReportError as error:
                raise permanent(str(error)) from None
            first = _first_rows(db, about)
        return dg.MaterializeResult(metadata={**_files(written), **_summary(written[f"{day}.xlsx"], about), **first})

    return report


def report_schedule(grid: WindowGrid) -> dg.ScheduleDefinition:
    """Make the schedule that writes the report each morning."""

    @dg.schedule(
        name=f"{JOB_NAME}_schedule",
        job_name=JOB_NAME,
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The report of the day, each morning.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource) -> dg.RunRequest | dg.SkipReason:
        return logged(context, answer(context, warehouse))

    def answer(context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource) -> dg.RunRequest | dg.SkipReason:
        try:
            gate(grid)
            with warehouse.open() as db:
                end_dead_runs(context.instance, db, utc_now)
                with db.read() as connection:
                    has_leads = reporting.has_leads(connection)
        except (GateClosedError, WarehouseError) as error:
            return dg.SkipReason(str(error))
        if not has_leads:
            return dg.SkipReason("the warehouse holds no lead yet, so there is nothing to report")
        unfinished = dg.RunsFilter(job_name=JOB_NAME, statuses=UNFINISHED)
        if context.instance.get_runs(unfinished, limit=1):
            return dg.SkipReason("the last report is still being written")
        # Of the present day, not of the tick: a tick that was late would ask for a day that cannot be made any more.
        return dg.RunRequest(partition_key=utc_now().strftime(_KEY))

    return schedule


def report_days(grid: WindowGrid) -> dg.DailyPartitionsDefinition:
    """Return the report's partitions: days, the present one included."""
    return dg.DailyPartitionsDefinition(start_date=_first_day(grid), timezone="UTC", end_offset=1)


def _first_day(grid: WindowGrid) -> str:
    return (datetime(2200, 1, 1, tzinfo=UTC) if grid.first is None else datetime_of(grid.first)).strftime(_KEY)


def _last_report(instance: dg.DagsterInstance, day: str) -> datetime | None:
    """Return when the last report of an earlier day was made, None without one."""
    found = instance.fetch_materializations(dg.AssetKey(NAME), limit=_REPORTS_SEARCHED).records
    made = (
        record.asset_materialization.metadata["made_at"].value
        for record in found
        if record.asset_materialization is not None and (record.partition_key or day) < day
    )
    text = next(made, None)
    return datetime.fromisoformat(str(text)) if text else None


def _files(written: dict[str, Report]) -> dict[str, Any]:
    names = {place: place.partition(".")[2] if "/" not in place else place.replace("/", "_") for place in written}
    return {
        f"file_{names[place].removesuffix('.csv')}": dg.MetadataValue.path(str(report.path))
        for place, report in written.items()
    }


def _summary(report: Report, about: About) -> dict[str, Any]:
    figures = report.figures
    return {
        "made_at": about.made_at.isoformat(),
        "since": about.since.isoformat(),
        "language": str(about.language),
        "with_contacts": about.with_contacts,
        **{f"rows_{name}": rows for name, rows in report.rows.items()},
        "due_within_72h": figures.due_within_72h,
        "companies_with_an_open_referral": figures.open_companies,
        **{f"changes_{kind}": number for kind, number in sorted(figures.changes.items())},
    }


def _first_rows(db: Warehouse, about: About) -> dict[str, Any]:
    """Return the first rows of "Due first" as a table, without contacts."""
    with db.read() as connection:
        due = next(one for one in read_listings(connection, about) if one.name is ListName.DUE_FIRST)
        rows: Iterator[LeadRow] = (row for row in islice(due.rows, ROWS_SHOWN) if isinstance(row, LeadRow))
        records = [
            dg.TableRecord(
                {
                    "hours_left": row.hours_left or 0.0,
                    "company": clean(row.company_name or ""),
                    "domain": clean(row.domain_unicode or ""),
                    "segment": row.segment or "",
                    "category": row.category or "",
                    "score": "" if row.score is None else str(row.score),
                }
            )
            for row in rows
        ]
    columns = [
        dg.TableColumn(name, "float" if name == "hours_left" else "string")
        for name in ("hours_left", "company", "domain", "segment", "category", "score")
    ]
    return {"due_first": dg.MetadataValue.table(records, dg.TableSchema(columns))}
