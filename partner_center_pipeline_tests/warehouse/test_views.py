"""The sales list: one row per company, the referral a salesperson acts on, the same on both databases."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, text

from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.scoring import ScorePolicy, load_rules
from partner_center_pipeline.warehouse import (
    companies,
    first_page,
    leads,
    matches,
    published,
    scores,
    signals,
    vanished,
    views,
)
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import row_dict, sync_windows
from partner_center_pipeline.windows import datetime_of, parse_ticks, ticks_of
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.rows import company, undone
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import NOW, score, signal


def lead(referral_id: str, ticks: int, email: str, **payload: Any) -> dict[str, Any]:
    profile = {"name": "Öztürk Yazılım A.Ş.", "website": "ozturk.com.tr", "team": [{"email": email}]}
    return lead_row(referral_id, ticks, customerProfile=profile, **payload)


def test_the_views_of_a_migrated_database_are_those_this_code_names(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    statements = views.view_sql("sqlite" if warehouse.is_sqlite else "postgresql")
    assert list(statements) == [view.name for view in views.VIEWS]
    migrated = {name: _definition(warehouse, name) for name in statements}
    with warehouse.write() as connection:
        for name in reversed(statements):
            connection.execute(text(f"DROP VIEW {name}"))
        for statement in statements.values():
            connection.execute(text(statement))
    assert {name: _definition(warehouse, name) for name in statements} == migrated
    warehouse.close()


def _definition(warehouse: Warehouse, name: str) -> str:
    asked = (
        f"SELECT sql FROM sqlite_master WHERE name = '{name}'"
        if warehouse.is_sqlite
        else f"SELECT pg_get_viewdef('{name}'::regclass)"
    )
    with warehouse.read() as connection:
        return " ".join(str(connection.execute(text(asked)).scalar_one()).split())


def test_the_views_have_the_columns_that_are_documented(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        for view in views.VIEWS:
            found = connection.execute(text(f"SELECT * FROM {view.name}"))
            assert sorted(found.keys()) == sorted(column.name for column in view.columns)
            assert all(column.comment for column in view.columns)


def test_a_company_stands_once_with_its_newest_open_referral(warehouse: Warehouse) -> None:
    rows = [
        lead("closed-newest", 30, "a@ozturk.com.tr", status="Closed"),
        lead("open-newer", 20, "b@ozturk.com.tr", status="Active", expirationDateTime="2026-03-02T00:00:00Z"),
        lead("open-older", 10, "c@ozturk.com.tr", details={"dealValue": 10, "currency": "TRY"}),
    ]
    with warehouse.write() as connection:
        leads.write(connection, rows)
        made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
        companies.write(connection, made)
        answered = signal("ozturk.com.tr", gateway="Proofpoint", tenant="ozturk", tenant_source="dkim_target")
        signals.write(connection, [answered])
        scores.write(connection, [score("ozturk.com.tr", explanation_tr="Google posta (+50)")])
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
    assert (row["rank"], row["domain"], row["company_name"]) == (1, "ozturk.com.tr", "Öztürk Yazılım A.Ş.")
    assert (row["referral_id"], row["contact_email"]) == ("open-newer", "b@ozturk.com.tr")
    assert row["response_due"] == datetime(2026, 3, 2, tzinfo=UTC)
    assert (row["deal_value"], row["currency"]) == (Decimal("10.00"), "TRY")
    assert (row["open_referrals"], row["referrals"]) == (2, 3)
    assert (row["gateway"], row["tenant"], row["tenant_source"]) == ("Proofpoint", "ozturk", "dkim_target")
    assert row["explanation_tr"] == "Google posta (+50)"
    assert row["scored_at"] == NOW


def test_without_an_open_referral_the_newest_speaks_for_the_company(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        closed = [
            lead("older", 1, "a@ozturk.com.tr", status="Closed"),
            lead("newer", 2, "b@ozturk.com.tr", status="Closed"),
        ]
        leads.write(connection, closed)
        made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
        companies.write(connection, made)
        scores.write(connection, [score("ozturk.com.tr")])
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
        assert first_page.of_companies(connection, 10, only_open=True) == []
    assert (row["referral_id"], row["open_referrals"]) == ("newer", 0)


def test_a_vanished_referral_does_not_speak_for_its_company_and_counts_nowhere(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        leads.write(connection, [lead("gone", 2, "a@ozturk.com.tr"), lead("there", 1, "b@ozturk.com.tr")])
        scores_of_companies(connection)
        vanished.mark(connection, ["gone"], NOW)
        scores_of_companies(connection)
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
        assert (row["referral_id"], row["contact_email"], row["referrals"]) == ("there", "b@ozturk.com.tr", 1)
        vanished.mark(connection, ["there"], NOW)
        scores_of_companies(connection)
        assert connection.execute(views.leads_ready.select()).all() == []
        assert vanished.seen_again(connection, ["gone", "there", "another"], NOW) == 2
        scores_of_companies(connection)
        assert connection.execute(views.leads_ready.select()).one().referrals == 2


def scores_of_companies(connection: Connection) -> None:
    """Make the company again from its leads, and score it."""
    made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
    companies.write(connection, made)
    scores.write(connection, [score("ozturk.com.tr")])


def in_days(days: float) -> str:
    """An instant that is so far from now by the clock of this machine, which the database's is."""
    return f"{datetime.now(UTC).replace(microsecond=0) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def made(
    connection: Connection, rows: list[dict[str, Any]], scored: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write leads, the companies that they name, and a score for each; publish the delivered rules."""
    published.publish(connection, load_rules(), ScorePolicy())
    leads.write(connection, rows)
    domains = sorted({row["domain"] for row in rows if row["domain"]})
    of_them = leads.of_domains(connection, domains)
    companies.write(connection, [company_of(name, of_it, load_rules().rates) for name, of_it in of_them.items()])
    plain = {"score": 60, "readiness": 60, "category": "P2", "label": "Competitive Takeover", "act": "call"}
    scores.write(connection, [score(name, **{**plain, **(scored or {}).get(name, {})}) for name in domains])


def listed(connection: Connection, view: Table) -> list[dict[str, Any]]:
    """The rows of a list in its order."""
    return [row_dict(row) for row in connection.execute(view.select().order_by(view.c.rank))]


def test_rank_follows_category_score_deadline_and_worth_and_counts_every_company(warehouse: Warehouse) -> None:
    def deal(value: int, currency: str) -> dict[str, Any]:
        return {"details": {"dealValue": value, "currency": currency}}

    soon, later, passed = in_days(1), in_days(2), in_days(-1)
    rows = [
        lead_row("a", domain="a.com", expirationDateTime=soon),
        lead_row("b", domain="b.com", expirationDateTime=later, **deal(2, "EUR")),
        lead_row("c", domain="c.com", expirationDateTime=later, **deal(50, "TRY")),
        lead_row("d", domain="d.com", expirationDateTime=later, **deal(9_000_000, "XYZ")),
        lead_row("e", domain="e.com", **deal(9, "EUR")),
        lead_row("f", domain="f.com", expirationDateTime=passed, **deal(99, "EUR")),
        lead_row("g", domain="g.com", expirationDateTime=soon),
        lead_row("h", domain="h.com", expirationDateTime=soon),
        lead_row("pending", domain="pending.com", expirationDateTime=soon),
    ]
    scored: dict[str, dict[str, Any]] = {
        **{f"{name}.com": {"category": "P1"} for name in "abcdef"},
        "g.com": {"category": "P1", "score": 5},
        "h.com": {"category": "P2", "score": 90},
        "pending.com": {"category": None, "score": None, "label": None, "act": None},
    }
    with warehouse.write() as connection:
        made(connection, rows[::-1], scored)
        companies.write(connection, [company("left.com")])
        found = listed(connection, views.leads_ready)
    assert [(row["rank"], row["domain"]) for row in found] == [
        (place, row["domain"]) for place, row in enumerate(rows, start=1)
    ]


_DAYS = st.none() | st.sampled_from([-40, -1, 1, 3])


@st.composite
def _histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Leads of few domains and of none; `made`: whether its company is made after it, and scored."""
    return [
        {
            "id": f"r{number}",
            "domain": draw(st.sampled_from([None, "a.com", "b.com", "c.com"])),
            "is_open": draw(st.booleans()),
            "days": draw(_DAYS),
            "vanished": draw(st.integers(0, 4)) == 0,
            "made": draw(st.integers(0, 4)) > 0,
            "scored": draw(st.booleans()),
            "tenant": draw(st.booleans()),
        }
        for number in range(draw(st.integers(0, 8)))
    ]


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(history=_histories())
def test_every_open_lead_is_in_one_list_and_a_vanished_one_in_none(
    warehouse: Warehouse, history: list[dict[str, Any]]
) -> None:
    with undone(warehouse) as connection:
        published.publish(connection, load_rules(), ScorePolicy())
        for one in history:
            team = [{"email": "x@firma.onmicrosoft.com"}] if one["tenant"] else []
            profile = {"name": "Firma", "team": team, **({"website": one["domain"]} if one["domain"] else {})}
            due: dict[str, Any] = {} if one["days"] is None else {"expirationDateTime": in_days(one["days"])}
            status = "New" if one["is_open"] else "Closed"
            leads.write(connection, [lead_row(one["id"], customerProfile=profile, status=status, **due)])
            if one["vanished"]:
                vanished.mark(connection, [one["id"]], NOW)
            if one["domain"] and one["made"]:
                of_it = leads.of_domains(connection, [one["domain"]])[one["domain"]]
                companies.write(connection, [company_of(one["domain"], of_it)])
                if one["scored"]:
                    scores.write(connection, [score(one["domain"])])
        ready = listed(connection, views.leads_ready)
        without = listed(connection, views.leads_without_company)
        due_first = listed(connection, views.due_first)
        cards = connection.execute(views.company_card.select()).all()
    domains, alone = [row["domain"] for row in ready], [row["referral_id"] for row in without]
    assert len(set(domains)) == len(domains)
    for rows in (ready, without, due_first):
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for one in history:
        is_open = one["is_open"] and not one["vanished"]
        assert domains.count(one["domain"]) + alone.count(one["id"]) == 1 or not is_open
        assert one["id"] not in alone or is_open
    gone = {one["id"] for one in history if one["vanished"]}
    assert not gone & {row["referral_id"] for row in (*ready, *without, *due_first)}
    pressing = {one["id"] for one in history if one["is_open"] and not one["vanished"] and (one["days"] or 0) > 0}
    assert sorted(row["referral_id"] for row in due_first) == sorted(pressing)
    assert [row["hours_left"] for row in due_first] == sorted(row["hours_left"] for row in due_first)
    assert {row["kind"] for row in due_first if row["referral_id"] in alone} <= {"no_company"}
    assert sorted(row.domain for row in cards) == sorted(domains)


