"""What Dagster's storage says about how well the pipeline does. Not here: what is good or bad (`health`)."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import yaml

from partner_center_pipeline.defs.partitions import DNS_POOL, POOL
from partner_center_pipeline.health import Daemon, DagsterFacts

SCHEDULES_AND_SENSORS: Final = frozenset(
    {
        "partner_center_alerts_schedule",
        "partner_center_checks_schedule",
        "partner_center_covered_sensor",
        "partner_center_flag_sensor",
        "partner_center_operators_schedule",
        "partner_center_prune_schedule",
        "partner_center_reconcile_recent_schedule",
        "partner_center_reconcile_schedule",
        "partner_center_report_schedule",
        "partner_center_rescan_schedule",
        "partner_center_sync_schedule",
    }
)
"""All of the project, each on by default. Written down, as making the definitions takes a second."""

_QUEUED: Final = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])


def facts(folder: Path) -> DagsterFacts | None:
    """Read Dagster's storage; None where it was never made. `folder` holds dagster.yaml and is DAGSTER_HOME.

    The working directory is the home folder, to which paths in dagster.yaml are relative. Nothing is made.
    """
    if _is_still_to_be_made(folder / "dagster.yaml"):
        return None
    with dg.DagsterInstance.get() as instance:
        return facts_of(instance)


def facts_of(instance: dg.DagsterInstance) -> DagsterFacts:
    """Read the storage of an instance."""
    heartbeats = instance.get_daemon_heartbeats()
    daemons = []
    for name in sorted(instance.get_required_daemon_types()):
        seen = heartbeats.get(name)
        at = None if seen is None else datetime.fromtimestamp(seen.timestamp, UTC)
        errors = list(seen.errors or ()) if seen is not None else []
        daemons.append(Daemon(name, at, errors[0].cls_name or "error" if errors else None))
    queued = instance.get_runs_count(_QUEUED)
    oldest = instance.get_run_records(_QUEUED, limit=1, ascending=True) if queued else []
    return DagsterFacts(
        daemons=daemons,
        stopped=sorted(
            state.instigator_name
            for state in instance.all_instigator_state()
            if state.status.value == "STOPPED" and state.instigator_name in SCHEDULES_AND_SENSORS
        ),
        limits={limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()},
        expected_pools=(POOL, DNS_POOL),
        queued=queued,
        oldest_queued=oldest[0].create_timestamp.astimezone(UTC) if oldest else None,
        wide_pools=(DNS_POOL,),
    )


def _is_still_to_be_made(file: Path) -> bool:
    """Say whether dagster.yaml names a folder of SQLite files that does not exist."""
    storage = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("storage") or {}
    folder = (storage.get("sqlite") or {}).get("base_dir")
    return isinstance(folder, str) and not Path(folder).is_dir()
