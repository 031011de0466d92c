"""What the warehouse says about how well the pipeline does. Not here: what is good or bad (`health`)."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, text

from partner_center_pipeline.health import Comparison, Failure, Shown, WarehouseFacts
from partner_center_pipeline.warehouse import breaker, check_figures, ledger, quarantine, reconciling, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    payload_drift,
    reconciliations,
    run_heartbeats,
    sync_attempts,
)
from partner_center_pipeline.warehouse.views import sync_health
from partner_center_pipeline.windows import WindowGrid, catch_up

_ALIVE: Final = timedelta(minutes=2)
"""How old the last heartbeat of a run may be; it writes one every ten seconds."""

_DONE = (AttemptState.COMPLETE, AttemptState.EMPTY)
_FAILED = (AttemptState.FAILED, AttemptState.INCOMPLETE)


def facts(warehouse: Warehouse, grid: WindowGrid, now: datetime) -> WarehouseFacts:
    """Read everything in one transaction. Raises WarehouseError."""
    with warehouse.read() as connection:
        done = ledger.covered(connection)
        missing = catch_up(grid, now, done, ())
        seen = connection.execute(select(sync_health)).one()
        state = breaker.load(connection)
        held = quarantine.counts(connection)
        drift, newest_drift = connection.execute(
            select(func.count(), func.max(payload_drift.c.first_seen)).select_from(payload_drift)
        ).one()
        return WarehouseFacts(
            newest_end=done[-1][1] if done else None,
            open_windows=sum(end - start for start, end in missing) // grid.width,
            oldest_open=missing[0][0] if missing else None,
            attempts=seen.newest_attempt_state is not None,
            is_working=_is_working(connection, now),
            last_failure=_last_failure(connection),
            breaker=str(state) if state.tripped else None,
            pending=seen.pending_rows,
            oldest_pending=seen.oldest_pending,
            quarantined=sum(held.values()),
            quarantine=quarantine.summary(held),
            drift=drift,
            newest_drift=newest_drift,
            comparisons=_comparisons(connection),
            size=_size(connection, warehouse),
            scored_by=scores.versions(connection),
            shown=_shown(connection),
            arrivals=check_figures.arrivals(connection, grid.first, now),
        )


def _is_working(connection: Connection, now: datetime) -> bool:
    """Say whether a run that lives works on a window: an attempt of a run that was killed says `running`, too."""
    alive = (
        select(run_heartbeats.c.run_id)
        .join(sync_attempts, sync_attempts.c.run_id == run_heartbeats.c.run_id)
        .where(run_heartbeats.c.seen_at > now - _ALIVE, sync_attempts.c.state == AttemptState.RUNNING)
    )
    return connection.execute(alive.limit(1)).first() is not None


def _last_failure(connection: Connection) -> Failure | None:
    table = sync_attempts
    columns = table.c.id, table.c.window_start, table.c.started_at, table.c.state, table.c.error
    last = connection.execute(
        select(*columns).where(table.c.state.in_(_FAILED)).order_by(table.c.id.desc()).limit(1)
    ).one_or_none()
    if last is None:
        return None
    since = select(func.count()).where(table.c.id > last.id, table.c.state.in_(_DONE))
    return Failure(
        last.window_start, last.started_at, last.error or str(last.state), connection.execute(since).scalar_one()
    )


def _comparisons(connection: Connection) -> list[Comparison]:
    """Return the last reconcile of each kind."""
    table = reconciliations
    newest = select(func.max(table.c.id)).group_by(table.c.kind)
    rows = connection.execute(select(table).where(table.c.id.in_(newest)))
    return [Comparison(row.kind, row.started_at, row.finished_at is not None, row.missed, row.error) for row in rows]


def _shown(connection: Connection) -> Shown | None:
    found = reconciling.latest_full(connection)
    if found is None:
        return None
    complaint = reconciling.too_many(found.vanished, found.held) if found.too_many_vanished else None
    return Shown(found.started_at, found.held, found.vanished, complaint)


def _size(connection: Connection, warehouse: Warehouse) -> int:
    """Return the bytes of the database; of a SQLite file with what is not written back into it yet."""
    if warehouse.file is None:
        size: int = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return size
    files = (warehouse.file, warehouse.file.with_name(f"{warehouse.file.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
