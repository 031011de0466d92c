"""`partner-center status`, and what `doctor` says of the same: from real databases and Dagster's real storage."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import insert

from partner_center_pipeline.cli import status as status_command
from partner_center_pipeline.defs import dagster_state
from partner_center_pipeline.defs.build import build_defs
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import BEGINNING, WindowGrid, ticks_of
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home

SUBJECTS = [
    "flag", "sync", "open windows", "last failure", "breaker", "pending", "quarantine", "drift", "reconcile, full",
    "reconcile, recent", "referrals shown", "referrals come", "database", "schema", "rules", "daemon",
    "schedules and sensors", "pools", "queue", "sign-in", "disk", "private files",
]  # fmt: skip

NOT_LONG = 30
"""Seconds: twice what the command promises, as loading Dagster alone takes that much longer on a busy machine."""


def status(home: Home) -> dict[str, dict[str, Any]]:
    """The items by subject; the exit code is that of the worst."""
    done = home.invoke("status", "--json")
    said = json.loads(done.stdout)
    worst = max(({"ok": 0, "warning": 1, "wrong": 2}[item["grade"]] for item in said["items"]), default=0)
    assert done.exit_code == said["exit_code"] == worst
    return {item["subject"]: item for item in said["items"]}


def doctor(home: Home) -> dict[str, tuple[str, str]]:
    done = home.invoke("doctor", "--json")
    said = json.loads(done.stdout)["findings"]
    assert done.exit_code == (1 if any(finding["state"] == "wrong" for finding in said) else 0)
    return {finding["subject"]: (finding["state"], finding["text"]) for finding in said}


def synced(warehouse: Warehouse, grid: WindowGrid, until: datetime) -> None:
    """One interval that the whole chain has done, from the beginning to `until`, and its attempt."""
    end = ticks_of(until) // grid.width * grid.width
    times = {f"{asset}_at": until for asset in Asset}
    start = end - grid.width
    attempt = dict.fromkeys(
        ("pages", "fetched", "new_versions", "unchanged", "late", "quarantined", "distinct_ids", "seconds_waited"), 0
    )
    with warehouse.write() as connection:
        connection.execute(
            insert(schema.sync_windows), [{"window_start": start, "window_end": end, "covers_from": BEGINNING, **times}]
        )
        for state, error in (("complete", None), ("failed", "Partner Center could not be reached.")):
            connection.execute(insert(schema.sync_attempts), [
                {"window_start": start, "window_end": end, "state": state, "run_id": "r", "started_at": until,
                 "error": error, **attempt},
            ])  # fmt: skip


@pytest.fixture
def placed(ready: Home, warehouse: Warehouse) -> Home:
    """An installation of four days, on a warehouse of each kind."""
    days_ago = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=4)
    ready.edit_env(HUNTER_DATABASE_URL=warehouse.url, HUNTER_SYNC_START=f"{days_ago:%Y-%m-%dT%H:%M:%SZ}")
    return ready


def test_a_copy_that_is_two_days_old_is_wrong_in_status_and_in_doctor(placed: Home, warehouse: Warehouse) -> None:
    synced(warehouse, Settings.load().grid, datetime.now(UTC) - timedelta(days=2))
    found = status(placed)
    assert [subject for subject in SUBJECTS if subject in found] == list(found)
    assert found["sync"]["grade"] == "wrong"
    assert 285 <= found["sync"]["figures"]["windows_missed"] <= 289
    assert found["open windows"]["grade"] == "wrong"
    assert "Partner Center could not be reached." in found["last failure"]["text"]
    assert found["database"]["figures"]["bytes"] > 10_000
    assert found["schema"]["figures"]["is_current"] is True
    assert found["rules"]["figures"]["version"]
    assert found["disk"]["figures"]["free_bytes"] > 0
    assert found["sign-in"]["figures"]["days_left"] > 89
    state, text = doctor(placed)["sync"]
    assert (state, "windows since then are due and not done" in text) == ("wrong", True)

    placed.edit_env(HUNTER_LAG_WINDOWS="300")
    assert status(placed)["sync"]["grade"] == "warning"
    placed.edit_env(HUNTER_LAG_WINDOWS=None, HUNTER_PARTNER_CENTER_ENABLED="false")
    off = status(placed)
    assert (off["flag"]["grade"], off["sync"]["grade"]) == ("warning", "warning")


def test_a_copy_that_keeps_up_is_ok(placed: Home, warehouse: Warehouse) -> None:
    synced(warehouse, Settings.load().grid, datetime.now(UTC) - timedelta(minutes=2))
    found = status(placed)
    assert found["sync"]["grade"] == found["open windows"]["grade"] == "ok"
    assert doctor(placed)["sync"][0] == "ok"
    shown = placed.invoke("status")
    assert shown.exit_code == 1  # Dagster never ran here, and the last attempt failed
    assert "complete up to" in shown.output


def test_a_breaker_that_tripped_is_wrong_in_status_and_in_doctor(placed: Home, warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "The service is unavailable.", lambda: datetime.now(UTC))
    found = status(placed)["breaker"]
    assert (found["grade"], found["figures"]["tripped"]) == ("wrong", True)
    assert "The service is unavailable." in found["text"]
    assert doctor(placed)["breaker"] == ("wrong", found["text"])


def test_what_waits_is_told_with_its_age(placed: Home, warehouse: Warehouse) -> None:
    now = datetime.now(UTC)
    with warehouse.write() as connection:
        connection.execute(insert(schema.pending_work), [
            {"task": "leads", "item": "r1", "queued_at": now - timedelta(hours=3)},
        ])  # fmt: skip
        connection.execute(insert(schema.payload_drift), [
            {"kind": "field", "path": "x", "value": "", "referral_id": "r1", "first_seen": now},
        ])  # fmt: skip
        connection.execute(insert(schema.reconciliations), [
            {"run_id": "r", "started_at": now - timedelta(days=20), "finished_at": now, "until": 0, "pages": 1,
             "fetched": 1, "missing": 1, "missed": 1, "quarantined": 0, "windows": [], "kind": "full", "held": 90,
             "vanished": 60, "marked": 0},
        ])  # fmt: skip
    found = status(placed)
    assert (found["pending"]["grade"], "the oldest for 3 h" in found["pending"]["text"]) == ("warning", True)
    assert found["drift"]["grade"] == "warning"
    assert found["reconcile, full"]["figures"]["missed"] == 1
    assert "complete windows had missed" in found["reconcile, full"]["text"]
    assert (found["referrals shown"]["grade"], found["referrals shown"]["figures"]["vanished"]) == ("wrong", 60)
    assert "60 of 90 leads that Partner Center shows no more" in found["referrals shown"]["text"]


def test_it_makes_nothing_and_says_what_is_not_there_yet(
    unsigned: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = status(unsigned)
    assert [path.name for path in unsigned.path.iterdir()] == [".env"]
    assert (found["schema"]["grade"], found["daemon"]["grade"]) == ("warning", "warning")
    assert (found["sign-in"]["grade"], found["sign-in"]["text"]) == (
        "wrong",
        "nobody is signed in; run `partner-center login`",
    )
    monkeypatch.setenv("HUNTER_HOME", str(tmp_path / "typo"))
    assert status(unsigned)["home"]["grade"] == "wrong"
    assert not (tmp_path / "typo").exists()


def test_settings_that_cannot_be_used_are_wrong_and_no_warning(ready: Home) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
    assert "HUNTER_PARTNER_CENTER_PAGE_SIZE" in status(ready)["settings"]["text"]


def test_a_home_of_nobody_is_wrong_and_no_defect(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_HOME", "~no-such-user/data")
    assert "HUNTER_HOME: begins with ~" in status(Home(home))["settings"]["text"]


def test_a_defect_is_no_warning_for_a_monitor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_command, "disk_items", None)  # a defect, where the last subject is asked for
    done = Home(home).invoke("status", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {"error": "a defect (TypeError); stderr has the rest"}
    assert "Traceback" in done.stderr


@pytest.fixture
def instance(ready: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in the home folder, as `partner-center ui` makes it."""
    monkeypatch.chdir(ready.path)
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT_ROOT))
    with dg.DagsterInstance.get() as made:
        yield made


