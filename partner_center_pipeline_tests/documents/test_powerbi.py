"""docs/powerbi.md: each measure names what exists, and the columns with personal data are those of the schema."""

import re

import pytest

from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse.reporting import CONTACTS
from partner_center_pipeline.warehouse.schema import comment_of
from partner_center_pipeline.warehouse.views import VIEWS
from partner_center_pipeline_tests.documents.generated import powerbi_page

PAGE = (PROJECT_ROOT / "docs/powerbi.md").read_text(encoding="utf-8")
COLUMNS = {view.name: {column.name for column in view.columns} for view in VIEWS}
FUNCTIONS = {"CALCULATE", "COUNTROWS", "DIVIDE", "FILTER", "SUM", "SUMX"}
VALUES = {
    "category": {*map(str, Category)},
    "segment": {*map(str, Segment)},
    "due_note": {"was_due", "due_despite_category"},
}
"""The values that a measure may compare a column with."""


def measures_of(page: str) -> dict[str, str]:
    """The measures of the page's block of DAX, by name."""
    (block,) = re.findall(r"^```dax\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^(\w[^=\n]*?) =\n((?:    .*\n)+)", block, re.MULTILINE)
    assert re.sub(r"\s+", "", "".join(f"{name}={text}" for name, text in found)) == re.sub(r"\s+", "", block)
    return dict(found)


def problems_of(measures: dict[str, str]) -> list[str]:
    """What the measures name that does not exist, and what is no DAX."""
    problems = []
    for name, text in measures.items():
        for table, column in re.findall(r"(\w*)\[([^\]]+)\]", text):
            if column not in (COLUMNS.get(table, set()) if table else measures.keys() - {name}):
                problems.append(f"{name}: {table}[{column}]")
        for column, values in re.findall(r"\w+\[(\w+)\] (?:=|IN) (\"\w+\"|\{[^}]*\})", text):
            problems += [f"{name}: {value}" for value in re.findall(r'"(\w+)"', values) if value not in VALUES[column]]
        problems += [f"{name}: {called}" for called in re.findall(r"([A-Za-z]\w*)\(", text) if called not in FUNCTIONS]
        bare = re.sub(r"\w*\[[^\]]+\]|\"[^\"]*\"", "", text)
        known = {*COLUMNS, *FUNCTIONS, "IN"}
        problems += [f"{name}: {word}" for word in re.findall(r"[A-Za-z]\w*", bare) if word not in known]
        if text.count("(") != text.count(")") or text.count("{") != text.count("}"):
            problems.append(f"{name}: parentheses")
    return problems


def test_the_eight_measures_name_columns_and_values_that_exist() -> None:
    measures = measures_of(PAGE)
    assert len(measures) == 8
    assert problems_of(measures) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("due_first[hours_left]", "due_first[hours]"),
        ("leads_ready[open_referrals]", "leads[open_referrals]"),
        ("[Open leads])", "[All leads])"),
        ('"Migration"', '"Migrating"'),
        ('"P1"', '"P0"'),
        ("COUNTROWS(leads_without_company)", "COUNTROWS(leads_alone)"),
        ("DIVIDE(", "DIVISION("),
        ("<= 72))", "<= 72)"),
    ],
)
def test_a_measure_that_names_what_is_not_there_is_found(right: str, wrong: str) -> None:
    assert right in PAGE
    assert problems_of(measures_of(PAGE.replace(right, wrong)))


def test_the_page_names_the_columns_with_personal_data() -> None:
    personal = {column.name for view in VIEWS for column in view.columns if "personal data" in comment_of(column)}
    assert personal == set(CONTACTS)
    (paragraph,) = re.findall(r"^\*\*Personal data\.\*\*(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    for name in (*personal, *(view for view, columns in COLUMNS.items() if columns & personal)):
        assert f"`{name}`" in paragraph


def test_each_column_of_each_view_stands_on_the_page() -> None:
    tables = re.findall(r"^In (.+):\n\n\| column .*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    found: dict[str, set[str]] = {name: set() for name in COLUMNS}
    for views, rows in tables:
        for view in re.findall(r"`(\w+)`", views):
            found[view] |= set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE))
    assert found == COLUMNS


def test_a_page_without_its_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="lost the marks"):
        powerbi_page(PAGE.replace("<!-- end -->", ""))
