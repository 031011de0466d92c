"""What the later assets owe follows rows, not windows: whatever became of a window, its rows become leads."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from partner_center_pipeline.defs import derivation
from partner_center_pipeline.defs.enrichment import Scoring
from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending, schema
from partner_center_pipeline.windows import TICKS_PER_SECOND, datetime_of
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_checks import DERIVED, checks
from partner_center_simulator import Simulator

RAW = ["raw_referrals"]
LATER = ["normalized_leads", "companies", "domain_signals", "scored_segments"]
HOUR = timedelta(hours=1)


def again(project: Project, **changes: str) -> Project:
    """The same installation after an edit of `.env`, loaded anew."""
    return Project(project.home, {**project.variables, **changes}, project.instance)


def create(microsoft: Simulator, ticks: int) -> str:
    """Create a referral at an instant."""
    created: str = microsoft.world.create(ticks)["id"]
    return created


def has_lead(project: Project, referral_id: str) -> bool:
    with project.warehouse.read() as connection:
        query = select(schema.leads.c.referral_id).where(schema.leads.c.referral_id == referral_id)
        return connection.execute(query).one_or_none() is not None


def is_done(project: Project) -> bool:
    with project.warehouse.read() as connection:
        return pending.count(connection) == 0 and pending.failed(connection) == []


class TestWindowsUnderOthers:
    """A window whose chain stopped after raw_referrals, under an interval that other windows have done."""

    @pytest.mark.slow
    def test_of_another_width(self, project: Project, microsoft: Simulator) -> None:
        assert project.run(project.window(0), project.window(17)).success
        late = create(microsoft, project.window(7).start + TICKS_PER_SECOND)
        hours = again(project, HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS="3600")
        assert hours.run(hours.window(1), assets=RAW).success
        project = again(hours, HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS="600")
        project.mark_done((project.window(18), project.last_due()))
        assert not has_lead(project, late)
        assert project.follow_sensor() == 1
        assert has_lead(project, late)
        assert is_done(project)

    @pytest.mark.slow
    def test_before_a_start_that_was_moved_back_and_forth(self, project: Project, microsoft: Simulator) -> None:
        assert project.run(project.window(0)).success
        project.mark_done((project.window(1), project.last_due()))
        assert project.grid.first is not None
        start = datetime_of(project.grid.first)
        earlier = again(project, HUNTER_SYNC_START=f"{start - HOUR:%Y-%m-%dT%H:%M:%SZ}")
        late = create(microsoft, earlier.window(1).start + TICKS_PER_SECOND)
        assert earlier.run(earlier.window(1), assets=RAW).success
        project = again(earlier, HUNTER_SYNC_START=f"{start:%Y-%m-%dT%H:%M:%SZ}")
        assert not has_lead(project, late)
        assert project.follow_sensor() == 1
        assert has_lead(project, late)

    @pytest.mark.slow
    def test_before_a_start_that_was_moved_forward(self, project: Project, microsoft: Simulator) -> None:
        assert project.run(project.window(0)).success
        one = create(microsoft, project.window(1).start + TICKS_PER_SECOND)
        assert project.run(project.window(1), assets=RAW).success
        start = datetime_of(project.window(4).start)
        moved = again(project, HUNTER_SYNC_START=f"{start:%Y-%m-%dT%H:%M:%SZ}")
        moved.mark_done((moved.window(1), moved.last_due()))
        moved.follow_sensor()
        assert has_lead(moved, one)
        assert is_done(moved)


class TestReplay:
    @pytest.mark.slow
    def test_rows_without_a_change_are_not_derived_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert project.run(project.window(0)).success
        before = project.counts()

        def never(*_: object) -> None:
            raise AssertionError("derived although nothing changed")

        for name in ("read_lead", "company_of", "suggest_for_companies", "suggest_for_leads"):
            monkeypatch.setattr(derivation, name, never)
        monkeypatch.setattr(Scoring, "score", never)
        assert project.run(project.window(0)).success
        assert project.counts() == before
        assert is_done(project)

    @pytest.mark.slow
    def test_a_forced_run_derives_the_windows_rows_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert project.run(project.window(0)).success
        before = project.counts()
        read, scored = _counting(monkeypatch, derivation, "read_lead"), _counting(monkeypatch, derivation, "company_of")
        outcome = project.run(project.window(0), force=True)
        assert outcome.success
        assert (len(read), len(scored)) == (before["leads"], before["companies"])
        assert outcome.metadata["normalized_leads", project.window(0).key]["unchanged"] == before["leads"]
        assert project.counts() == before

    @pytest.mark.slow
    def test_a_changed_setting_derives_what_it_concerns_again(self, project: Project) -> None:
        assert project.run(project.window(0)).success
        with project.warehouse.read() as connection:
            own = connection.execute(select(schema.leads.c.domain).where(schema.leads.c.domain.is_not(None))).scalar()
        project.edit_env(HUNTER_OWN_DOMAINS=str(own))
        outcome = project.run(project.window(0))
        assert outcome.success
        assert outcome.metadata["normalized_leads", project.window(0).key]["changed"] >= 1
        with project.warehouse.read() as connection:
            assert connection.execute(select(schema.leads).where(schema.leads.c.domain == own)).all() == []
            emptied = connection.execute(select(schema.companies).where(schema.companies.c.domain == own)).one()
        assert emptied.referrals == 0

    @pytest.mark.slow
    def test_rows_of_an_earlier_version_of_the_code_are_derived_again(self, project: Project) -> None:
        assert project.run(project.window(0)).success
        tables = (schema.leads, schema.companies, schema.company_scores)
        with project.warehouse.write() as connection:
            connection.execute(update(schema.leads).values(name="read by other code"))
            for table in tables:
                connection.execute(update(table).values(derived_with="other code"))
        assert project.run(project.window(0)).success
        with project.warehouse.read() as connection:
            assert "read by other code" not in connection.execute(select(schema.leads.c.name)).scalars().all()
            for table in tables:
                assert "other code" not in connection.execute(select(table.c.derived_with)).scalars().all()


class TestDefects:
    """A row at which the code fails: the others go on, and the row is named."""

    @pytest.mark.slow
    def test_one_row_does_not_stop_the_others(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        odd = _odd_one(project)
        _fail_for(monkeypatch, odd)
        outcome = project.run(project.window(0))
        assert outcome.success
        counts = project.counts()
        assert counts["leads"] == counts["raw_referrals"] - 1
        assert counts["company_scores"] == counts["companies"] > 0
        with project.warehouse.read() as connection:
            assert pending.failed(connection) == [pending.Failed(Task.LEADS, odd, "KeyError")]
        check = checks(project)[DERIVED]
        assert not check.passed
        assert "1 referrals or companies" in str(check.description)
        monkeypatch.undo()
        monkeypatch.setenv("HUNTER_HOME", str(project.home))
        assert project.run(project.window(0)).success
        assert has_lead(project, odd)
        assert is_done(project)
        assert checks(project)[DERIVED].passed

    @pytest.mark.slow
    def test_it_is_asked_for_again_by_no_run_of_its_own(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_for(monkeypatch, _odd_one(project))
        assert project.run(project.window(0)).success
        project.mark_done((project.window(0), project.last_due()))
        assert project.tick_sensor() == "no window was missed"

    @pytest.mark.slow
    def test_when_every_row_fails_the_run_fails_and_later_ones_do_not(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert project.run(project.window(0), assets=RAW).success
        monkeypatch.setattr(derivation, "read_lead", _raise)
        outcome = project.run(project.window(0), assets=LATER)
        assert (outcome.success, outcome.failed_step) == (False, "normalized_leads")


def _counting(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[None]:
    calls: list[None] = []
    original: Callable[..., object] = getattr(module, name)

    def counted(*args: object) -> object:
        calls.append(None)
        return original(*args)

    monkeypatch.setattr(module, name, counted)
    return calls


def _odd_one(project: Project) -> str:
    assert project.run(project.window(0), assets=RAW).success
    with project.warehouse.read() as connection:
        odd: str = connection.execute(select(schema.raw_referrals.c.referral_id)).scalars().first() or ""
    return odd


def _fail_for(monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    def failing(payload: dict[str, object], own_domains: frozenset[str]) -> object:
        if payload["id"] == odd:
            raise KeyError("a defect")
        return read_lead(payload, own_domains)

    monkeypatch.setattr(derivation, "read_lead", failing)


def _raise(*_: object) -> None:
    raise KeyError("a defect")
