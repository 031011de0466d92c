"""Companies, signals and scores: written whole, changed only when they differ, with the history of what changed."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select

from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.scoring import ScorePolicy, load_rules
from partner_center_pipeline.warehouse import companies, first_page, leads, published, scores, signals
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.leads import Written
from partner_center_pipeline.warehouse.row_counts import row_counts
from partner_center_pipeline.warehouse.schema import companies as companies_table
from partner_center_pipeline.warehouse.schema import company_scores, row_dict, score_changes, signal_changes
from partner_center_pipeline.warehouse.signals import SetUps
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def signal(domain: str, scanned_at: datetime = NOW, **values: Any) -> dict[str, Any]:
    return {
        "domain": domain,
        "provider": "M365",
        "provider_name": None,
        "gateway": None,
        "confidence": 90,
        "is_complete": True,
        "tenant": None,
        "tenant_source": None,
        "signals": {"mx": [[10, "mx.example"]]},
        "scanned_at": scanned_at,
        "facts_at": scanned_at,
        "next_scan_at": scanned_at + timedelta(hours=1),
        "failures": 0,
        **values,
    }


def score(domain: str, points: int | None = 50, **values: Any) -> dict[str, Any]:
    return {
        "domain": domain,
        "score": points,
        "readiness": points,
        "segment": "Migration",
        "segment_reason": "hosting",
        "reasons": [{"code": "hosting", "points": 20, "evidence": "mx.example"}],
        "commercial_segment": None,
        "technical_heat": None,
        "commercial_heat": None,
        "category": "A",
        "label": None,
        "act": None,
        "explanation_en": None,
        "explanation_tr": None,
        "rules_version": "1",
        "inputs": {"provider": "Hosting", "cosell_bonus": 15},
        "referral_ids": ["r1"],
        "signals_at": NOW,
        "scored_at": NOW,
        "derived_with": "",
        **values,
    }


def history_of(connection: Connection) -> list[dict[str, Any]]:
    return [row_dict(row) for row in connection.execute(select(score_changes).order_by(score_changes.c.id))]


class TestCompanies:
    def test_a_company_made_from_its_leads_twice_is_written_once(self, warehouse: Warehouse) -> None:
        deal = {"dealValue": 1999.99, "currency": "TRY"}
        with warehouse.write() as connection:
            leads.write(connection, [lead_row("r1", details=deal), lead_row("r2", ticks=2)])
            for expected in (Written(new=1), Written(unchanged=1)):
                rows = [company_of(domain, of_it) for domain, of_it in leads.of_domains(connection, ["a.com"]).items()]
                assert companies.write(connection, rows) == expected
            assert companies.load(connection, ["a.com", "b.com"]) == {"a.com": {**rows[0], "derived_with": ""}}
        assert rows[0]["deal_value"] == Decimal("1999.99")
        assert rows[0]["referral_ids"] == ["r2", "r1"]

    def test_only_what_differs_is_written(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com"), company("b.com")])
            again = [company("a.com"), company("b.com", referrals=1), company("c.com")]
            assert companies.write(connection, again) == Written(new=1, changed=1, unchanged=1)
            assert companies.load(connection, ["b.com"])["b.com"]["referrals"] == 1

    def test_what_is_known_about_a_company_goes_with_it(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            signals.write(connection, [signal("a.com")])
            scores.write(connection, [score("a.com")])
            connection.execute(delete(companies_table))
            assert set(row_counts(connection).values()) == {0}


class TestSignals:
    def test_domains_are_due_that_were_never_asked_or_whose_time_has_come(self, warehouse: Warehouse) -> None:
        names = ["fresh.com", "new.com", "old.com", "unknown.com"]
        with warehouse.write() as connection:
            companies.write(connection, [company(name) for name in names[:3]])
            signals.write(connection, [signal("fresh.com"), signal("old.com", NOW - timedelta(hours=1))])
            assert signals.due(connection, names, NOW) == ["new.com", "old.com"]
            assert signals.due(connection, names, NOW - timedelta(microseconds=1)) == ["new.com"]

    def test_more_domains_than_a_statement_takes_are_asked_about(self, warehouse: Warehouse) -> None:
        names = [f"c{number:05}.com" for number in range(2100)]
        with warehouse.write() as connection:
            companies.write(connection, [company(name) for name in names])
            assert signals.due(connection, names, NOW) == names

    def test_an_answer_that_came_earlier_gives_way(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            signals.write(connection, [signal("a.com", provider="M365")])
            signals.write(connection, [signal("a.com", NOW - timedelta(microseconds=1), provider="Google")])
            assert signals.load(connection, ["a.com"])["a.com"]["provider"] == "M365"
            signals.write(connection, [signal("a.com", NOW, provider="Hosting")])
            assert signals.load(connection, ["a.com"]) == {"a.com": signal("a.com", NOW, provider="Hosting")}

    def test_a_set_up_that_changed_is_history_and_one_that_did_not_is_none(self, warehouse: Warehouse) -> None:
        later = NOW + timedelta(hours=1)
        google = {"provider": "Google", "signals": {"provider": "Google", "mx": [[1, "smtp.google.com"]]}}
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            assert signals.write(connection, [signal("a.com")]) == SetUps(new=1)
            assert signals.write(connection, [signal("a.com", later)]) == SetUps()
            assert signals.write(connection, [signal("a.com", NOW, **google)]) == SetUps()  # came too late
            assert signals.write(connection, [signal("a.com", later, **google)]) == SetUps(changed=1)
            first, second = [
                row_dict(row) for row in connection.execute(select(signal_changes).order_by(signal_changes.c.id))
            ]
        assert (first["provider_before"], first["provider_after"], first["detail"]) == (None, "M365", {})
        assert (second["provider_before"], second["provider_after"]) == ("M365", "Google")
        assert second["changed_at"] == later
        assert second["detail"] == {
            "provider": {"before": None, "after": "Google"},
            "mx": {"before": [[10, "mx.example"]], "after": [[1, "smtp.google.com"]]},
        }

    def test_due_again_is_what_was_asked_before_in_order_and_named_by_a_referral(self, warehouse: Warehouse) -> None:
        names = ["b.com", "a.com", "fresh.com", "left.com", "new.com"]
        with warehouse.write() as connection:
            companies.write(connection, [company(name, referrals=int(name != "left.com")) for name in names])
            old = [signal(name, NOW - timedelta(hours=1)) for name in ("b.com", "a.com", "left.com")]
            signals.write(connection, [*old, signal("fresh.com")])
            assert signals.due_again(connection, NOW) == ["a.com", "b.com"]
            assert signals.due_again(connection, NOW, signals.Part(after="a.com")) == ["b.com"]
            assert signals.count_due_again(connection, NOW) == 2
            assert signals.count_due_again(connection, NOW - timedelta(microseconds=1)) == 0

    @pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
    def test_parts_together_have_each_due_domain_once(self, warehouse: Warehouse, size: int, sizes: list[int]) -> None:
        names = ["ç.com", "i.com", "z.com", "a-b.com", "ab.com", "fresh.com"]  # in whatever order the database has
        with warehouse.write() as connection:
            companies.write(connection, [company(name, referrals=1) for name in names])
            signals.write(connection, [signal(name, NOW - timedelta(hours=1)) for name in names[:5]])
            signals.write(connection, [signal("fresh.com")])
            parts = signals.parts_due_again(connection, NOW, size)
            found = [signals.due_again(connection, NOW, part) for part in parts]
            assert [len(one) for one in found] == sizes
            assert [name for one in found for name in one] == signals.due_again(connection, NOW)
            assert [signals.count_due_again(connection, NOW, part) for part in parts] == sizes

    def test_signals_of_no_company_are_refused(self, warehouse: Warehouse) -> None:
        with pytest.raises(WarehouseError, match=r"(?i)foreign.?key"), warehouse.write() as connection:
            signals.write(connection, [signal("nobody.com")])


class TestScores:
    def test_a_first_score_is_a_change_and_the_same_again_is_none(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            first = scores.write(connection, [score("a.com")])
            assert (first.written, first.causes) == (Written(new=1), Counter({"first": 1}))
            again = scores.write(connection, [score("a.com", scored_at=NOW + timedelta(hours=1))])
            assert (again.written, again.causes) == (Written(unchanged=1), Counter())
            assert scores.load(connection, ["a.com"]) == {"a.com": score("a.com")}
            assert [row["cause"] for row in history_of(connection)] == ["first"]

    def test_a_changed_score_keeps_what_it_was_and_why_it_changed(self, warehouse: Warehouse) -> None:
        later = NOW + timedelta(hours=1)
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            scores.write(connection, [score("a.com")])
            changed = score("a.com", 65, inputs={"provider": "Hosting", "cosell_bonus": 30}, scored_at=later)
            outcome = scores.write(connection, [changed])
            assert (outcome.written, outcome.causes) == (Written(changed=1), Counter({"settings": 1}))
            assert scores.load(connection, ["a.com"]) == {"a.com": changed}
            row = history_of(connection)[-1]
        assert (row["score_before"], row["score_after"]) == (50, 65)
        assert (row["segment_before"], row["segment_after"]) == ("Migration", "Migration")
        assert (row["changed_at"], row["detail"]) == (later, {"cosell_bonus": {"before": 15, "after": 30}})

    def test_other_evidence_for_the_same_score_is_written_without_a_history_row(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com")])
            scores.write(connection, [score("a.com")])
            outcome = scores.write(connection, [score("a.com", referral_ids=["r2"])])
            assert (outcome.written, outcome.causes) == (Written(changed=1), Counter())
            assert scores.load(connection, ["a.com"])["a.com"]["referral_ids"] == ["r2"]
            assert len(history_of(connection)) == 1

    def test_the_sales_list_is_in_the_documented_order_without_closed_companies(self, warehouse: Warehouse) -> None:
        listed: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
            ("a-rich.com", {"category": "A", "points": 60}, {"deal_value": Decimal("10.50"), "currency": "TRY"}),
            ("a-poor.com", {"category": "A", "points": 60}, {"deal_value": Decimal("9.99"), "currency": "TRY"}),
            ("a-unvalued.com", {"category": "A", "points": 60}, {}),
            ("a-low.com", {"category": "A", "points": 30}, {}),
            ("b.com", {"category": "B", "points": 90}, {}),
            ("none-scored.com", {"category": None, "points": 5}, {}),
            ("none-pending.com", {"category": None, "points": None}, {}),
        ]
        with warehouse.write() as connection:
            rows = [company(name, open_referrals=1, referrals=1, **values) for name, _, values in reversed(listed)]
            published.publish(connection, load_rules(), ScorePolicy())
            companies.write(connection, [*rows, company("closed.com", referrals=1)])
            scores.write(connection, [*(score(name, **values) for name, values, _ in listed), score("closed.com", 100)])
            assert [row["domain"] for row in first_page.of_companies(connection, 100, only_open=True)] == [
                name for name, _, _ in listed
            ]
            (best,) = first_page.of_companies(connection, 1, only_open=True)
        assert (best["domain"], best["domain_unicode"]) == ("a-rich.com", "a-rich.com")

    def test_a_score_belongs_to_a_company(self, warehouse: Warehouse) -> None:
        with pytest.raises(WarehouseError, match=r"(?i)foreign.?key"), warehouse.write() as connection:
            scores.write(connection, [score("nobody.com")])
        with warehouse.read() as connection:
            assert connection.execute(select(company_scores)).all() == []


def test_row_counts_name_every_table_that_holds_what_referrals_brought(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com"), company("b.com")])
        assert row_counts(connection) == {
            "raw_referrals": 0,
            "quarantined_referrals": 0,
            "leads": 0,
            "companies": 2,
            "suggested_matches": 0,
            "domain_signals": 0,
            "signal_changes": 0,
            "company_scores": 0,
            "score_changes": 0,
        }
