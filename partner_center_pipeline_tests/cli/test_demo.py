"""`partner-center demo` as a new user runs it: an empty home folder, an empty HOME, nothing in the environment."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openpyxl import load_workbook
from sqlalchemy import insert

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests import storage
from partner_center_pipeline_tests.cli.commands import run, run_script
from partner_center_pipeline_tests.cli.test_browser import browser_program

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("stored_home")]

UNCHANGED = ["raw_referrals", "leads", "companies", "domain_signals", "company_scores", "score_changes"]


def test_the_demo_shows_scored_leads_in_turkish_and_a_second_run_adds_nothing(home: Path, tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "demo.db"
    database.parent.mkdir()
    variables = dict(storage.variables_of(home)) or {"HUNTER_DATABASE_URL": f"sqlite:///{database}"}
    browser, opened = browser_program(tmp_path)
    page = home / "reports" / "demo.html"
    first = run_script(home, "demo", "--language", "tr", "--open", **variables, BROWSER=str(browser))
    assert first.returncode == 0, first.stderr
    for heading in ("Şirket", "Alan adı", "Segment", "Kategori", "Puan", "Başlıca nedenler"):
        assert heading in first.stdout
    added = dict(re.findall(r"^  (\w+) +[\d,]+ rows +\(\+([\d,]+)\)$", first.stdout, re.MULTILINE))
    assert all(int(added[table].replace(",", "")) > 50 for table in UNCHANGED)
    span = re.search(r"^(\d+) sync windows from (\S+ \S+) to (\S+ \S+) UTC$", first.stdout, re.MULTILINE)
    assert span is not None
    begin, end = (datetime.fromisoformat(at) for at in span.groups()[1:])
    assert end - begin == int(span[1]) * timedelta(minutes=10)
    assert "SPF kaydı" in first.stdout
    assert "partner-center ui" in first.stdout
    assert "Traceback" not in first.stderr
    for name in ("demo.xlsx", "demo.html"):
        assert str(home / "reports" / name) in first.stdout
    assert opened.read_text() == page.as_uri()
    assert f"Opened {page} in the browser." in first.stderr
    assert '<html lang="tr">' in page.read_text(encoding="utf-8")
    assert database.is_file() is not storage.is_postgresql()
    assert not (home / ".hunter" / "hunter.db").exists()

    # Somebody who switched the real integration off still gets the demo, which does not touch it.
    with (home / ".env").open("a") as file:
        file.write("HUNTER_PARTNER_CENTER_ENABLED=false\n")
    second = run(home, "demo", "--json", "--open", **variables)
    assert second.returncode == 0, second.stderr
    shown = json.loads(second.stdout)
    assert {table: shown["added"][table] for table in UNCHANGED} == dict.fromkeys(UNCHANGED, 0)
    assert shown["rows"]["leads"] == int(added["leads"].replace(",", ""))
    assert len(shown["leads"]) == 10
    assert shown["report"] == [str(home / "reports" / name) for name in ("demo.xlsx", "demo.html")]
    assert "no desktop here" in second.stderr
    assert all(lead["reasons"] and lead["segment"] for lead in shown["leads"])
    assert {lead["segment"] for lead in shown["leads"]} <= {"Migration", "Existing", "Cold"}
    book = load_workbook(home / "reports" / "demo.xlsx")
    assert book["Leads"].max_row > 50
    assert book["Without a company"].max_row > 50
    assert '<html lang="en">' in page.read_text(encoding="utf-8")


def test_the_demo_refuses_a_warehouse_with_a_real_tenants_windows(home: Path) -> None:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.write() as connection:
        connection.execute(
            insert(schema.sync_windows).values(
                window_start=0, window_end=1, covers_from=0, raw_referrals_at=datetime.now(UTC)
            )
        )
    warehouse.close()
    done = run(home, "demo")
    assert done.returncode == 1
    assert "holds a real tenant's referrals" in done.stderr
    assert "HUNTER_DATABASE_URL" in done.stderr
