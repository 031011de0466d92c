"""`partner-center lead`: marks and domains are kept, the lists follow at once, and each can be taken back."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from partner_center_pipeline.cli import main
from partner_center_pipeline.defs import derivation
from partner_center_pipeline.warehouse import schema, views
from partner_center_pipeline.windows import ticks_of
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment
from partner_center_pipeline_tests.cli.deciding import LEADS, NOW, Decided

pytestmark = pytest.mark.slow

TOMORROW = (NOW + timedelta(days=1)).date()


def test_a_domain_set_by_hand_wins_over_the_found_one_until_it_is_cleared(decided: Decided) -> None:
    said = decided.run(
        "lead", "set-domain", "dddd", "https://www.ışık.com.tr/iletisim", "--by", "Ayşe", "--note", "telefon"
    )
    assert said["applied"] is True
    assert decided.domain("dddd-1") == ("xn--k-ekaa7p.com.tr", None)
    assert "xn--k-ekaa7p.com.tr" in {row["domain"] for row in decided.rows(views.leads_ready).values()}
    assert "cam.com" not in {row["domain"] for row in decided.rows(views.leads_ready).values()}
    decided.store({"dddd-1": ("Cam Ltd", "cam.com", 5)}, version=2)
    assert decided.domain("dddd-1") == ("xn--k-ekaa7p.com.tr", None)
    (row,) = decided.decisions()
    assert (row["choice"], row["decided_by"], row["note"]) == ("set", "Ayşe", "telefon")
    assert timedelta(0) <= datetime.now(UTC) - row["decided_at"] < timedelta(minutes=5)

    decided.run("lead", "clear-domain", "dddd-1")
    assert decided.domain("dddd-1") == ("cam.com", None)
    assert "cam.com" in {row["domain"] for row in decided.rows(views.leads_ready).values()}
    assert [row["choice"] for row in decided.decisions()] == ["set", "cleared"]
    assert "nobody set a domain" in decided.refused("lead", "clear-domain", "dddd-1")


def test_a_lead_without_a_company_gets_one_and_a_found_domain_may_be_refused(decided: Decided) -> None:
    assert "eeee-1" in decided.rows(views.leads_without_company)
    decided.run("lead", "set-domain", "eeee-1", "info@kimsesiz.com.tr")
    assert "eeee-1" not in decided.rows(views.leads_without_company)
    assert decided.rows(views.leads_ready)["eeee-1"]["domain"] == "kimsesiz.com.tr"
    decided.run("lead", "set-domain", "dddd-1", "--none")
    assert decided.domain("dddd-1") == (None, "refused_by_hand")
    assert decided.rows(views.leads_without_company)["dddd-1"]["domain_reason"] == "refused_by_hand"
    assert decided.open_leads() == sorted(LEADS)


def test_what_can_be_nobodys_domain_is_refused_with_the_reason(on_sqlite: Decided) -> None:
    for domain, why in {
        "partner.com.tr": "the partner's own",
        "someone@gmail.com": "consumer mail",
        "facebook.com/firma": "social network",
        "firma": "no valid domain",
    }.items():
        assert why in on_sqlite.refused("lead", "set-domain", "dddd-1", domain)
    assert on_sqlite.decisions() == []


def test_a_domain_that_becomes_the_partners_own_is_no_customers_whoever_set_it(on_sqlite: Decided) -> None:
    on_sqlite.run("lead", "set-domain", "dddd-1", "later.firma.com.tr")
    on_sqlite.edit_env(HUNTER_OWN_DOMAINS="firma.com.tr")
    on_sqlite.store({"dddd-1": ("Cam Ltd", "cam.com", 5)}, version=2)
    assert on_sqlite.domain("dddd-1") == (None, "own_domain")


def test_marks_show_in_the_lists_and_what_is_set_aside_stands_last_in_them(decided: Decided) -> None:
    decided.run("lead", "mark", "celik.com.tr", "not-interested", "--by", "Ali")
    decided.run("lead", "mark", "cccc-1", "snoozed", "--until", f"{TOMORROW:%d.%m.%Y}")
    decided.run("lead", "mark", "bbbb-1", "contacted")
    due, ready, others = (
        decided.rows(view) for view in (views.due_first, views.leads_ready, views.leads_without_company)
    )
    assert list(due)[:2] == ["bbbb-1", "dddd-1"]
    assert sorted(list(due)[2:]) == ["aaaa-1", "aaaa-2", "cccc-1"]
    assert list(ready)[-1] == "aaaa-1"
    assert list(others) == ["eeee-1", "cccc-1"]
    assert (ready["aaaa-1"]["decision"], ready["aaaa-1"]["decided_by"]) == ("not_interested", "Ali")
    assert (due["bbbb-1"]["decision"], due["bbbb-1"]["is_set_aside"]) == ("contacted", False)
    assert others["cccc-1"]["decision_until"].date() == TOMORROW
    assert others["cccc-1"]["decided_at"] >= NOW
    assert decided.open_leads() == sorted(LEADS)

    # The day has come, by the database's clock.
    with decided.warehouse.write() as connection:
        table = schema.decisions
        connection.execute(
            update(table).where(table.c.choice == "snoozed").values(until_ticks=ticks_of(NOW - timedelta(minutes=1)))
        )
    back = decided.rows(views.leads_without_company)["cccc-1"]
    assert (back["is_set_aside"], back["decision"], back["rank"]) == (False, "snoozed", 1)

    decided.run("lead", "mark", "aaaa-2", "reopened")
    row = decided.rows(views.leads_ready)["aaaa-2"]
    assert (row["decision"], row["is_set_aside"]) == ("reopened", False)


def test_a_new_lead_of_a_company_that_was_set_aside_brings_it_back(decided: Decided) -> None:
    decided.run("lead", "mark", "cam.com", "not-interested")
    assert decided.rows(views.leads_ready)["dddd-1"]["is_set_aside"] is True
    decided.store({"dddd-2": ("Cam Ltd", "cam.com", 9)}, version=2)
    assert decided.rows(views.leads_ready)["dddd-2"]["is_set_aside"] is False


def test_what_is_not_meant_clearly_is_refused_with_the_next_step(on_sqlite: Decided) -> None:
    for arguments, said in {
        ("mark", "dddd-1", "snoozed"): "needs --until DATE",
        ("mark", "dddd-1", "contacted", "--until", "2999-01-01"): "no other mark has one",
        ("mark", "dddd-1", "snoozed", "--until", "2020-01-01"): "give a day to come",
        ("mark", "dddd-1", "snoozed", "--until", "soon"): "write 2026-12-31 or 31.12.2026",
        ("mark", "dddd-1", "lost"): "is not one of",
        ("mark", "aaaa", "contacted"): "more than one lead's id begins with 'aaaa'",
        ("mark", "zzzz", "contacted"): "`partner-center lead list` shows the ids",
        ("set-domain", "dddd-1"): "give the DOMAIN, or --none",
    }.items():
        assert said in on_sqlite.refused("lead", *arguments)
    assert on_sqlite.decisions() == []


def test_list_and_show_tell_the_decisions_in_both_languages_without_a_contact(decided: Decided) -> None:
    decided.run("lead", "mark", "dddd-1", "contacted", "--note", "mail sent", "--by", "Ali")
    listed = decided.run("lead", "list")
    assert {row["referral_id"] for row in listed} == set(LEADS)
    (row,) = [row for row in listed if row["referral_id"] == "dddd-1"]
    assert (row["mark"]["choice"], row["mark"]["decided_by"], row["mark"]["note"]) == ("contacted", "Ali", "mail sent")
    assert {row["referral_id"] for row in decided.run("lead", "list", "--without-company")} == {"cccc-1", "eeee-1"}
    shown = decided.invoke("lead", "show", "dddd-1", "--language", "tr").output
    assert "Karar" in shown
    assert "İletişime geçildi (mail sent)" in shown
    assert "Contacted" in decided.invoke("lead", "list").output
    assert "@" not in str(listed)


def test_a_shell_is_offered_the_ids_of_leads_by_a_part_of_the_company_name(on_sqlite: Decided) -> None:
    def offered(words: str, at: int) -> str:
        environment = {"_PARTNER_CENTER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return CliRunner().invoke(main, [], prog_name="partner-center", env=environment).output

    assert "dddd-1" in offered("partner-center lead mark cam", 3)
    assert "not-interested" in offered("partner-center lead mark dddd-1 not", 4)
    assert "set-domain" in offered("partner-center lead set", 2)


def test_a_shell_is_offered_nothing_and_told_nothing_without_a_warehouse(home: Path) -> None:
    environment = clean_environment(
        home,
        HUNTER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        _PARTNER_CENTER_COMPLETE="bash_complete",
        COMP_WORDS="partner-center lead mark x",
        COMP_CWORD="3",
    )
    done = subprocess.run(COMMAND, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr.strip()) == ("", "")


def test_decisions_are_kept_for_the_next_run_where_much_else_is_pending(
    on_sqlite: Decided, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derivation, "APPLIED_AT_ONCE", 0)
    done = on_sqlite.invoke("lead", "set-domain", "dddd-1", "other.com")
    assert (done.exit_code, "after the next run" in done.output) == (0, True)
    assert on_sqlite.domain("dddd-1") == ("cam.com", None)
    monkeypatch.undo()
    on_sqlite.store({"dddd-3": ("Cam Ltd", "cam.com", 9)}, version=3)  # what a run does
    assert on_sqlite.domain("dddd-1") == ("other.com", None)


def test_the_card_and_the_page_of_a_company_show_its_mark_in_both_languages(on_sqlite: Decided) -> None:
    on_sqlite.run("lead", "mark", "cam.com", "snoozed", "--until", f"{TOMORROW}", "--by", "Ali", "--note", "0555")
    turkish = on_sqlite.invoke("inspect", "cam.com", "--language", "tr").output
    assert f"Ertelendi → {TOMORROW:%d.%m.%Y}, Ali" in turkish
    assert "kenara ayrıldı" in turkish
    said = on_sqlite.run("inspect", "cam.com")
    assert [(row["choice"], row["decided_by"]) for row in said["decisions"]] == [("snoozed", "Ali")]
    assert "0555" not in str(said)
    for language, word, day in (("en", "Snoozed", f"{TOMORROW}"), ("tr", "Ertelendi", f"{TOMORROW:%d.%m.%Y}")):
        on_sqlite.run("export", "--output", "a.html", "--language", language)
        page = (on_sqlite.path / "a.html").read_text(encoding="utf-8")
        assert f"{word}<br><small>→ {day}</small>" in page
        assert f'"{day}"' in page  # the card's
