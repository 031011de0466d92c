"""`partner-center rescore`: what rules would change, and scoring under them."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from partner_center_pipeline.cli import rescore as command
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.scoring import load_rules, score_domain
from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY
from partner_center_pipeline.scoring.row import score_columns, score_digest
from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.warehouse import companies, leads, published, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import company_scores, metadata, score_changes
from partner_center_pipeline.warehouse.views import leads_ready
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.scoring import cases
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL: dict[str, Any] = {"spf_present": True, "dkim_present": True, "dmarc_policy": "reject"}
COMPANIES = {
    "a.com": cases.company("Google", domain="a.com", spf_present=True),  # 45 Cold
    "b.com": cases.company("Google", domain="b.com", **ALL, open_cosell=True, cosell_referral="r-1"),  # 90, 100
    "c.com": cases.company("Local", domain="c.com"),  # 0 Skip
    "d.com": cases.company("Yandex", domain="d.com", **ALL),  # 70 Migration
    "e.com": cases.company(domain="e.com", signals_complete=False, tenant="x", tenant_source="oidc_metadata"),
}
POORER = [('version = "3"', 'version = "4"'), ("Google = 50", "Google = 20"), ("no_dkim = -10", "no_dkim = -12")]


class Installation(Home):
    """A home folder whose warehouse holds COMPANIES, scored as delivered."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self.warehouse = Warehouse.open(url)
        self.edit_env(HUNTER_DATABASE_URL=url)
        rules = load_rules()
        rows = [
            {
                "domain": domain,
                **score_columns(score_domain(inputs, rules), rules),
                "inputs": {**asdict(inputs), **asdict(DEFAULT_POLICY)},
                "referral_ids": ["r-1"],
                "signals_at": NOW,
                "scored_at": NOW,
                "derived_with": score_digest(rules, DEFAULT_POLICY),
            }
            for domain, inputs in COMPANIES.items()
        ]
        with self.warehouse.write() as connection:
            companies.write(connection, [company(domain) for domain in COMPANIES])
            scores.write(connection, rows)
            published.publish(connection, rules, DEFAULT_POLICY)

    def rules(self, *edits: tuple[str, str]) -> str:
        """A rules file in the home folder: the delivered one, edited."""
        text = DEFAULT_RULES.read_text(encoding="utf-8")
        for old, new in edits:
            assert text.count(f"\n{old}") == 1
            text = text.replace(f"\n{old}", f"\n{new}")
        path = self.path / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def listed(self, domain: str) -> tuple[Any, ...]:
        """A company's deal in the sales list: as in the API, and in the reporting currency."""
        columns = (
            leads_ready.c[name] for name in ("deal_value", "currency", "deal_value_reported", "reported_currency")
        )
        with self.warehouse.read() as connection:
            return tuple(connection.execute(select(*columns).where(leads_ready.c.domain == domain)).one())

    def rescore(self, *arguments: str) -> dict[str, Any]:
        """What the command says in JSON."""
        shown = self.invoke("rescore", "--json", *arguments)
        assert shown.exit_code == 0, shown.output
        found: dict[str, Any] = json.loads(shown.stdout)
        return found

    def content(self) -> dict[str, list[Row[Any]]]:
        """Every row of every table."""
        with self.warehouse.read() as connection:
            return {
                name: list(connection.execute(select(table).order_by(*table.primary_key.columns)))
                for name, table in metadata.tables.items()
            }

    def scores(self) -> dict[str, Any]:
        with self.warehouse.read() as connection:
            return scores.load(connection, list(COMPANIES))

    def changes(self) -> list[Any]:
        """The history but for the first scores."""
        with self.warehouse.read() as connection:
            return list(
                connection.execute(
                    select(score_changes).where(score_changes.c.cause != "first").order_by(score_changes.c.domain)
                )
            )


@pytest.fixture
def installation(home: Path, databases: Databases) -> Iterator[Installation]:
    made = Installation(home, databases.emptied())
    yield made
    made.warehouse.close()


