"""Behind a pooler that gives one session of PostgreSQL to several processes in turn (PgBouncer, transaction mode)."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from sqlalchemy import make_url

from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.conftest import PostgresServer

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed: `apt-get install pgbouncer` on Debian"),
]

WORK = """
import sys, time
from datetime import UTC, datetime
from partner_center_pipeline.warehouse import dns_share, lease
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import breakers

warehouse, name = Warehouse.open(sys.argv[1]), sys.argv[2]
now = lambda: datetime.now(UTC)
for turn in range(40):
    lease.beat(warehouse, name, now)
    dns_share.reserve(warehouse, "192.0.2.53:53", 0.001)
    lease.Lease(warehouse, name, now, name=name).acquire(0, time.sleep)
    with warehouse.write() as connection:
        upsert(connection, breakers, [{"name": name, "failures": turn}])
"""


@pytest.fixture
def through(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database behind PgBouncer, with two sessions of PostgreSQL for all."""
    url = make_url(postgres.emptied())
    port = free_port()
    with TemporaryDirectory() as made:  # not pytest's folder: only its owner may enter that one
        folder = Path(made)
        folder.chmod(0o777)
        (folder / "users.txt").write_text('"postgres" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"""[databases]
{url.database} = host={url.query["host"]} dbname={url.database} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = options
"""
        )
        process = subprocess.Popen(
            [str(PGBOUNCER), "-q", "-u", "nobody", str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL
        )
        try:
            address = f"postgres@127.0.0.1:{port}/{url.database}"
            wait_until_it_answers(f"postgresql://{address}")
            yield f"postgresql+psycopg://{address}"
        finally:
            process.terminate()
            process.wait()


def wait_until_it_answers(address: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def test_processes_side_by_side_run_their_own_statements(through: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WORK, through, f"p{number}"], stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for process in processes:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said[-2000:]
