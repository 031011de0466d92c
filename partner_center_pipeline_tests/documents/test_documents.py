"""The pages are true to the code: what is generated is up to date, what is cited exists, links lead somewhere."""

from pathlib import Path

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse.schema import comment_of, metadata
from partner_center_pipeline_tests.documents.citations import (
    Citation,
    broken_links,
    citations_in,
    cited_by_code,
    problem_of,
)
from partner_center_pipeline_tests.documents.generated import COMMAND, pages
from partner_center_pipeline_tests.documents.pictures import FOLDER, shown

PAGES = sorted([*(PROJECT_ROOT / "docs").glob("*.md"), *PROJECT_ROOT.glob("*.md")])


@pytest.mark.parametrize("path", list(pages()), ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], f"run `{COMMAND}`"


def test_every_table_and_every_column_says_what_it_is() -> None:
    tables = metadata.tables.values()
    assert [table.name for table in tables if not table.comment] == []
    assert [str(column) for table in tables for column in table.columns if not comment_of(column)] == []


def test_what_code_cites_exists() -> None:
    problems = {f"{cited.place}: {problem}" for cited in cited_by_code() if (problem := problem_of(cited))}
    assert sorted(problems) == []


def test_code_cites_every_kind() -> None:
    cited = list(cited_by_code())
    assert any(one.section for one in cited)
    assert any(one.heading for one in cited)
    assert any(one.trap for one in cited)
    assert {"scoring.md", "identity.md", "mail_signals.md", "partner_center_api.md", "windows.md", "dagster.md"} <= {
        one.page for one in cited
    }


def test_a_citation_of_what_is_not_there_is_found() -> None:
    text = 'See scoring.md, section 3 and section 99 (RFC 5321, section 77), identity.md,\n    # "No such heading".'
    found = list(citations_in("here", text))
    assert found == [
        Citation("here", "scoring.md"),
        Citation("here", "scoring.md", section="3"),
        Citation("here", "scoring.md", section="99"),
        Citation("here", "identity.md", heading="No such heading"),
    ]
    assert [problem_of(one) is None for one in found] == [True, True, False, False]
    assert problem_of(Citation("here", "nowhere.md")) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_the_index_names_every_page() -> None:
    index = (PROJECT_ROOT / "docs/README.md").read_text(encoding="utf-8")
    for page in (PROJECT_ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_the_tour_of_the_ui_shows_four_small_pictures() -> None:
    assert len(shown()) == 4
    assert sorted(shown()) == sorted(FOLDER.iterdir())
    for path in shown():
        assert path.read_bytes().startswith(b"\x89PNG"), path.name
        assert path.stat().st_size < 150_000, path.name