def test_a_dry_run_says_what_other_rules_would_change(installation: Installation) -> None:
    file = installation.rules(*POORER)
    found = installation.rescore("--dry-run", "--rules", file)
    assert (found["dry_run"], found["rules"], found["rules_version"]) == (True, file, "4")
    assert (found["companies"], found["changed"], found["written"]) == (5, 2, 0)
    assert found["segments"] == [
        {"name": "Migration", "before": 2, "after": 2},
        {"name": "Cold", "before": 1, "after": 0},
        {"name": "Skip", "before": 1, "after": 2},
        {"name": "Pending", "before": 1, "after": 1},
    ]
    assert found["categories"] == [
        {"name": "P2", "before": 2, "after": 2},
        {"name": "P5", "before": 1, "after": 0},
        {"name": "P6", "before": 1, "after": 2},
        {"name": None, "before": 1, "after": 1},
    ]
    assert {"before": "Cold", "after": "Skip", "companies": 1} in found["transitions"]
    assert sum(move["companies"] for move in found["transitions"]) == 5
    first, second = found["movers"]
    assert first == {
        "domain": "a.com",
        "score_before": 45,
        "score_after": 13,
        "segment_before": "Cold",
        "segment_after": "Skip",
        "reasons": [
            {"code": "provider_google", "before": 50, "after": 20},
            {"code": "no_dkim", "before": -10, "after": -12},
        ],
    }
    assert (second["domain"], second["score_before"], second["score_after"]) == ("b.com", 100, 75)


def test_a_dry_run_leaves_every_table_as_it_was(installation: Installation) -> None:
    before = installation.content()
    assert len(before["company_scores"]) == len(before["score_changes"]) == 5
    assert installation.rescore("--dry-run", "--rules", installation.rules(*POORER))["changed"] == 2
    assert installation.content() == before


