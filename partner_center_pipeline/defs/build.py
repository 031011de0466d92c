"""All definitions of the project, made for a grid of windows.

Dagster fixes a partitions definition when a code location loads, so the grid is read once then. `gate` refuses to go on
when the settings describe another grid by now.
"""

import dagster as dg

from partner_center_pipeline.defs.alerts import ALERTS
from partner_center_pipeline.defs.assets.companies import companies
from partner_center_pipeline.defs.assets.domain_signals import domain_signals
from partner_center_pipeline.defs.assets.lead_report import REPORT_JOB, lead_report, report_schedule
from partner_center_pipeline.defs.assets.normalized_leads import normalized_leads
from partner_center_pipeline.defs.assets.raw_referrals import raw_referrals
from partner_center_pipeline.defs.assets.scored_segments import scored_segments
from partner_center_pipeline.defs.automation import SYNC_JOB, flag_sensor, sync_schedule
from partner_center_pipeline.defs.catalog import view_specs
from partner_center_pipeline.defs.checks import checks_of_each_run
from partner_center_pipeline.defs.covered_windows import covered_sensor
from partner_center_pipeline.defs.executor import EXECUTOR
from partner_center_pipeline.defs.hourly_checks import CHECKS_JOB, CHECKS_SCHEDULE, checks_of_each_hour
from partner_center_pipeline.defs.operators import operators_job, operators_schedule
from partner_center_pipeline.defs.pruning import PRUNING
from partner_center_pipeline.defs.reconcile import RECONCILE, RECONCILE_RECENT
from partner_center_pipeline.defs.rescan import RESCAN
from partner_center_pipeline.defs.resources import MailResource, PartnerCenterResource, WarehouseResource
from partner_center_pipeline.windows import WindowGrid


def build_defs(grid: WindowGrid) -> dg.Definitions:
    """Make all assets, checks, jobs, schedules, sensors and resources for a grid of windows.

    Every run goes through in one process: 0.5 s a window instead of 8 (dagster.md, "Cost").
    """
    return dg.Definitions(
        assets=[
            *(
                build(grid)
                for build in (raw_referrals, normalized_leads, companies, domain_signals, scored_segments, lead_report)
            ),
            *view_specs(),
        ],
        asset_checks=[checks_of_each_run, checks_of_each_hour],
        jobs=[
            *(SYNC_JOB, CHECKS_JOB, REPORT_JOB),
            *(RECONCILE.job, RECONCILE_RECENT.job, RESCAN.job, ALERTS.job, operators_job, PRUNING.job),
        ],
        schedules=[
            sync_schedule(grid),
            CHECKS_SCHEDULE,
            report_schedule(grid),
            RECONCILE.schedule,
            RECONCILE_RECENT.schedule,
            RESCAN.schedule,
            ALERTS.schedule,
            operators_schedule,
            PRUNING.schedule,
        ],
        sensors=[flag_sensor(grid), covered_sensor(grid)],
        resources={
            "grid": grid,
            "warehouse": WarehouseResource(),
            "partner_center": PartnerCenterResource(),
            "mail": MailResource(),
        },
        executor=EXECUTOR,
    )
