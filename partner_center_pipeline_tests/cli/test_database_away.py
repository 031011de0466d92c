"""A PostgreSQL that cuts all connections in the middle of a sync, as a restart does, is no traceback and no loss."""

import time
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def referrals(warehouse: Warehouse) -> set[str]:
    with warehouse.read() as connection:
        return set(connection.execute(select(schema.raw_referrals.c.referral_id)).scalars())


def test_a_database_that_restarts_in_a_sync_is_said_in_words_and_the_next_one_goes_on(
    ready: Home, microsoft: Simulator, postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.migrated()
    name = make_url(url).database
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10", HUNTER_DATABASE_URL=url)
    microsoft.faults.slow_seconds = 0.3
    warehouse = Warehouse(url)
    log = tmp_path / "log"
    with log.open("w") as output, running(ready.path, output, "sync") as process:
        deadline = time.monotonic() + 60
        while len(referrals(warehouse)) < 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        warehouse.close()
        postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        time.sleep(2)
        postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        code = process.wait(120)
    said = log.read_text()
    assert "Traceback" not in said, said[-3000:]
    assert "Exception in thread" not in said
    assert code == 1, said
    assert "refused a statement" in said or "cannot be used" in said
    assert "run again" in said or "that the server runs" in said
    microsoft.faults.clear()
    again = run(ready.path, "sync", "--json")
    assert again.returncode == 0, again.stderr
    assert len(referrals(warehouse)) >= 120
    warehouse.close()