def test_a_dry_run_does_not_touch_the_file_of_a_sqlite_warehouse(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.db"
    installation = Installation(home, f"sqlite:///{path}")
    installation.warehouse.close()
    before = path.read_bytes()
    assert installation.rescore("--dry-run", "--rules", installation.rules(*POORER))["changed"] == 2
    assert path.read_bytes() == before


def test_a_dry_run_makes_neither_a_file_nor_tables(home: Path, databases: Databases) -> None:
    place, url = Home(home), databases.empty()
    place.edit_env(HUNTER_DATABASE_URL=url)
    shown = place.invoke("rescore", "--dry-run")
    assert shown.exit_code == 1
    assert "a dry run makes none; run `partner-center migrate` first" in shown.stderr
    if url.startswith("sqlite"):
        assert not Path(url.removeprefix("sqlite:///")).exists()


def test_the_rules_of_the_setting_are_scored_under_and_every_change_has_its_cause(installation: Installation) -> None:
    installation.rules(*POORER)
    installation.edit_env(HUNTER_SCORING_RULES="rules.toml")
    tried = installation.rescore("--dry-run")
    done = installation.rescore()
    compared = {"companies", "changed", "segments", "categories", "transitions", "movers", "rules", "rules_version"}
    assert {name: tried[name] for name in compared} == {name: done[name] for name in compared}
    assert (done["written"], done["changes_by_cause"]) == (5, {"rules": 2})  # each has its rules' version

    rules = load_rules(installation.path / "rules.toml")
    for domain, row in installation.scores().items():
        expected = score_columns(score_domain(COMPANIES[domain], rules), rules)
        assert {name: row[name] for name in expected} == expected
        assert row["inputs"] == {**asdict(COMPANIES[domain]), **asdict(DEFAULT_POLICY)}
        assert (row["referral_ids"], row["signals_at"]) == (["r-1"], NOW)
        assert row["scored_at"] > NOW
    first, second = installation.changes()
    assert (first.domain, first.cause, first.segment_before, first.segment_after) == ("a.com", "rules", "Cold", "Skip")
    assert first.detail == {"rules_version": {"before": "3", "after": "4"}}
    assert (second.domain, second.score_before, second.score_after) == ("b.com", 100, 75)


def test_scoring_again_under_the_same_rules_writes_nothing(installation: Installation) -> None:
    before = installation.content()
    found = installation.rescore()
    assert (found["companies"], found["changed"], found["written"], found["changes_by_cause"]) == (5, 0, 0, {})
    assert found["movers"] == []
    assert installation.content() == before


def test_another_bonus_changes_scores_because_of_the_settings(installation: Installation) -> None:
    installation.edit_env(HUNTER_PARTNER_CENTER_COSELL_BONUS="3", HUNTER_TENANT_DISCOVERY_ENABLED="true")
    found = installation.rescore()
    assert (found["changed"], found["written"], found["changes_by_cause"]) == (2, 5, {"settings": 2})
    assert [mover["domain"] for mover in found["movers"]] == ["e.com", "b.com"]
    assert {"before": "Pending", "after": "Existing", "companies": 1} in found["transitions"]
    after = installation.scores()
    assert (after["b.com"]["score"], after["b.com"]["readiness"]) == (93, 90)
    assert (after["e.com"]["score"], after["e.com"]["segment"]) == (55, "Existing")
    assert after["c.com"]["inputs"]["cosell_bonus"] == 3
    cosell, _ = installation.changes()
    assert cosell.detail == {
        "cosell_bonus": {"before": 15, "after": 3},
        "tenant_discovery_enabled": {"before": False, "after": True},
    }


def test_scores_come_in_pages_and_the_outcome_is_the_same(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installation.rules(*POORER)
    whole = installation.rescore("--dry-run", "--rules", file, "--top", "1")
    assert [mover["domain"] for mover in whole["movers"]] == ["a.com"]
    for size in (1, 2, 5):
        monkeypatch.setattr(command, "PAGE", size)
        assert installation.rescore("--dry-run", "--rules", file, "--top", "1") == whole
    installation.edit_env(HUNTER_SCORING_RULES=file)
    monkeypatch.setattr(command, "PAGE", 2)
    assert installation.rescore()["written"] == 5
    assert installation.rescore()["written"] == 0


def test_a_row_of_an_older_version_is_scored_where_only_evidence_is_missing(installation: Installation) -> None:
    older = {**asdict(COMPANIES["a.com"]), **asdict(DEFAULT_POLICY), "since_removed": [1]}
    del older["mx_host"]
    lacking = {name: value for name, value in older.items() if name != "spf_multiple"}
    with installation.warehouse.write() as connection:
        for domain, inputs in (("a.com", older), ("b.com", lacking)):
            connection.execute(update(company_scores).where(company_scores.c.domain == domain).values(inputs=inputs))
    installation.edit_env(HUNTER_SCORING_RULES=installation.rules(*POORER))
    found = installation.rescore()
    assert (found["companies"], found["changed"], found["left_alone"], found["written"]) == (4, 1, 1, 4)
    after = installation.scores()
    assert (after["a.com"]["score"], after["a.com"]["inputs"]) == (13, older)
    assert (after["b.com"]["score"], after["b.com"]["rules_version"]) == (100, "3")
    shown = installation.invoke("rescore", "--dry-run")
    assert "left alone: 1. An older version" in shown.stderr
    assert "partner-center sync --from T --to T" in shown.stderr


def test_a_person_reads_tables_and_what_was_done(installation: Installation) -> None:
    file = installation.rules(*POORER)
    shown = installation.invoke("rescore", "--dry-run", "--rules", file)
    assert shown.exit_code == 0
    for part in ("Cold -> Skip", "45 -> 13", "provider_google +50 -> +20", "no_dkim -10 -> -12", "P5"):
        assert part in shown.stdout
    assert f"2 of 5 scores would change under rules version 4 ({file})." in shown.stdout
    assert "A dry run: nothing was written." in shown.stdout
    assert "5/5" in shown.stderr  # the bar

    installation.edit_env(HUNTER_SCORING_RULES=file)
    shown = installation.invoke("rescore", "--top", "0")
    assert f"2 of 5 scores changed under rules version 4 ({file})." in shown.stdout
    assert "5 rows written; history rows by cause: rules 2." in shown.stdout
    assert "a.com" not in shown.stdout


def test_rules_edited_without_a_new_version_are_pointed_out(installation: Installation) -> None:
    shown = installation.invoke("rescore", "--dry-run", "--rules", installation.rules(*POORER[1:]))
    assert "2 of these scores were made under rules of the same version" in shown.stderr
    assert "`version`" in shown.stderr


def test_without_any_score_there_is_nothing_to_do(home: Path, databases: Databases) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=databases.migrated())
    shown = place.invoke("rescore")
    assert shown.exit_code == 0
    assert "0 of 0 scores changed under rules version 3 (as delivered)." in shown.stdout


def test_a_file_is_tried_dry_only_and_the_next_step_is_named(home: Path) -> None:
    shown = Home(home).invoke("rescore", "--rules", "rules.toml")
    assert shown.exit_code == 2
    assert "set HUNTER_SCORING_RULES in .env" in shown.stderr
    assert "partner-center rescore" in shown.stderr


@pytest.mark.parametrize("how", ["option", "setting"])
def test_a_broken_file_is_refused_with_its_line_and_the_next_step(how: str, installation: Installation) -> None:
    before = installation.content()
    file = installation.rules(("Yandex = 30", "Yandeks = 30"))
    line = Path(file).read_text(encoding="utf-8").splitlines().index("Yandeks = 30") + 1
    if how == "setting":
        installation.edit_env(HUNTER_SCORING_RULES="rules.toml")
        shown = installation.invoke("rescore")
    else:
        shown = installation.invoke("rescore", "--dry-run", "--rules", file)
    assert shown.exit_code == 1
    assert shown.stderr.startswith(f"error {file}, line {line}: unknown key readiness.provider.Yandeks. Correct its")
    assert installation.content() == before


def test_a_file_that_is_not_there_is_named(home: Path) -> None:
    place = Home(home)
    place.edit_env(HUNTER_SCORING_RULES="gone.toml")
    shown = place.invoke("rescore")
    assert shown.exit_code == 1
    assert shown.stderr.startswith(f"error {home}/gone.toml: cannot be read")
    assert not (home / ".hunter").exists()


def test_new_rates_choose_the_largest_deal_anew_and_reach_the_lists(installation: Installation) -> None:
    """Also of companies whose score stays what it is."""
    deals = [("r1", 1, "USD"), ("r2", 40, "TRY")]
    with installation.warehouse.write() as connection:
        leads.write(
            connection,
            [lead_row(one, details={"dealValue": value, "currency": currency}) for one, value, currency in deals],
        )
        of_it = leads.of_domains(connection, ["a.com"])["a.com"]
        companies.write(connection, [company_of("a.com", of_it, load_rules().rates)], "as derived")
    assert installation.listed("a.com") == (Decimal("1.00"), "USD", Decimal("47.50"), "TRY")
    weaker = installation.rules(("USD = 47.5", "USD = 39"))
    assert installation.rescore("--dry-run", "--rules", weaker)["changed"] == 0
    assert installation.listed("a.com") == (Decimal("1.00"), "USD", Decimal("47.50"), "TRY")
    installation.edit_env(HUNTER_SCORING_RULES=weaker)
    installation.rescore()
    assert installation.listed("a.com") == (Decimal("40.00"), "TRY", Decimal("40.00"), "TRY")
    with installation.warehouse.read() as connection:
        assert companies.load(connection, ["a.com"])["a.com"]["derived_with"] == "as derived"
