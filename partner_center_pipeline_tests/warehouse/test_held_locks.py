"""What a process or a machine holds on PostgreSQL is free soon after it hangs, or lost its power or its cable."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from sqlalchemy import text

from partner_center_pipeline.warehouse import lease, locks
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.time_limits import TimeLimits
from partner_center_pipeline.warehouse.tokens import SharedSignIn
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.machines.network import machines, why_no_namespaces
from partner_center_pipeline_tests.machines.services import Postgres

pytestmark = pytest.mark.postgres

NO_NAMESPACES = why_no_namespaces()
LIMITS = TimeLimits(silence_seconds=6, lock_seconds=30)

HOLDING = """
import sys, time
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.time_limits import TimeLimits
from partner_center_pipeline.warehouse.tokens import SharedSignIn

warehouse = Warehouse.open(sys.argv[1], TimeLimits(silence_seconds=6))
with warehouse.write() if sys.argv[2] == "writing" else SharedSignIn(warehouse).locked(90):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def two(postgres: PostgresServer) -> Iterator[tuple[Warehouse, Warehouse]]:
    """The same database as two processes open it."""
    url = postgres.emptied()
    opened = Warehouse.open(url, LIMITS), Warehouse.open(url, LIMITS)
    yield opened
    for one in opened:
        one.close()


def test_a_writer_that_does_nothing_for_long_keeps_the_others_off_no_longer(
    two: tuple[Warehouse, Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that was stopped, or waits for something that does not come."""
    monkeypatch.setattr(locks, "IDLE_SECONDS", 1)
    hanging, other = two
    held, may_go_on = Event(), Event()

    def hang() -> None:
        with hanging.write() as connection:
            held.set()
            assert may_go_on.wait(60)
            connection.execute(text("SELECT 1"))

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(hang)
        assert held.wait(30)
        began = time.monotonic()
        lease.beat(other, "of another machine", lambda: datetime.now(UTC))
        assert time.monotonic() - began < LIMITS.lock_seconds - 5
        may_go_on.set()
        with pytest.raises(WarehouseError, match="nothing of its transaction was kept"):
            writer.result(60)
    with hanging.write() as connection:  # it goes on with another connection
        connection.execute(text("SELECT 1"))


def test_who_lost_the_lock_of_a_renewal_writes_nothing_over_what_another_one_wrote(
    two: tuple[Warehouse, Warehouse], postgres: PostgresServer
) -> None:
    first, second = (SharedSignIn(each) for each in two)

    def renew() -> None:
        with first.locked(20):
            postgres.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            with second.locked(20):
                second.write(b"newer")
            first.write(b"older")

    with pytest.raises(WarehouseError, match="nothing of its transaction was kept"):
        renew()
    assert second.read() == b"newer"


@pytest.mark.slow
@pytest.mark.skipif(NO_NAMESPACES is not None, reason=str(NO_NAMESPACES))
@pytest.mark.parametrize("what", ["writing", "signing in"])
def test_what_a_machine_holds_that_lost_its_power_is_free_soon(what: str) -> None:
    """No packet says that it is gone: the server has to ask. By Linux's defaults that would be after two hours."""
    with (
        TemporaryDirectory() as folder,  # not pytest's, which is closed to the server's user
        machines(["db", "one", "other"], own_networks=True) as made,
    ):
        Path(folder).chmod(0o755)
        server = Postgres(made["db"], Path(folder, "postgres"), 6543)
        try:
            Warehouse(server.local_url("hunter")).migrate()
            url = server.url("psycopg", "hunter")
            command = [sys.executable, "-u", "-c", HOLDING, url, what]
            process = made["one"].do(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            made["one"].connect(on=False)

            def goes_on() -> float:
                began = time.monotonic()
                with closing(Warehouse.open(url, LIMITS)) as warehouse:
                    if what == "writing":
                        lease.beat(warehouse, "of another machine", lambda: datetime.now(UTC))
                    else:
                        with SharedSignIn(warehouse).locked(LIMITS.lock_seconds):
                            pass
                return time.monotonic() - began

            assert made["other"].do(goes_on) < 4 * LIMITS.silence_seconds
            process.kill()
            process.communicate()
        finally:
            server.stop()
