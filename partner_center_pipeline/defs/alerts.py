"""The job that sends the cards to Teams. It is apart from the chain, so a dead receiver neither fails nor delays it.

Not here: what is told and how it is delivered (`alerts`).
"""

import time
from typing import Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.alerts.delivery import SenderBusyError
from partner_center_pipeline.alerts.sales import deliver, reason_not_to_send, reason_to_wait
from partner_center_pipeline.defs.asset_run import as_dagster_failure
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, periodic_job
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings

CRON: Final = "*/5 * * * *"


@dg.op(
    name="send_alerts",
    out=dg.Out(dg.Nothing),
    description="Notes good leads whose deadline came within 72 hours, and sends what waits in the outbox to Teams. A "
    "receiver that takes nothing fails no run: the reason is in the metadata, in `partner-center doctor` and in the "
    "outbox.",
)
def _send_alerts(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
    with as_dagster_failure(), warehouse.open() as db:
        settings = Settings.load()
        if (reason := reason_not_to_send(settings)) is not None:
            context.log.info(reason)
            return
        try:
            done = deliver(db, settings, holder=context.run_id, clock=utc_now, sleep=time.sleep)
        except SenderBusyError as error:
            context.log.info(str(error))
            return
    if done.failed is not None:
        context.log.warning(done.failed)
    context.add_output_metadata(done.shown())


def _reason_to_skip(connection: Connection) -> str | None:
    return reason_to_wait(connection, Settings.load(), utc_now())


ALERTS: Final = periodic_job(
    _send_alerts,
    name="partner_center_alerts",
    noun="delivery of alerts",
    description="Cards in Teams: companies that entered P1 or P2, and good leads to answer within 72 hours.",
    cron=CRON,
    when="Every five minutes, when there is something to tell.",
    gated=False,
    tags=NO_RUN_RETRIES,
    reason_to_skip=_reason_to_skip,
)
