"""The same history gives equal tables, however it is synced.

The history has two parts: all of the first is synced before the second happens, because only the first sync sees the
first version of a referral that changes between two syncs. The second part brings new versions, closed referrals,
companies that move to another domain, and a row that appears late in a window that is done.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import BEGINNING, ticks_of
from partner_center_pipeline_tests.conftest import PostgresServer, SqliteFiles
from partner_center_pipeline_tests.crash.content import BOOKKEEPING, Contents, contents, differences
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.differential.ways import WAYS, Order, Way, sync
from partner_center_simulator import Simulator
from partner_center_simulator.clock import SimulatorClock

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("differential")]

HOUR = timedelta(hours=1)
WINDOW_COLUMNS = frozenset({"window_start", "late"})
"""Columns that say which window brought a row."""

COMPARED = (
    schema.raw_referrals,
    schema.quarantined_referrals,
    schema.leads,
    schema.companies,
    schema.domain_signals,
    schema.company_scores,
    schema.suggested_matches,
)


class History:
    """A local Microsoft with two parts of changes; warehouses are synced after each."""

    def __init__(self, microsoft: Simulator, folder: Path, start: datetime) -> None:
        self.microsoft = microsoft
        self.folder = folder
        self.start = start
        self.first_part = [start, start + 2 * HOUR]
        self.second_part = [start + 2 * HOUR, start + 3 * HOUR]
        self.ids: list[str] = []
        self.late = ""

    def variables(self, way: Way) -> dict[str, str]:
        return {
            **self.microsoft.environment(),
            "HUNTER_PARTNER_CENTER_ENABLED": "true",
            "HUNTER_PARTNER_CENTER_PAGE_SIZE": str(way.page_size),
            "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": str(way.width),
            "HUNTER_SYNC_START": f"{self.start:%Y-%m-%dT%H:%M:%SZ}",
            "HUNTER_DKIM_SELECTORS": "selector1",
        }

    def settings(self, way: Way) -> Settings:
        values: dict[str, Any] = {
            name.removeprefix("HUNTER_").lower(): value
            for name, value in self.variables(way).items()
            if not name.endswith("POLL_INTERVAL_SECONDS")
        }
        cache = self.folder / "token_cache"
        return Settings(**values, partner_center_poll_interval_seconds=way.width, partner_center_token_cache_path=cache)

    def make_first_part(self) -> None:
        at, world = ticks_of(self.start), self.microsoft.world
        minute = 600_000_000
        self.ids = [world.create(at + n * 3 * minute + n)["id"] for n in range(38)]
        for n in range(6):  # a bulk update: more rows at one instant than a page of 1 takes
            world.change(self.ids[n], at + 50 * minute, {"status": "Active", "substatus": "Engaged"})
        world.change(self.ids[7], at + 61 * minute, {"customerProfile/name": "Bozuk\x00"})
        self.microsoft.clock.set(self.first_part[1] + timedelta(minutes=5))

    def make_second_part(self) -> None:
        at, world = ticks_of(self.second_part[0]), self.microsoft.world
        minute = 600_000_000
        for n in range(10, 18):
            world.change(self.ids[n], at + (n - 5) * 2 * minute, {"status": "Closed", "substatus": "Won"})
        for n in (18, 19):
            team = [{"email": f"satin.alma@tasinan-{n}.com.tr"}]
            world.change(self.ids[n], at + 40 * minute + n, {"customerProfile/team": team})
        world.change(self.ids[7], at + 45 * minute, {"customerProfile/name": "Sağlam Ltd"})
        for n in range(5):
            world.create(at + 59 * minute + n)
        self.late = world.create(at - 4 * minute)["id"]  # its window was synced without it
        self.microsoft.clock.set(self.second_part[1] + timedelta(minutes=5))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("history")
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 4 * HOUR
    clock = SimulatorClock(start, frozen=True)
    with Simulator(11, start, 40, clock=clock, directory=folder / "microsoft") as microsoft:
        microsoft.entra.device_code_interval = 1
        history = History(microsoft, folder, start)
        with connect_sign_in(history.settings(WAYS[0])) as sign_in:
            code = sign_in.begin()
            microsoft.approve(code.user_code)
            sign_in.finish(code)
        yield history


@pytest.fixture(scope="module")
def dagster_home(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("dagster")
    shutil.copytree(history.folder / "token_cache", home / ".token_cache")
    return home


@pytest.fixture
def databases(sqlite: SqliteFiles, postgres_server: PostgresServer) -> Iterator[dict[str, Any]]:
    yield {"sqlite": sqlite, "postgresql": postgres_server}
    postgres_server.drop()


def test_all_ways_end_in_equal_tables(
    history: History, dagster_home: Path, databases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouses = {
        f"{kind}, {way}": (way, Warehouse.open(made.migrated()))
        for turn, (kind, made) in enumerate(databases.items())
        for number, way in enumerate(WAYS)
        if number == 0 or number % 2 == turn  # the first on both, the others on one database in turn
    }
    with dg.DagsterInstance.ephemeral() as instance:
        through_dagster = [
            (_project(history, dagster_home, instance, database.migrated(), way, monkeypatch), way)
            for database, way in (
                (databases["sqlite"], Way(7, 3600, Order.RANGE)),
                (databases["postgresql"], Way(7, 3600, Order.DESCENDING)),
            )
        ]
        for part, make_part in (
            (history.first_part, history.make_first_part),
            (history.second_part, history.make_second_part),
        ):
            make_part()
            for way, db in warehouses.values():
                settings = history.settings(way)
                for windows in way.runs(list(settings.grid.between(ticks_of(part[0]), ticks_of(part[1])))):
                    sync(db, settings, windows)
            for project, way in through_dagster:
                project.edit_env()
                for windows in way.runs(list(project.grid.between(ticks_of(part[0]), ticks_of(part[1])))):
                    outcome = project.run(windows[0], windows[-1] if len(windows) > 1 else None)
                    assert outcome.success, outcome.failure
    found = {name: _content(db) for name, (_, db) in warehouses.items()}
    found |= {f"Dagster, {way}, {n}": _content(one.warehouse) for n, (one, way) in enumerate(through_dagster)}
    reference = next(iter(found.values()))
    assert {name: said for name, one in found.items() if (said := differences(reference, one))} == {}
    assert all(len(reference[table.name]) > 1 for table in COMPARED[2:6])
    assert len(reference["quarantined_referrals"]) == 1
    everything = [db for _, db in warehouses.values()] + [one.warehouse for one, _ in through_dagster]
    for db in everything:
        with db.read() as connection:
            assert ledger.covered(connection) == [(BEGINNING, ticks_of(history.second_part[1]))]
            brought = connection.execute(
                select(schema.raw_referrals.c.late).where(schema.raw_referrals.c.referral_id == history.late)
            )
            assert list(brought.scalars()) == [True]
        db.close()


def _content(db: Warehouse) -> Contents:
    return contents(db, BOOKKEEPING | WINDOW_COLUMNS, *COMPARED)


def _project(
    history: History, home: Path, instance: dg.DagsterInstance, url: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> Project:
    monkeypatch.setenv("HUNTER_HOME", str(home))
    monkeypatch.chdir(home)
    return Project(home, {**history.variables(way), "HUNTER_DATABASE_URL": url}, instance)
