"""`partner-center decisions import`: a workbook that was filled in is taken in, all of it or nothing."""

from datetime import timedelta
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from partner_center_pipeline.reports.words import own_texts
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.warehouse import views
from partner_center_pipeline_tests.cli.deciding import LEADS, NOW, Decided

pytestmark = pytest.mark.slow

NEXT_WEEK = (NOW + timedelta(days=7)).replace(hour=0, minute=0, second=0, tzinfo=None)


class Sheets:
    """A workbook as a salesperson sees it: cells by list, referral and column."""

    def __init__(self, decided: Decided, language: str = "en", name: str = "monday.xlsx") -> None:
        self.path = decided.path / name
        self.language = Language(language)
        decided.run("export", "--output", str(self.path), "--language", language)
        self.book = load_workbook(self.path)

    def word(self, key: str) -> str:
        return own_texts()[key][self.language]

    def cell(self, name: str, referral_id: str, column: str) -> Any:
        sheet = self.book[self.word(f"list.{name}")]
        heads = {cell.value: at for at, cell in enumerate(sheet[1])}
        (row,) = [
            row
            for row in sheet.iter_rows(min_row=2)
            if row[heads[self.word("heading.referral_id")]].value == referral_id
        ]
        return row[heads[self.word(f"heading.{column}")]]

    def fill(self, name: str, referral_id: str, column: str, value: object) -> str:
        """Write into a cell; return how the command names it."""
        cell = self.cell(name, referral_id, column)
        cell.value = value
        return f"{self.word(f'list.{name}')}!{cell.coordinate}"

    def mark(self, name: str, referral_id: str, mark: str) -> str:
        return self.fill(name, referral_id, "decision", Texts(self.language).word("decision", mark))

    def save(self) -> str:
        self.book.save(self.path)
        return str(self.path)


def marks(decided: Decided) -> dict[str, str]:
    return {row["referral_id"]: row["mark"]["choice"] for row in decided.run("lead", "list") if row["mark"]}


def test_a_workbook_in_either_language_is_taken_in_after_a_dry_run_that_writes_nothing(decided: Decided) -> None:
    language = "en" if decided.warehouse.is_sqlite else "tr"  # each language once
    sheets = Sheets(decided, language)
    sheets.mark("due_first", "dddd-1", "not_interested")
    company = sheets.mark("leads", "aaaa-1", "contacted")
    sheets.mark("without_company", "cccc-1", "snoozed")
    sheets.fill("without_company", "cccc-1", "decision_until", NEXT_WEEK)
    sheets.fill("without_company", "eeee-1", "domain", "www.kimsesiz.com.tr")
    sheets.fill("leads", "bbbb-1", "domain", "none" if language == "en" else "YOK")
    file = sheets.save()

    tried = decided.run("decisions", "import", file, "--dry-run")
    assert (tried["dry_run"], tried["written"], len(tried["changes"])) == (True, 0, 6)
    both = [row for row in tried["changes"] if f"{row['sheet']}!{row['cell']}" == company]
    assert {row["referral_id"] for row in both} == {"aaaa-1", "aaaa-2"}  # a row of a company is all its open leads
    assert decided.decisions() == []

    done = decided.run("decisions", "import", file, "--by", "Ayşe", "--note", "Monday")
    assert (done["written"], done["applied"]) == (6, True)
    assert marks(decided) == {
        "aaaa-1": "contacted", "aaaa-2": "contacted", "cccc-1": "snoozed", "dddd-1": "not_interested",
    }  # fmt: skip
    assert decided.domain("eeee-1") == ("kimsesiz.com.tr", None)
    assert decided.domain("bbbb-1") == (None, "refused_by_hand")
    assert {(row["decided_by"], row["note"]) for row in decided.decisions()} == {("Ayşe", "Monday")}
    assert decided.rows(views.leads_without_company)["cccc-1"]["decision_until"].date() == NEXT_WEEK.date()
    assert decided.open_leads() == sorted(LEADS)

    again = decided.run("decisions", "import", file)
    assert (again["written"], again["already_decided"]) == (0, 6)
    untouched = decided.run("decisions", "import", Sheets(decided, language, "later.xlsx").save())
    assert (untouched["changes"], untouched["already_decided"]) == ([], 0)


def test_emptied_cells_reopen_a_lead_and_take_a_domain_back(decided: Decided) -> None:
    decided.run("lead", "mark", "dddd-1", "not-interested")
    decided.run("lead", "set-domain", "eeee-1", "kimsesiz.com.tr")
    sheets = Sheets(decided)
    sheets.fill("due_first", "dddd-1", "decision", None)
    sheets.fill("leads", "eeee-1", "domain", None)
    assert decided.run("decisions", "import", sheets.save())["written"] == 2
    assert marks(decided) == {"dddd-1": "reopened"}
    assert decided.domain("eeee-1") == (None, "consumer_only")


