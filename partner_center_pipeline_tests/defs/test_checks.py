"""The asset checks of raw_referrals: yellow and red in every kind of run, and never a run's failure."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest

from partner_center_pipeline.warehouse import reconciling
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_materializing import _personal
from partner_center_pipeline_tests.warehouse.pages import make_page, make_version
from partner_center_simulator import CorruptRow, DnsFault, Simulator

QUARANTINE, MISSED = "quarantine_is_empty", "complete_windows_missed_nothing"
VANISHED = "few_referrals_vanished"
DERIVED = "everything_is_derived"
DNS = "dns_answers"
RAW = ["raw_referrals"]


def checks(project: Project) -> dict[str, dg.AssetCheckEvaluation]:
    """The latest evaluation of each check, as the UI shows it."""
    keys = [dg.AssetCheckKey(dg.AssetKey("raw_referrals"), name) for name in (QUARANTINE, MISSED, VANISHED)]
    keys.append(dg.AssetCheckKey(dg.AssetKey("scored_segments"), DERIVED))
    keys.append(dg.AssetCheckKey(dg.AssetKey("domain_signals"), DNS))
    records = project.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {}
    for check, record in records.items():
        assert record.event is not None
        assert record.event.dagster_event is not None
        found[check.name] = record.event.dagster_event.asset_check_evaluation_data
    return found


def evaluations(project: Project, run_id: str) -> int:
    """How many evaluations a run made."""
    return sum(
        entry.dagster_event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        for entry in project.instance.all_logs(run_id)
    )


def values(evaluation: dg.AssetCheckEvaluation | dg.AssetObservation) -> Mapping[str, Any]:
    return {name: getattr(value, "value", value) for name, value in evaluation.metadata.items()}


def compared(project: Project, missing: int) -> None:
    """Let a comparison have found rows that the first window had missed."""
    from partner_center_pipeline.defs.resources import utc_now

    lease = Lease(project.warehouse, "a test", utc_now)
    lease.acquire(0, lambda _: None)
    window = project.window(0)
    reconciler = reconciling.Reconciler.begin(project.warehouse, lease, window.end, utc_now)
    reconciler.take(
        make_page([make_version(f"lost-{number}", window.start + number) for number in range(missing)], window.end)
    )
    reconciler.finish()
    lease.release()


@pytest.mark.slow
def test_a_run_of_a_window_evaluates_all_and_what_nobody_has_compared_is_yellow(project: Project) -> None:
    outcome = project.run(project.window(0))
    assert outcome.success
    assert evaluations(project, outcome.run_id) == 5
    found = checks(project)
    assert {name: check.passed for name, check in found.items()} == {
        QUARANTINE: True,
        MISSED: False,
        VANISHED: False,
        DNS: True,
        DERIVED: True,
    }
    for name, command in (
        (MISSED, "`partner-center reconcile --recent`"),
        (VANISHED, "`partner-center reconcile`"),
    ):
        assert found[name].severity is dg.AssetCheckSeverity.WARN
        assert "Nothing was compared yet" in str(found[name].description)
        assert command in str(found[name].description)
    assert found[QUARANTINE].description == "Every row of Partner Center was taken in."


@pytest.mark.slow
def test_a_comparison_turns_what_nobody_had_compared_green(project: Project) -> None:
    project.mark_done((project.window(0), project.window(0)))
    compared(project, missing=0)
    assert project.run(project.window(1)).success
    assert [checks(project)[name].passed for name in (MISSED, VANISHED)] == [True, True]


@pytest.mark.slow
def test_when_most_look_ups_go_unanswered_the_check_and_the_run_say_so_and_no_set_up_changes(
    project: Project, microsoft: Simulator
) -> None:
    microsoft.faults.dns = DnsFault.REFUSED
    window = project.window(0)
    outcome = project.run(window)
    assert outcome.success
    shown = outcome.metadata["domain_signals", window.key]
    asked = project.counts()["companies"]
    assert (shown["asked"], shown["without_an_answer"]) == (asked, asked)
    assert (shown["set_ups_new"], shown["set_ups_changed"]) == (0, 0)
    assert project.counts()["signal_changes"] == 0
    assert f"| no answer yet | {asked} |" in shown["companies_by_provider"]
    said = f"DNS did not answer for {asked} of {asked} companies"
    assert said in project.event_log(outcome.run_id)
    check = checks(project)[DNS]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert said in str(check.description)
    assert values(check)["without_an_answer"] == asked

    microsoft.faults.dns = None
    again = project.run(window, config={"domain_signals": {"ask_again": True}}).metadata["domain_signals", window.key]
    assert (again["without_an_answer"], again["set_ups_new"], again["set_ups_changed"]) == (0, asked, 0)
    assert checks(project)[DNS].passed

    # What is known stays when nobody answers again, and that is told, too.
    microsoft.faults.dns = DnsFault.REFUSED
    known = project.counts()["signal_changes"]
    silent = project.run(window, config={"domain_signals": {"ask_again": True}}).metadata["domain_signals", window.key]
    assert (silent["without_an_answer"], silent["set_ups_changed"]) == (asked, 0)
    assert project.counts()["signal_changes"] == known == asked
    assert "no answer yet" not in silent["companies_by_provider"]
    assert not checks(project)[DNS].passed


@pytest.mark.slow
def test_a_range_run_evaluates_them_once_and_gets_through(project: Project) -> None:
    outcome = project.run(project.window(1), project.window(4))
    assert outcome.success
    assert evaluations(project, outcome.run_id) == 5
    assert [check.partition for check in checks(project).values()] == [None] * 5


@pytest.mark.slow
def test_materializing_raw_referrals_alone_evaluates_them(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.corrupt_rows = frozenset({CorruptRow.NUL})
    with dg.instance_for_test() as instance:
        job = project.definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, partition_key=project.window(0).key, asset_selection=[dg.AssetKey("raw_referrals")]
        )
        found = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
        assert {name: found[name] for name in (QUARANTINE, MISSED, VANISHED)} == {
            QUARANTINE: False,
            MISSED: False,
            VANISHED: False,
        }
        assert DERIVED not in found


@pytest.mark.slow
def test_a_filled_quarantine_is_yellow_with_counts_by_reason_and_the_next_step(
    project: Project, microsoft: Simulator
) -> None:
    microsoft.faults.corrupt_rows = frozenset({CorruptRow.NO_ID, CorruptRow.NUL, CorruptRow.LONE_SURROGATE})
    outcome = project.run(project.window(0))
    assert outcome.success
    check = checks(project)[QUARANTINE]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "partner-center quarantine list" in str(check.description)
    rows = project.counts()["quarantined_referrals"]
    assert values(check)["rows"] == rows
    table = check.metadata["rows_by_reason"]
    assert isinstance(table, dg.TableMetadataValue)
    assert {record.data["reason"] for record in table.records} == {"no_id", "unstorable_text"}
    log = project.event_log(outcome.run_id)
    assert [value for value in _personal(microsoft) if value in log] == []


@pytest.mark.slow
def test_a_complete_window_that_missed_rows_is_red_until_a_comparison_finds_nothing(project: Project) -> None:
    project.mark_done((project.window(0), project.window(0)))
    compared(project, missing=3)
    outcome = project.run(project.window(0))
    assert outcome.success
    check = checks(project)[MISSED]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "found 3 versions that windows missed" in str(check.description)
    table = check.metadata["windows"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(record.data["window"], record.data["missing"]) for record in table.records] == [(project.window(0).key, 3)]
    compared(project, missing=0)
    assert project.run(project.window(1)).success
    assert checks(project)[MISSED].passed


@pytest.mark.parametrize("count", [0, 100, 101])
def test_a_table_of_windows_lists_the_first_hundred(count: int, project: Project) -> None:
    from partner_center_pipeline.defs.checks import windows_table

    rows = [{"window": str(number), "interval": "", "missing": 1, "claimed_complete": True} for number in range(count)]
    assert len(windows_table(rows).records) == min(count, 100)
