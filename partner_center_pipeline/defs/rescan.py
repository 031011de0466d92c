"""The job that asks DNS again about companies whose answer is too old or missing, and scores them again.

It asks DNS (and, behind its own switch, Microsoft's public tenant metadata) but never the Referrals API, so the gate is
not asked. Not here: when a domain is due (`mail.retention`).
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final

import dagster as dg
from pydantic import Field
from sqlalchemy import Connection

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table
from partner_center_pipeline.defs.enrichment import Asked, DnsProgress, Scan, Scoring, ask, keep
from partner_center_pipeline.defs.partitions import DNS_POOL
from partner_center_pipeline.defs.periodic import periodic_job
from partner_center_pipeline.defs.resources import MailResource, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import demo, pending, signals
from partner_center_pipeline.warehouse.database import Warehouse

PART_LEAST: Final = 1000
"""Domains of which it is worth while to start a run: they take some seconds, as its start does."""
PARTS_A_SLOT: Final = 4
"""Runs for each slot of the pool."""
PART_TAG: Final = "partner_center/rescan_part"
"""The tag of a run that asks about a part: which one, of how many."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Rescanned:
    """What a rescan did: what was asked, and why scores changed."""

    answers: Asked = field(default_factory=Asked)
    causes: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, int]:
        """Return the counts by the names that people see."""
        return {**self.answers.shown(), "scores_changed": self.causes.total()}


def rescan_due(
    db: Warehouse,
    scan: Scan,
    settings: Settings,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
    *,
    ignore_ttl: bool = False,
    part: signals.Part = signals.ALL,
) -> Rescanned:
    """Ask again about every domain of a part that is due at `now` (UTC), or `ignore_ttl` about every one of it.

    The company of each is scored. Each chunk's signals and scores are committed together, so a killed rescan leaves no
    score that does not follow from its signals, and the next one continues with what is still due. `progress` gets the
    number of domains done. Raises WarehouseError where real name servers would be asked about the demo's companies.
    """
    with db.read() as connection:
        demo.refuse_asking(connection, settings)
    scoring = Scoring(settings, now)
    done = Rescanned()
    asked_at = None if ignore_ttl else now
    with db.read() as connection:
        tell = DnsProgress(signals.count_due_again(connection, asked_at, part))
    for chunk in _due(db, asked_at, part):
        answers = ask(db, scan, chunk, tell)
        with db.write() as connection:
            rows, set_ups = keep(connection, answers, settings.signals_ttl_hours)
            _, outcome = scoring.score(connection, chunk)
            pending.remove_items(connection, Task.SCORES, chunk)
        done.answers.take(rows, set_ups)
        done.causes += outcome.causes
        progress(done.answers.asked)
    tell.end()
    _log.info("score: %d scores changed", done.causes.total())
    return done


def _due(db: Warehouse, now: datetime | None, part: signals.Part) -> Iterator[list[str]]:
    while True:
        with db.read() as connection:
            chunk = signals.due_again(connection, now, part)
        if not chunk:
            return
        yield chunk
        part = replace(part, after=chunk[-1])


class RescanConfig(dg.Config):
    """What a person may choose for a rescan."""

    ignore_ttl: bool = Field(
        default=False,
        description="Ask DNS about every company again, however young its last answer is (HUNTER_SIGNALS_TTL_HOURS).",
    )
    after: str = Field(default="", description="Only domains behind this one; empty: from the first one on.")
    until: str = Field(default="", description="Only domains up to this one; empty: up to the last one.")


@dg.op(
    name="ask_dns_again",
    pool=DNS_POOL,
    out=dg.Out(dg.Nothing),
    description="Asks DNS about every company whose last answer is older than HUNTER_SIGNALS_TTL_HOURS, or whose retry "
    "after no answer is due; then scores it anew, with history.",
)
def _ask_dns_again(
    context: dg.OpExecutionContext, config: RescanConfig, warehouse: WarehouseResource, mail: MailResource
) -> None:
    with as_dagster_failure(), warehouse.open() as db:
        settings = Settings.load()
        with mail.open(settings) as scan:
            part = signals.Part(config.after, config.until)
            done = rescan_due(db, scan, settings, utc_now(), ignore_ttl=config.ignore_ttl, part=part)
    shown = {**done.shown(), "changes_by_cause": counts_table("cause", done.causes)}
    for observation in observations(done):
        context.log_event(observation)
    if done.answers.complaint is not None:
        context.log.error(done.answers.complaint)
    context.add_output_metadata(shown)


def observations(done: Rescanned) -> list[dg.AssetObservation]:
    """Return what a rescan did to the tables of the assets, for the catalog; nothing where nothing was asked."""
    if not done.answers.asked:
        return []
    return [
        dg.AssetObservation(str(Asset.DOMAIN_SIGNALS), "Asked again by a rescan", metadata=done.answers.shown()),
        dg.AssetObservation(
            str(Asset.SCORED_SEGMENTS),
            "Scored after a rescan",
            metadata={"scores_changed": done.causes.total(), "changes_by_cause": counts_table("cause", done.causes)},
        ),
    ]


def _reason_to_skip(connection: Connection) -> str | None:
    demo.refuse_asking(connection, Settings.load())
    if signals.count_due_again(connection, utc_now()):
        return None
    return "no company's mail set-up is due to be asked again"


def part_size(due: int, slots: int) -> int:
    """Return how many domains each run of a rescan asks about, where so many are due and `slots` runs work at once.

    There are PARTS_A_SLOT runs for each slot, so that a slow worker, or one that dies, leaves the others little to wait
    for; but none for fewer than PART_LEAST domains.
    """
    return max(PART_LEAST, -(-due // (slots * PARTS_A_SLOT)))


def _runs(instance: dg.DagsterInstance, connection: Connection) -> list[dg.RunRequest]:
    """Request one run for all that is due; a run for each part where the pool lets several work side by side.

    Dagster wants a key of each of several. It is of this moment, as a key is never used again (dagster.md, trap 3).
    """
    slots = instance.event_log_storage.get_concurrency_info(DNS_POOL).slot_count
    if slots <= 1:
        return [dg.RunRequest()]
    now = utc_now()
    parts = signals.parts_due_again(connection, now, part_size(signals.count_due_again(connection, now), slots))
    if len(parts) == 1:
        return [dg.RunRequest()]
    return [
        dg.RunRequest(
            run_key=f"{now.isoformat()} {number}",
            run_config={"ops": {_ask_dns_again.name: {"config": asdict(part)}}},
            tags={PART_TAG: f"{number} of {len(parts)}"},
        )
        for number, part in enumerate(parts, 1)
    ]


RESCAN: Final = periodic_job(
    _ask_dns_again,
    name="partner_center_rescan",
    noun="rescan",
    description="Mail set-ups that are due, asked again; what changed is scored anew. DNS only: not behind the flag.",
    cron="27 * * * *",
    when="Hourly, when a domain is due.",
    gated=False,
    tags={},
    reason_to_skip=_reason_to_skip,
    runs=_runs,
)
