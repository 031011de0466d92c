"""What a person sees in a terminal: a bar that moves, whole ids in tables, a sentence where something is wrong."""

import ast
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table
from sqlalchemy import func, select

import partner_center_pipeline
from partner_center_pipeline.cli import base
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline_tests.cli.commands import run, run_script
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.terminal import in_terminal
from partner_center_simulator import Simulator

ROWS = re.compile(r"raw_referrals: ([\d,]+) rows")


@pytest.mark.slow
def test_the_bar_moves_while_dagster_runs_and_the_end_is_whole(ready: Home, microsoft: Simulator) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="20")
    microsoft.faults.slow_seconds = 0.2
    with in_terminal(ready.path, "sync") as terminal:
        seen = list(terminal.read())
        assert terminal.process.wait(30) == 0
    texts = "".join(text for _, text in seen)
    assert len(set(ROWS.findall(texts))) >= 3, "the number of rows was seen to grow"
    end = " ".join(texts.split())
    assert re.search(r"Done: \d+ windows\. (\d+) rows fetched: (\d+) new or changed, \d+ known already, 0 to", end)
    assert "Next: partner-center export" in end

    microsoft.faults.clear()
    with in_terminal(ready.path, "reconcile") as terminal:
        counts = re.findall(r"(\d+)/(\d+)", "".join(text for _, text in terminal.read()))
    assert all(int(done) <= int(total) for done, total in counts)
    done, total = counts[-1]
    assert done == total != "0"


@pytest.mark.slow
def test_nobody_is_signed_in_is_said_before_dagster_is_loaded(unsigned: Home) -> None:
    for command in ("sync", "reconcile"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run_script(unsigned.path, command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 1
        assert done.stderr.strip() == "error Nobody is signed in to Partner Center; run `partner-center login`."
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3, "whatever else the machine does"
    assert not (unsigned.path / ".dagster").exists(), "Dagster was not started"


ID = "1fb03f16-02d3-405b-a98e-f59c888383e3"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_an_id_in_a_table_is_never_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.console, "_width", width)
    table = Table("row", "referral", "reason", "path", "first seen (UTC)", "last seen (UTC)", box=None)
    for number in range(2):
        table.add_row(f"{number}bcdef012345", ID, "bad_updated", "customerProfile.team[0].email", *2 * ["2026-11-28"])
    with base.console.capture() as printed:
        base.print_table(table)
    lines = printed.get().splitlines()
    assert sum(ID in line for line in lines) == 2
    assert sum("bcdef012345" in line for line in lines) == 2
    assert width < 60 or max(map(len, lines)) <= width


WORDS = st.lists(st.text("abcığşİ.-", min_size=1, max_size=24), max_size=8).map(" ".join)


@given(rows=st.lists(st.lists(WORDS, min_size=4, max_size=4), min_size=1, max_size=4), width=st.integers(30, 200))
@example(
    rows=[["uysal-danismanlik.com.tr", "a" * 11, "DMARC quarantines forged mail " * 2, "P1 High Potential Greenfield"]],
    width=60,
)
def test_no_word_in_a_table_is_cut_however_wide_the_others_are(rows: list[list[str]], width: int) -> None:
    table = Table("domain", "company", "reasons", "category")
    for row in rows:
        table.add_row(*row)
    with pytest.MonkeyPatch.context() as narrow:
        narrow.setattr(base.console, "_width", width)
        with base.console.capture() as printed:
            base.print_table(table)
    shown = re.split(r"[\s│┃]+", printed.get())
    assert {word for row in rows for cell in row for word in cell.split()} <= set(shown)
    is_a_table = "┏" in printed.get()
    assert not is_a_table or max(map(len, printed.get().splitlines())) <= width


def named_by_several() -> tuple[str, list[str]]:
    """A domain that several referrals name, and their ids."""
    table = schema.leads
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        domain = (
            connection.execute(
                select(table.c.domain)
                .where(table.c.domain.is_not(None))
                .group_by(table.c.domain)
                .order_by(-func.count())
            )
            .scalars()
            .first()
        )
        ids = list(connection.execute(select(table.c.referral_id).where(table.c.domain == domain)).scalars())
    assert domain is not None
    return str(domain), ids


@pytest.mark.slow
def test_a_page_of_60_columns_in_latin_1_has_whole_ids_and_no_colours(ready: Home) -> None:
    assert run(ready.path, "sync").returncode == 0
    domain, known = named_by_several()
    variables = {"NO_COLOR": "1", "PYTHONIOENCODING": "latin-1"}
    with in_terminal(ready.path, "inspect", domain, columns=60, is_script=True, **variables) as terminal:
        text = "".join(text for _, text in terminal.read())
        assert terminal.process.wait(30) == 0
    assert "Traceback" not in text
    assert [one for one in known if one not in text] == []
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 60
    in_ascii = run_script(ready.path, "inspect", domain, "--language", "tr", PYTHONIOENCODING="ascii")
    assert (in_ascii.returncode, in_ascii.stderr) == (0, "")
    as_json = run_script(ready.path, "inspect", domain, "--language", "tr", "--json", PYTHONIOENCODING="ascii")
    whole = run(ready.path, "inspect", domain, "--language", "tr", "--json")
    assert as_json.stdout.isascii()
    assert json.loads(as_json.stdout) == json.loads(whole.stdout), "nothing is lost in ASCII"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sync", "demo", "migrate", "ui"])
def test_a_home_folder_that_cannot_be_written_ends_in_one_sentence(command: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = run(tmp_path / "home", command, HUNTER_HOME="/sys")  # root cannot write there either
    assert done.returncode == 1
    assert re.match(r"error /sys/(\.hunter|dagster\.yaml) cannot be ", done.stderr)
    assert "HUNTER_HOME names another" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_older_python_is_told_which_one_is_needed() -> None:
    file = Path(partner_center_pipeline.__file__)
    ast.parse(file.read_text(), feature_version=(3, 8))
    old = "import sys; sys.version_info = (3, 10, 13, 'final', 0); import partner_center_pipeline"
    done = subprocess.run([sys.executable, "-c", old], cwd=file.parent.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("partner-center needs Python 3.11 or newer, and this is 3.10;")


def test_windows_is_told_to_use_wsl_or_a_container() -> None:
    there = "import sys; sys.platform = 'win32'; import partner_center_pipeline"
    done = subprocess.run([sys.executable, "-c", there], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("partner-center does not run on Windows by itself:")
    assert "WSL" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
