"""Every wait for PostgreSQL ends, in words: a stopped server, a lock that is held, a statement without end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from partner_center_pipeline.warehouse import time_limits
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.time_limits import TimeLimits
from partner_center_pipeline_tests.conftest import PostgresServer

pytestmark = pytest.mark.postgres

LIMITS = TimeLimits(connect_seconds=5, lock_seconds=1, statement_seconds=1)


@pytest.fixture
def limited(postgres: PostgresServer) -> Iterator[Warehouse]:
    opened = Warehouse.open(postgres.emptied(), LIMITS)
    yield opened
    opened.close()


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """Stop a process of the server while the block runs: its sockets stay open, and nothing comes."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def server_process(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)


@pytest.mark.parametrize("wait", [lambda c: c.execute(text("SELECT 1")), lambda c: c.commit()], ids=["query", "commit"])
def test_a_server_that_stopped_is_left_within_the_stated_time(
    limited: Warehouse, monkeypatch: pytest.MonkeyPatch, wait: Callable[[Connection], object]
) -> None:
    monkeypatch.setattr(time_limits, "_GRACE_SECONDS", 0.5)
    limited.close()
    processes = []

    def wait_for_one_that_stopped() -> None:
        with limited.read() as reading:
            processes.append(server_process(reading))
            with stopped(processes[0]):
                wait(reading)

    began = time.monotonic()
    with pytest.raises(WarehouseError, match=r"the server did not answer for 1\.5 seconds"):
        wait_for_one_that_stopped()
    assert time.monotonic() - began < 20
    with limited.read() as again:
        assert server_process(again) not in processes


def test_a_statement_without_end_and_a_lock_that_is_held_end_in_postgres_own_words(limited: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="statement timeout"), limited.read() as reading:
        reading.execute(text("SELECT pg_sleep(60)"))
    patient = Warehouse(limited.url, replace(LIMITS, statement_seconds=60))
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with limited.write():
            held.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        with pytest.raises(WarehouseError, match="lock timeout"), patient.write():
            pass
    finally:
        over.set()
        holder.join()
        patient.close()


def test_what_the_address_itself_says_goes_before_the_settings(limited: Warehouse) -> None:
    own = Warehouse(f"{limited.url}&connect_timeout=7&options=-c%20statement_timeout%3D77s", LIMITS)
    with own.read() as reading:
        shown = [reading.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")]
        assert shown == ["77s", "1s"]
    own.close()


def test_postgresql_compiles_no_plan_for_it(limited: Warehouse) -> None:
    """With ten thousand companies, compiling the plan of `company_card` took 2.6 s, and running it a few ms."""
    with limited.read() as reading:
        assert reading.scalar(text("SHOW jit")) == "off"


def test_a_lost_connection_is_told_with_its_reason(limited: Warehouse) -> None:
    def lose() -> None:
        with limited.read() as one:
            with limited.read() as other:
                other.execute(text("SELECT pg_terminate_backend(:process)"), {"process": server_process(one)})
            one.execute(text("SELECT 1"))

    with pytest.raises(WarehouseError, match=r"terminating connection|closed the connection"):
        lose()
