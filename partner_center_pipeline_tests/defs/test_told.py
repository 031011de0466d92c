"""What a run tells while it works, as its page shows it: troubles, waits, phases, and the failure that ends it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from partner_center_pipeline import telling
from partner_center_pipeline.defs import dagster_private
from partner_center_pipeline.defs.assets import raw_referrals
from partner_center_pipeline.defs.executor import _are_lost
from partner_center_pipeline.defs.partitions import POOL
from partner_center_pipeline.partner_center import client, http
from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import breaker
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.defs.project import JOB, Project, load_definitions
from partner_center_pipeline_tests.partner_center.tokens import let_token_end
from partner_center_pipeline_tests.ui.running import wait_until
from partner_center_simulator import HttpFault, Simulator, TokenFault

TOO_SLOW = "Partner Center had not sent its whole answer after 1 s, and was not waited for any longer"
AGAIN = r"again in [\d.]+ s, giving up at \d\d:\d\d:\d\d UTC"

POOLS = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}


def told(project: Project, run_id: str, level: str = "") -> list[str]:
    """The lines of a run that its page shows, each with its step; with a level only those."""
    return [
        f"{entry.step_key}: {entry.user_message}"
        for entry in project.instance.all_logs(run_id)
        if entry.dagster_event is None and level in ("", dagster_level(entry))
    ]


@contextmanager
def when_told(text: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something at each line with this text, before the wait that it tells of."""
    with telling.heard_by(lambda _, line: do() if text in line else None):
        yield


def dagster_level(entry: dg.EventLogEntry) -> str:
    return {20: "info", 30: "warning", 40: "error"}.get(int(entry.level), "other")


def sync_job() -> dg.JobDefinition:
    """The job as a launched run loads it, with its own executor."""
    return load_definitions(Settings.load().grid).resolve_job_def(JOB)


# Troubles and waits


@pytest.mark.slow
def test_each_trouble_of_a_call_is_told_with_its_try_its_pause_and_its_end(
    project: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)
    faults = microsoft.faults
    for fault in (HttpFault.THROTTLED, HttpFault.UNAVAILABLE, HttpFault.RESET, HttpFault.UNAUTHORIZED):
        faults.plan(fault, **({"retry_after": 1} if fault is HttpFault.THROTTLED else {}))
    faults.plan_token(TokenFault.UNAVAILABLE)
    outcome = project.run(project.window(0))
    assert outcome.success
    trouble = told(project, outcome.run_id, "warning")
    expected = [
        r"Partner Center has had too many calls \(HTTP 429\) and asks to wait 1 s \(request id \S+\), try 1, ",
        r"Partner Center is in trouble \(HTTP 503\) \(request id \S+\), try 2, ",
        r"Partner Center broke off the connection \(\w+\), try 3, ",
        r"Microsoft's sign-in service is in trouble \(HTTP 503\), try 4, ",
    ]
    assert len(trouble) == len(expected)
    for line, pattern in zip(trouble, expected, strict=True):
        assert re.fullmatch(f"raw_referrals: {pattern}{AGAIN}", line), line
    assert any(
        line.startswith("raw_referrals: Partner Center answered after waiting ")
        for line in told(project, outcome.run_id)
    )

    # A page instead of JSON may be due to a row, so it is asked for a few times only before something else is asked.
    faults.plan(HttpFault.HTML)
    outcome = project.run(project.window(1))
    (line,) = told(project, outcome.run_id, "warning")
    assert re.fullmatch(
        rf"raw_referrals: Partner Center's answer is not JSON, or broke off \(request id \S+\), try 1 of \d, {AGAIN}",
        line,
    )

    faults.slow_seconds = 1.5
    with when_told("whole answer", faults.clear):
        outcome = project.run(project.window(2))
    assert outcome.success
    lines = told(project, outcome.run_id, "warning")
    assert lines
    assert re.fullmatch(rf"raw_referrals: {TOO_SLOW}, try 1, {AGAIN}", lines[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "who", "windows"),
    [
        ("HUNTER_PARTNER_CENTER_BASE_URL", "Partner Center", (0, None)),
        ("HUNTER_PARTNER_CENTER_AUTHORITY", "Microsoft's sign-in service", (1, 3)),
    ],
    ids=["the first window", "the sign-in for a range"],
)
def test_a_connection_that_is_refused_is_told_until_it_is_given_up(
    project: Project, monkeypatch: pytest.MonkeyPatch, variable: str, who: str, windows: tuple[int, int | None]
) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 2.0)
    project.edit_env(**{variable: f"https://localhost:{free_port()}"})
    let_token_end(TokenStore(Settings.load().partner_center_token_cache_path))
    first, last = windows
    outcome = project.run(project.window(first), None if last is None else project.window(last))
    assert not outcome.success
    assert str(outcome.failure).startswith(f"{who} cannot be reached (connection refused). Check the network and ")
    lines = told(project, outcome.run_id, "warning")
    assert len(lines) >= 2
    for number, line in enumerate(lines, 1):
        pattern = rf"raw_referrals: {who} cannot be reached \(connection refused\), try {number}, {AGAIN}"
        assert re.fullmatch(pattern, line), line
    # The end that is told is the one that is kept, and not that of the run, which may take three hours.
    hour, minute, second = map(int, re.findall(r"\d\d", lines[-1].split("giving up at ")[1]))
    now = datetime.now(UTC)
    ends = now.replace(hour=hour, minute=minute, second=second)
    assert (now - ends + timedelta(minutes=1)) % timedelta(days=1) < timedelta(minutes=2)


