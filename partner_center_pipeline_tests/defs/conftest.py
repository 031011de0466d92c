"""One local Microsoft for the folder, and a fresh project that is signed in to it for each test."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from partner_center_pipeline.defs.told_failure import show_stacks
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator


@pytest.fixture(scope="session")
def sync_start() -> datetime:
    """An hour before the midnight two days ago: more than two days of windows are due at any hour."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2, hours=1)


@pytest.fixture(scope="session")
def running_microsoft(sync_start: datetime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    directory = tmp_path_factory.mktemp("microsoft")
    now = datetime.now(UTC)
    with Simulator(7, now, 120, recent_from=sync_start, directory=directory) as simulator:
        simulator.entra.device_code_interval = 1
        yield simulator


@pytest.fixture
def microsoft(running_microsoft: Simulator) -> Iterator[Simulator]:
    """The local Microsoft, without faults, changes or other tests' referrals, and on time."""
    yield running_microsoft
    running_microsoft.world.reset()
    running_microsoft.faults.clear()
    running_microsoft.clock.set(datetime.now(UTC))


@pytest.fixture(scope="session")
def signed_in(running_microsoft: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token cache folder that holds a sign-in."""
    folder = tmp_path_factory.mktemp("signed_in") / "token_cache"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HUNTER_")]:
            patch.delenv(name)
        patch.setenv("HUNTER_HOME", str(folder.parent))
        for name, value in running_microsoft.environment().items():
            patch.setenv(name, value)
        patch.setenv("HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH", str(folder))
        with connect_sign_in(Settings.load()) as sign_in:
            code = sign_in.begin()
            running_microsoft.approve(code.user_code)
            sign_in.finish(code)
    return folder


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dagster's storage on disk as it is before the first run; making it takes longer than copying it."""
    folder = tmp_path_factory.mktemp("history")
    with _stored_in(folder) as instance:
        instance.get_runs(limit=1)
        instance.get_backfills(limit=1)
    return folder


@pytest.fixture
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage: in memory, which takes half the time, or on disk where the test's marker asks for it."""
    if request.node.get_closest_marker("dagster_on_disk") is None:
        made = dg.DagsterInstance.ephemeral()
    else:
        history = tmp_path / "history"
        shutil.copytree(request.getfixturevalue("empty_history"), history)
        made = _stored_in(history)
    with made:
        yield made


def _stored_in(folder: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


@pytest.fixture
def project(
    microsoft: Simulator,
    signed_in: Path,
    sync_start: datetime,
    stored_home: Path,
    sqlite_template: Path,
    instance: dg.DagsterInstance,
) -> Iterator[Project]:
    """A project in a home folder of its own, signed in and switched on, that has synced nothing yet."""
    home = stored_home
    shutil.copytree(signed_in, home / ".token_cache")
    (home / ".hunter").mkdir()
    shutil.copyfile(sqlite_template, home / ".hunter/hunter.db")  # migrating one takes 0.2 s
    variables = {
        **microsoft.environment(),
        "HUNTER_PARTNER_CENTER_ENABLED": "true",
        "HUNTER_SYNC_START": f"{sync_start:%Y-%m-%dT%H:%M:%SZ}",
    }
    project = Project(home, variables, instance)
    yield project
    project.warehouse.close()
    show_stacks()  # of the tests to come


@pytest.fixture
def stored(project: Project, databases: Databases) -> Iterator[Project]:
    """The project with its warehouse on a database of each kind, which may be migrated."""
    variables = {**project.variables, "HUNTER_DATABASE_URL": databases.migrated()}
    other = Project(project.home, variables, project.instance)
    yield other
    other.warehouse.close()
