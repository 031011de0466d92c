"""What the product takes with a million leads stored, beside the same with few: first pages, a window, memory.

A small world goes through the whole chain; a large one is made of it by the database (`multiply`). Not here: the frame
of the table (`rows`), whether what is read is right (tests).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import click
from sqlalchemy import text

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import first_page, health
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.benchmarks import whole_chain
from partner_center_pipeline_tests.benchmarks.ingest import Bench, Database
from partner_center_pipeline_tests.benchmarks.multiply import multiply
from partner_center_pipeline_tests.benchmarks.pages import ANCHOR, GRID, Address, served_elsewhere
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures

FIRST: Final = ANCHOR - timedelta(seconds=GRID.width // 10**7)
"""Where the windows begin; the first one has everything from before."""

REFERRALS: Final = 1250
COMPANIES: Final = 1000
"""Of the small world: some companies have several referrals."""

PAGE: Final = 50
"""Rows of a first page."""

WINDOWS: Final = 12
"""Windows of changes that a process runs; the first two warm it up, and of the others the median counts."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A warehouse with `times` the small world, and the home folder of its installation."""

    times: int
    url: str
    home: Path


def small_world(url: str, home: Path, address: Address) -> Stored:
    """Let the whole chain make the small world, of which large ones are made."""
    whole_chain.prepared(home, address, url, FIRST)
    whole_chain.run(_task(url, home, address, (GRID.window((GRID.first or 0) - GRID.width).key,)))
    with_deadlines(url)
    return Stored(1, url, home)


def with_deadlines(url: str) -> None:
    """Let every second lead be open with a deadline within the next 30 days: the templates are of the past."""
    db = Warehouse(url)
    now = datetime.now(UTC)
    with db.write() as connection:
        rows = connection.execute(text("SELECT referral_id FROM leads ORDER BY referral_id")).scalars().all()
        for number, referral_id in enumerate(rows[::2]):
            due = int((now + timedelta(minutes=10 + number * 40)).timestamp()) * 10**7
            connection.execute(
                text("UPDATE leads SET is_open = TRUE, expires_ticks = :due WHERE referral_id = :id"),
                {"due": due, "id": referral_id},
            )
    db.close()


def multiplied(bench: Bench, small: Stored, times: int, url: str) -> Stored:
    """Copy the small world into an empty database, and make `times` as much of it."""
    bench.copy(small.url, url)
    home = small.home.with_name(f"{small.home.name}-{times}")
    home.mkdir()
    (home / "dagster.yaml").write_text((small.home / "dagster.yaml").read_text())
    (home / ".env").write_text((small.home / ".env").read_text().replace(small.url, url))
    db = Warehouse(url)
    with db.write() as connection:
        multiply(connection, times)
    if not db.is_sqlite:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    db.close()
    return Stored(times, url, home)


def _task(url: str, home: Path, address: Address, windows: tuple[str, ...]) -> whole_chain.Task:
    return whole_chain.Task(str(home), url, address.base_url, str(address.ca_bundle), windows)
