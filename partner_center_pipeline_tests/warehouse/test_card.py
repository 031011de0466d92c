"""The card of a domain: every row about it, of one moment, and nobody's name, e-mail address or telephone number."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import card, companies, leads, ledger, scores, signals
from partner_center_pipeline.warehouse.bulk import insert_new
from partner_center_pipeline.warehouse.card import Absent, Card, Waiting, look_up
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import columns_of, raw_referrals, suggested_matches
from partner_center_pipeline.warehouse.schema import leads as leads_table
from partner_center_pipeline.windows import SyncWindow, parse_ticks
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import NOW, score, signal

PERSON = {"firstName": "Deniz", "lastName": "Örnek", "email": "deniz@a.com", "phoneNumber": "+90 555 000 00 00"}
WINDOW = parse_ticks("2026-03-01T11:50:00Z")
WIDTH = 600 * 10_000_000


def fetched(referral_id: str, window_start: int = WINDOW, version: str = "v1") -> dict[str, Any]:
    """A row of raw_referrals: the version of that name, fetched by the window that begins there."""
    return {
        "referral_id": referral_id,
        "version": version,
        "etag": version,
        "updated_ticks": 1,
        "updated_text": "",
        "window_start": window_start,
        "late": False,
        "content_hash": "",
        "payload": {},
        "fetched_at": NOW,
    }


def card_of(connection: Connection, domain: str) -> Card:
    found = look_up(connection, domain, domain)
    assert isinstance(found, Card)
    return found


def reading(warehouse: Warehouse, domain: str) -> Card:
    with warehouse.read() as connection:
        return card_of(connection, domain)


def test_a_card_is_every_row_about_one_company_and_none_about_another(warehouse: Warehouse) -> None:
    later = NOW + timedelta(hours=1)
    with warehouse.write() as connection:
        companies.write(connection, [company(name, referrals=1) for name in ("a.com", "b.com")])
        for name in ("a.com", "b.com"):
            signals.write(connection, [signal(name)])
            scores.write(connection, [score(name)])
            moved = signal(name, later, provider="Google", signals={"provider": "Google"})
            signals.write(connection, [moved])
            scores.write(connection, [score(name, 60, inputs={}, scored_at=later)])
        leads.write(connection, [lead_row("r1"), lead_row("r2", domain="b.com")])
        stored = scores.load(connection, ["a.com"])["a.com"]
    found = reading(warehouse, "a.com")
    assert found.company == company("a.com", referrals=1)
    assert found.signals == signal("a.com", later, provider="Google", signals={"provider": "Google"})
    assert found.score == stored
    assert found.listed is not None
    assert (found.listed["rank"], found.ranked) == (1, 2)
    assert [row["referral_id"] for row in found.referrals] == ["r1"]
    assert [(row["changed_at"], row["score_before"], row["score_after"]) for row in found.score_changes] == [
        (later, 50, 60),
        (NOW, None, 50),
    ]
    assert [(row["changed_at"], row["provider_before"], row["provider_after"]) for row in found.signal_changes] == [
        (later, "M365", "Google"),
        (NOW, None, "M365"),
    ]
    assert {row["domain"] for row in (*found.score_changes, *found.signal_changes)} == {"a.com"}


def test_referrals_come_the_newest_first_with_the_window_that_fetched_this_version(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com")])
        leads.write(connection, [lead_row("old", 1), lead_row("new", 2, details={"dealValue": 1.5, "currency": "TRY"})])
        insert_new(connection, raw_referrals, [fetched("old"), fetched("old", WINDOW + WIDTH, "v2"), fetched("other")])
    new, old = reading(warehouse, "a.com").referrals
    assert (new["referral_id"], new["deal_value"], new["window_start"]) == ("new", Decimal("1.50"), None)
    assert (old["referral_id"], old["window_start"], old["late"], old["fetched_at"]) == ("old", WINDOW, False, NOW)


def test_no_contact_and_no_free_text_is_read(warehouse: Warehouse) -> None:
    personal = {"contact_name", "contact_email", "contact_phone", "notes", "name", "company_name_original"}
    assert not personal & set(card.REFERRAL_COLUMNS)
    assert set(card.REFERRAL_COLUMNS) < set(columns_of(leads_table))
    profile = {"name": "Firma", "team": [PERSON]}
    with warehouse.write() as connection:
        row = lead_row("r1", name="Deniz wants a quote", customerProfile=profile, details={"notes": "call Deniz"})
        assert (row["contact_email"], row["domain"]) == (PERSON["email"], "a.com")
        leads.write(connection, [row])
        companies.write(connection, [company("a.com")])
        scores.write(connection, [score("a.com")])
    told = repr(asdict(reading(warehouse, "a.com")))
    assert "r1" in told
    for private in PERSON.values():
        assert private not in told


class TestMatches:
    def test_a_pair_of_companies_is_a_match_of_both(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com", name="Alfa"), company("b.com", name="Beta")])
            pair = {"kind": "company", "subject": "a.com", "domain": "b.com", "reason": "similar_name"}
            connection.execute(insert(suggested_matches).values(**pair, similarity=91, suggested_at=NOW))
        expected = {"kind": "company", "reason": "similar_name", "similarity": 91, "suggested_at": NOW}
        assert reading(warehouse, "a.com").matches == ({**expected, "subject": "b.com", "name": "Beta"},)
        assert reading(warehouse, "b.com").matches == ({**expected, "subject": "a.com", "name": "Alfa"},)

    def test_a_lead_without_a_domain_is_a_match_by_its_id_and_the_likeliest_stands_first(
        self, warehouse: Warehouse
    ) -> None:
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com"), company("b.com", name="r1")])
            leads.write(connection, [lead_row("r1", domain=None), lead_row("r2", domain=None)])
            for kind, subject, similarity in (("lead", "r1", 90), ("lead", "r2", 100), ("company", "b.com", 95)):
                connection.execute(
                    insert(suggested_matches).values(
                        kind=kind,
                        subject=subject,
                        domain="a.com",
                        reason="same_name",
                        similarity=similarity,
                        suggested_at=NOW,
                    )
                )
        assert [(row["kind"], row["subject"], row["name"]) for row in reading(warehouse, "a.com").matches] == [
            ("lead", "r2", "Firma"),
            ("company", "b.com", "r1"),
            ("lead", "r1", "Firma"),
        ]


class TestNotThroughYet:
    """Windows of ten minutes that brought the company's only referral, and how far the chain got with them."""

    @pytest.fixture
    def window(self, warehouse: Warehouse) -> SyncWindow:
        window = SyncWindow(WINDOW, WINDOW + WIDTH, WINDOW)
        with warehouse.write() as connection:
            companies.write(connection, [company("a.com"), company("b.com")])
            leads.write(connection, [lead_row("r1"), lead_row("r2", domain="b.com")])
            insert_new(connection, raw_referrals, [fetched("r1"), fetched("r2", WINDOW - WIDTH)])
            ledger.start_attempts(connection, [window], "run", NOW)
            ledger.complete_windows(connection, {window: ledger.Figures()}, "run", NOW)
        return window

    def test_a_window_waits_for_the_first_asset_that_has_not_done_it(
        self, warehouse: Warehouse, window: SyncWindow
    ) -> None:
        for done, waits_for in zip(Asset, [*list(Asset)[1:], None], strict=True):
            if done is not Asset.RAW_REFERRALS:
                with warehouse.write() as connection:
                    ledger.mark(connection, [window], done, NOW)
            found = reading(warehouse, "a.com")
            assert found.waiting == (() if waits_for is None else (Waiting(WINDOW, waits_for),))
            assert (found.score, found.signals, found.listed) == (None, None, None)

    def test_a_window_of_another_width_that_covers_it_counts(self, warehouse: Warehouse, window: SyncWindow) -> None:
        wider = SyncWindow(WINDOW + WIDTH, WINDOW + 4 * WIDTH, WINDOW)
        with warehouse.write() as connection:
            ledger.start_attempts(connection, [wider], "run", NOW)
            ledger.complete_windows(connection, {wider: ledger.Figures()}, "run", NOW)
            for asset in list(Asset)[1:]:
                ledger.mark(connection, [wider], asset, NOW)
        assert reading(warehouse, "a.com").waiting == ()

    def test_a_newer_version_that_no_lead_is_made_of_yet_waits_too(
        self, warehouse: Warehouse, window: SyncWindow
    ) -> None:
        following = replace(window, start=window.end, end=window.end + WIDTH, covers_from=window.end)
        with warehouse.write() as connection:
            for asset in list(Asset)[1:]:
                ledger.mark(connection, [window], asset, NOW)
            insert_new(connection, raw_referrals, [fetched("r1", following.start, "v2")])
            ledger.start_attempts(connection, [following], "run", NOW)
        assert reading(warehouse, "a.com").waiting == (Waiting(following.start, Asset.RAW_REFERRALS),)


