"""Scores made anew: walked in pages, written where they differ, each change with its cause."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text

from partner_center_pipeline.scoring import Rules, ScorePolicy, load_rules, score_domain
from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY
from partner_center_pipeline.scoring.row import score_columns
from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.warehouse import companies, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.leads import Written
from partner_center_pipeline.warehouse.schema import company_scores, row_dict, score_changes
from partner_center_pipeline_tests.scoring import cases
from partner_center_pipeline_tests.warehouse.rows import company

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def score_row(
    domain: str, rules: Rules | None = None, policy: ScorePolicy = DEFAULT_POLICY, at: datetime = NOW, **facts: Any
) -> dict[str, Any]:
    """A row as the chain writes it."""
    rules = rules or load_rules()
    inputs = cases.company("Google", **{"spf_present": True, **facts, "domain": domain})
    return {
        "domain": domain,
        **score_columns(score_domain(inputs, rules, policy), rules),
        "inputs": {**asdict(inputs), **asdict(policy)},
        "referral_ids": ["r-1"],
        "signals_at": NOW,
        "scored_at": at,
        "derived_with": "digest",
    }


def fill(connection: Connection, *rows: Mapping[str, Any]) -> None:
    companies.write(connection, [company(row["domain"]) for row in rows])
    scores.write(connection, list(rows))


def walked(connection: Connection, size: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while rows := scores.page(connection, found[-1]["domain"] if found else "", size):
        assert len(rows) <= size
        found += rows
    return found


@pytest.fixture
def edited(tmp_path: Path) -> Rules:
    """Rules of version 4, in which SPF is worth 20."""
    delivered = DEFAULT_RULES.read_text(encoding="utf-8")
    path = tmp_path / "rules.toml"
    path.write_text(
        delivered.replace('version = "3"', 'version = "4"').replace("\nspf_present = 10", "\nspf_present = 20"),
        encoding="utf-8",
    )
    return load_rules(path)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_walk_in_pages_meets_every_score_once_as_it_is_stored(warehouse: Warehouse, size: int) -> None:
    """Names are chosen so that languages would order them differently than code points do."""
    names = ["a-b.com", "ab.com", "a.com", "b.com", "xn--ar-xla.com", "z.com", "0.com"]
    with warehouse.write() as connection:
        fill(connection, *(score_row(name, spf_includes=at) for at, name in enumerate(names)))
    with warehouse.read() as connection:
        assert scores.count(connection) == len(names)
        found = walked(connection, size)
        assert sorted(row["domain"] for row in found) == sorted(names)
        assert {row["domain"]: row for row in found} == scores.load(connection, names)


def test_no_score_is_no_page(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        assert scores.page(connection, "", 10) == []
        assert scores.count(connection) == 0


def test_scores_that_were_read_already_are_written_as_if_they_were_read_again(
    warehouse: Warehouse, edited: Rules
) -> None:
    with warehouse.write() as connection:
        fill(connection, score_row("same.com"), score_row("moved.com"), score_row("evidence.com", spf_present=False))
    with warehouse.write() as connection:
        stored = {row["domain"]: row for row in scores.page(connection, "", 10)}
        rows = [
            score_row("same.com", at=LATER),
            score_row("moved.com", edited, at=LATER),
            score_row("evidence.com", spf_present=False, mx_host="mx.example", at=LATER),
        ]
        outcome = scores.rewrite(connection, stored, rows)
        again = scores.write(connection, rows)
    assert (outcome.written, outcome.causes) == (Written(changed=2, unchanged=1), Counter({"rules": 1}))
    assert (again.written, again.causes) == (Written(unchanged=3), Counter())
    with warehouse.read() as connection:
        found = scores.load(connection, ["same.com", "moved.com", "evidence.com"])
        history = connection.execute(select(score_changes).where(score_changes.c.changed_at == LATER)).all()
    assert found["same.com"]["scored_at"] == NOW
    assert (found["moved.com"]["score"], found["moved.com"]["rules_version"]) == (55, "4")
    assert found["evidence.com"]["reasons"][0]["evidence"] == "mx.example"
    (change,) = [row_dict(row) for row in history]
    assert (change["domain"], change["cause"], change["score_before"], change["score_after"]) == (
        "moved.com", "rules", 45, 55,
    )  # fmt: skip
    assert change["detail"] == {"rules_version": {"before": "3", "after": "4"}}


def test_what_a_connection_for_reading_wrote_is_not_kept(warehouse: Warehouse) -> None:
    """What a dry run has is such a connection."""
    with warehouse.write() as connection:
        fill(connection, score_row("a.com"))
    with warehouse.read() as connection:
        connection.execute(text("DELETE FROM company_scores"))
    with warehouse.read() as connection:
        assert connection.execute(select(func.count()).select_from(company_scores)).scalar_one() == 1
