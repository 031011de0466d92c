"""The rescan: due domains are asked again without Microsoft, and what changed is scored, with both histories."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select, update

from partner_center_pipeline.cli import main
from partner_center_pipeline.defs import rescan as defs_rescan
from partner_center_pipeline.defs.derivation import Span, ask_signals
from partner_center_pipeline.defs.rescan import PART_TAG, part_size
from partner_center_pipeline.defs.resources import MailResource
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, demo, schema
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_simulator import DnsFault
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.zone import Zone

pytestmark = pytest.mark.slow

JOB = "partner_center_rescan"
GOOGLE = {"MX": [(1, "smtp.google.com")], "TXT": ["v=spf1 include:_spf.google.com -all"]}
MICROSOFT = {"MX": [(0, "a-com-tr.mail.protection.outlook.com")], "TXT": ["v=spf1 -all"]}


@pytest.fixture
def zone() -> Zone:
    return Zone.from_records({"a.com.tr": GOOGLE, "b.com.tr": GOOGLE})


@pytest.fixture
def known(project: Project, zone: Zone) -> Iterator[Project]:
    """A project, switched off, that knows two companies and has asked about both."""
    with project.warehouse.write() as connection:
        companies.write(connection, [company(name, referrals=1) for name in ("a.com.tr", "b.com.tr")])
    with DnsServer(zone) as server:
        host, port = server.address
        project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false", HUNTER_DNS_RESOLVERS=f"{host}:{port}")
        first_asked(project)
        yield project


def first_asked(project: Project) -> None:
    """What the chain does with companies that are new."""
    from partner_center_pipeline.defs.enrichment import DnsProgress, Scoring, ask, keep
    from partner_center_pipeline.defs.resources import MailResource, utc_now
    from partner_center_pipeline.settings import Settings

    settings, names = Settings.load(), ["a.com.tr", "b.com.tr"]
    with MailResource().open(settings) as scan:
        answers = ask(project.warehouse, scan, names, DnsProgress(2))
    with project.warehouse.write() as connection:
        keep(connection, answers, settings.signals_ttl_hours)
        Scoring(settings, utc_now()).score(connection, names)


def make_due(project: Project, *domains: str) -> None:
    table = schema.domain_signals
    with project.warehouse.write() as connection:
        past = datetime.now(UTC) - timedelta(minutes=1)
        connection.execute(update(table).where(table.c.domain.in_(domains)).values(next_scan_at=past))


def rescan(project: Project, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the job; the metadata of its step. `config` is the step's configuration, by its name."""
    job = project.definitions.resolve_job_def(JOB)
    chosen = {"ops": {name: {"config": values} for name, values in (config or {}).items()}}
    result = job.execute_in_process(instance=project.instance, run_config=chosen)
    (step,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in step.step_output_data.metadata.items()}


def stored(project: Project, table: Any) -> list[Any]:
    with project.warehouse.read() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def test_only_what_is_due_is_asked_and_what_changed_is_scored_with_both_histories(known: Project, zone: Zone) -> None:
    zone.remove("a.com.tr")
    zone.add({"a.com.tr": MICROSOFT})
    zone.remove("b.com.tr")  # not due, so it is not asked
    make_due(known, "a.com.tr")
    shown = rescan(known)
    assert (shown["asked"], shown["set_ups_changed"], shown["scores_changed"]) == (1, 1, 1)

    a, b = stored(known, schema.company_scores)
    assert (a.segment, b.segment) == ("Existing", "Cold")
    change = stored(known, schema.signal_changes)[-1]
    assert (change.domain, change.provider_before, change.provider_after) == ("a.com.tr", "Google", "M365")
    change = stored(known, schema.score_changes)[-1]
    assert (change.domain, change.cause, change.segment_before, change.segment_after) == (
        "a.com.tr", "signals", "Cold", "Existing",
    )  # fmt: skip
    assert change.detail["provider"] == {"before": "Google", "after": "M365"}


@pytest.mark.dagster_on_disk
def test_no_real_name_server_is_asked_about_the_demos_companies(known: Project) -> None:
    now = datetime.now(UTC)
    with known.warehouse.write() as connection:
        demo.found(connection, demo.DemoWorld(1, now, now, 10))
    make_due(known, "a.com.tr")
    before = stored(known, schema.domain_signals)
    known.edit_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.partner.microsoft.com")
    said = "about which real name servers are not asked"
    assert said in str(known.tick_schedule(datetime.now(UTC), JOB))
    result = known.definitions.resolve_job_def(JOB).execute_in_process(instance=known.instance, raise_on_error=False)
    assert not result.success
    assert said in str(result.all_events)
    shown = CliRunner().invoke(main, ["rescan", "--json"])
    assert shown.exit_code == 1
    assert said in json.loads(shown.stdout)["error"]
    assert "asking DNS" not in shown.stderr, "no bar that stands at nothing before the refusal"
    settings = Settings.load()
    with MailResource().open(settings) as scan, pytest.raises(WarehouseError, match=said):
        ask_signals(known.warehouse, Span(0, 1, force=False), scan, settings, now)  # what the asset domain_signals does
    assert stored(known, schema.domain_signals) == before


