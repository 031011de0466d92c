"""The rescan: asks DNS again about companies whose answer is too old, or did not come, and scores them anew.

Asks DNS (and, behind its own switch, Microsoft's public tenant metadata) but never the Referrals API, so the Partner
Center gate is not asked. Belongs here: the job, its schedule, and its one paragraph. Not here: when a domain is due
(`mail.facts`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from partner_center_pipeline.defs.grid import DNS_POOL
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import MailResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people
from partner_center_pipeline.defs.scan_and_score import Scan, Scoring, ask, keep
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import signals
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import alive

JOB_NAME: Final = "partner_center_rescan"


@dataclass(slots=True)
class Rescanned:
    """What a rescan did: domains asked, set-ups changed, domains without an answer, and why scores changed."""

    asked: int = 0
    set_ups_changed: int = 0
    without_an_answer: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, int]:
        """The counts under the names a person reads."""
        return {
            "asked": self.asked,
            "set_ups_changed": self.set_ups_changed,
            "without_an_answer": self.without_an_answer,
            "scores_changed": self.causes.total(),
        }


def rescan_due(
    house: Warehouse, scan: Scan, settings: Settings, now: datetime, progress: Callable[[int], None] = lambda _: None
) -> Rescanned:
    """Ask again about every domain that is due at `now` (UTC), and score its company.

    Each chunk's signals and scores commit together: a rescan that is killed leaves no company with a score that its
    signals do not give, and the next one goes on with what is still due. `progress` hears the number of domains done.
    """
    scoring = Scoring(settings, now)
    done = Rescanned()
    for some in _due(house, now):
        answers = ask(house, scan, some)
        with house.write() as connection:
            rows, changed = keep(connection, answers, settings.signals_ttl_hours)
            _, outcome = scoring.score(connection, some)
        done.asked += len(rows)
        done.set_ups_changed += changed
        done.without_an_answer += sum(not row["is_complete"] for row in rows)
        done.causes += outcome.causes
        progress(done.asked)
    return done


def _due(house: Warehouse, now: datetime) -> Iterator[list[str]]:
    after = ""
    while True:
        with house.read() as connection:
            some = signals.due_again(connection, now, after)
        if not some:
            return
        yield some
        after = some[-1]


@dg.op(
    name="ask_dns_again",
    pool=DNS_POOL,
    out=dg.Out(dg.Nothing),
    description="Asks DNS about every company whose last answer is older than HUNTER_SIGNALS_TTL_HOURS, or whose retry "
    "after no answer is due; then scores it anew, with history.",
)
def _ask_dns_again(context: dg.OpExecutionContext, warehouse: WarehouseResource, mail: MailResource) -> None:
    with failing_for_people(), warehouse.open() as house:
        settings = Settings.load()
        with mail.open(settings) as scan, alive(house, context.run.run_id, utc_now):
            done = rescan_due(house, scan, settings, utc_now())
    context.add_output_metadata({**done.shown(), "changes_by_cause": counts_table("cause", done.causes)})


@dg.job(
    name=JOB_NAME,
    executor_def=dg.in_process_executor,
    description="Mail set-ups that are due, asked again; what changed is scored anew. DNS only: not behind the flag.",
)
def partner_center_rescan() -> None:
    """One step: it commits as it goes."""
    _ask_dns_again()


@dg.schedule(
    name="partner_center_rescan_schedule",
    job=partner_center_rescan,
    cron_schedule="27 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly, when a domain is due.",
)
def partner_center_rescan_schedule(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """A run when there is something to ask and none is under way; a run key would keep a failed hour from a retry."""
    try:
        with warehouse.open() as house:
            end_dead_runs(context.instance, house, utc_now)
            with house.read() as connection:
                due = signals.count_due_again(connection, utc_now())
    except (SettingsError, WarehouseError) as error:
        return dg.SkipReason(str(error))
    if context.instance.get_runs(dg.RunsFilter(job_name=JOB_NAME, statuses=NOT_FINISHED_STATUSES), limit=1):
        return dg.SkipReason("the last rescan is still at work")
    if not due:
        return dg.SkipReason("no company's mail set-up is due to be asked again")
    return dg.RunRequest()
