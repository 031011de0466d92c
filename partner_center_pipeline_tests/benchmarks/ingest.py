"""How long it takes to load referrals into `raw_referrals`, beside a bare loop that stores the same pages.

Ours is the product's client, scan, lease and ingest, over HTTPS from `pages`, as the asset puts them together, without
Dagster, which adds the same seconds to a run of any size. Each case is a process of its own, so that its peak memory is
its own. PostgreSQL is the tests' server, which does not wait for the disk; SQLite is as the product opens it. The bare
loop connects by itself, so PostgreSQL compresses its payloads by the server's default and ours by lz4. Not here:
whether what is stored is right, which is a test.
"""

import gc
import json
import re
import resource
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import httpx
import orjson
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from partner_center_pipeline.cli import COLLECTOR_THRESHOLDS
from partner_center_pipeline.defs.derivation import Span, ask_signals, make_companies, make_leads, make_scores
from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.partner_center import ReferralsClient, build_http, scan
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, renewed
from partner_center_pipeline.warehouse.schema import columns_of, raw_referrals
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, SyncWindow
from partner_center_pipeline_tests.benchmarks.pages import CHANGES, GRID, Address, served_elsewhere
from partner_center_pipeline_tests.postgres import running_server

WINDOWS: Final = 40
"""Windows of changes that are fetched one after the other; the median counts."""

_MODULE: Final = "partner_center_pipeline_tests.benchmarks.ingest"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = (GRID.first or 0) - GRID.width
"""The window in which everything before the changes is fetched begins here; it has no lower bound."""


class Work(StrEnum):
    """What a case does."""

    BARE = "bare loop"
    LOAD = "load"
    REPLAY = "replay"
    CHAIN = "replay of the chain"
    WINDOWS = "windows"


class Database(StrEnum):
    """Where to."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: into a warehouse that is migrated already."""

    work: Work
    database_url: str
    base_url: str
    ca_bundle: str
    page_size: int
    part: int = 0
    """Which `WINDOWS` windows of the changes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case took: `seconds` in all, of a window the median; `storing` those inside the warehouse (of the chain:
    those of the assets after `raw_referrals`); `cpu` this
    process's CPU seconds, which neighbours disturb less; `peak` is its memory in MB at its largest; `rows` is how many
    were new."""

    seconds: float
    storing: float
    cpu: float
    peak: float
    rows: int


def measure(case: Case) -> Outcome:
    """Do the work of a case in this process."""
    before = time.process_time()
    match case.work:
        case Work.BARE:
            seconds, storing, rows = bare(case)
        case Work.LOAD | Work.REPLAY:
            seconds, storing, rows = ours(case)
        case Work.CHAIN:
            seconds, storing, rows = chain(case)
        case Work.WINDOWS:
            seconds, storing, rows = windows(case)
    return Outcome(
        round(seconds, 4), round(storing, 4), round(time.process_time() - before, 2), round(peak_memory(), 1), rows
    )