def test_a_run_with_a_good_token_does_not_need_the_sign_in_service(project: Project) -> None:
    project.edit_env(HUNTER_PARTNER_CENTER_AUTHORITY=f"https://localhost:{free_port()}")
    assert project.run(project.window(0)).success


@pytest.mark.slow
def test_a_wait_for_another_run_is_told_with_its_name_and_its_end(project: Project) -> None:
    other = Lease(project.warehouse, "run-of-somebody-else", lambda: datetime.now(UTC))
    other.acquire(0, lambda _: None)
    with when_told("waiting for run", other.release):
        outcome = project.run(project.window(0))
    assert outcome.success
    (line,) = told(project, outcome.run_id, "warning")
    assert re.fullmatch(
        r"raw_referrals: waiting for run run-of-somebody-else, which fetches from Partner Center since [\d:]+ UTC; one "
        r"run fetches at a time\. Waited 0 s, giving up at [\d:]+ UTC",
        line,
    )


@pytest.mark.slow
def test_a_run_by_hand_during_the_breakers_pause_tells_what_it_does(project: Project) -> None:
    with project.warehouse.write() as connection:
        for _ in range(breaker.FAILURES):
            breaker.note_failure(connection, "HTTP 503.", lambda: datetime.now(UTC))
    outcome = project.run(project.window(0))
    assert outcome.success
    (line,) = told(project, outcome.run_id, "warning")
    assert re.fullmatch(
        r"raw_referrals: Partner Center was left alone until [\d-]+ [\d:]+ UTC, after 5 failed runs; one row is asked "
        r"for before anything else\. The last failure: HTTP 503\.",
        line,
    )


@pytest.mark.slow
def test_a_wait_for_the_pool_is_told_by_dagster(project: Project, tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=POOLS) as instance:
        project.instance = instance
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default(POOL)
        assert storage.claim_concurrency_slot(POOL, "another-run", "raw_referrals").is_claimed

        def free_once_it_is_waited_for() -> None:
            wait_until("a step that waits", lambda: storage.get_concurrency_info(POOL).pending_step_count or None, 60)
            storage.free_concurrency_slots_for_run("another-run")

        Thread(target=free_once_it_is_waited_for).start()
        outcome = project.run(project.window(0), assets=["raw_referrals"])
        assert outcome.success
        said = [entry.user_message for entry in instance.all_logs(outcome.run_id)]
        assert f"Step blocked by limit for pool {POOL}" in said


# Phases