@pytest.mark.parametrize("language", ["en", "tr"])
def test_each_wrong_cell_is_named_and_then_nothing_is_written(language: str, on_sqlite: Decided) -> None:
    sheets = Sheets(on_sqlite, language)
    sheets.mark("due_first", "bbbb-1", "contacted")  # a right one
    sheets.mark("due_first", "cccc-1", "snoozed")
    day = sheets.cell("due_first", "cccc-1", "decision_until").coordinate
    wrong = {
        sheets.fill("due_first", "aaaa-2", "decision", "maybe"): ("maybe",),
        f"{sheets.word('list.due_first')}!{day}": (),
        sheets.fill("due_first", "dddd-1", "decision_until", "soon"): ("soon",),
        sheets.fill("without_company", "eeee-1", "domain", "a@gmail.com"): ("a@gmail.com",),
        sheets.fill("leads", "dddd-1", "domain", None): (sheets.word("word.none"),),
    }
    done = on_sqlite.invoke("decisions", "import", sheets.save(), "--language", language)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    for cell, words in wrong.items():
        (line,) = [line for line in lines if f"{cell}: " in line]
        assert all(word in line for word in words)
    assert ("nothing was written" if language == "en" else "hiçbir şey yazılmadı") in done.output
    assert on_sqlite.decisions() == []


def test_cells_that_contradict_each_other_are_refused(on_sqlite: Decided) -> None:
    sheets = Sheets(on_sqlite)
    sheets.mark("due_first", "dddd-1", "contacted")
    second = sheets.mark("leads", "dddd-1", "not_interested")
    assert f"{second}: Due first!" in on_sqlite.refused("decisions", "import", sheets.save())
    assert on_sqlite.decisions() == []


def test_what_changed_since_the_export_is_nobodys_wish_and_no_later_decision_is_overwritten(
    decided: Decided,
) -> None:
    sheets = Sheets(decided)
    decided.store({"dddd-1": ("Cam Ltd", "cam.com.tr", 5)}, version=2)  # the customer moved
    assert decided.run("decisions", "import", sheets.save())["changes"] == []
    cell = sheets.mark("due_first", "dddd-1", "contacted")
    decided.run("lead", "mark", "dddd-1", "not-interested", "--by", "Ali")
    said = decided.refused("decisions", "import", sheets.save())
    assert f"{cell}: Ali has decided about it since" in said
    assert marks(decided) == {"dddd-1": "not_interested"}


def test_rows_may_be_sorted_and_a_changed_id_is_named(on_sqlite: Decided) -> None:
    sheets = Sheets(on_sqlite)
    sheet = sheets.book[sheets.word("list.due_first")]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    rows[0], rows[-1] = rows[-1], rows[0]
    for at, values in enumerate(rows, 2):
        for column, value in enumerate(values, 1):
            sheet.cell(at, column, value)
    cell = sheets.cell("due_first", "dddd-1", "exported")
    cell.value = cell.value.replace("dddd-1", "gone")
    sheets.mark("due_first", "dddd-1", "contacted")
    assert "holds no referral gone" in on_sqlite.refused("decisions", "import", sheets.save())


def test_the_cells_offer_a_list_and_what_was_exported_is_hidden(on_sqlite: Decided) -> None:
    sheets = Sheets(on_sqlite, "tr")
    for name in ("due_first", "leads", "without_company"):
        sheet = sheets.book[sheets.word(f"list.{name}")]
        (rule,) = sheet.data_validations.dataValidation
        head = next(cell for cell in sheet[1] if cell.value == "Karar")
        assert rule.formula1 == '"İletişime geçildi,İlgilenmiyor,Ertelendi,Yeniden açıldı"'
        assert str(rule.sqref).startswith(head.column_letter)
        last = sheet[1][-1]
        assert last.value == sheets.word("heading.exported")
        assert sheet.column_dimensions[last.column_letter].hidden


def test_a_file_that_is_no_report_is_refused_with_the_next_step(on_sqlite: Decided) -> None:
    (on_sqlite.path / "a.xlsx").write_text("no workbook", encoding="utf-8")
    assert "is no Excel workbook" in on_sqlite.refused("decisions", "import", "a.xlsx")
    Workbook().save(on_sqlite.path / "b.xlsx")
    assert "partner-center export --format xlsx" in on_sqlite.refused("decisions", "import", "b.xlsx")


def test_a_day_that_has_begun_is_no_day_to_snooze_to(on_sqlite: Decided) -> None:
    sheets = Sheets(on_sqlite)
    sheets.mark("due_first", "dddd-1", "snoozed")
    cell = sheets.fill("due_first", "dddd-1", "decision_until", "01.01.2020")
    assert f"{cell}: 2020-01-01 is not a day to come" in on_sqlite.refused("decisions", "import", sheets.save())
