"""Asset checks of each hour: trouble that no single run shows, also while no run ends well.

A job of its own evaluates them, with those of each run, and observes how many rows each table has; so they cost the
runs of windows nothing. Red (ERROR) means act, yellow (WARN) means look at it. Not here: the checks that each run
evaluates (`checks`), what they count (`warehouse.check_figures`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Any, Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline import health
from partner_center_pipeline.defs import checks
from partner_center_pipeline.defs.asset_run import as_dagster_failure
from partner_center_pipeline.defs.gate import DISABLED
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, periodic_schedule
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.health import Grade
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.partner_center.errors import PartnerCenterError
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, check_figures, ledger, pending
from partner_center_pipeline.warehouse.check_figures import Share
from partner_center_pipeline.warehouse.row_counts import row_counts
from partner_center_pipeline.warehouse.schema import TABLE_OF
from partner_center_pipeline.warehouse.tokens import shared_sign_in
from partner_center_pipeline.windows import (
    LATENESS_PERIOD,
    MAX_OVERLAP,
    REFUSALS_BEFORE_HALVING,
    WindowGrid,
    catch_up,
    datetime_of,
    held_back,
    ticks_of,
    widened_overlap,
)

FETCHED: Final = "windows_are_fetched_in_time"
STILL_COME: Final = "referrals_still_come"
OVERLAP: Final = "late_versions_fit_the_overlap"
SIGN_IN: Final = "sign_in_does_not_end_soon"
DOMAINS: Final = "leads_have_a_domain_as_before"
SCORED: Final = "every_company_is_scored"

OPEN_TOO_LONG: Final = timedelta(hours=2)
"""How long a window may be due and not done, and rows may wait to be derived: longer than the longest wait of the
sensor, an hour, and one try after it."""

RECENT: Final = timedelta(days=7)
LEAST_LEADS: Final = 20
"""Leads of which a share can be said."""
LEAST_BAND: Final = 0.15
"""The share of leads without a domain may differ at least by this from before."""

JOB_NAME: Final = "partner_center_checks"

SPECS: Final = (
    checks.spec(
        FETCHED,
        Asset.RAW_REFERRALS,
        "No window is open for more than two hours after it was due. Yellow while they are being caught up.",
    ),
    checks.spec(
        STILL_COME,
        Asset.RAW_REFERRALS,
        "Yesterday brought no less than a fifth of what the same weekday usually brings.",
    ),
    checks.spec(
        OVERLAP,
        Asset.RAW_REFERRALS,
        "No version of the last week came so late that it was near the edge of the overlap.",
    ),
    checks.spec(
        SIGN_IN, Asset.RAW_REFERRALS, "Somebody is signed in to Partner Center, and the sign-in does not end soon."
    ),
    checks.spec(
        DOMAINS,
        Asset.NORMALIZED_LEADS,
        "The share of leads without a domain is, for the last week, what it was before.",
    ),
    checks.spec(
        SCORED, Asset.SCORED_SEGMENTS, "Every company that a referral names has a score, and nothing waits for long."
    ),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a check may ask: the warehouse, the settings, the grid, the time (UTC), and what the chain has done."""

    connection: Connection
    settings: Settings
    grid: WindowGrid
    now: datetime

    @property
    def done(self) -> list[tuple[int, int]]:
        """The intervals (ticks) that the whole chain has."""
        return ledger.covered(self.connection)


@dg.multi_asset_check(name="checks_of_each_hour", specs=SPECS, can_subset=True)
def checks_of_each_hour(
    context: dg.AssetCheckExecutionContext, grid: GridParam, warehouse: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the checks that were selected, and observe how many rows the assets' tables have."""
    with as_dagster_failure(), warehouse.open() as db, db.read() as connection:
        moment = Moment(connection, Settings.load(), grid, utc_now())
        results = [
            _EVALUATED[key.name](moment) for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name)
        ]
        rows = row_counts(connection)
    for asset in Asset:
        context.op_execution_context.log_event(
            dg.AssetObservation(str(asset), metadata={"dagster/row_count": rows[TABLE_OF[asset].name]})
        )
    yield from results


