"""Asset checks of each run: what a person should look at although every run succeeded.

Each says the next step. They ask the warehouse, run once per run (in a range run too: they carry no window), never
block, and can be executed by hand one by one. Red (ERROR) means act, yellow (WARN) means look at it. Their metadata
holds no personal data. Not here: the checks that run each hour (`hourly_checks`), finding out (`reconcile`,
`warehouse.quarantine`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table
from partner_center_pipeline.defs.enrichment import FEW, unanswered
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import check_figures, pending, quarantine, reconciling
from partner_center_pipeline.windows import render_ticks

QUARANTINE: Final = "quarantine_is_empty"
MISSED: Final = "complete_windows_missed_nothing"
VANISHED: Final = "few_referrals_vanished"
DNS: Final = "dns_answers"
DERIVED: Final = "everything_is_derived"
MOST_WINDOWS: Final = 100
"""Rows that a table of metadata lists: enough to see a pattern. `reconciliations` and `pending_work` hold all."""

_NO_COMPARISON: Final = (
    "Nothing was compared yet, so nobody knows. The job {job} compares by itself; `{command}`, or the job started by "
    "hand, does it now."
)


def spec(name: str, asset: Asset, description: str) -> dg.AssetCheckSpec:
    """Return the specification of a check of an asset's."""
    return dg.AssetCheckSpec(name, asset=str(asset), description=description)


SPECS: Final = (
    spec(QUARANTINE, Asset.RAW_REFERRALS, "No referral is kept aside for a person to look at."),
    spec(
        MISSED,
        Asset.RAW_REFERRALS,
        "The last comparisons with Partner Center (partner_center_reconcile) found no referral that a window missed "
        "and yet closed as complete. Yellow until there was a comparison.",
    ),
    spec(
        VANISHED,
        Asset.RAW_REFERRALS,
        "The last full comparison did not find many referrals at once that Partner Center shows no more: then the "
        "account sees less than before. Yellow until there was a full comparison.",
    ),
    spec(DNS, Asset.DOMAIN_SIGNALS, "DNS answered for most companies that the last hour of scans asked about."),
    spec(DERIVED, Asset.SCORED_SEGMENTS, "No row failed to become a lead, a company, a suggestion or a score."),
)


@dg.multi_asset_check(name="checks_of_each_run", specs=SPECS, can_subset=True)
def checks_of_each_run(
    context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks that were selected in one step, as a step costs more than they do."""
    with as_dagster_failure(), warehouse.open() as db, db.read() as connection:
        now = utc_now()
        results = [
            _EVALUATED[key.name](connection, now)
            for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name)
        ]
    yield from results


def evaluate(
    connection: Connection, names: Sequence[str] = (QUARANTINE, MISSED, VANISHED)
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of checks as they are now; without `names` of those that a comparison may change."""
    now = utc_now()
    for name in names:
        yield _EVALUATED[name](connection, now)


def report(instance: dg.DagsterInstance, connection: Connection) -> None:
    """Report the results to Dagster outside any run of the asset, so that the UI shows them at once."""
    for result in evaluate(connection):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=result.asset_key or _RAW,
                check_name=result.check_name or "",
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            )
        )


_RAW: Final = dg.AssetKey(str(Asset.RAW_REFERRALS))


def _quarantine_is_empty(connection: Connection, _now: datetime) -> dg.AssetCheckResult:
    counts = quarantine.counts(connection)
    rows = sum(counts.values())
    return dg.AssetCheckResult(
        asset_key=_RAW,
        check_name=QUARANTINE,
        passed=rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=quarantine.summary(counts) or "Every row of Partner Center was taken in.",
        metadata={"rows": rows, "rows_by_reason": counts_table("reason", counts)},
    )


def _not_compared(check: str, job: str, command: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=_RAW,
        check_name=check,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=_NO_COMPARISON.format(job=job, command=command),
    )


