"""What the product takes with a million leads stored, beside the same with few: first pages, a window, memory.

A small world goes through the whole chain; a large one is made of it by the database (`multiply`). Not here: the frame
of the table (`rows`), whether what is read is right (tests).
"""

import time
from collections.abc import Callable, Iterator, Sized
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click
from sqlalchemy import Connection, func, select, text

from partner_center_pipeline.health import WarehouseFacts
from partner_center_pipeline.warehouse import first_page, health
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import company_scores, leads, pending_work, raw_referrals
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


@dataclass(frozen=True, slots=True)
class _Read:
    """Something that is read: how, how many rows come, and how often it is done in a round."""

    work: Callable[[Warehouse], Sized]
    rows: int
    times: int = ROUNDS


def _first_pages(run: Measuring, database: Database, few: Stored, many: Stored) -> Iterator[Row]:
    reads: dict[str, _Read] = {
        "leads_ready, first page by the index (demo)": _Read(
            lambda db: _read(db, lambda connection: first_page.of_companies(connection, PAGE)), PAGE
        ),
        "due_first, first page by the index": _Read(
            lambda db: _read(db, lambda connection: first_page.of_due(connection, PAGE)), PAGE
        ),
        "leads_ready, the view's first page (SELECT ... ORDER BY rank LIMIT 50)": _Read(
            lambda db: _read(db, lambda connection: _of_view(connection, "leads_ready")), PAGE, 1
        ),
        "due_first, the view's first page": _Read(
            lambda db: _read(db, lambda connection: _of_view(connection, "due_first")), PAGE, 1
        ),
        "what status asks": _Read(
            lambda db: astuple(health.facts(db, GRID, datetime.now(UTC))), len(fields(WarehouseFacts))
        ),
    }
    for name, read in reads.items():
        dbs = [Warehouse(stored.url) for stored in (many, few)]
        for db in dbs:
            if len(read.work(db)) != read.rows:
                raise click.ClickException(f"{name}: {len(read.work(db))} rows were read, not {read.rows}")
        large, small = run.medians(*(partial(_seconds, read, db) for db in dbs))
        for db in dbs:
            db.close()
        yield Row(
            f"{name}, {many.times * REFERRALS:,} leads, {database}",
            f"{few.times * REFERRALS:,} leads",
            large / small,
            Goal(1.5),
            f"{large * 1000:.1f} ms, {small * 1000:.1f} ms",
        )


def _of_view(connection: Connection, view: str) -> Sized:
    """What a program reads that knows SQL, such as Power BI."""
    return connection.execute(text(f"SELECT * FROM {view} ORDER BY rank LIMIT {PAGE}")).all()


def _read(db: Warehouse, work: Callable[[Connection], Sized]) -> Sized:
    with db.read() as connection:
        return work(connection)


def _seconds(read: _Read, db: Warehouse) -> float:
    """The median of how long it takes."""
    took = []
    for _ in range(read.times):
        start = time.perf_counter()
        read.work(db)
        took.append(time.perf_counter() - start)
    return median(took)


def _window(run: Measuring, database: Database, few: Stored, many: Stored) -> Iterator[Row]:
    begun = {few.times: 0, many.times: 0}

    def seconds(stored: Stored) -> float:
        first = (GRID.first or 0) + begun[stored.times] * GRID.width
        begun[stored.times] += WINDOWS
        windows = [window.key for window in GRID.between(first, first + WINDOWS * GRID.width)]
        outcome = stored.run(*windows)
        _refuse_other_rows(stored.url, first, first + WINDOWS * GRID.width, WINDOWS * CHANGES)
        return median(outcome.seconds[WARMING_UP:])

    large, small = run.medians(lambda: seconds(many), lambda: seconds(few))
    yield Row(
        f"a window of {CHANGES} changes, {many.times * COMPANIES:,} companies stored, whole chain, {database}",
        f"{few.times * COMPANIES:,} stored",
        large / small,
        Goal(1.3),
        f"{large:.3f} s, {small:.3f} s",
    )


def _refuse_other_rows(url: str, start: int, end: int, wanted: int) -> None:
    """Raise ClickException unless the windows between brought so many versions, and all is made that follows."""
    with closing(Warehouse(url)) as db, db.read() as connection:
        within = raw_referrals.c.window_start.between(start, end - 1)
        found = connection.execute(select(func.count()).where(within)).scalar_one()
        left = connection.execute(select(func.count()).select_from(pending_work)).scalar_one()
        made = connection.execute(
            select(func.count(leads.c.referral_id), func.count(company_scores.c.domain))
            .outerjoin(company_scores, company_scores.c.domain == leads.c.domain)
            .where(leads.c.domain.is_not(None))
        ).one()
    if found != wanted or left or made[0] != made[1] or not made[0]:
        raise click.ClickException(
            f"the chain brought {found} versions, not {wanted}; {left} items wait, and of {made[0]} leads with a "
            f"company {made[1]} have a score"
        )


@measures("memory")
def memory(run: Measuring) -> Iterator[Row]:
    """Peak memory of the first window of an installation, through the whole chain."""
    few, many = run.size(100_000, 500), run.size(1_000_000, 5000)
    for database in Database:
        large, small = run.medians(*(partial(_peak, run, run.bench(database), count) for count in (many, few)))
        found = f"{large:.0f} MB, {small:.0f} MB"
        work = f"peak memory of the first window, {many:,} referrals, whole chain: {database}"
        yield Row(work, f"{few:,} referrals", large / small, Goal(1.2), found)
        yield Row(work, "MB, at most", large, Goal(500), found)


def _peak(run: Measuring, bench: Bench, count: int) -> float:
    """Return the most memory, in MB, of a process that takes in so many referrals."""
    with TemporaryDirectory(dir=run.folder) as made, bench.new_database() as url:
        folder = Path(made)
        with served_elsewhere(count, folder, companies=count // 10) as address:
            whole_chain.prepared(folder / "home", address, url, FIRST)
            peak = Stored(1, url, folder / "home", address).run(GENESIS).peak
        genesis = GRID.window((GRID.first or 0) - GRID.width)
        _refuse_other_rows(url, genesis.start, genesis.end, count)
    return peak
