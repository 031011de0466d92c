"""What any test may need: a home folder of its own, and a database of each kind.

A test that takes `database_url` or `warehouse` runs once on SQLite and once on a real PostgreSQL (marked `postgres`),
on an empty or a migrated database of its own. Without any PostgreSQL such a test fails and says what to install.
"""

import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Protocol
from zlib import crc32

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from sqlalchemy import make_url

from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import metadata
from partner_center_pipeline_tests import storage as storage_of_tests
from partner_center_pipeline_tests.postgres import running_server
from partner_center_pipeline_tests.storage import is_postgresql

_MEMORY: Final = Path("/dev/shm")
_MEMORY_NEEDED: Final = 4 << 30
"""Bytes that must be free for the temporary folders of tests to be made in memory."""

_ALL_SLOW: Final = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)
"""A module of which each test is slow."""

_ALL_LONG: Final = re.compile(r"^pytestmark = \[pytest\.mark\.slow, pytest\.mark\.long\b", re.MULTILINE)
"""A module of which each test is long."""

_EMPTY_WHAT_IS_FILLED: Final = """
DO $$
DECLARE one record; is_filled boolean;
BEGIN
  FOR one IN SELECT format('%I', relname) AS name FROM pg_class WHERE relname = ANY (ARRAY[{tables}]) LOOP
    EXECUTE 'SELECT EXISTS (SELECT FROM ' || one.name || ')' INTO is_filled;
    IF is_filled THEN EXECUTE 'TRUNCATE ' || one.name || ' CASCADE'; END IF;
  END LOOP;
  FOR one IN SELECT format('%I', sequencename) AS name FROM pg_sequences WHERE last_value IS NOT NULL LOOP
    EXECUTE 'ALTER SEQUENCE ' || one.name || ' RESTART';
  END LOOP;
END $$
"""
"""Empties the tables that have rows: one TRUNCATE of all of them makes 80 files anew, for each test."""


settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "new", derandomize=False, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")
"""Properties are tried with the same examples each time, on a slow machine too. `--hypothesis-profile=new` draws new
ones, as a scheduled job does; what it finds becomes an explicit example (suites.md, "The same examples each time")."""


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the long tests where nothing is named, make the tests' folders in memory, and let all hear Ctrl-C.

    In memory SQLite waits for no disk, at thousands of commits, and PostgreSQL makes a database twenty times as fast. A
    killed process loses nothing that it gave to the kernel, so no test needs a disk. A shell that starts the tests in
    the background lets them ignore Ctrl-C, and whatever they start inherits that.
    """
    leave_out_long_tests(config)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "TMPDIR" not in os.environ and _MEMORY.is_dir():
        disk = os.statvfs(_MEMORY)
        if disk.f_bavail * disk.f_frsize >= _MEMORY_NEEDED and not disk.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = str(_MEMORY)
            tempfile.tempdir = None  # it may have been asked for already


def leave_out_long_tests(config: pytest.Config) -> None:
    """Do not run the long tests, unless the command names paths, a marker or a word."""
    option = config.option
    if config.args_source is config.ArgsSource.TESTPATHS and not option.markexpr and not option.keyword:
        option.markexpr = "not long"


def pytest_sessionstart() -> None:
    """Let no example depend on which modules are loaded when it is drawn.

    Hypothesis draws constants that it finds in the project's loaded modules. Which are loaded differs with the order of
    the tests, so with the worker that runs them, and a new constant anywhere would change the examples of every test.
    """
    if settings.default is not None and settings.default.derandomize:
        vars(providers)["is_local_module_file"] = lambda _: False


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module of which no test is wanted: some load a browser or a web server."""
    wanted = config.option.markexpr
    if collection_path.suffix != ".py" or not wanted:
        return None
    text = collection_path.read_text(encoding="utf-8")
    if wanted == "long":
        return ("pytest.mark.long" not in text and collection_path.name.startswith("test_")) or None
    if wanted.startswith("not slow"):
        return _ALL_SLOW.search(text) is not None or None
    return (wanted == "not long" and _ALL_LONG.search(text) is not None) or None


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, which is never garbage, and look seldom at the rest.

    At its usual pace it takes a tenth of the time of tests that run Dagster's jobs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: workers more than processors, as tests wait for servers, and the slow ones much longer.

    Each worker costs some seconds of a processor to read the tests, and has a PostgreSQL of its own.
    """
    return (os.cpu_count() or 1) + (1 if "not slow" in config.option.markexpr else 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests that have a worker to themselves first, then the other slow ones: no worker ends with them.

    Slow ones come by file in an order that means nothing: those that wait for long are most of the command line's, and
    the processor would have nothing to do while all of them wait.
    """

    def place(item: pytest.Item) -> tuple[bool, int]:
        is_slow = item.get_closest_marker("slow") is not None
        if item.get_closest_marker("xdist_group") is not None:
            return False, 0
        return True, crc32(item.path.name.encode()) if is_slow else 1 << 32

    items.sort(key=place)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, the working directory too; no HUNTER_ variable but the one that names it."""
    for name in [name for name in os.environ if name.upper().startswith("HUNTER_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HUNTER_HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


class Databases(Protocol):
    """Makes databases of one kind. They are gone after the test."""

    def empty(self) -> str:
        """The URL of a new empty database."""
        ...

    def migrated(self) -> str:
        """The URL of a new database with the warehouse's tables, empty."""
        ...

    def emptied(self) -> str:
        """As `migrated`, but on a server perhaps the one that the test before had: for tests that only write rows."""
        ...