def test_a_row_shows_the_referral_whose_deadline_it_shows(warehouse: Warehouse) -> None:
    rows = [
        lead_row("newest", 40, status="New"),
        lead_row("passed-long-ago", 30, expirationDateTime=in_days(-9)),
        lead_row("passed", 20, expirationDateTime=in_days(-2)),
    ]
    with warehouse.write() as connection:
        made(connection, rows)
        (row,) = listed(connection, views.leads_ready)
        assert (row["referral_id"], row["is_due_live"], row["due_note"]) == ("passed", False, "was_due")
        assert row["response_due"] == datetime_of(rows[2]["expires_ticks"])
        made(connection, [lead_row("later", 5, expirationDateTime=in_days(4))])
        made(connection, [lead_row("soon", 4, expirationDateTime=in_days(3))])
        made(connection, [lead_row("closed", 50, expirationDateTime=in_days(1), status="Closed")])
        (row,) = listed(connection, views.leads_ready)
        assert (row["referral_id"], row["is_due_live"], row["due_note"]) == ("soon", True, None)
        due = listed(connection, views.due_first)
    assert [(one["referral_id"], one["kind"], one["hours_left"]) for one in due] == [
        ("soon", "company", pytest.approx(72, abs=0.2)),
        ("later", "company", pytest.approx(96, abs=0.2)),
    ]