def test_a_rescan_is_seen_on_the_assets_whose_tables_it_changes(known: Project) -> None:
    rescan(known)
    assert known.observations("domain_signals") == []  # nothing was due
    make_due(known, "a.com.tr")
    rescan(known)
    (signals,), (scores,) = (known.observations(asset) for asset in ("domain_signals", "scored_segments"))
    assert signals.metadata["asked"].value == 1
    assert scores.metadata["scores_changed"].value == 0


def test_a_person_may_ask_about_every_company_however_young_its_answer_is(known: Project) -> None:
    assert rescan(known)["asked"] == 0
    assert rescan(known, {"ask_dns_again": {"ignore_ttl": True}})["asked"] == 2


def test_a_rescan_that_nobody_answers_says_so_in_its_log(known: Project, zone: Zone) -> None:
    names = [f"{letter}.com.tr" for letter in "cdefg"]
    with known.warehouse.write() as connection:
        companies.write(connection, [company(name, referrals=1) for name in names])
        connection.execute(
            insert(schema.domain_signals),
            [
                dict(row._mapping) | {"domain": name}
                for row in stored(known, schema.domain_signals)[:1]
                for name in names
            ],
        )
    for name in names:
        zone.set_fault(name, DnsFault.REFUSED)
    job = known.definitions.resolve_job_def(JOB)
    config = {"ops": {"ask_dns_again": {"config": {"ignore_ttl": True}}}}
    result = job.execute_in_process(instance=known.instance, run_config=config)
    assert "DNS did not answer for 5 of 7 companies" in known.event_log(result.run_id)


def test_a_rescan_after_which_nothing_differs_writes_no_history(known: Project) -> None:
    before = {name: known.counts()[name] for name in ("signal_changes", "score_changes")}
    make_due(known, "a.com.tr", "b.com.tr")
    assert rescan(known)["asked"] == 2
    assert {name: known.counts()[name] for name in before} == before
    assert rescan(known)["asked"] == 0


def test_without_an_answer_what_was_known_is_kept_and_asked_again_sooner(known: Project, zone: Zone) -> None:
    zone.set_fault("a.com.tr", DnsFault.SERVFAIL)
    make_due(known, "a.com.tr")
    shown = rescan(known)
    assert (shown["asked"], shown["set_ups_changed"], shown["scores_changed"]) == (1, 0, 0)
    a, _ = stored(known, schema.domain_signals)
    assert (a.provider, a.failures) == ("Google", 1)
    assert a.next_scan_at < datetime.now(UTC) + timedelta(hours=1)

    zone.set_fault("a.com.tr", None)
    make_due(known, "a.com.tr")
    rescan(known)
    a, _ = stored(known, schema.domain_signals)
    assert a.failures == 0


@pytest.mark.dagster_on_disk
def test_the_schedule_requests_a_run_when_something_is_due_and_none_is_running(known: Project) -> None:
    assert known.tick_schedule(datetime.now(UTC), JOB) == "no company's mail set-up is due to be asked again"
    make_due(known, "a.com.tr")
    assert isinstance(known.tick_schedule(datetime.now(UTC), JOB), dg.RunRequest)
    known.instance.create_run_for_job(known.definitions.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)
    assert known.tick_schedule(datetime.now(UTC), JOB) == "the last rescan is still at work"


@pytest.mark.parametrize(
    ("due", "slots", "size"), [(20_000, 2, 2500), (3000, 2, 1000), (5, 3, 1000), (900_001, 3, 75_001)]
)
def test_each_slot_gets_four_parts_but_none_of_a_few_domains(due: int, slots: int, size: int) -> None:
    assert part_size(due, slots) == size


@pytest.mark.dagster_on_disk
def test_a_rescan_is_one_run_until_the_pool_lets_several_work_side_by_side(
    known: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defs_rescan, "PART_LEAST", 1)
    make_due(known, "a.com.tr", "b.com.tr")
    whole = known.tick_schedule(datetime.now(UTC), JOB)
    assert isinstance(whole, dg.RunRequest)
    assert (whole.run_config, PART_TAG in whole.tags) == ({}, False)

    known.instance.event_log_storage.set_concurrency_slots("mail_dns", 2)
    parts = known.schedule_requests(datetime.now(UTC), JOB)
    assert not isinstance(parts, str)
    assert [part.tags[PART_TAG] for part in parts] == ["1 of 2", "2 of 2"]
    asked = [
        rescan(known, {name: op["config"] for name, op in part.run_config["ops"].items()})["asked"] for part in parts
    ]
    assert asked == [1, 1], "each domain is asked about once"
    assert known.tick_schedule(datetime.now(UTC), JOB) == "no company's mail set-up is due to be asked again"
