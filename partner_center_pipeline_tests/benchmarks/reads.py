"""What the product takes with a million leads stored, beside the same with few: first pages, a window, memory.

A small world goes through the whole chain; a large one is made of it by the database (`multiply`). Not here: the frame
of the table (`rows`), whether what is read is right (tests).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import Connection, text

from partner_center_pipeline.warehouse import first_page, health
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import TICKS_PER_SECOND, ticks_of
from partner_center_pipeline_tests.benchmarks import whole_chain
from partner_center_pipeline_tests.benchmarks.ingest import Bench, Database
from partner_center_pipeline_tests.benchmarks.multiply import multiply
from partner_center_pipeline_tests.benchmarks.pages import ANCHOR, CHANGES, GRID, Address, served_elsewhere
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures

FIRST: Final = ANCHOR - timedelta(seconds=GRID.width // TICKS_PER_SECOND)
"""Where the windows begin; the first one has everything from before."""

GENESIS: Final = GRID.window((GRID.first or 0) - GRID.width).key

REFERRALS: Final = 1250
COMPANIES: Final = 1000
"""Of the small world: some companies have several referrals."""

PAGE: Final = 50
"""Rows of a first page."""

ROUNDS: Final = 20
"""Reads of which the median counts."""

WINDOWS: Final = 12
"""Windows of changes that a process runs; the median counts, but for the first ones."""
WARMING_UP: Final = 2
"""Windows that a process runs before those that count."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A warehouse that holds `times` the small world, and the home folder of its installation."""

    times: int
    url: str
    home: Path
    address: Address

    def run(self, *windows: str) -> whole_chain.Outcome:
        """Run windows in a process of its own."""
        address = self.address
        return whole_chain.run(
            whole_chain.Task(str(self.home), self.url, address.base_url, str(address.ca_bundle), windows)
        )


def stored(run: Measuring, bench: Bench, address: Address, times: int) -> Stored:
    """Let the whole chain make the small world in a new database, and multiply it."""
    url = run.stack.enter_context(bench.new_database())
    made = Stored(times, url, run.folder / f"{bench.database}-{times}", address)
    whole_chain.prepared(made.home, address, url, FIRST)
    made.run(GENESIS)
    began = time.perf_counter()
    db = Warehouse(url)
    if db.is_sqlite:
        _journal(db, "OFF")  # no log of some gigabytes; the only connection of the pool keeps it
    with db.write() as connection:
        _with_deadlines(connection)
        multiply(connection, times)
    if db.is_sqlite:
        _journal(db, "WAL")
    else:
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    db.close()
    run.notes.print(f"{bench.database}: {times} times as much, in {time.perf_counter() - began:.0f} s")
    return made


def _journal(db: Warehouse, mode: str) -> None:
    raw = db.engine.raw_connection()
    (found,) = raw.cursor().execute(f"PRAGMA journal_mode={mode}").fetchone()
    raw.close()
    assert found.upper() == mode, found


def _with_deadlines(connection: Connection) -> None:
    """Let every second lead be open with a deadline in the next 30 days: the templates' are long over."""
    ids = connection.execute(text("SELECT referral_id FROM leads ORDER BY referral_id")).scalars().all()
    now = datetime.now(UTC)
    rows = [
        {"id": one, "due": ticks_of(now + timedelta(minutes=10 + number * 60))} for number, one in enumerate(ids[::2])
    ]
    connection.execute(text("UPDATE leads SET is_open = TRUE, expires_ticks = :due WHERE referral_id = :id"), rows)


@measures("reads")
def reads(run: Measuring) -> Iterator[Row]:
    """First pages and a window, with a million leads and companies stored, and with few."""
    many = run.size(1000, 40)
    with served_elsewhere(REFERRALS, run.folder, companies=COMPANIES) as address:
        for database in Database:
            bench = run.bench(database)
            one, some, large = (stored(run, bench, address, times) for times in (1, 8, many))
            yield from _first_pages(run, database, some, large)
            yield from _window(run, database, one, large)


def _first_pages(run: Measuring, database: Database, few: Stored, many: Stored) -> Iterator[Row]:
    works: dict[str, Callable[[Warehouse], object]] = {
        "leads_ready": lambda db: _read(db, lambda connection: first_page.of_companies(connection, PAGE)),
        "due_first": lambda db: _read(db, lambda connection: first_page.of_due(connection, PAGE)),
        "status": lambda db: health.facts(db, GRID, datetime.now(UTC)),
    }
    for name, work in works.items():
        dbs = [Warehouse(stored.url) for stored in (many, few)]
        for db in dbs:
            work(db)
        large, small = run.medians(*(partial(_seconds, work, db) for db in dbs))
        for db in dbs:
            db.close()
        yield Row(
            f"{name}, first page, {many.times * REFERRALS:,} leads, {database}",
            f"{few.times * REFERRALS:,} leads",
            large / small,
            Goal(1.5),
            f"{large * 1000:.1f} ms, {small * 1000:.1f} ms",
        )


def _read(db: Warehouse, work: Callable[[Connection], object]) -> object:
    with db.read() as connection:
        return work(connection)


def _seconds(work: Callable[[Warehouse], object], db: Warehouse) -> float:
    """The median of how long ROUNDS calls take."""
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work(db)
        took.append(time.perf_counter() - start)
    return median(took)


def _window(run: Measuring, database: Database, few: Stored, many: Stored) -> Iterator[Row]:
    begun = {few.times: 0, many.times: 0}

    def seconds(stored: Stored) -> float:
        first = (GRID.first or 0) + begun[stored.times] * GRID.width
        begun[stored.times] += WINDOWS
        windows = [window.key for window in GRID.between(first, first + WINDOWS * GRID.width)]
        return median(stored.run(*windows).seconds[WARMING_UP:])

    large, small = run.medians(lambda: seconds(many), lambda: seconds(few))
    yield Row(
        f"a window of {CHANGES} changes, {many.times * COMPANIES:,} companies stored, whole chain, {database}",
        f"{few.times * COMPANIES:,} stored",
        large / small,
        Goal(1.3),
        f"{large:.3f} s, {small:.3f} s",
    )


@measures("memory")
def memory(run: Measuring) -> Iterator[Row]:
    """Peak memory of the first window of an installation, through the whole chain."""
    few, many = run.size(100_000, 500), run.size(1_000_000, 5000)
    for database in Database:
        bench, peaks = run.bench(database), dict[int, float]()
        for count in (few, many):
            folder = run.folder / f"memory-{database}-{count}"
            folder.mkdir()
            with served_elsewhere(count, folder, companies=count // 10) as address, bench.new_database() as url:
                whole_chain.prepared(folder / "home", address, url, FIRST)
                peaks[count] = Stored(1, url, folder / "home", address).run(GENESIS).peak
        found = f"{peaks[many]:.0f} MB, {peaks[few]:.0f} MB"
        work = f"peak memory of the first window, {many:,} referrals, whole chain: {database}"
        yield Row(work, f"{few:,} referrals", peaks[many] / peaks[few], Goal(1.2), found)
        yield Row(work, "MB, at most", peaks[many], Goal(500), found)
