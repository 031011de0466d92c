"""A home folder whose `.env` points at the local Microsoft, signed in or not."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from partner_center_pipeline.cli import main
from partner_center_pipeline_tests.conftest import Databases, SqliteFiles
from partner_center_pipeline_tests.defs.conftest import microsoft, running_microsoft, signed_in, sync_start
from partner_center_simulator import Simulator

if TYPE_CHECKING:
    from partner_center_pipeline_tests.cli.deciding import Decided

__all__ = ["microsoft", "running_microsoft", "signed_in", "sync_start"]  # fixtures of both folders


class Home:
    """A home folder, the variables of its `.env`, and commands run there in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.variables: dict[str, str] = {}

    def edit_env(self, **changes: str | None) -> None:
        """Save `.env` with variables changed, or taken out (None)."""
        self.variables.update({name: value for name, value in changes.items() if value is not None})
        for name in [name for name, value in changes.items() if value is None]:
            self.variables.pop(name, None)
        text = "".join(f"{name}='{value}'\n" for name, value in self.variables.items())
        (self.path / ".env").write_text(text, encoding="utf-8")

    def invoke(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command that does not start Dagster; `stdin` is what it reads from standard input."""
        return CliRunner().invoke(main, arguments, input=stdin)


@pytest.fixture
def unsigned(home: Path, microsoft: Simulator) -> Home:
    """Everything is configured and switched on, from an hour ago or a little more; nobody has signed in."""
    an_hour_ago = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    place = Home(home)
    place.edit_env(
        **microsoft.environment(),
        HUNTER_PARTNER_CENTER_ENABLED="true",
        HUNTER_SYNC_START=f"{an_hour_ago:%Y-%m-%dT%H:%M:%SZ}",
    )
    return place


@pytest.fixture
def ready(unsigned: Home, signed_in: Path) -> Home:
    """Everything is configured, switched on and signed in."""
    shutil.copytree(signed_in, unsigned.path / ".token_cache")
    return unsigned


@pytest.fixture
def decided(home: Path, databases: Databases) -> "Iterator[Decided]":
    """Leads and companies about which a person decides, on a database of each kind."""
    from partner_center_pipeline_tests.cli.deciding import Decided  # it needs `Home`

    made = Decided(home, databases.emptied())
    yield made
    made.warehouse.close()


@pytest.fixture
def on_sqlite(home: Path, sqlite: SqliteFiles) -> "Iterator[Decided]":
    """The same where it does not matter what holds the rows."""
    from partner_center_pipeline_tests.cli.deciding import Decided  # it needs `Home`

    made = Decided(home, sqlite.emptied())
    yield made
    made.warehouse.close()
