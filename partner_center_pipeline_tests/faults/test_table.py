"""The fault table as the documentation shows it, and that it leaves no switch of the local Microsoft out."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.faults import table
from partner_center_pipeline_tests.faults.bench import surroundings
from partner_center_pipeline_tests.faults.document import row, run_all
from partner_center_pipeline_tests.faults.table import FAULTS, ONLY_THE_BROWSER, ONLY_WRITING
from partner_center_simulator import Faults, HttpFault, TokenFault

DOCUMENT = PROJECT_ROOT / "docs" / "faults.md"
PARTS = 4
"""Parts of the table that run side by side: much of it is waiting."""


def test_the_document_lists_each_fault_once_and_in_order() -> None:
    listed = re.findall(r"^\| ([^|]+?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    names = [fault.name for fault in FAULTS]
    assert listed == ["Fault", *names]
    assert len(set(names)) == len(names) >= 30


def test_no_row_is_lost_in_the_document_and_it_says_what_recovers_by_itself() -> None:
    rows = re.findall(r"^\|.*\| ([^|]+) \| ([^|]+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {lost for _, lost in rows} == {"Rows lost", "none"}
    assert {recovers for recovers, _ in rows} == {"Recovers by itself", "yes", "no"}


def test_each_fault_of_the_local_microsoft_is_in_the_table() -> None:
    source = Path(table.__file__).read_text(encoding="utf-8")
    switches = {each.name for each in fields(Faults) if not each.name.startswith("_")} - ONLY_WRITING - ONLY_THE_BROWSER
    named = {f"HttpFault.{fault.name}" for fault in HttpFault} | {f"TokenFault.{fault.name}" for fault in TokenFault}
    through = {"dns_names"}  # the same answers as `dns`, for some names
    missing = {name for name in (switches | named) - through if not re.search(rf"\b{re.escape(name)}\b", source)}
    assert missing == set()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_each_fault_shows_what_the_document_says_and_loses_nothing(part: int, tmp_path: Path) -> None:
    with surroundings(tmp_path) as around:
        lines = run_all(around, faults=FAULTS[part::PARTS])
    assert {line.fault.name: line.lost for line in lines if line.lost} == {}
    documented = DOCUMENT.read_text(encoding="utf-8").splitlines()
    assert [shown for shown in map(row, lines) if shown not in documented] == []
