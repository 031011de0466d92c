"""Which databases the installations of some tests have: SQLite, or PostgreSQL for the warehouse and Dagster's storage.

TESTS_STORAGE=postgresql in the environment gives a home folder two databases of the tests' server and `dagster.yaml`
of `deploy/`, as an operator does; otherwise it has the embedded ones. Not here: the server (`postgres`).
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from partner_center_pipeline.settings import PROJECT_ROOT

VARIABLE: Final = "TESTS_STORAGE"

_given: Final[dict[Path, Mapping[str, str]]] = {}


def is_postgresql() -> bool:
    """Whether PostgreSQL is asked for. Raises RuntimeError for a word that means nothing."""
    wanted = os.environ.get(VARIABLE) or "sqlite"
    if wanted not in ("sqlite", "postgresql"):
        raise RuntimeError(f"{VARIABLE} is {wanted!r}; it may be sqlite or postgresql")
    return wanted == "postgresql"


def give(home: Path, warehouse: str, dagster: str) -> Mapping[str, str]:
    """Let a home folder use a migrated warehouse and a database for Dagster; return the variables that name them."""
    shutil.copyfile(PROJECT_ROOT / "deploy/dagster.yaml", home / "dagster.yaml")
    _given[home] = {
        "HUNTER_DATABASE_URL": warehouse,
        "DAGSTER_PG_URL": dagster.replace("postgresql+psycopg://", "postgresql+psycopg2://"),
    }
    return _given[home]


def variables_of(home: Path) -> Mapping[str, str]:
    """Return the variables that a process of this home folder needs; none where its databases are SQLite."""
    return _given.get(home, {})
