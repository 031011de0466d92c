"""Fetches windows: the scan of their interval, written page by page, and how an attempt is recorded that ends early.

Not here: Dagster (`assets.raw_referrals`), the lease and the gate around it (`asset_run`, `gate`), the scan itself
(`partner_center.scan`), its transactions (`warehouse.window_ingest`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.defs.gate import GateClosedError
from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    ReferralsClient,
    ScanIncomplete,
    TooEarly,
    scan,
)
from partner_center_pipeline.partner_center.isolation import is_refused_again
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.telling import Paced, giving_up, shown_seconds
from partner_center_pipeline.warehouse import breaker, demo, quarantine, referrals
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.referrals import Placed
from partner_center_pipeline.warehouse.schema import Resolution
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import TICKS_PER_SECOND, SyncWindow, clocks_differ, datetime_of, over_by

RANGE_DEADLINE: Final = 3 * 3600.0
"""Seconds that the genesis window or a range may take. It commits page by page; the next run continues there."""

PATIENCE: Final = 45.0
"""Seconds to wait for a server clock that is not past the window yet."""

GATE_SECONDS: Final = 1.0
"""Seconds between two looks at the switch while pages are read."""

ASK_AGAIN_AFTER: Final = timedelta(hours=1)
"""How long a row that could not be read is left before a run asks for it beside its windows."""

MOST_ASKED_AGAIN: Final = 5
"""Such rows that one run asks for."""

_log = logging.getLogger(__name__)

Connect = Callable[[float], AbstractContextManager[ReferralsClient]]
"""Opens a client that begins no retry and no pause after that many seconds from now."""


def fetch_windows(
    db: Warehouse,
    connect: Connect,
    settings: Settings,
    windows: Sequence[SyncWindow],
    run_id: str,
    clock: Callable[[], datetime],
    lease: Lease | None = None,
    gate: Callable[[], object] = lambda: None,
) -> WindowIngest:
    """Fetch contiguous windows of one width, in ascending order, and close those that are proven complete.

    `clock` gives UTC. With a `lease`, each transaction confirms it. `gate` is asked between pages, at most once in
    GATE_SECONDS. Returns the finished attempt with its figures. When only some of the windows are over by the server's
    clock, those are fetched and closed, then TooEarly is raised. Raises PartnerCenterError, SettingsError,
    WarehouseError, and GateClosedError from `gate`, after the attempts at the windows that are not closed were recorded
    as failed, incomplete or disabled. An error of Partner Center counts for the breaker, but not TooEarly.
    """
    gate = _now_and_then(gate)
    ingest = WindowIngest.begin(db, windows, run_id, clock, first=settings.grid.first or 0, lease=lease)
    with _recording_failure(ingest):
        with db.read() as connection:
            demo.refuse_mixing(connection, settings.partner_center_base_url)
            state = breaker.load(connection)
        seconds = _deadline(ingest, settings.grid.interval)
        _log.info(
            "fetch: %s, pages of %d rows, %s",
            f"{len(windows)} windows, {windows[0].key} to {windows[-1].key}" if len(windows) > 1
            else f"window {windows[0].key}" + (" and all before it" if ingest.windows[0].is_genesis else ""),
            settings.partner_center_page_size, giving_up(clock(), seconds),
        )  # fmt: skip
        with connect(seconds) as client:
            if state.tripped:
                _log.warning(
                    "Partner Center was left alone until %s UTC, after %d failed runs; one row is asked for before "
                    "anything else. The last failure: %s",
                    f"{state.open_until:%Y-%m-%d %H:%M}", state.failures, state.reason,
                )  # fmt: skip
                client.get_page(PageQuery(1))
            early = _fetch_what_is_over(client, settings, ingest, gate)
            _ask_for_unreadable(db, client, settings, clock, lease)
    if state.failures:
        with db.write() as connection:
            breaker.close(connection)
    if early is not None:
        raise early
    return ingest


def _fetch_what_is_over(
    client: ReferralsClient, settings: Settings, ingest: WindowIngest, gate: Callable[[], object]
) -> TooEarly | None:
    """Fetch the windows that are over by the server's clock, and close them.

    Returns the error for the others, whose attempts are failed, None when there is none. Raises it when no window is
    over.
    """
    asked = len(ingest.windows)
    try:
        _fetch(client, settings, ingest, gate)
    except TooEarly as error:
        over = 0 if client.server_ticks is None else over_by(ingest.windows, client.server_ticks, settings.grid.lag)
        said = f"{error} {clocks_differ(client.skew_seconds)}".rstrip()
        if not 0 < over < asked or any(figures.pages for figures in ingest.figures.values()):
            ingest.fail(said, incomplete=False, clock_skew=client.skew_seconds)
            raise TooEarly(said) from error
        first = ingest.windows[over].key
        ingest.leave_out_after(over, said, client.skew_seconds)
    else:
        return None
    _fetch(client, settings, ingest, gate)
    return TooEarly(f"{over} of {asked} windows are fetched; those from {first} on are not over. {said}")


def _fetch(client: ReferralsClient, settings: Settings, ingest: WindowIngest, gate: Callable[[], object]) -> None:
    began, tell, earliest = time.monotonic(), Paced(_log), None
    for page in _pages(client, settings, ingest):
        ingest.write(page)
        done = ingest.total()
        earliest = min([ticks for ticks in (earliest, _earliest(page)) if ticks is not None], default=None)
        tell(
            "fetch: page %d%s, %s rows (%s new, %s known already, %s to quarantine)%s",
            done.pages, _of_about(done.pages, earliest, page.position, ingest.windows[-1].end),
            f"{done.fetched:,}", f"{done.new_versions:,}", f"{done.unchanged:,}", f"{done.quarantined:,}",
            f", up to {datetime_of(page.position):%Y-%m-%d %H:%M} UTC" if earliest is not None else "",
        )  # fmt: skip
        if not page.last:
            gate()
    done = ingest.total()
    _log.info(
        "fetch: done, %d pages, %s rows in %s, %s of them waiting", done.pages, f"{done.fetched:,}",
        shown_seconds(time.monotonic() - began), shown_seconds(done.seconds_waited),
    )  # fmt: skip
    if done.fetched or done.quarantined:
        _log.info(
            "store: %s new or changed versions, %s known already, %s late, %s to quarantine", f"{done.new_versions:,}",
            f"{done.unchanged:,}", f"{done.late:,}", f"{done.quarantined:,}",
        )  # fmt: skip


def _earliest(page: ScanPage) -> int | None:
    return min((version.updated_ticks for version in page.versions), default=None)


def _of_about(pages: int, earliest: int | None, position: int, end: int) -> str:
    """Return about how many pages there are, by how much of the time from the earliest row to `end` they cover.

    Empty where that is not known: nothing came yet, or the position does not move (a list without a filter).
    """
    if earliest is None or not earliest < position <= end:
        return ""
    return f" of about {-(-pages * (end - earliest) // (position - earliest))}"


def _pages(client: ReferralsClient, settings: Settings, ingest: WindowIngest) -> Iterator[ScanPage]:
    first, end = ingest.windows[0], ingest.windows[-1].end
    overlap = ingest.overlap(settings.partner_center_overlap_seconds)
    return scan(
        client,
        start=None if first.is_genesis else first.covers_from - overlap,
        end=end,
        resume_from=ingest.resume_from,
        not_before=end + settings.grid.lag * TICKS_PER_SECOND,
        patience=PATIENCE,
    )


def _ask_for_unreadable(
    db: Warehouse,
    client: ReferralsClient,
    settings: Settings,
    clock: Callable[[], datetime],
    lease: Lease | None,
) -> None:
    """Ask again for the instants of rows that could not be read, the longest unseen first.

    What is sent by now is stored, and its entry leaves the quarantine. Where the API takes no filter, only scans find
    such a row again. An error of Partner Center ends this, and nothing else: the windows are closed.
    """
    now = clock()
    with db.read() as connection:
        due = quarantine.unreadable(connection, now - ASK_AGAIN_AFTER, MOST_ASKED_AGAIN)
    try:
        for row in due if client.filters else ():
            at = row.earliest_ticks or 0
            pages = list(scan(client, start=at, end=at + 1, not_before=at + settings.grid.lag * TICKS_PER_SECOND))
            placed = [Placed(one, row.window_start, late=True) for page in pages for one in page.versions]
            rejected = [one for page in pages for one in page.rejected]
            with db.write() as connection:
                if lease is not None:
                    lease.confirm(connection)
                referrals.store(connection, placed, now)
                referrals.resolve(connection, [row.fingerprint], Resolution.CLEAN, now)
                referrals.quarantine(connection, rejected, row.window_start, now)
    except PartnerCenterError as error:
        _log.warning("rows that could not be read before were not asked for again: %s", error)


def _now_and_then(gate: Callable[[], object]) -> Callable[[], object]:
    """Return `gate` so that it is asked at most once in GATE_SECONDS, as it reads `.env` each time."""
    asked_at = time.monotonic()

    def asked() -> object:
        nonlocal asked_at
        if time.monotonic() - asked_at < GATE_SECONDS:
            return None
        asked_at = time.monotonic()
        return gate()

    return asked


def _deadline(ingest: WindowIngest, interval: int) -> float:
    """Return the seconds a run may take: for one ordinary window less than the interval, so that runs never pile up."""
    if len(ingest.windows) > 1 or ingest.windows[0].is_genesis:
        return RANGE_DEADLINE
    return max(0.8 * interval, 55.0)


@contextmanager
def _recording_failure(ingest: WindowIngest) -> Iterator[None]:
    """Record what ends a run early in its attempts, and an error of Partner Center in the breaker, and raise it."""
    try:
        yield
    except PartnerCenterError as error:
        ingest.fail(str(error), incomplete=isinstance(error, ScanIncomplete), refused=is_refused_again(error))
        if not isinstance(error, TooEarly):
            with ingest.warehouse.write() as connection:
                breaker.note_failure(connection, str(error), ingest.clock, error.retry_after)
        raise
    except GateClosedError as error:
        ingest.fail(str(error), incomplete=False, disabled=True)
        raise
    except (SettingsError, WarehouseError) as error:
        ingest.fail(str(error), incomplete=False)
        raise
    except BaseException as error:
        defect = isinstance(error, Exception)  # and not Ctrl-C
        ingest.fail(f"{type(error).__name__}; the run's log has more", incomplete=False, refused=defect)
        raise