class TestAbsent:
    def test_domains_that_read_alike_in_ascii_are_named(self, warehouse: Warehouse) -> None:
        ilgaz = company("xn--lgaz-1ra.com.tr", domain_unicode="ılgaz.com.tr", domain_ascii_key="ilgaz.com.tr")
        with warehouse.write() as connection:
            companies.write(connection, [ilgaz, company("a.com")])
        with warehouse.read() as connection:
            assert look_up(connection, "ilgaz.com.tr", "ilgaz.com.tr") == Absent(0, ("xn--lgaz-1ra.com.tr",))
        with warehouse.read() as connection:
            assert look_up(connection, "nobody.com", "nobody.com") == Absent(0, ())

    def test_leads_whose_company_is_not_made_yet_are_counted(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            leads.write(connection, [lead_row("r1"), lead_row("r2"), lead_row("r3", domain="b.com")])
        with warehouse.read() as connection:
            assert look_up(connection, "a.com", "a.com") == Absent(2, ())


@contextmanager
def after_the_first_question(connection: Connection, do: Callable[[], None]) -> Iterator[None]:
    """Do something once, as soon as the connection has its first rows."""
    questions = 0

    def listen(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal questions
        questions += statement.startswith("SELECT")
        if questions == 1:
            do()

    event.listen(connection, "after_cursor_execute", listen)
    yield
    event.remove(connection, "after_cursor_execute", listen)
    assert questions > 1


def test_all_of_it_is_of_one_moment_whatever_is_written_meanwhile(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com", referrals=1)])
        scores.write(connection, [score("a.com", 50)])

    def rescore() -> None:
        with warehouse.write() as writer:
            scores.write(writer, [score("a.com", 80, inputs={}, scored_at=NOW)])

    with warehouse.read() as connection, after_the_first_question(connection, rescore):
        found = card_of(connection, "a.com")
    assert found.score is not None
    assert (found.score["score"], len(found.score_changes)) == (50, 1)
    again = reading(warehouse, "a.com")
    assert again.score is not None
    assert (again.score["score"], len(again.score_changes)) == (80, 2)