def _complete_windows_missed_nothing(connection: Connection, _now: datetime) -> dg.AssetCheckResult:
    outcome = reconciling.latest(connection)
    if outcome is None:
        return _not_compared(MISSED, "partner_center_reconcile_recent (daily)", "partner-center reconcile --recent")
    found = f"The comparison of {outcome.started_at:%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        asset_key=_RAW,
        check_name=MISSED,
        passed=outcome.missed == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found} found {outcome.missed} versions that windows missed although they closed as complete. "
        "They are loaded, and the next run makes leads of them. Compare the windows below with sync_attempts, and "
        "report it: a scan should not do that. The next comparison without a finding turns this green."
        if outcome.missed
        else f"{found} found nothing that a complete window had missed.",
        metadata={
            "started_at": dg.MetadataValue.timestamp(outcome.started_at),
            "compared_until": render_ticks(outcome.until),
            "fetched": outcome.fetched,
            "missing": outcome.missing,
            "missed_by_complete_windows": outcome.missed,
            "windows": windows_table(outcome.windows),
        },
    )


def _few_referrals_vanished(connection: Connection, _now: datetime) -> dg.AssetCheckResult:
    outcome = reconciling.latest_full(connection)
    if outcome is None:
        return _not_compared(VANISHED, "partner_center_reconcile (weekly)", "partner-center reconcile")
    found = f"The full comparison of {outcome.started_at:%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        asset_key=_RAW,
        check_name=VANISHED,
        passed=not outcome.too_many_vanished,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found} found {reconciling.too_many(outcome.vanished, outcome.held)}"
        if outcome.too_many_vanished
        else f"{found} marked {outcome.marked} of {outcome.held} leads as shown no more; few are no surprise.",
        metadata={
            "started_at": dg.MetadataValue.timestamp(outcome.started_at),
            "held": outcome.held,
            "vanished": outcome.vanished,
            "marked_as_vanished": outcome.marked,
        },
    )


def _dns_answers(connection: Connection, now: datetime) -> dg.AssetCheckResult:
    found = check_figures.answers(connection, now)
    complaint = unanswered(found.asked, found.failed)
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(str(Asset.DOMAIN_SIGNALS)),
        check_name=DNS,
        passed=complaint is None,
        severity=dg.AssetCheckSeverity.ERROR,
        description=complaint
        or (
            f"DNS answered for {found.asked - found.failed} of {found.asked} companies."
            if found.asked >= FEW
            else f"{found.asked} companies were asked about, {found.failed} without an answer: too few to tell."
        ),
        metadata={
            "asked": found.asked,
            "without_an_answer": found.failed,
            **({"last_scan": dg.MetadataValue.timestamp(found.last)} if found.last else {}),
        },
    )


def _everything_is_derived(connection: Connection, _now: datetime) -> dg.AssetCheckResult:
    failed = pending.failed(connection)
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(str(Asset.SCORED_SEGMENTS)),
        check_name=DERIVED,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(failed)} referrals or companies below could not be derived; all others were. That is a "
        "defect of the program: report it with the kind of error. Each run tries them again."
        if failed
        else "Everything that was stored is derived.",
        metadata={
            "rows": len(failed),
            "items": dg.MetadataValue.table(
                records=[
                    dg.TableRecord({"task": str(one.task), "item": one.item, "error": one.error})
                    for one in failed[:MOST_WINDOWS]
                ],
                schema=dg.TableSchema(
                    columns=[
                        dg.TableColumn("task", "string", description="what was to be derived"),
                        dg.TableColumn("item", "string", description="the referral's id or the company's domain"),
                        dg.TableColumn("error", "string", description="the kind of error"),
                    ]
                ),
            ),
        },
    )


Evaluate = Callable[[Connection, datetime], dg.AssetCheckResult]
"""Returns a check's result as it is now (UTC)."""

_EVALUATED: Final[Mapping[str, Evaluate]] = {
    QUARANTINE: _quarantine_is_empty,
    MISSED: _complete_windows_missed_nothing,
    VANISHED: _few_referrals_vanished,
    DNS: _dns_answers,
    DERIVED: _everything_is_derived,
}


def windows_table(windows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Return a metadata table of the windows with missing versions, at most `MOST_WINDOWS` of them."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(window) for window in windows[:MOST_WINDOWS]],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("window", "string", description="its key"),
                dg.TableColumn("interval", "string", description="what it answers for"),
                dg.TableColumn("missing", "int", description="versions it should have brought"),
                dg.TableColumn("claimed_complete", "bool", description="whether it had closed as complete"),
            ]
        ),
    )
