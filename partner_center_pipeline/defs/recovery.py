"""Finding runs whose process died, and ending them, so that they no longer hold a pool's slot or their windows.

Dagster has no health check for runs in a process of this machine: one that was killed stays STARTED, with its slot,
until max_runtime (dagster.md, trap 10). Not here: where the next run continues (`warehouse.ledger`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import dagster as dg

from partner_center_pipeline.defs.partitions import DNS_POOL, POOL
from partner_center_pipeline.warehouse import lease, ledger
from partner_center_pipeline.warehouse.database import Warehouse

MESSAGE: Final = (
    "The process of this run died: it gave no sign of life for a minute. What it had committed is kept; its windows "
    "are free for the next run, which goes on from there."
)
_UNDER_WAY: Final = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_dead_runs(instance: dg.DagsterInstance, db: Warehouse, clock: Callable[[], datetime]) -> list[str]:
    """End the runs under way whose process died; return their ids. `clock` gives UTC."""
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY))}
    holders = _runs_with_a_slot(instance)
    # `partner-center sync` takes the slot before its run begins, and may be killed between the two.
    never_begun = {run_id for run_id in holders - runs.keys() if not instance.has_run(run_id)}
    judged = runs.keys() | never_begun
    if not judged:
        return []
    lease.watch(db, holders & judged, clock)
    dead = lease.dead(db, sorted(judged), clock)
    for run_id in dead:
        if run_id in runs:
            instance.report_run_failed(runs[run_id], MESSAGE)
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        with db.write() as connection:
            ledger.fail(connection, run_id, clock(), MESSAGE)
    return dead


def _runs_with_a_slot(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs that have a slot of a pool.

    Each sends its first heartbeat at once; one that was killed before that would hold the slot for ever.
    """
    pools = instance.event_log_storage.get_concurrency_infos([POOL, DNS_POOL]).values()
    return {step.run_id for pool in pools for step in pool.pending_steps if step.assigned_timestamp is not None}
