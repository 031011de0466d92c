"""Two writers at once: neither loses what the other wrote, and nobody is turned away."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse import companies, database, leads
from partner_center_pipeline.warehouse.database import Warehouse, kept_open, open_warehouse
from partner_center_pipeline.warehouse.schema import companies as companies_table
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row

WRITERS = 3
TURNS = 15

COUNT_UP = f"""
import sys
from partner_center_pipeline.warehouse import companies
from partner_center_pipeline.warehouse.database import Warehouse

warehouse = Warehouse.open(sys.argv[1])
for _ in range({TURNS}):
    with warehouse.write() as connection:
        row = dict(companies.load(connection, ["a.com"])["a.com"])
        companies.write(connection, [{{**row, "referrals": row["referrals"] + 1}}])
"""
"""What a writer does: reads a row, and writes what follows from it."""


def at_once(warehouse: Warehouse, work: Callable[[int], None]) -> None:
    """Run `work` in threads that begin together."""
    barrier = Barrier(WRITERS)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(begin, number) for number in range(WRITERS)]:
            done.result()


def test_threads_that_write_what_follows_from_what_they_read_lose_no_update(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com")])

    def count_up(_: int) -> None:
        for _turn in range(TURNS):
            with warehouse.write() as connection:
                row = dict(companies.load(connection, ["a.com"])["a.com"])
                companies.write(connection, [{**row, "referrals": row["referrals"] + 1}])

    at_once(warehouse, count_up)
    with warehouse.read() as connection:
        assert connection.execute(select(companies_table.c.referrals)).scalar_one() == WRITERS * TURNS


@pytest.mark.slow
def test_processes_lose_no_update_either(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com")])
    command = [sys.executable, "-c", COUNT_UP, warehouse.url]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=PROJECT_ROOT) for _ in range(WRITERS)]
    outcomes = [(writer.communicate(timeout=120)[1], writer.returncode) for writer in writers]
    assert [code for _, code in outcomes] == [0] * WRITERS, outcomes
    with warehouse.read() as connection:
        assert connection.execute(select(companies_table.c.referrals)).scalar_one() == WRITERS * TURNS


@pytest.mark.slow
def test_runs_whose_leads_share_a_company_leave_it_with_all_of_them(warehouse: Warehouse) -> None:
    """As the assets do it: a run writes its leads, then makes their companies from all leads there are."""

    def run(number: int) -> None:
        for turn in range(TURNS):
            with warehouse.write() as connection:
                leads.write(connection, [lead_row(f"r{number}-{turn}")])
            with warehouse.write() as connection:
                rows = [company_of(domain, of_it) for domain, of_it in leads.of_domains(connection, ["a.com"]).items()]
                companies.write(connection, rows)

    at_once(warehouse, run)
    with warehouse.read() as connection:
        assert companies.load(connection, ["a.com"])["a.com"]["referrals"] == WRITERS * TURNS


@pytest.mark.slow
def test_a_reader_does_not_wait_for_a_writer_and_sees_what_is_committed(warehouse: Warehouse) -> None:
    with warehouse.write() as writing:
        companies.write(writing, [company("a.com")])
        with warehouse.read() as reading:
            assert companies.load(reading, ["a.com"]) == {}
    with warehouse.read() as reading:
        assert list(companies.load(reading, ["a.com"])) == ["a.com"]


def test_the_log_that_a_run_leaves_is_cut_down_by_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOG_KEPT", 100_000)
    settings = Settings(database_url=SecretStr(f"sqlite:///{tmp_path}/warehouse.db"))
    log = tmp_path / "warehouse.db-wal"
    with open_warehouse(settings) as other, other.read() as reader:
        with kept_open(), open_warehouse(settings) as warehouse:
            reader.exec_driver_sql("SELECT * FROM companies").all()  # keeps the log from being begun anew
            for turn in range(3):
                with warehouse.write() as connection:
                    rows = [company(f"{number}.com", name=f"{turn}" * 400) for number in range(1000)]
                    companies.write(connection, rows)
            reader.rollback()
        large = log.stat().st_size
        with other.write() as connection:
            companies.write(connection, [company("a.com")])
        assert log.stat().st_size <= 100_000 < large