def peak_memory() -> float:
    """The most memory that this process had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's memory in ru_maxrss, as the child began as its copy
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


# The bare loop --------------------------------------------------------------------------------------------------------


def bare(case: Case) -> tuple[float, float, int]:
    """Fetch page after page by next links and store all rows with one executemany in one transaction."""
    url = make_url(case.database_url)
    names = [name for name in columns_of(raw_referrals) if name != "erased_at"]  # which is not written as a rule
    connection: Any
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        cursor, mark = connection.cursor(), "?"
    else:
        connection = psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database)
        cursor, mark = connection.cursor(), "%s"
    insert = (
        f"INSERT INTO raw_referrals ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))}) "
        "ON CONFLICT (referral_id, version) DO NOTHING"
    )
    with httpx.Client(verify=ssl.create_default_context(cafile=case.ca_bundle), timeout=60) as http:
        start = time.perf_counter()
        cursor.executemany(insert, _bare_rows(http, case))
        connection.commit()
        seconds = time.perf_counter() - start
    rows = connection.execute("SELECT count(*) FROM raw_referrals").fetchone()[0]
    connection.close()
    return seconds, 0.0, rows


def _bare_rows(http: httpx.Client, case: Case) -> Iterator[tuple[object, ...]]:
    path = f"{case.base_url}/v1.0/engagements/referrals"
    before = f"updatedDateTime lt {GRID.window(_FIRST + GRID.width).key[:10]}T00:00:00Z"
    url = f"{path}?$filter={before}&$orderby=updatedDateTime asc&$top={case.page_size}"
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    while True:
        page = orjson.loads(http.get(url, headers={"Authorization": "Bearer any"}).content)
        for row in page["value"]:
            payload = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
            text = row["updatedDateTime"]
            seconds = datetime.fromisoformat(f"{text[:19]}+00:00") - _EPOCH
            yield (
                row["id"],
                row["eTag"],
                row["eTag"],
                (seconds.days * 86_400 + seconds.seconds) * TICKS_PER_SECOND + int(text[20:-1].ljust(7, "0")),
                text,
                _FIRST,
                False,
                sha256(payload).hexdigest(),
                payload.decode(),
                now,
            )
        link = page.get("@odata.nextLink")
        if link is None:
            return
        url = f"{path}?{httpx.URL(link).query.decode()}"


# Ours -----------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(case: Case) -> Iterator[tuple[Warehouse, ReferralsClient, Lease]]:
    """What the asset opens before it begins."""
    gc.collect()
    gc.freeze()  # as `definitions` does
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as `partner-center` does
    db = Warehouse.open(case.database_url)
    settings = Settings(partner_center_base_url=case.base_url, partner_center_ca_bundle=Path(case.ca_bundle))
    lease = Lease(db, f"run {time.time_ns()}", _now)
    lease.acquire(0.0, time.sleep)
    with build_http(settings) as http, renewed(lease):
        yield db, ReferralsClient(http, _token, case.base_url, case.page_size, deadline_seconds=900.0), lease
    lease.release()
    db.close()


def _fetch(
    db: Warehouse, client: ReferralsClient, lease: Lease, window: SyncWindow, run_id: str
) -> tuple[float, float, int]:
    """Do what the asset does with one window."""
    start = time.perf_counter()
    ingest = WindowIngest.begin(db, [window], run_id, _now, first=_FIRST, lease=lease)
    storing = time.perf_counter() - start
    first, end = ingest.windows[0], window.end
    pages = scan(
        client,
        start=None if first.is_genesis else first.covers_from - 900 * TICKS_PER_SECOND,
        end=end,
        resume_from=ingest.resume_from,
        not_before=end + GRID.lag * TICKS_PER_SECOND,
    )
    for page in pages:
        arrived = time.perf_counter()
        ingest.write(page)
        storing += time.perf_counter() - arrived
    return time.perf_counter() - start, storing, ingest.total().new_versions


def ours(case: Case) -> tuple[float, float, int]:
    """Fetch everything that there is before the changes, in one window, as a new installation does."""
    with _opened(case) as (db, client, lease):
        return _fetch(db, client, lease, GRID.window(_FIRST), lease.holder)


def chain(case: Case) -> tuple[float, float, int]:
    """Derive everything once, which is not measured; then fetch everything again, and let the later assets run."""
    with _opened(case) as (db, client, lease):
        window = GRID.window(_FIRST)
        span = Span(BEGINNING, window.end)
        _later_assets(db, span)
        start = time.perf_counter()
        _, _, rows = _fetch(db, client, lease, window, lease.holder)
        fetched = time.perf_counter()
        _later_assets(db, span)
        end = time.perf_counter()
    return end - start, end - fetched, rows


def _later_assets(db: Warehouse, span: Span) -> None:
    settings, now = Settings(), _now()
    make_leads(db, span, frozenset(), now)
    make_companies(db, span, settings, now)
    ask_signals(db, span, _signals, settings, now)
    make_scores(db, span, settings, now)


def _signals(domains: Sequence[str], _known: Mapping[str, MailSignals]) -> Iterator[MailSignals]:
    """Answer as DNS would where nothing answers: the domains are asked again in an hour at the soonest."""
    return (MailSignals(domain, _now()) for domain in domains)


def windows(case: Case) -> tuple[float, float, int]:
    """Fetch one window of changes after the other; the medians, and the rows of all."""
    with _opened(case) as (db, client, lease):
        start = (GRID.first or 0) + case.part * WINDOWS * GRID.width
        each = [
            _fetch(db, client, lease, window, f"{lease.holder} {window.key}")
            for window in GRID.between(start, start + WINDOWS * GRID.width)
        ]
    return median(one[0] for one in each), median(one[1] for one in each), sum(one[2] for one in each)


def _token(*, renew: bool = False) -> str:
    return "any"


def _now() -> datetime:
    return datetime.now(UTC)


# The report -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs cases in processes of their own, on new databases of one kind. `server` is PostgreSQL's URL."""

    database: Database
    folder: Path
    server: str
    page_size: int
    notes: Console

    @contextmanager
    def new_database(self, *, migrated: bool = True, template: str = "template0") -> Iterator[str]:
        """The URL of a database, which is dropped in the end. `template`: which one PostgreSQL copies."""
        name = f"ingest{time.time_ns()}"
        path = self.folder / f"{name}.db"
        url = f"sqlite:///{path}"
        if self.database is Database.POSTGRESQL:
            self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
            url = make_url(self.server).set(database=name).render_as_string(hide_password=False)
        if migrated:
            warehouse = Warehouse(url)
            warehouse.migrate()
            warehouse.close()
        yield url
        if self.database is Database.POSTGRESQL:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            path.unlink(missing_ok=True)

    def _run(self, statement: str) -> None:
        url = make_url(self.server)
        with psycopg.connect(
            host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def run(self, work: Work, url: str, address: Address, expected: int, part: int = 0) -> Outcome:
        """The outcome of a case. Raises ClickException when not exactly the expected rows were new."""
        case = Case(work, url, address.base_url, str(address.ca_bundle), self.page_size, part)
        with self.notes.status(f"{self.database}: {work}, {expected:,} rows"):
            done = subprocess.run(
                [sys.executable, "-m", _MODULE, json.dumps(asdict(case))], capture_output=True, text=True, timeout=3600
            )
        if done.returncode != 0:
            raise click.ClickException(f"{self.database}: {work} failed:\n{done.stderr}")
        outcome = Outcome(**json.loads(done.stdout))
        if outcome.rows != expected:
            raise click.ClickException(f"{self.database}: {work} stored {outcome.rows:,} rows, not {expected:,}")
        self.notes.print(f"{self.database}: {work}, {expected:,} rows: {outcome}")
        return outcome


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure and what it may be: at most `limit`, or at least where `at_least`."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the figure is within its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def speed(bench: Bench, count: int, rounds: int) -> tuple[list[Promise], dict[str, Any], float]:
    """The bare loop, the first load and the replay, in turn; the best of each. Also the load's peak memory in MB."""
    found: dict[Work, list[Outcome]] = {work: [] for work in (Work.BARE, Work.LOAD, Work.REPLAY)}
    with served_elsewhere(count, bench.folder) as address:
        for _ in range(rounds):
            with bench.new_database() as url:
                found[Work.BARE].append(bench.run(Work.BARE, url, address, count))
            with bench.new_database() as url:
                found[Work.LOAD].append(bench.run(Work.LOAD, url, address, count))
                found[Work.REPLAY].append(bench.run(Work.REPLAY, url, address, 0))
    seconds = {work: min(outcome.seconds for outcome in outcomes) for work, outcomes in found.items()}
    storing = {work: min(outcome.storing for outcome in outcomes) for work, outcomes in found.items()}
    cpu = {work: min(outcome.cpu for outcome in outcomes) for work, outcomes in found.items()}
    peak = min(outcome.peak for outcome in found[Work.LOAD])
    promises = [
        Promise("load / bare loop", seconds[Work.LOAD] / seconds[Work.BARE], 1.5),
        Promise("storing: load / replay", storing[Work.LOAD] / storing[Work.REPLAY], 3.0, at_least=True),
    ]
    figures = {
        "load / bare loop, CPU": round(cpu[Work.LOAD] / cpu[Work.BARE], 2),
        "load / replay, fetching included": round(seconds[Work.LOAD] / seconds[Work.REPLAY], 2),
        "bare_seconds": seconds[Work.BARE],
        "load_seconds": seconds[Work.LOAD],
        "load_storing_seconds": storing[Work.LOAD],
        "replay_seconds": seconds[Work.REPLAY],
        "replay_storing_seconds": storing[Work.REPLAY],
        "load_peak_mb": peak,
    }
    return promises, figures, peak


def replay_of_the_chain(bench: Bench, count: int) -> tuple[list[Promise], dict[str, Any]]:
    """The whole chain on a window in which nothing changed, beside its fetch alone."""
    with served_elsewhere(count, bench.folder) as address, bench.new_database() as url:
        bench.run(Work.LOAD, url, address, count)
        outcome = bench.run(Work.CHAIN, url, address, 0)
    ratio = outcome.seconds / (outcome.seconds - outcome.storing)
    return [Promise("replay of the chain / its fetch", ratio, 1.3)], {"chain_replay_seconds": outcome.seconds}


def size(bench: Bench, few: int, many: int, rounds: int, peak: float) -> tuple[list[Promise], dict[str, Any]]:
    """Peak memory of `many` referrals beside a load that took `peak` MB, and a window with `few` and `many` stored."""
    loaded: dict[int, Outcome] = {}
    window: dict[int, list[Outcome]] = {few: [], many: []}
    with ExitStack() as stack:
        held = {
            count: (
                stack.enter_context(bench.new_database()),
                stack.enter_context(served_elsewhere(count, Path(stack.enter_context(TemporaryDirectory())))),
            )
            for count in (few, many)
        }
        for count, (url, address) in held.items():
            loaded[count] = bench.run(Work.LOAD, url, address, count)
        for part in range(rounds):
            for count, (url, address) in held.items():
                window[count].append(bench.run(Work.WINDOWS, url, address, WINDOWS * CHANGES, part))
    seconds = {count: min(outcome.seconds for outcome in outcomes) for count, outcomes in window.items()}
    promises = [
        Promise(f"memory: {many:,} / a tenth of it", loaded[many].peak / peak, 1.2),
        Promise(f"memory: {many:,}, MB", loaded[many].peak, 400),
        Promise(f"window: {many:,} stored / {few:,}", seconds[many] / seconds[few], 1.3),
    ]
    figures = {
        "many_load_seconds": loaded[many].seconds,
        "many_peak_mb": loaded[many].peak,
        "window_seconds": seconds[many],
        "window_seconds_with_few": seconds[few],
    }
    return promises, figures


@click.command()
@click.option("--referrals", type=click.IntRange(min=100), default=100_000, show_default=True, help="How many.")
@click.option(
    "--million/--no-million",
    default=True,
    show_default=True,
    help="Whether to measure memory, and a window's cost, with ten times as many.",
)
@click.option(
    "--database",
    type=click.Choice([*(each.value for each in Database), "both"]),
    default="both",
    show_default=True,
    help="Into which.",
)
@click.option("--page-size", type=click.IntRange(1, 1000), default=100, show_default=True, help="Referrals per page.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="The best one counts.")
def ingest(referrals: int, million: bool, database: str, page_size: int, rounds: int) -> None:
    """Measure how long referrals take from the API into raw_referrals, beside a bare loop.

    The bare loop is httpx, orjson and one executemany in one transaction, with the same pages and columns. A replay
    fetches what it fetched before; what it must save is the time in the warehouse, as fetching takes as long as ever.
    The last line is JSON. The exit code is 1 where a figure is over its limit.
    """
    notes = Console(stderr=True, highlight=False)
    table = Table("", "", "measured", "limit", "")
    result: dict[str, Any] = {"referrals": referrals, "page_size": page_size}
    kept = True
    for each in Database if database == "both" else (Database(database),):
        with TemporaryDirectory(prefix="ingest-") as folder, _server_for(each) as server:
            bench = Bench(each, Path(folder), server, page_size, notes)
            promises, figures, peak = speed(bench, referrals, rounds)
            more_promises, more_figures = replay_of_the_chain(bench, referrals // 5)
            promises += more_promises
            figures |= more_figures
            if million:
                more_promises, more_figures = size(bench, referrals // 100, referrals * 10, rounds, peak)
                promises += more_promises
                figures |= more_figures
        for promise in promises:
            limit = f"{'>=' if promise.at_least else '<='} {promise.limit:g}"
            table.add_row(each, promise.name, f"{promise.value:.2f}", limit, "ok" if promise.is_kept else "over")
        kept = kept and all(promise.is_kept for promise in promises)
        result[each] = {**{promise.name: round(promise.value, 2) for promise in promises}, **figures}
    Console(highlight=False).print(table)
    click.echo(json.dumps({**result, "ok": kept}))
    if not kept:
        sys.exit(1)


@contextmanager
def _server_for(database: Database) -> Iterator[str]:
    if database is Database.SQLITE:
        yield ""
    else:
        with running_server() as url:
            yield url


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asdict(measure(Case(**{**given, "work": Work(given["work"])})))))
