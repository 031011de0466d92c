"""Installations of the product that the rows of `all` measure: a home folder that is signed in to a stand-in.

Each is used by the product's own commands, in processes of their own. Not here: what is measured (`loads`, `graphs`,
`starting`), the servers (`pages`, `dns`).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from unittest.mock import patch

import click
from sqlalchemy import insert, make_url, select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import domain_signals, row_dict
from partner_center_pipeline.windows import SyncWindow
from partner_center_pipeline_tests.benchmarks.dns import served_elsewhere as dns_served_elsewhere
from partner_center_pipeline_tests.benchmarks.ingest import Bench, Database
from partner_center_pipeline_tests.benchmarks.pages import ANCHOR, CHANGES, GRID, served_elsewhere
from partner_center_pipeline_tests.benchmarks.rows import PAGE_SIZE, Measuring
from partner_center_simulator import Simulator

GENESIS: Final = GRID.window((GRID.first or 0) - GRID.width)
"""The first window of an installation: it holds everything before the changes."""

_FRESH: Final = timedelta(days=30)
"""How long DNS answers that an installation begins with are young: longer than any measurement takes."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A home folder and the environment of its commands."""

    home: Path
    environment: Mapping[str, str]

    @property
    def database_url(self) -> str:
        """The warehouse's URL."""
        return self.environment["HUNTER_DATABASE_URL"]

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """Open the warehouse."""
        db = Warehouse(self.database_url)
        yield db
        db.close()

    def asking(self, address: tuple[str, int]) -> Self:
        """The same installation, with another resolver."""
        return replace(self, environment={**self.environment, "HUNTER_DNS_RESOLVERS": f"{address[0]}:{address[1]}"})

    def sync(self, *windows: SyncWindow) -> tuple[float, dict[str, Any]]:
        """Sync contiguous windows by the command; return the seconds of its process, and what it says."""
        first, last = (datetime_text(tick) for tick in (windows[0].start, windows[-1].end))
        command = [sys.executable, "-m", "partner_center_pipeline", "sync", "--from", first, "--to", last, "--json"]
        seconds, output = timed(command, self.environment, self.home)
        return seconds, json.loads(output)


def datetime_text(ticks: int) -> str:
    """Return an instant as `sync` takes it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)).strftime("%Y-%m-%dT%H:%M:%SZ")


PATIENCE: Final = 7200.0
"""Seconds that a command may take, where nothing else is said."""


def timed(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, patience: float = PATIENCE
) -> tuple[float, str]:
    """Run a command in a process of its own; return its seconds, from start to end, and what it printed.

    Raises ClickException with its errors when it fails, TimeoutExpired when it takes longer than `patience` seconds.
    """
    start = time.perf_counter()
    done = subprocess.run(
        list(command), env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=patience
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(command[:5])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds, done.stdout


@dataclass
class Servers:
    """A Partner Center of `count` referrals, the sign-in, and DNS; each but the sign-in in a process of its own."""

    base_url: str
    ca_bundle: Path
    count: int
    environment: Mapping[str, str]
    token_cache: Path
    changes: int
    """Changes in each of the `CHANGED_WINDOWS` windows."""


def start_servers(run: Measuring, count: int, changes: int = CHANGES) -> Servers:
    """Start servers that run until the measuring ends, and sign in to them."""
    folder = run.folder / f"servers{time.time_ns()}"
    folder.mkdir()
    address = run.stack.enter_context(served_elsewhere(count, folder, changes))
    sign_in = folder / "sign_in"
    sign_in.mkdir()
    simulator = run.stack.enter_context(Simulator(7, datetime.now(UTC), 1, directory=sign_in))
    simulator.faults.token_lifetime_seconds = 86_400
    host, port = run.stack.enter_context(dns_served_elsewhere())
    bundle = folder / "both.pem"
    bundle.write_bytes(address.ca_bundle.read_bytes() + simulator.ca_bundle.read_bytes())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUNTER_", "DAGSTER_"))}
    environment = {
        **kept,
        **simulator.environment(),
        "HUNTER_PARTNER_CENTER_BASE_URL": address.base_url,
        "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(bundle),
        "HUNTER_PARTNER_CENTER_ENABLED": "true",
        "HUNTER_PARTNER_CENTER_PAGE_SIZE": str(PAGE_SIZE),
        "HUNTER_SYNC_START": f"{ANCHOR - timedelta(seconds=600):%Y-%m-%dT%H:%M:%SZ}",
        "HUNTER_DNS_RESOLVERS": f"{host}:{port}",
        "HUNTER_DATABASE_URL": f"sqlite:///{folder}/none.db",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    with (
        patch.dict(os.environ, {**environment, "HUNTER_HOME": str(folder)}, clear=True),
        connect_sign_in(Settings.load()) as client,
    ):
        code = client.begin()
        simulator.approve(code.user_code)
        client.finish(code)
    return Servers(address.base_url, bundle, count, environment, folder / ".token_cache", changes)


@dataclass
class Template:
    """A migrated warehouse, and a home folder that is signed in: what installations begin with."""

    run: Measuring
    database: Database
    servers: Servers
    home: Path
    url: str

    @contextmanager
    def installed(self) -> Iterator[Installation]:
        """A new installation that begins as the template is. Its database is dropped in the end."""
        home = self.run.folder / f"home{time.time_ns()}"
        shutil.copytree(self.home, home)
        with _copied(self.run.bench(self.database), self.url, home) as url, _storage(self, home) as environment:
            yield Installation(home, {**environment, "HUNTER_HOME": str(home), "HUNTER_DATABASE_URL": url})
        shutil.rmtree(home)


@contextmanager
def _storage(template: Template, home: Path) -> Iterator[dict[str, str]]:
    """Dagster's storage, as the shipped files have it: SQLite in the home folder, or PostgreSQL."""
    environment = dict(template.servers.environment)
    if template.database is Database.SQLITE:
        yield environment
        return
    shutil.copy(PROJECT_ROOT / "deploy/dagster.yaml", home / "dagster.yaml")
    with template.run.bench(template.database).new_database(migrated=False) as url:
        yield {**environment, "DAGSTER_PG_URL": url.replace("+psycopg:", "+psycopg2:")}