def _result(
    check: str,
    asset: Asset,
    description: str,
    severity: dg.AssetCheckSeverity | None,
    metadata: Mapping[str, Any],
) -> dg.AssetCheckResult:
    """Return a result; without a `severity` the check has passed."""
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(str(asset)),
        check_name=check,
        passed=severity is None,
        severity=severity or dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _windows_are_fetched_in_time(moment: Moment) -> dg.AssetCheckResult:
    grid, now = moment.grid, moment.now
    connection = moment.connection
    due_until = held_back(now, ledger.clock_skew(connection, now))
    missing = catch_up(grid, due_until, moment.done, ())
    count = sum(high - low for low, high in missing) // grid.width
    if not missing:
        return _result(FETCHED, Asset.RAW_REFERRALS, "Every window that is due is done.", None, {"open_windows": 0})
    start, end = missing[0]
    open_since = datetime_of(start + grid.width) + timedelta(seconds=grid.lag)
    last_done = check_figures.last_done(connection)
    shown: dict[str, Any] = {
        "open_windows": count,
        "oldest_open_window": grid.window(start).key,
        "open_since": dg.MetadataValue.timestamp(open_since),
        **({"last_window_done": dg.MetadataValue.timestamp(last_done)} if last_done else {}),
    }
    if now - open_since <= OPEN_TOO_LONG:
        said = f"{count} windows are open, none for longer than {OPEN_TOO_LONG.seconds // 3600} hours."
        return _result(FETCHED, Asset.RAW_REFERRALS, said, None, shown)
    said = f"{count} windows are open, the oldest ({grid.window(start).key}) since {open_since:%Y-%m-%d %H:%M} UTC. "
    if not moment.settings.partner_center_enabled:
        return _result(FETCHED, Asset.RAW_REFERRALS, said + DISABLED, dg.AssetCheckSeverity.WARN, shown)
    state = breaker.load(connection)
    tries = ledger.tries(connection, start, end, now).count
    stands_still = last_done is None or now - last_done > OPEN_TOO_LONG
    if state.tripped:
        said += str(state)
    elif tries >= REFUSALS_BEFORE_HALVING or stands_still:
        said += (
            f"{tries} attempts at it failed; the last error is in its runs and in table sync_attempts. Repair that, "
            "then materialize the window, or run `partner-center sync`. Where nothing was tried, look whether the "
            "daemon runs (`partner-center ui`) and the schedule and the sensor are on"
        )
    else:
        return _result(
            FETCHED, Asset.RAW_REFERRALS, said + "They are being caught up.", dg.AssetCheckSeverity.WARN, shown
        )
    return _result(FETCHED, Asset.RAW_REFERRALS, said, dg.AssetCheckSeverity.ERROR, shown)


def _referrals_still_come(moment: Moment) -> dg.AssetCheckResult:
    arrivals = check_figures.arrivals(moment.connection, moment.grid.first, moment.now)
    item = health.of_arrivals(arrivals)
    by_day = {} if arrivals is None else arrivals.by_day
    shown = {
        "versions_of_yesterday": by_day.get(datetime_of(check_figures.days_before(moment.now, 1)), 0),
        "versions_a_day": dg.MetadataValue.table(
            [dg.TableRecord({"day": f"{day:%Y-%m-%d}", "versions": count}) for day, count in sorted(by_day.items())],
            dg.TableSchema([dg.TableColumn("day", "string"), dg.TableColumn("versions", "int")]),
        ),
    }
    said = item.text[:1].upper() + item.text[1:]
    severity = None if item.grade is Grade.OK else dg.AssetCheckSeverity.WARN
    return _result(STILL_COME, Asset.RAW_REFERRALS, said, severity, shown)


def _late_versions_fit_the_overlap(moment: Moment) -> dg.AssetCheckResult:
    configured = moment.settings.partner_center_overlap_seconds
    latest = ledger.latest_late(moment.connection, moment.now - LATENESS_PERIOD)
    used = widened_overlap(configured, latest)
    shown: dict[str, Any] = {
        "overlap_seconds": used,
        "configured_seconds": configured,
        **({"latest_late_seconds": latest} if latest is not None else {}),
    }
    if latest is None:
        said = "No version came after its window in the last 7 days."
        return _result(OVERLAP, Asset.RAW_REFERRALS, said, None, shown)
    said = f"The latest version of the last 7 days lay {latest:.0f} s before the window that fetched it"
    if latest <= configured / 2:
        return _result(OVERLAP, Asset.RAW_REFERRALS, f"{said}; the overlap is {configured} s.", None, shown)
    if latest <= max(configured, MAX_OVERLAP) / 2:
        said += f". Scans read {used} s by themselves; set HUNTER_PARTNER_CENTER_OVERLAP_SECONDS if that goes on"
        return _result(OVERLAP, Asset.RAW_REFERRALS, said, dg.AssetCheckSeverity.WARN, shown)
    said += (
        f". The overlap widens by itself up to {MAX_OVERLAP} s only. Set HUNTER_PARTNER_CENTER_OVERLAP_SECONDS to "
        f"{2 * latest:.0f} or more, and run `partner-center reconcile --recent`"
    )
    return _result(OVERLAP, Asset.RAW_REFERRALS, said, dg.AssetCheckSeverity.ERROR, shown)