@pytest.mark.slow
def test_each_phase_is_told_with_its_numbers_under_its_step(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "PACE", 0.0)
    project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="40")
    outcome = project.run(project.window(0))
    lines = told(project, outcome.run_id)
    for pattern in (
        r"raw_referrals: fetch: window \S+ and all before it, pages of 40 rows, giving up at [\d:]+ UTC",
        r"raw_referrals: fetch: page 1 of about [2-9], 40 rows \(40 new, 0 known already, .+\), up to .+ UTC",
        r"raw_referrals: fetch: done, [2-9] pages, [\d,]+ rows in [\d.]+ s, 0\.0 s of them waiting",
        r"raw_referrals: store: [\d,]+ new or changed versions, 0 known already, 0 late, 0 to quarantine",
        r"normalized_leads: derive: leads: [\d,]+ done, 0 to do",
        r"normalized_leads: derive: leads: [\d,]+ new, 0 changed, 0 unchanged",
        r"companies: derive: companies: [\d,]+ new, 0 changed, 0 unchanged; [\d,]+ matches suggested",
        r"domain_signals: DNS: 2 of \d+ domains, 0 without all answers",
        r"domain_signals: DNS: done, \d+ domains asked in [\d.]+ s, 0 without all answers",
        r"scored_segments: score: [\d,]+ new, 0 changed, 0 unchanged",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern

    monkeypatch.setattr(telling, "PACE", 5.0)
    again = project.run(project.window(1), project.window(3))
    lines = told(project, again.run_id)
    assert re.fullmatch(r"raw_referrals: fetch: 3 windows, \S+ to \S+, pages of 40 rows, .+", lines[0])
    assert len(lines) < 8, "a short run tells each phase once, and not what had nothing to do"
    assert not any(" 0 new, 0 changed, 0 unchanged" in line for line in lines)


@pytest.mark.slow
def test_the_comparisons_and_the_rescan_tell_their_phases(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.run(project.window(0)).success
    monkeypatch.setattr(telling, "PACE", 0.0)

    def lines_of(job: str) -> str:
        done = project.definitions.resolve_job_def(job).execute_in_process(instance=project.instance)
        return "\n".join(told(project, done.run_id))

    compared = lines_of("partner_center_reconcile")
    assert re.search(r"compare_with_partner_center: compare: about [\d,]+ rows in pages of 100, giving up at", compared)
    assert re.search(r"compare: page 1 of about [2-9], 100 rows, 0 were missing", compared)
    assert re.search(r"compare: done, [\d,]+ rows in [\d.]+ s, 0 were missing, 0 to quarantine", compared)
    assert re.search(
        r"compare: the last 24 hours' rows in pages of 100, giving", lines_of("partner_center_reconcile_recent")
    )
    assert re.search(r"ask_dns_again: DNS: done, 0 domains asked", lines_of("partner_center_rescan"))


# The failure


def log_of_a_launched_run(**tags: str) -> list[dg.EventLogEntry]:
    """The log of a run that fails with its own executor, as the daemon launches it. It leaves no slot taken."""
    with dg.instance_for_test(overrides=POOLS) as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default(POOL)
        done = dg.execute_job(dg.reconstructable(sync_job), instance=instance, tags=tags, raise_on_error=False)
        assert not done.success
        slots = instance.event_log_storage.get_concurrency_info(POOL)
        assert (slots.slot_count, slots.active_slot_count, slots.pending_step_count) == (1, 0, 0)
        return list(instance.all_logs(done.run_id))


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["sign-in", "switched off", "a range that runs backwards"])
def test_the_failures_message_comes_first_and_stands_alone(project: Project, microsoft: Simulator, cause: str) -> None:
    tags = {dagster_private.PARTITION_NAME_TAG: project.window(0).key}
    match cause:
        case "sign-in":
            microsoft.faults.mfa_missing = True
        case "switched off":
            project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
        case "a range that runs backwards":
            tags = {
                dagster_private.ASSET_PARTITION_RANGE_START_TAG: project.window(2).key,
                dagster_private.ASSET_PARTITION_RANGE_END_TAG: project.window(1).key,
            }
    errors = [entry for entry in log_of_a_launched_run(**tags) if dagster_level(entry) == "error"]
    failure, end = errors
    assert failure.step_key == "raw_referrals"
    assert end.user_message == f"Execution of run for \"{JOB}\" failed. Steps failed: ['raw_referrals']."
    for entry in errors:
        data: Any = entry.get_dagster_event().event_specific_data
        assert re.match(r"Failed: (Partner Center|the range)", data.error.message), data.error.message
        assert (list(data.error.stack), data.error.cause, data.error.context) == ([], None, None)


@pytest.mark.slow
def test_a_defect_after_such_a_failure_has_its_stack(
    project: Project, microsoft: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    microsoft.faults.mfa_missing = True
    assert not project.run(project.window(0)).success
    monkeypatch.setattr(raw_referrals, "fetch_windows", lambda *_: 1 // 0)
    run = project.run(project.window(0))
    (data,) = (
        entry.get_dagster_event().step_failure_data
        for entry in project.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    )
    assert data.error is not None
    assert data.error.cause is not None
    assert data.error.cause.message.startswith("ZeroDivisionError")
    assert "test_told.py" in "".join(data.error.cause.stack)


@pytest.mark.parametrize(
    ("ended", "failed", "lost"),
    [
        ({}, {"a"}, True),
        ({"a"}, {"b"}, False),
        ({"a", "check"}, {"b"}, True),
        ({"a", "b", "check"}, {"c"}, True),
        ({"a"}, {"check"}, False),
    ],
)
def test_a_run_ends_when_each_step_that_is_left_needs_the_failed_one(
    ended: set[str], failed: set[str], lost: bool
) -> None:
    needs: dict[str, set[str]] = {"a": set(), "check": {"a"}, "b": {"a"}, "c": {"b", "a"}}
    assert _are_lost(needs, set(ended), failed) is lost
