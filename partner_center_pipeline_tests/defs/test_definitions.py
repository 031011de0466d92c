"""What a code location holds, as a fresh interpreter loads it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline.definitions import batch_events
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline_tests.defs.project import load_definitions

DESCRIBE = """
import json
import os
import dagster as dg
from partner_center_pipeline.definitions import defs
definitions = defs()
repository = definitions.get_repository_def()
job = definitions.resolve_job_def("partner_center_sync")
graph = repository.asset_graph
nodes = [graph.get(key) for key in sorted(graph.get_all_asset_keys())]
print(json.dumps({
    "events_at_once": os.environ.get("DAGSTER_EVENT_BATCH_SIZE"),
    "assets": {node.key.to_user_string(): sorted(key.to_user_string() for key in node.parent_keys) for node in nodes},
    "partitions": {
        node.key.to_user_string(): type(node.partitions_def).__name__ for node in nodes if node.partitions_def
    },
    "first": graph.get(dg.AssetKey("raw_referrals")).partitions_def.get_first_partition_key(),
    "job_assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
    "executor": job.executor_def.name,
    "policies": sorted({str(node.backfill_policy.max_partitions_per_run) for node in nodes if node.backfill_policy}),
    "pools": {node.key.to_user_string(): sorted(node.pools or ()) for node in nodes if node.pools},
    "schedules": {
        s.name: [s.job_name, s.cron_schedule, s.default_status.value, s.execution_timezone]
        for s in repository.schedule_defs
    },
    "undescribed_columns": sorted(
        f"{node.key.to_user_string()}.{column.name}"
        for node in nodes
        if "dagster/column_schema" in node.metadata
        for column in node.metadata["dagster/column_schema"].columns
        if not column.description
    ),
    "checks": sorted(key.to_user_string() for key in graph.asset_check_keys),
    "job_checks": sorted(key.name for key in job.asset_layer.asset_graph.asset_check_keys),
    "sensors": {
        s.name: [s.job_name if s.targets else None, s.minimum_interval_seconds, s.default_status.value]
        for s in repository.sensor_defs
    },
}))
"""


def in_home(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a home folder with nothing else in its environment than these settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HUNTER_HOME": str(home),
        "DAGSTER_HOME": str(PROJECT_ROOT),
        **variables,
    }
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120)


def described(home: Path, **variables: str) -> dict[str, Any]:
    done = in_home(home, sys.executable, "-c", DESCRIBE, **variables)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_the_chain_the_report_the_jobs_their_schedules_and_a_sensor_are_defined(tmp_path: Path) -> None:
    found = described(tmp_path, HUNTER_SYNC_START="2026-01-01T00:00:00Z")
    assert found == {
        "events_at_once": "100",
        "assets": {
            "raw_referrals": [],
            "normalized_leads": ["raw_referrals"],
            "companies": ["normalized_leads"],
            "domain_signals": ["companies"],
            "scored_segments": ["companies", "domain_signals"],
            "leads_ready": ["companies", "normalized_leads", "scored_segments"],
            "leads_without_company": ["companies", "normalized_leads", "scored_segments"],
            "due_first": ["companies", "normalized_leads", "scored_segments"],
            "company_card": ["domain_signals", "leads_ready"],
            "sync_health": ["raw_referrals"],
            "lead_report": ["due_first", "leads_ready", "leads_without_company"],
        },
        "partitions": {
            "raw_referrals": "TimeWindowPartitionsDefinition",
            "normalized_leads": "TimeWindowPartitionsDefinition",
            "companies": "TimeWindowPartitionsDefinition",
            "domain_signals": "TimeWindowPartitionsDefinition",
            "scored_segments": "TimeWindowPartitionsDefinition",
            "lead_report": "DailyPartitionsDefinition",
        },
        "first": "2026-01-01-00:00",
        "job_assets": ["companies", "domain_signals", "normalized_leads", "raw_referrals", "scored_segments"],
        "executor": "in_process",
        "policies": ["144"],
        "pools": {"raw_referrals": ["partner_center_api"]},
        "schedules": {
            "partner_center_alerts_schedule": ["partner_center_alerts", "*/5 * * * *", "RUNNING", "UTC"],
            "partner_center_checks_schedule": ["partner_center_checks", "41 * * * *", "RUNNING", "UTC"],
            "partner_center_operators_schedule": ["partner_center_operators", "*/5 * * * *", "RUNNING", "UTC"],
            "partner_center_prune_schedule": ["partner_center_prune", "47 3 * * *", "RUNNING", "UTC"],
            "partner_center_reconcile_schedule": ["partner_center_reconcile", "47 1 * * 0", "RUNNING", "UTC"],
            "partner_center_reconcile_recent_schedule": [
                "partner_center_reconcile_recent",
                "17 5 * * *",
                "RUNNING",
                "UTC",
            ],
            "partner_center_report_schedule": ["partner_center_report", "7 4 * * *", "RUNNING", "UTC"],
            "partner_center_rescan_schedule": ["partner_center_rescan", "27 * * * *", "RUNNING", "UTC"],
            "partner_center_sync_schedule": ["partner_center_sync", "2-59/10 * * * *", "RUNNING", "UTC"],
        },
        "undescribed_columns": [],
        "checks": [
            "domain_signals:dns_answers",
            "normalized_leads:leads_have_a_domain_as_before",
            "raw_referrals:complete_windows_missed_nothing",
            "raw_referrals:few_referrals_vanished",
            "raw_referrals:late_versions_fit_the_overlap",
            "raw_referrals:quarantine_is_empty",
            "raw_referrals:referrals_still_come",
            "raw_referrals:sign_in_does_not_end_soon",
            "raw_referrals:windows_are_fetched_in_time",
            "scored_segments:every_company_is_scored",
            "scored_segments:everything_is_derived",
        ],
        "job_checks": [
            "complete_windows_missed_nothing",
            "dns_answers",
            "everything_is_derived",
            "few_referrals_vanished",
            "quarantine_is_empty",
        ],
        "sensors": {
            "partner_center_covered_sensor": [None, 60, "RUNNING"],
            "partner_center_flag_sensor": ["partner_center_sync", 30, "RUNNING"],
        },
    }


@pytest.mark.parametrize(
    ("interval", "lag", "cron", "a_day"),
    [("60", "30", "* * * * *", 1440), ("900", "61", "2-59/15 * * * *", 96), ("3600", "0", "0 * * * *", 24)],
)
def test_the_interval_and_the_lag_shape_the_schedule_and_a_backfills_runs(
    interval: str, lag: str, cron: str, a_day: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_SYNC_START", "2026-01-01T00:00:00Z")
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS", interval)
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS", lag)
    definitions = load_definitions(Settings.load().grid)
    assert definitions.resolve_schedule_def("partner_center_sync_schedule").cron_schedule == cron
    policy = definitions.resolve_assets_def("raw_referrals").backfill_policy
    assert policy is not None
    assert policy.max_partitions_per_run == a_day


def test_without_a_start_there_is_no_window_and_nothing_breaks(home: Path) -> None:
    raw = load_definitions(Settings.load().grid).resolve_assets_def("raw_referrals")
    assert raw.partitions_def is not None
    assert raw.partitions_def.get_last_partition_key() is None


def test_a_batch_size_that_an_operator_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
    batch_events()
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "7"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "start"),
    [
        (("dagster", "definitions", "validate", "-w", str(PROJECT_ROOT / "workspace.yaml")), ""),
        (("dg", "check", "defs", "--target-path", str(PROJECT_ROOT)), "2026-01-01T00:00:00Z"),
    ],
    ids=["dagster definitions validate, no start", "dg check defs, a start"],
)
def test_dagsters_own_checks_pass_in_an_empty_home(check: tuple[str, ...], start: str, tmp_path: Path) -> None:
    command = (str(Path(sys.executable).parent / check[0]), *check[1:])
    done = in_home(tmp_path, *command, HUNTER_SYNC_START=start)
    assert done.returncode == 0, done.stdout + done.stderr