def test_a_deadline_that_passed_is_told_as_passed_and_one_to_come_as_to_come(warehouse: Warehouse) -> None:
    past, future = in_days(-1), in_days(1)
    with warehouse.write() as connection:
        told = {
            "explanation_en": "Mail runs on Zoho (+30)",
            "explanation_tr": "E-posta Zoho üzerinde (+30)",
            "reasons": [{"code": "provider_zoho", "points": 30, "evidence": None}],
        }
        made(connection, [lead_row("r1", expirationDateTime=past)], {"a.com": told})
        (row,) = listed(connection, views.leads_ready)
        day = f"{datetime_of(parse_ticks(past)):%d.%m.%Y %H:%M} UTC"
        assert row["reasons"] == [
            *told["reasons"],
            {"code": "response_was_due", "points": 0, "evidence": past},
        ]
        assert row["explanation_en"] == (
            f"Mail runs on Zoho (+30); The answer to the open referral was due on ({past[:10]} {past[11:16]} UTC)"
        )
        assert row["explanation_tr"] == (
            f"E-posta Zoho üzerinde (+30); Açık referansın (referral) yanıt süresi doldu; son yanıt tarihi ({day})"
        )
        made(connection, [lead_row("r2", expirationDateTime=future)], {"a.com": told})
        (row,) = listed(connection, views.leads_ready)
    assert row["reasons"][-1] == {"code": "response_due", "points": 0, "evidence": future}
    assert "; Answer the open referral by its response deadline (" in row["explanation_en"]
    assert "; Açık referansı (referral) son yanıt tarihine kadar yanıtlayın (" in row["explanation_tr"]


