"""Materializing windows: a real Dagster instance, a real warehouse, the local Microsoft."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from sqlalchemy import select, text

from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.warehouse import demo, schema, views
from partner_center_pipeline.windows import TICKS_PER_SECOND, SyncWindow, datetime_of, parse_ticks, render_ticks
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import CorruptRow, DnsFault, HttpFault, Simulator

CHAIN = ["raw_referrals", "normalized_leads", "companies", "domain_signals", "scored_segments"]
RAW = ["raw_referrals"]


# What a run does ------------------------------------------------------------------------------------------------------


def test_the_genesis_window_brings_every_referral_there_was_and_scores_every_company(
    project: Project, microsoft: Simulator
) -> None:
    first = project.window(0)
    outcome = project.run(first)
    assert outcome.success
    before = sum(parse_ticks(row["updatedDateTime"]) < first.end for row in microsoft.world.all())
    counts = project.counts()
    assert counts["raw_referrals"] == counts["leads"] == before > 50
    assert counts["companies"] == counts["domain_signals"] == counts["company_scores"] > 10
    assert [asset for asset, _ in outcome.metadata] == CHAIN
    assert outcome.metadata["raw_referrals", first.key]["new_versions"] == before
    assert outcome.metadata["raw_referrals", first.key]["window"] == first.key
    assert project.attempts(first) == [("complete", None)]


@pytest.mark.slow
def test_after_a_run_every_open_lead_is_in_one_list_with_what_the_rules_say_of_it(project: Project) -> None:
    assert project.run(project.window(0)).success
    with project.warehouse.read() as connection:
        is_open = schema.leads.c.is_open & schema.leads.c.vanished_at.is_(None)
        leads = connection.execute(select(schema.leads).where(is_open)).all()
        ready = {row.domain: row for row in connection.execute(select(views.leads_ready))}
        without = {row.referral_id: row for row in connection.execute(select(views.leads_without_company))}
        due = connection.execute(select(views.due_first).order_by(views.due_first.c.rank)).all()
    alone = {lead.referral_id for lead in leads if lead.domain is None}
    assert set(without) == alone
    assert len(alone) > 10
    assert {lead.domain for lead in leads} - {None} <= set(ready)
    assert {row.kind for row in due} == {"company", "no_company"}
    for lead in leads:
        if lead.domain is None:
            scored = (without[lead.referral_id].segment, without[lead.referral_id].category)
            assert scored == (("Existing", "P3") if lead.tenant else ("Pending", None))
            assert without[lead.referral_id].domain_reason == lead.domain_reason
            assert without[lead.referral_id].explanation_tr
    valued = [row for row in without.values() if row.deal_value is not None]
    assert valued
    assert all((row.deal_value_reported is None) == (row.currency is None) for row in valued)


@pytest.mark.slow
def test_a_second_run_of_a_window_changes_nothing(project: Project) -> None:
    project.run(project.window(0))
    before = _contents(project)
    outcome = project.run(project.window(0))
    assert outcome.success
    assert outcome.metadata["raw_referrals", project.window(0).key]["new_versions"] == 0
    assert _contents(project) == before


@pytest.mark.slow
def test_a_range_is_one_run_with_figures_for_each_window(project: Project, microsoft: Simulator) -> None:
    # The first window of a range also reads the overlap before it, whose rows are known already then.
    assert project.run(project.window(0)).success
    before = _rows_by_window(microsoft, project, 1, 6)
    _put_rows(microsoft, project.window(2), 2)
    _put_rows(microsoft, project.window(5), 1)
    outcome = project.run(project.window(1), project.window(6))
    assert outcome.success
    assert {state for n in range(1, 7) for state, _ in project.attempts(project.window(n))} <= {"complete", "empty"}
    keys = [project.window(n).key for n in range(1, 7)]
    assert {window for _, window in outcome.metadata} == set(keys)
    assert [outcome.metadata["raw_referrals", key]["window"] for key in keys] == keys
    brought = [outcome.metadata["raw_referrals", key]["dagster/partition_row_count"] for key in keys]
    intervals = [outcome.metadata["raw_referrals", key]["interval"] for key in keys]
    assert intervals == [str(project.window(n)) for n in range(1, 7)]
    assert brought == [was + new for was, new in zip(before, (0, 2, 0, 0, 1, 0), strict=True)]


@pytest.mark.slow
def test_a_whole_day_is_one_run_and_equals_what_the_server_has(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    first, last = project.window(1), project.window(144)
    assert project.run(first, last).success
    expected = {row["id"] for row in microsoft.world.all() if parse_ticks(row["updatedDateTime"]) < last.end}
    with project.warehouse.read() as connection:
        assert set(connection.execute(select(schema.leads.c.referral_id)).scalars()) == expected


@pytest.mark.slow
def test_rows_that_break_the_contract_are_counted_and_the_window_is_completed(
    project: Project, microsoft: Simulator
) -> None:
    microsoft.faults.corrupt_rows = frozenset({CorruptRow.NO_ID, CorruptRow.LONE_SURROGATE})
    outcome = project.run(project.window(0))
    assert outcome.success
    counts = project.counts()
    assert (
        outcome.metadata["raw_referrals", project.window(0).key]["quarantined"] == counts["quarantined_referrals"] >= 2
    )
    assert counts["raw_referrals"] > 50
    assert project.attempts(project.window(0)) == [("complete", None)]


@pytest.mark.slow
def test_a_domain_whose_dns_does_not_answer_is_pending_not_skipped(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.dns = DnsFault.REFUSED
    outcome = project.run(project.window(0))
    assert outcome.success
    counts = project.counts()
    assert outcome.metadata["domain_signals", project.window(0).key]["without_an_answer"] == counts["companies"] > 0
    with project.warehouse.read() as connection:
        segments = set(connection.execute(select(schema.company_scores.c.segment)).scalars())
        scores = set(connection.execute(select(schema.company_scores.c.score)).scalars())
    assert segments == {"Pending"}
    assert scores == {None}


@pytest.mark.slow
def test_many_referrals_of_one_company_are_one_scan_and_none_while_it_is_fresh(
    project: Project, microsoft: Simulator
) -> None:
    customer = {"customerProfile/team": [{"email": "satin.alma@tek-firma.com.tr"}]}
    for number, count in ((3, 300), (4, 2)):
        for at in range(count):
            microsoft.world.create(project.window(number).start + at, customer)
    first = project.run(project.window(3)).metadata["domain_signals", project.window(3).key]
    assert project.counts()["leads"] >= 300
    assert first["asked"] == first["domains"] == project.counts()["companies"] < 10
    second = project.run(project.window(4)).metadata["domain_signals", project.window(4).key]
    assert second["still_fresh"] >= 1
    assert second["asked"] == second["domains"] - second["still_fresh"]


@pytest.mark.slow
def test_an_asset_alone_says_what_to_materialize_before_it(project: Project) -> None:
    first = project.window(0)
    outcome = project.run(first, assets=["companies"])
    assert outcome.failed_step == "companies"
    assert outcome.failure is not None
    assert f"normalized_leads has not done window {first.key}" in outcome.failure
    assert "materialize normalized_leads for it first" in outcome.failure
    assert project.run(first, assets=RAW).success
    assert project.run(first, assets=["normalized_leads"]).success
    assert project.run(first, assets=["companies"]).success


# Ranges that Dagster would let pass ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        (lambda p: p.window(5), lambda p: p.window(3), "the range runs backwards"),
        (lambda p: p.last_due(), lambda p: p.grid.window(p.last_due().end + 2 * p.grid.width), "has not ended yet"),
        (lambda p: p.window(2).key[:-1] + "7", lambda p: p.window(5), "is not the start of a window of 600 s"),
        (lambda p: p.window(0), lambda p: p.window(144), "145 windows in one run are too many"),
        (lambda p: p.window(-3), lambda p: p.window(1), "is before the first sync window"),
    ],
    ids=["reversed", "future", "unaligned", "huge", "before the first"],
)
def test_a_range_that_makes_no_sense_is_refused_and_nothing_is_done(
    first: Any, last: Any, problem: str, project: Project
) -> None:
    outcome = project.run(first(project), last(project), assets=RAW)
    assert not outcome.success
    assert outcome.failure is not None
    assert problem in outcome.failure
    assert outcome.failure.rstrip(".").lower().endswith("nothing was done")
    assert project.counts()["raw_referrals"] == 0


# What stops a run ---------------------------------------------------------------------------------------------------


def test_while_the_flag_is_off_a_run_fails_at_once_and_the_attempt_says_disabled(
    project: Project, microsoft: Simulator
) -> None:
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    asked = microsoft.api.requests
    outcome = project.run(project.window(0))
    assert outcome.failed_step == "raw_referrals"
    assert outcome.failure == (
        "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"
    )
    assert project.attempts(project.window(0)) == [("disabled", None)]
    assert microsoft.api.requests == asked


@pytest.mark.slow
def test_while_the_flag_is_off_a_run_of_complete_windows_fails_nothing_and_paints_none_red(project: Project) -> None:
    first, second = project.window(0), project.window(1)
    assert project.run(first, second).success
    project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    for windows in ((first,), (first, second)):
        outcome = project.run(*windows)
        assert outcome.success
        assert outcome.metadata == {}  # nothing claims that it was looked at again
        assert "Nothing was asked; these windows are complete" in project.event_log(outcome.run_id)
    assert {state for state, _ in project.attempts(first)} == {"complete", "disabled"}
    partitions = project.definitions.resolve_assets_def("raw_referrals").partitions_def
    status = get_and_update_asset_status_cache_value(project.instance, dg.AssetKey("raw_referrals"), partitions)
    assert status is not None
    assert partitions is not None
    assert status.deserialize_failed_partition_subsets(partitions).get_partition_keys() == []
    # One that is not complete is red, also as a part of a range.
    outcome = project.run(first, project.window(2))
    assert outcome.failed_step == "raw_referrals"


def test_without_a_sign_in_a_run_says_to_log_in(project: Project, home: Path) -> None:
    (home / ".token_cache").rename(home / "elsewhere")
    outcome = project.run(project.window(0), assets=RAW)
    assert outcome.failure is not None
    assert "run `partner-center login`" in outcome.failure
    assert project.attempts(project.window(0)) == [("failed", outcome.failure)]


def test_a_token_that_is_refused_is_renewed_once(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.UNAUTHORIZED)
    assert project.run(project.window(0), assets=RAW).success


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (HttpFault.UNAUTHORIZED, "then run `partner-center login`"),
        (HttpFault.FORBIDDEN, "Referral Admin for the entire company"),
        (HttpFault.INSUFFICIENT_CLAIMS, "Conditional Access"),
    ],
)
def test_an_account_that_may_not_read_fails_the_run_with_what_it_needs(
    fault: HttpFault, said: str, project: Project, microsoft: Simulator
) -> None:
    microsoft.faults.plan(fault, times=2)
    outcome = project.run(project.window(0), assets=RAW)
    assert outcome.failure is not None
    assert said in outcome.failure
    assert "request id" in outcome.failure
    assert project.attempts(project.window(0)) == [("failed", outcome.failure)]
    microsoft.faults.clear()
    assert project.run(project.window(0), assets=RAW).success
    assert [state for state, _ in project.attempts(project.window(0))] == ["failed", "complete"]


@pytest.mark.slow
def test_a_throttled_run_waits_as_long_as_requested_and_shows_it(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.THROTTLED, retry_after=1)
    outcome = project.run(project.window(0), assets=RAW)
    assert outcome.success
    assert outcome.metadata["raw_referrals", project.window(0).key]["seconds_waited"] >= 1


def test_a_wait_that_would_outlast_the_runs_deadline_fails_it(project: Project, microsoft: Simulator) -> None:
    window = project.window(3)
    microsoft.faults.plan(HttpFault.THROTTLED, retry_after=3600)
    outcome = project.run(window, assets=RAW)
    assert outcome.failure is not None
    assert "asks to wait 3600 s" in outcome.failure
    assert project.attempts(window) == [("failed", outcome.failure)]


@pytest.mark.parametrize("fault", [HttpFault.SERVER_ERROR, HttpFault.RESET, HttpFault.CUT_OFF, HttpFault.TRUNCATED])
def test_trouble_that_passes_is_retried(fault: HttpFault, project: Project, microsoft: Simulator) -> None:
    microsoft.faults.plan(fault)
    assert project.run(project.window(0), assets=RAW).success
    assert project.attempts(project.window(0)) == [("complete", None)]


def test_a_window_that_the_servers_clock_has_not_passed_is_too_early(project: Project, microsoft: Simulator) -> None:
    microsoft.clock.advance(timedelta(minutes=-30))
    window = project.last_due()
    outcome = project.run(window, assets=RAW)
    assert outcome.failure is not None
    assert f"this interval may be read from {render_ticks(window.end + 120 * TICKS_PER_SECOND)} on" in outcome.failure
    assert project.attempts(window) == [("failed", outcome.failure)]
    microsoft.clock.advance(timedelta(minutes=30))
    assert project.run(window, assets=RAW).success


def test_a_next_link_to_another_host_ends_the_run_before_the_token_goes_there(
    project: Project, microsoft: Simulator
) -> None:
    project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="1")
    _put_rows(microsoft, project.window(9), 3)
    microsoft.faults.next_link_foreign = True
    outcome = project.run(project.window(9), assets=RAW)
    assert outcome.failure is not None
    assert "leads away from localhost" in outcome.failure
    assert project.attempts(project.window(9)) == [("failed", outcome.failure)]


def test_a_bad_edit_fails_the_run_with_the_variables_name(project: Project) -> None:
    project.edit_env(HUNTER_PARTNER_CENTER_CA_BUNDLE="/nowhere/ca.pem")
    outcome = project.run(project.window(0), assets=RAW)
    assert outcome.failure is not None
    assert outcome.failure.startswith("HUNTER_PARTNER_CENTER_CA_BUNDLE: /nowhere/ca.pem cannot be used")
    assert project.attempts(project.window(0)) == [("failed", outcome.failure)]


@pytest.mark.slow
def test_a_later_asset_names_the_variable_of_a_bad_edit_too(project: Project) -> None:
    assert project.run(project.window(0), assets=RAW).success
    project.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
    outcome = project.run(project.window(0), assets=["normalized_leads"])
    assert outcome.failure is not None
    assert outcome.failure.startswith("HUNTER_PARTNER_CENTER_PAGE_SIZE:")


@pytest.mark.slow
def test_rules_of_the_operators_own_score_and_broken_ones_name_their_line(project: Project, home: Path) -> None:
    assert project.run(project.window(0)).success
    delivered = DEFAULT_RULES.read_text(encoding="utf-8")
    own = home / "own_rules.toml"
    own.write_text(delivered.replace('version = "3"', 'version = "own"').replace("M365 = 50", "M365 = 60"))
    project.edit_env(HUNTER_SCORING_RULES="own_rules.toml")
    assert project.run(project.window(0), assets=["scored_segments"]).success
    with project.warehouse.read() as connection:
        assert set(connection.execute(select(schema.company_scores.c.rules_version)).scalars()) == {"own"}
        causes = connection.execute(select(schema.score_changes.c.cause).distinct().order_by("cause")).scalars()
        assert list(causes) == ["first", "rules"]

    own.write_text(delivered.replace("M365 = 50", "M356 = 50"))
    outcome = project.run(project.window(0), assets=["scored_segments"])
    assert outcome.failure is not None
    assert "own_rules.toml" in outcome.failure
    assert "M356" in outcome.failure


def test_a_real_api_is_not_copied_into_the_demos_warehouse(project: Project) -> None:
    start = datetime_of(project.window(0).start)
    with project.warehouse.write() as connection:
        demo.found(connection, demo.DemoWorld(1, start, start, 10))
    project.edit_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.partner.microsoft.com")
    outcome = project.run(project.window(0), assets=RAW)
    assert outcome.failure is not None
    assert "the demo's invented referrals" in outcome.failure
    assert project.attempts(project.window(0)) == [("failed", outcome.failure)]


# What Dagster gets to see -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_name_address_or_phone_of_a_person_reaches_dagsters_event_log(
    project: Project, microsoft: Simulator
) -> None:
    microsoft.faults.corrupt_rows = frozenset({CorruptRow.NO_ID, CorruptRow.NUL, CorruptRow.LONE_SURROGATE})
    outcome = project.run(project.window(0))
    assert outcome.success
    log = project.event_log(outcome.run_id)
    personal = _personal(microsoft)
    assert len(personal) > 100
    assert [value for value in personal if value in log] == []


@pytest.mark.slow
def test_not_even_a_failing_database_shows_a_person(project: Project, microsoft: Simulator) -> None:
    with project.warehouse.write() as connection:
        connection.execute(
            text("CREATE TRIGGER full BEFORE INSERT ON leads BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        )
    outcome = project.run(project.window(0))
    assert outcome.failed_step == "normalized_leads"
    log = project.event_log(outcome.run_id)
    assert "the disk is full" in log
    assert [value for value in _personal(microsoft) if value in log] == []


def _put_rows(microsoft: Simulator, window: SyncWindow, count: int) -> None:
    """Let some referrals have come into being within a window."""
    for number in range(count):
        microsoft.world.create(window.start + number)


def _rows_by_window(microsoft: Simulator, project: Project, first: int, last: int) -> list[int]:
    updated = [parse_ticks(row["updatedDateTime"]) for row in microsoft.world.all()]
    windows = [project.window(number) for number in range(first, last + 1)]
    return [sum(window.start <= ticks < window.end for ticks in updated) for window in windows]


def _personal(microsoft: Simulator) -> set[str]:
    """Every contact's last name, e-mail address and phone that the server has: who it is, in any form."""
    contacts = [
        contact
        for row in microsoft.world.all()
        for team in ((row.get("customerProfile") or {}).get("team"), row.get("team"))
        for contact in team or ()
    ]
    found = {str(contact.get(name) or "") for contact in contacts for name in ("lastName", "email", "phoneNumber")}
    # Shorter ones would be found inside other words.
    return {value for value in found if len(value) > 4}


def _contents(project: Project) -> dict[str, list[Any]]:
    tables = (schema.raw_referrals, schema.leads, schema.companies, schema.domain_signals, schema.company_scores)
    with project.warehouse.read() as connection:
        return {table.name: [tuple(row) for row in connection.execute(select(table))] for table in tables}
