"""Finds what code and pages cite of the documents, and whether it exists.

A citation is the name of a page, alone or with what is meant: `scoring.md, section 3`, `identity.md, "Company names"`,
`dagster.md, trap 10`. A section without a page's name belongs to the page that was named last in the same file, unless
an RFC was named since.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from partner_center_pipeline.settings import PROJECT_ROOT

_TOKEN: Final = re.compile(
    r"(?P<page>[A-Za-z_]+(?:-[A-Za-z_]+)*\.md\b)(?P<quoted>, \"(?P<heading>[^\"]+)\")?"
    r"|(?P<rfc>RFC \d+)"
    r"|\bsections? (?P<sections>\d+(?:\.\d+)*(?:(?:,| and| to) \d+(?:\.\d+)*)*)"
    r"|\btraps? (?P<trap>\d+)"
)
_HEADING: Final = re.compile(r"^#{1,6} (?:(?P<number>\d+(?:\.\d+)*)\.? )?(?P<words>.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_SCANNED: Final = (".py", ".toml", ".yaml", ".ini", ".html")


class Citation(NamedTuple):
    """What one place cites: a page, and of it a section's number, a heading or a trap's number, or nothing."""

    place: str
    page: str
    section: str | None = None
    heading: str | None = None
    trap: str | None = None


def citations_in(place: str, text: str) -> Iterator[Citation]:
    """Yield the citations of a text; `place` is its file, for people."""
    page: str | None = None
    for token in _TOKEN.finditer(re.sub(r"\s+(?:#:? )?", " ", text)):
        if token["page"]:
            page = token["page"]
            yield Citation(place, page, heading=token["heading"])
        elif token["rfc"]:
            page = None
        elif page is not None and token["sections"]:
            for number in re.findall(r"\d+(?:\.\d+)*", token["sections"]):
                yield Citation(place, page, section=number)
        elif page is not None and token["trap"]:
            yield Citation(place, page, trap=token["trap"])


def cited_by_code() -> Iterator[Citation]:
    """Yield the citations of all code and configuration of the project."""
    roots = ("partner_center_pipeline", "partner_center_simulator", "partner_center_pipeline_tests", "alembic")
    files = [path for root in roots for path in sorted((PROJECT_ROOT / root).rglob("*")) if path.suffix in _SCANNED]
    for path in [*files, *PROJECT_ROOT.glob("*.toml"), *PROJECT_ROOT.glob("*.yaml")]:
        if path.name == "test_documents.py":
            continue  # it cites what does not exist, on purpose
        yield from citations_in(path.relative_to(PROJECT_ROOT).as_posix(), path.read_text(encoding="utf-8"))


def problem_of(citation: Citation) -> str | None:
    """Say what a citation names that does not exist; None when all of it does."""
    path = _path_of(citation.page)
    if path is None:
        return f"there is no page {citation.page}"
    numbers, headings, traps = _contents(path)
    if citation.section is not None and citation.section not in numbers:
        return f"{citation.page} has no section {citation.section}"
    if citation.heading is not None and citation.heading.casefold() not in headings:
        return f"{citation.page} has no heading {citation.heading!r}"
    if citation.trap is not None and citation.trap not in traps:
        return f"{citation.page} has no trap {citation.trap}"
    return None


def broken_links(path: Path) -> Iterator[str]:
    """Yield the links of a page that lead to no file of the project, or to no heading of it."""
    for link in _LINK.finditer(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link["target"]):
            continue
        target = (path.parent / link["target"]).resolve() if link["target"] else path
        anchor = link["anchor"] if target.suffix == ".md" else None
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link[0]


def _path_of(page: str) -> Path | None:
    return next((path for path in (PROJECT_ROOT / "docs" / page, PROJECT_ROOT / page) if path.exists()), None)


@cache
def _contents(path: Path) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the numbers and the words of a page's headings, and the numbers of its numbered lists' items."""
    text = path.read_text(encoding="utf-8")
    found = list(_HEADING.finditer(text))
    return (
        frozenset(heading["number"] for heading in found if heading["number"]),
        frozenset(heading["words"].casefold() for heading in found),
        frozenset(re.findall(r"^(\d+)\. ", text, re.MULTILINE)),
    )


def _anchors(path: Path) -> set[str]:
    """Return the anchors that a reader of Markdown makes of a page's headings, and those written as HTML."""
    text = path.read_text(encoding="utf-8")
    made = {
        re.sub(r"[^\w\- ]", "", f"{heading['number'] or ''} {heading['words']}".strip().lower()).replace(" ", "-")
        for heading in _HEADING.finditer(text)
    }
    written = set(re.findall(r'<a id="([^"]+)">', text))
    # A number such as 1.3 loses its dot.
    plain = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()}
    return made | written | plain