def test_a_live_deadline_under_a_category_without_an_act_says_so(warehouse: Warehouse) -> None:
    archive = {"category": "P6", "label": "No-Go / Archive", "act": None}
    with warehouse.write() as connection:
        made(connection, [lead_row("r1", expirationDateTime=in_days(1))], {"a.com": archive})
        for view in (views.leads_ready, views.due_first):
            (row,) = listed(connection, view)
            assert (row["label"], row["label_tr"]) == ("No-Go / Archive", "Vazgeç / Arşiv")
            assert (row["act"], row["due_note"]) == (None, "due_despite_category")


@pytest.mark.parametrize(
    ("qualification", "code"),
    [("SalesQualified", "sales_qualified"), ("MarketingQualified", "marketing_qualified"), ("Direct", None)],
)
def test_microsofts_qualification_is_a_column_and_a_reason_without_points(
    warehouse: Warehouse, qualification: str, code: str | None
) -> None:
    with warehouse.write() as connection:
        made(connection, [lead_row("r1", qualification=qualification), lead_row("r2", domain=None)])
        (row,) = listed(connection, views.leads_ready)
    assert row["qualification"] == qualification
    added = [reason for reason in row["reasons"] if reason["code"] in ("sales_qualified", "marketing_qualified")]
    assert added == ([{"code": code, "points": 0, "evidence": None}] if code else [])
    assert ("Microsoft qualified the referral" in (row["explanation_en"] or "")) is (code is not None)


def test_values_are_compared_in_one_currency_and_shown_in_their_own(warehouse: Warehouse) -> None:
    rows = [
        lead_row("r1", domain="a.com", details={"dealValue": 10, "currency": "USD"}),
        lead_row("r2", domain="b.com", details={"dealValue": 400, "currency": "TRY"}),
        lead_row("r3", domain="c.com", details={"dealValue": 9_000_000, "currency": "XYZ"}),
        lead_row("r4", domain="d.com"),
        lead_row("r5", domain="e.com", details={"dealValue": 0}),
    ]
    with warehouse.write() as connection:
        made(connection, rows)
        found = listed(connection, views.leads_ready)
        shown = ("deal_value", "currency", "deal_value_reported", "reported_currency", "rate_note")
        assert [tuple(row[name] for name in shown) for row in found] == [
            (Decimal("10.00"), "USD", Decimal("475.00"), "TRY", None),
            (Decimal("400.00"), "TRY", Decimal("400.00"), "TRY", None),
            (Decimal("9000000.00"), "XYZ", None, None, "unknown_currency"),
            (None, None, None, None, None),
            (Decimal("0.00"), None, None, None, None),  # nothing is worth nothing in any currency
        ]
        without_rates = load_rules().model_copy(update={"money": None})
        published.publish(connection, without_rates, ScorePolicy())
        found = listed(connection, views.leads_ready)
    assert [row["domain"] for row in found] == ["a.com", "b.com", "c.com", "d.com", "e.com"]
    assert [row["rate_note"] for row in found] == ["unknown_currency"] * 3 + [None] * 2