def heard(instance: dg.DagsterInstance, at: datetime) -> None:
    for name in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, None, None))


@pytest.mark.slow
def test_a_stopped_daemon_or_schedule_and_a_pool_without_a_slot_are_wrong(
    ready: Home, instance: dg.DagsterInstance
) -> None:
    ready.invoke("migrate")
    grid = Settings.load().grid
    repository = build_defs(grid).get_repository_def()
    names = {one.name for one in repository.schedule_defs} | {one.name for one in repository.sensor_defs}
    assert names == dagster_state.SCHEDULES_AND_SENSORS

    heard(instance, datetime.now(UTC))
    found = status(ready)
    assert {found[subject]["grade"] for subject in ("daemon", "schedules and sensors", "pools", "queue")} == {"ok"}

    heard(instance, datetime.now(UTC) - timedelta(minutes=10))
    instance.event_log_storage.set_concurrency_slots("partner_center_api", 0)
    for subject in ("daemon", "pools"):
        assert status(ready)[subject]["grade"] == doctor(ready)[subject][0] == "wrong"
    assert "partner_center_api has no slot" in doctor(ready)["pools"][1]
    assert status(ready)["pools"]["figures"] == {
        "limits": {"partner_center_api": 0},
        "expected": {"partner_center_api": 1, "mail_dns": 1},
    }


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_wrong_and_is_not_waited_for_long(ready: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        url = f"postgresql+psycopg://hunter:hush-hush@127.0.0.1:{silent.getsockname()[1]}/hunter"
        ready.edit_env(HUNTER_DATABASE_URL=url)
        started = time.monotonic()
        done = run(ready.path, "status", "--json")
        took = time.monotonic() - started
    assert (done.returncode, took < NOT_LONG) == (2, True)
    (item,) = [item for item in json.loads(done.stdout)["items"] if item["subject"] == "warehouse"]
    assert item["text"].startswith("no answer from postgresql+psycopg://hunter:***@127.0.0.1")
    assert "hush-hush" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_storage_of_dagster_that_does_not_answer_is_wrong_and_is_not_waited_for_long(
    ready: Home,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = {"hostname": "127.0.0.1", "port": silent.getsockname()[1], "username": "u", "password": "hush-hush"}
        database = {"scheme": "postgresql+psycopg2", "db_name": "dagster", **server}
        (ready.path / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": {"postgres_db": database}}}))
        started = time.monotonic()
        found = status(ready)["daemon"]
        assert time.monotonic() - started < NOT_LONG
    assert (found["grade"], "no answer from Dagster's storage (dagster.yaml)" in found["text"]) == ("wrong", True)
    assert "hush-hush" not in found["text"]
