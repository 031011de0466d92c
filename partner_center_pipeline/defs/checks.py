"""Asset checks: what a person should look at although every run succeeded.

Each says the next step. They read small tables, run once per run (in a range run too: they carry no window), and
never block. Their metadata holds no personal data. Not here: finding out (`reconcile`, `warehouse.quarantine`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table
from partner_center_pipeline.defs.resources import WarehouseResource
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import pending, quarantine, reconciling
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import render_ticks

QUARANTINE: Final = "quarantine_is_empty"
MISSED: Final = "complete_windows_missed_nothing"
VANISHED: Final = "few_referrals_vanished"
MOST_WINDOWS: Final = 100
"""Rows that a table of metadata lists: enough to see a pattern. `reconciliations` and `pending_work` hold all."""

_NO_COMPARISON: Final = (
    "There was no full comparison yet. The job partner_center_reconcile makes one every week; `partner-center "
    "reconcile` makes one now."
)
_ASSET: Final = dg.AssetKey(str(Asset.RAW_REFERRALS))


@dg.multi_asset_check(
    name="nothing_is_lost",
    specs=[
        dg.AssetCheckSpec(QUARANTINE, asset=_ASSET, description="No referral is kept aside for a person to look at."),
        dg.AssetCheckSpec(
            MISSED,
            asset=_ASSET,
            description="The last comparisons with Partner Center (partner_center_reconcile) found no referral that a "
            "window missed and yet closed as complete.",
        ),
        dg.AssetCheckSpec(
            VANISHED,
            asset=_ASSET,
            description="The last full comparison did not find many referrals at once that Partner Center shows no "
            "more: then the account sees less than before.",
        ),
    ],
)
def nothing_is_lost(warehouse: WarehouseResource) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks in one step, as a step costs more than they do."""
    with as_dagster_failure(), warehouse.open() as db, db.read() as connection:
        results = list(evaluate(connection))
    yield from results


def evaluate(connection: Connection) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of the checks as they are now."""
    yield _quarantine_is_empty(quarantine.counts(connection))
    yield _complete_windows_missed_nothing(reconciling.latest(connection))
    yield _few_referrals_vanished(reconciling.latest_full(connection))


def report(instance: dg.DagsterInstance, connection: Connection) -> None:
    """Report the results to Dagster outside any run of the asset, so that the UI shows them at once."""
    for result in evaluate(connection):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=_ASSET,
                check_name=result.check_name or "",
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            )
        )


def _quarantine_is_empty(counts: Mapping[str, int]) -> dg.AssetCheckResult:
    rows = sum(counts.values())
    return dg.AssetCheckResult(
        asset_key=_ASSET,
        check_name=QUARANTINE,
        passed=rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=quarantine.summary(counts) or "Every row of Partner Center was taken in.",
        metadata={"rows": rows, "rows_by_reason": counts_table("reason", counts)},
    )


def _complete_windows_missed_nothing(outcome: reconciling.Outcome | None) -> dg.AssetCheckResult:
    if outcome is None:
        return dg.AssetCheckResult(
            asset_key=_ASSET,
            check_name=MISSED,
            passed=True,
            description=_NO_COMPARISON,
        )
    found = f"The comparison of {outcome.started_at:%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        asset_key=_ASSET,
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


def _few_referrals_vanished(outcome: reconciling.Outcome | None) -> dg.AssetCheckResult:
    if outcome is None:
        return dg.AssetCheckResult(asset_key=_ASSET, check_name=VANISHED, passed=True, description=_NO_COMPARISON)
    found = f"The full comparison of {outcome.started_at:%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        asset_key=_ASSET,
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


EVERYTHING_IS_DERIVED: Final = dg.AssetCheckSpec(
    "everything_is_derived",
    asset=str(Asset.SCORED_SEGMENTS),
    description="No row failed to become a lead, a company, a suggestion or a score.",
)
"""Evaluated by the last asset itself: before that, the rows are not derived."""


def everything_is_derived(db: Warehouse) -> dg.AssetCheckResult:
    """Return the result of the check as it is now."""
    with db.read() as connection:
        failed = pending.failed(connection)
    return dg.AssetCheckResult(
        check_name=EVERYTHING_IS_DERIVED.name,
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