def _sign_in_does_not_end_soon(moment: Moment) -> dg.AssetCheckResult:
    settings = moment.settings
    try:
        with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
            status = sign_in.status()
    except (PartnerCenterError, SettingsError) as error:
        return _result(SIGN_IN, Asset.RAW_REFERRALS, str(error), _red(settings), {})
    if not status.signed_in:
        said = "Nobody is signed in to Partner Center; run `partner-center login`"
        return _result(SIGN_IN, Asset.RAW_REFERRALS, said, _red(settings), {})
    shown = {"days_since_renewal": round(status.age_days or 0.0, 2), "days_left": round(status.days_left or 0.0, 2)}
    if status.warning is not None:
        severity = dg.AssetCheckSeverity.WARN if status.days_left else _red(settings)
        return _result(SIGN_IN, Asset.RAW_REFERRALS, status.warning, severity, shown)
    said = f"The sign-in was renewed {status.age_days or 0:.0f} days ago and renews itself with each run."
    return _result(SIGN_IN, Asset.RAW_REFERRALS, said, None, shown)


def _red(settings: Settings) -> dg.AssetCheckSeverity:
    """Return red where the pipeline is to run, yellow where it is switched off."""
    return dg.AssetCheckSeverity.ERROR if settings.partner_center_enabled else dg.AssetCheckSeverity.WARN


def band(before: Share, recent: Share) -> tuple[float, float]:
    """Return in which band the share of leads without a domain lies, from what it was before.

    It is three standard deviations of as many leads wide, and at least LEAST_BAND, in either direction.
    """
    share = before.value
    width = max(LEAST_BAND, 3 * sqrt(share * (1 - share) / max(recent.total, 1)))
    return max(0.0, share - width), min(1.0, share + width)


def _leads_have_a_domain_as_before(moment: Moment) -> dg.AssetCheckResult:
    recent, before = check_figures.leads_without_domain(moment.connection, ticks_of(moment.now - RECENT))
    shown = {
        "leads_of_the_last_week": recent.total,
        "share_without_domain": round(recent.value, 4),
        "share_before": round(before.value, 4),
    }
    if min(recent.total, before.total) < LEAST_LEADS:
        said = f"{recent.total} leads of the last week and {before.total} before are too few to compare."
        return _result(DOMAINS, Asset.NORMALIZED_LEADS, said, None, shown)
    low, high = band(before, recent)
    said = f"{recent.value:.0%} of the last week's leads have no domain; before it was {before.value:.0%}"
    if low <= recent.value <= high:
        return _result(DOMAINS, Asset.NORMALIZED_LEADS, f"{said}.", None, shown)
    said += (
        f", so {low:.0%} to {high:.0%} is expected. Look at `domain_reason` of new rows in leads_without_company, and "
        "at `partner-center drift`: the referrals may name companies in another field than before"
    )
    return _result(DOMAINS, Asset.NORMALIZED_LEADS, said, dg.AssetCheckSeverity.WARN, shown)


def _every_company_is_scored(moment: Moment) -> dg.AssetCheckResult:
    missing, since = check_figures.without_score(moment.connection), pending.oldest(moment.connection)
    waits = since is not None and moment.now - since > OPEN_TOO_LONG
    shown: dict[str, Any] = {
        "companies_without_score": missing,
        **({"waiting_since": dg.MetadataValue.timestamp(since)} if since else {}),
    }
    if missing:
        said = (
            f"{missing} companies have no score, and nothing is pending that would make one. Run `partner-center sync "
            "--force` for their windows, and report it: it is a defect of the program"
        )
        return _result(SCORED, Asset.SCORED_SEGMENTS, said, dg.AssetCheckSeverity.ERROR, shown)
    if waits:
        said = (
            f"Rows wait to be derived since {since:%Y-%m-%d %H:%M} UTC. Look at the last runs of normalized_leads and "
            "the assets after it, or run `partner-center sync`"
        )
        return _result(SCORED, Asset.SCORED_SEGMENTS, said, dg.AssetCheckSeverity.ERROR, shown)
    return _result(SCORED, Asset.SCORED_SEGMENTS, "Every company that a referral names has a score.", None, shown)


_EVALUATED: Final[Mapping[str, Callable[[Moment], dg.AssetCheckResult]]] = {
    FETCHED: _windows_are_fetched_in_time,
    STILL_COME: _referrals_still_come,
    OVERLAP: _late_versions_fit_the_overlap,
    SIGN_IN: _sign_in_does_not_end_soon,
    DOMAINS: _leads_have_a_domain_as_before,
    SCORED: _every_company_is_scored,
}

KEYS: Final = [dg.AssetCheckKey(dg.AssetKey(str(one.asset_key.to_user_string())), one.name) for one in SPECS]
"""What the job of the windows leaves out."""

CHECKS_JOB: Final = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.all_asset_checks(),
    executor_def=dg.in_process_executor,
    description="All asset checks, whether or not runs end well; also observes how many rows each table has.",
    tags=NO_RUN_RETRIES,
)


def _reason_to_skip(connection: Connection) -> str | None:
    if ledger.has_begun(connection):
        return None
    return "no window was begun yet, so there is nothing to look at"


CHECKS_SCHEDULE: Final = periodic_schedule(
    JOB_NAME,
    noun="evaluation of the checks",
    cron="41 * * * *",
    when="Hourly, once a window was begun.",
    gated=False,
    reason_to_skip=_reason_to_skip,
)