@dataclass
class SqliteFiles:
    """SQLite files in a folder; the migrated ones are copies of one."""

    folder: Path
    template: Path
    numbers: "count[int]"

    def empty(self) -> str:
        """A file that is not there yet."""
        return f"sqlite:///{self._path()}"

    def migrated(self) -> str:
        """A copy of the template."""
        path = self._path()
        shutil.copyfile(self.template, path)
        return f"sqlite:///{path}"

    def emptied(self) -> str:
        """A copy of the template."""
        return self.migrated()

    def _path(self) -> Path:
        return self.folder / f"warehouse{next(self.numbers)}.db"


@dataclass
class PostgresServer:
    """Databases on a running server; the migrated ones are copies of one."""

    admin: str
    numbers: "count[int]"
    made: list[str]

    def empty(self) -> str:
        """A new database."""
        return self._create("template0")

    def migrated(self) -> str:
        """A copy of the template."""
        return self._create("warehouse_template")

    def emptied(self) -> str:
        """The one that is kept for this. Emptying it takes a fraction of the time that a copy takes."""
        tables = ", ".join(f"'{name}'" for name in metadata.tables)
        self.run(_EMPTY_WHAT_IS_FILLED.replace("{tables}", tables), "warehouse_kept")
        return self._url("warehouse_kept")

    def lasting(self, *, migrated: bool = False) -> str:
        """As `empty`, or `migrated`, until the server ends."""
        url = self.migrated() if migrated else self.empty()
        self.made.pop()
        return url

    def make_templates(self) -> None:
        """Migrate the database that `migrated` copies, and copy the one that `emptied` empties."""
        self.run("CREATE DATABASE warehouse_template TEMPLATE template0")
        warehouse = Warehouse(self._url("warehouse_template"))
        warehouse.migrate()
        warehouse.close()
        self.run("CREATE DATABASE warehouse_kept TEMPLATE warehouse_template")

    def drop(self) -> None:
        """Drop what was made."""
        for name in self.made:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")
        self.made.clear()

    def run(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside any transaction, as the superuser."""
        url = make_url(self.admin)
        with psycopg.connect(
            host=str(url.query["host"]), user=url.username, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def _create(self, template: str) -> str:
        name = f"test{next(self.numbers)}"
        # Copying files is four times faster than the way through the log, the default.
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        self.made.append(name)
        return self._url(name)

    def _url(self, name: str) -> str:
        return make_url(self.admin).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    warehouse = Warehouse(f"sqlite:///{path}")
    warehouse.migrate()
    warehouse.close()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, reachable through a socket in a temporary folder, until the tests end."""
    with running_server() as url:
        server = PostgresServer(url, count(), [])
        server.make_templates()
        yield server


@pytest.fixture(scope="session")
def storage(request: pytest.FixtureRequest) -> Callable[[Path], Mapping[str, str]]:
    """Gives a home folder the databases that TESTS_STORAGE asks for; returns the variables that its processes need."""

    def give(home: Path) -> Mapping[str, str]:
        if not is_postgresql():
            return {}
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return storage_of_tests.give(home, server.lasting(migrated=True), server.lasting())

    return give


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """PostgreSQL databases for one test."""
    yield postgres_server
    postgres_server.drop()


@pytest.fixture
def stored_home(home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder with the databases that TESTS_STORAGE asks for, also for this process; gone after the test."""
    if is_postgresql():
        server: PostgresServer = request.getfixturevalue("postgres")
        for name, value in storage_of_tests.give(home, server.migrated(), server.empty()).items():
            monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> SqliteFiles:
    """SQLite files for one test."""
    return SqliteFiles(tmp_path, sqlite_template, count())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Databases of each kind."""
    made: Databases = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def database_url(databases: Databases) -> str:
    """An empty database of each kind."""
    return databases.empty()


@pytest.fixture
def warehouse(databases: Databases) -> Iterator[Warehouse]:
    """An open warehouse without a row, on a database of each kind. For tests that leave its schema alone."""
    opened = Warehouse.open(databases.emptied())
    yield opened
    opened.close()