def test_a_lead_without_a_company_is_scored_by_its_tenant_and_says_why_it_has_none(warehouse: Warehouse) -> None:
    tenant = {"name": "Öztürk", "team": [{"email": "a@ozturk.onmicrosoft.com", "phoneNumber": "1"}]}
    rows = [
        lead_row("r1", customerProfile=tenant, type="Shared", expirationDateTime=in_days(-1)),
        lead_row("r2", customerProfile=tenant, details={"dealValue": 5, "currency": "EUR"}),
        lead_row("r3", customerProfile={"name": "Firma", "team": [{"email": "a@gmail.com"}]}),
        lead_row("r4", customerProfile={}, expirationDateTime=in_days(2)),
    ]
    with warehouse.write() as connection:
        made(connection, rows)
        companies.write(connection, [company("firma.com.tr", name="Firma A.Ş.", referrals=1)])
        match = {"kind": "lead", "subject": "r3", "domain": "firma.com.tr", "reason": "same_name", "similarity": 100}
        weaker = {**match, "domain": "b.com", "similarity": 90}
        companies.write(connection, [company("b.com")])
        matches.replace_of_leads(connection, ["r3"], [match, weaker], NOW)
        found = listed(connection, views.leads_without_company)
        due = listed(connection, views.due_first)
    assert [(row["referral_id"], row["category"], row["score"], row["segment"]) for row in found] == [
        ("r1", "P3", 70, "Existing"),
        ("r2", "P3", 55, "Existing"),
        ("r4", None, None, "Pending"),
        ("r3", None, None, "Pending"),
    ]
    assert [row["domain_reason"] for row in found] == ["tenant_only", "tenant_only", "no_email", "consumer_only"]
    first, second, _, last = found
    assert (first["tenant"], first["tenant_source"]) == ("ozturk.onmicrosoft.com", "email_domain")
    assert first["reasons"] == [
        {"code": "no_domain", "points": 0, "evidence": None},
        {"code": "microsoft_tenant", "points": 55, "evidence": "ozturk.onmicrosoft.com"},
        {"code": "co_sell", "points": 15, "evidence": "r1"},
        {"code": "response_was_due", "points": 0, "evidence": row_text(rows[0]["expires_ticks"])},
    ]
    assert "(+55, ozturk.onmicrosoft.com)" in first["explanation_tr"]
    assert "was due on" in first["explanation_en"]
    assert (second["deal_value_reported"], second["reported_currency"]) == (Decimal("274.00"), "TRY")
    assert (last["segment_reason"], last["contact_email"]) == ("no_domain", "a@gmail.com")
    assert (last["suggested_domain"], last["suggested_name"], last["suggested_similarity"]) == (
        "firma.com.tr", "Firma A.Ş.", 100,
    )  # fmt: skip
    assert [(row["referral_id"], row["kind"], row["domain"]) for row in due] == [("r4", "no_company", None)]


def row_text(ticks: int) -> str:
    return f"{datetime_of(ticks):%Y-%m-%dT%H:%M:%SZ}"


def test_a_card_holds_evidence_and_history_alike_on_both_databases(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        made(connection, [lead_row("r1", 10_000_000, createdDateTime="2026-02-01T08:00:00Z", expirationDateTime=None)])
        signals.write(connection, [signal("a.com")])
        companies.write(connection, [company("b.com", referrals=1)])
        match = {"kind": "company", "subject": "a.com", "domain": "b.com", "reason": "same_name", "similarity": 100}
        matches.replace_of_companies(connection, ["a.com"], [match], NOW)
        card, other = [
            row_dict(row)
            for row in connection.execute(views.company_card.select().order_by(views.company_card.c.domain))
        ]
    assert card["signals"] == {"mx": [[10, "mx.example"]]}
    assert card["referral_list"] == [
        {
            "referral_id": "r1", "engagement_id": None, "category": "unknown", "type": None, "qualification": None,
            "direction": None, "status": "New", "substatus": None, "is_open": True, "deal_value": None,
            "currency": None, "response_due": None, "created": "2026-02-01T08:00:00Z",
            "updated": "1970-01-01T00:00:01Z",
        }
    ]  # fmt: skip
    assert card["created_at"] == datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert card["updated_at"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert [change["cause"] for change in card["score_history"]] == ["first"]
    assert card["score_history"][0]["changed_at"] == "2026-03-01T12:00:00Z"
    assert [change["provider_after"] for change in card["signal_history"]] == ["M365"]
    assert [one["domain"] for one in card["match_list"]] == ["b.com"]
    assert (card["suggested_domain"], other["suggested_domain"]) == ("b.com", "a.com")
    assert (other["referral_list"], other["segment"]) == ([], "Pending")


def test_the_state_of_the_sync_is_one_row(warehouse: Warehouse) -> None:
    now = datetime.now(UTC)
    width = 10 * 60 * 10_000_000
    newest = ticks_of(now) // width * width
    with warehouse.write() as connection:
        for start, at in ((newest - 5 * width, now), (newest - 2 * width, now), (newest - width, None)):
            window = {"window_start": start, "window_end": start + width, "covers_from": start, "position": None}
            connection.execute(sync_windows.insert().values(**window, raw_referrals_at=at))
        (row,) = [row_dict(row) for row in connection.execute(views.sync_health.select())]
    assert row["newest_complete_end"] == datetime_of(newest - width)
    assert row["windows_missing"] == 2
    assert 9.9 <= row["minutes_behind"] <= 21
    assert (row["quarantined_open"], row["pending_rows"], row["oldest_pending"]) == (0, 0, None)
    assert (row["newest_attempt_state"], row["last_comparison_at"]) == (None, None)
