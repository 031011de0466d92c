"""What a day's windows leave on disk after pruning stays under the bound of operations.md, "What it takes on disk"."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.runs import SqlRunStorage
from sqlalchemy import Engine, create_engine, make_url, text

from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse import retention
from partner_center_pipeline_tests.defs import test_pruning
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_pruning import both_storages, files, run_job, set_back
from partner_center_pipeline_tests.storage_bound import (
    A_RUN,
    A_VERSION,
    A_WINDOW,
    A_WINDOW_OF_A_RANGE,
    AN_ATTEMPT,
    WINDOWS_A_YEAR,
)

pytestmark = pytest.mark.slow

instance = test_pruning.instance  # the fixture

WINDOWS = 156
RANGES = ((3, 146), (147, 154))
"""The first and the last window of each run that has several; the others have a run each."""
A_PAGE = 8_192
"""Bytes of PostgreSQL's pages: what each table and index may take more by chance."""


@pytest.fixture
def long_project(
    project: Project, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """The project with windows of more than a day that are due, and its warehouse where Dagster's storage is, too."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    variables = project.variables | {"HUNTER_SYNC_START": f"{midnight - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"}
    if _engine_of_dagster(project.instance).dialect.name == "postgresql":
        variables["HUNTER_DATABASE_URL"] = request.getfixturevalue("postgres").migrated()
    made = Project(project.home, variables, project.instance)
    yield made
    made.warehouse.close()


def _engine_of_dagster(instance: dg.DagsterInstance) -> Engine:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        return connection.engine


def tables_of_warehouse(project: Project) -> dict[str, int]:
    """Bytes of each table and index of the warehouse that are in use."""
    url = make_url(Settings.load().database_url.get_secret_value())
    if url.get_backend_name() == "postgresql":
        return _tables_of_postgres(url.render_as_string(hide_password=False))
    with closing(sqlite3.connect(str(url.database))) as connection:
        return dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())


def storage_of_dagster(project: Project) -> tuple[int, int]:
    """Bytes and files of Dagster's storage."""
    kept = files(project)
    engine = _engine_of_dagster(project.instance)
    rows = 0
    if engine.dialect.name == "postgresql":
        rows = sum(_tables_of_postgres(engine.url.render_as_string(hide_password=False)).values())
    return sum(kept.values()) + rows, len(kept)


def _tables_of_postgres(url: str) -> dict[str, int]:
    """Bytes of each table with its indexes, without the space that PostgreSQL keeps free for new rows."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM FULL"))
        sizes = text(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        found: dict[str, Any] = {row[0]: row[1] for row in connection.execute(sizes)}
    engine.dispose()
    return found


def keep_what_is_kept(project: Project, runs: list[str]) -> None:
    """Let these runs be old, and do what the nightly job does to Dagster's storage and to the warehouse."""
    set_back(project, 20, *runs)
    settings = Settings.load()
    retention.forget(project.warehouse, settings, datetime.now(UTC) + timedelta(days=settings.attempts_kept_days + 1))
    run_job(project)


@pytest.mark.long
@both_storages
def test_a_days_windows_leave_no_more_than_the_stated_bytes_after_pruning(long_project: Project) -> None:
    project = long_project
    runs = [project.run(project.window(number)).run_id for number in range(2)]
    keep_what_is_kept(project, runs)
    before, counts = tables_of_warehouse(project), project.counts()
    dagster_before, files_before = storage_of_dagster(project)

    runs = [runs[-1], project.run(project.window(2)).run_id]
    for first, last in RANGES:
        outcome = project.run(project.window(first), project.window(last))
        assert outcome.success, outcome.failure
        runs.append(outcome.run_id)
    newest = project.run(project.window(WINDOWS - 1))
    assert newest.success
    keep_what_is_kept(project, runs)

    windows = WINDOWS - 2
    versions = project.counts()["raw_referrals"] - counts["raw_referrals"]
    assert versions > 0
    after = tables_of_warehouse(project)
    grown = sum(after.values()) - sum(before.values())
    assert grown < windows * A_WINDOW + versions * A_VERSION + A_PAGE * len(after) / 4, {
        name: size - before.get(name, 0) for name, size in after.items() if size != before.get(name, 0)
    }
    assert after["sync_windows"] - before["sync_windows"] < windows * A_WINDOW
    dagster_after, files_after = storage_of_dagster(project)
    one_run_of_pruning = 200_000
    assert dagster_after - dagster_before < one_run_of_pruning
    assert files_after - files_before <= 4


def test_operations_states_the_bound_that_is_held() -> None:
    page = (PROJECT_ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("## What it takes on disk")[2].partition("\n## ")[0]
    for said in (
        f"{A_WINDOW} bytes for each window",
        f"{A_VERSION // 1000} KB for each version",
        f"{WINDOWS_A_YEAR:,} windows",
        f"{AN_ATTEMPT} bytes each",
        f"{A_RUN // 1000} KB for each run",
        f"{A_WINDOW_OF_A_RANGE // 1000} KB for each window",
        f"{WINDOWS_A_YEAR * A_WINDOW / 1e6:.0f} MB a year",
    ):
        assert re.search(re.escape(said), section), said
