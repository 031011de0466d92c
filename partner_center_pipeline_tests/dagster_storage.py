"""Dagster's SQLite storages in the processes of tests: without what they make anew for each event and each run.

They make an engine for each event and each question, which compiles each statement again, and read all of Dagster's
migrations for each run, as each has a file of its own.
"""

from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import alembic.util
import dagster
from dagster._core.storage.event_log.sqlite import consolidated_sqlite_event_log, sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Engine, NullPool, Pool, create_engine

_FILES: Final = 64
"""Engines that are kept: a run's file is used while it runs, and seldom later."""

_MIGRATIONS: Final = Path(dagster.__file__).parent
_load = alembic.util.load_python_file


def keep_engines(pool: type[Pool] | None = NullPool) -> None:
    """Let Dagster's SQLite storages keep an engine per file, and read Dagster's migrations once in this process.

    `pool` None keeps connections, too: for a process that ends before its files are removed.
    """

    @lru_cache(_FILES)
    def engine(url: str) -> Engine:
        return create_engine(url, poolclass=pool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})

    for module in (consolidated_sqlite_event_log, sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = lambda url, **_: engine(url)  # type: ignore[attr-defined]
    alembic.util.load_python_file = _load_file  # type: ignore[assignment]


def _load_file(folder: Any, name: Any) -> ModuleType:
    """Load a migration of Dagster once. Any other file, such as `env.py`, runs each time that it is loaded."""
    is_migration = _MIGRATIONS in Path(folder).parents and Path(folder).name == "versions"
    return _load_once(folder, name) if is_migration else _load(folder, name)


@lru_cache(None)
def _load_once(folder: Any, name: Any) -> ModuleType:
    return _load(folder, name)