@contextmanager
def _copied(bench: Bench, url: str, home: Path) -> Iterator[str]:
    """A copy of a database that nobody uses."""
    if bench.database is Database.SQLITE:
        path = home / "warehouse.db"
        shutil.copy(str(make_url(url).database), path)
        yield f"sqlite:///{path}"
    else:
        with bench.new_database(migrated=False, template=str(make_url(url).database)) as copy:
            yield copy


def make_templates(run: Measuring, database: Database, servers: Servers) -> tuple[Template, Template]:
    """Load everything once, with real look-ups: a template with the DNS answers alone, and one with all of it."""
    bench = run.bench(database)
    home = run.folder / f"template{time.time_ns()}"
    home.mkdir()
    shutil.copytree(servers.token_cache, home / ".token_cache")
    full = run.stack.enter_context(bench.new_database())
    template = Template(run, database, servers, home, full)
    with _storage(template, home) as environment:
        installation = Installation(home, {**environment, "HUNTER_HOME": str(home), "HUNTER_DATABASE_URL": full})
        run.notes.print(f"  preparing: {servers.count:,} referrals, {database}")
        installation.sync(GENESIS)
    with installation.warehouse() as db, db.write() as connection:
        connection.execute(domain_signals.update().values(next_scan_at=datetime.now(UTC) + _FRESH))
    empty = run.stack.enter_context(bench.new_database())
    _copy_signals(full, empty)
    for url in (full, empty):
        _close_log(url)
    return replace(template, url=empty), template


def _copy_signals(source: str, target: str) -> None:
    """Copy the DNS answers into an empty warehouse, where the load makes the companies that they are about."""
    old, new = Warehouse(source), Warehouse(target)
    with old.read() as connection:
        rows = [row_dict(row) for row in connection.execute(select(domain_signals))]
    unchecked = "PRAGMA foreign_keys=OFF" if new.is_sqlite else "SET session_replication_role = replica"
    with new.engine.connect() as connection:
        connection.connection.cursor().execute(unchecked)
        connection.execute(insert(domain_signals), rows)
        connection.commit()
    old.close()
    new.close()


def _close_log(url: str) -> None:
    """Take SQLite's log into the file, which is copied then."""
    db = Warehouse(url)
    if db.is_sqlite:
        with db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
