"""A resolver's time is given to one process at a time, whoever asks, by the database's clock."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, text, update

from partner_center_pipeline.defs.resources import MailResource
from partner_center_pipeline.mail import resolver
from partner_center_pipeline.mail.scanner import DOMAIN_SECONDS
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import dns_share
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import leases
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.zone import Zone

ON_POSTGRESQL = pytest.mark.postgres
RESOLVER = "192.0.2.53:53"
BLOCK = 0.02


@pytest.fixture
def shared_url(postgres: PostgresServer) -> str:
    return postgres.emptied()


@pytest.fixture
def machines(shared_url: str) -> Iterator[list[Warehouse]]:
    """The same database as two machines open it."""
    opened = [Warehouse.open(shared_url) for _ in range(2)]
    yield opened
    for one in opened:
        one.close()


def rows(warehouse: Warehouse) -> list[str]:
    with warehouse.read() as connection:
        return list(connection.execute(select(leases.c.name)).scalars())


@ON_POSTGRESQL
def test_two_machines_together_get_no_more_of_a_resolvers_time_than_there_is(machines: list[Warehouse]) -> None:
    began = time.monotonic()

    def ends(warehouse: Warehouse) -> float:
        last = 0.0
        for _ in range(10):
            last = time.monotonic() - began + dns_share.reserve(warehouse, RESOLVER, BLOCK) + BLOCK
        return last

    with ThreadPoolExecutor(2) as both:
        last = max(both.map(ends, machines))
    assert last >= 20 * BLOCK - 0.005
    assert dns_share.reserve(machines[0], "192.0.2.54:53", BLOCK) == 0, "another resolver has time of its own"


@ON_POSTGRESQL
def test_time_that_nobody_took_is_over_and_what_a_wrong_clock_wrote_holds_nothing_back(
    machines: list[Warehouse],
) -> None:
    dns_share.reserve(machines[0], RESOLVER, BLOCK)
    for by in (timedelta(hours=-1), timedelta(hours=1)):
        with machines[0].write() as connection:
            connection.execute(update(leases).values(expires_at=datetime.now(UTC) + by))
        assert dns_share.reserve(machines[1], RESOLVER, BLOCK) == pytest.approx(0, abs=0.005)


@ON_POSTGRESQL
def test_a_scan_takes_its_share_from_the_database_that_machines_share(
    shared_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "is_loopback", lambda host: False)  # the limit is for other machines' resolvers
    monkeypatch.setenv("HUNTER_DATABASE_URL", shared_url)
    with DnsServer(Zone.from_records({"a.com.tr": {"MX": [(1, "smtp.google.com")]}})) as server:
        host, port = server.address
        monkeypatch.setenv("HUNTER_DNS_RESOLVERS", f"{host}:{port}")
        with MailResource().open(Settings.load()) as scan:
            (found,) = scan(["a.com.tr"], {})
    assert found.provider == "Google"
    warehouse = Warehouse.open(shared_url)
    assert rows(warehouse) == [f"dns {host}:{port}"]
    warehouse.close()


def test_beside_a_sqlite_file_nothing_is_shared(home: Path) -> None:
    with dns_share.shared(Settings.load()) as reserve:
        assert reserve is None


def test_without_the_database_a_machine_keeps_the_limit_by_itself_and_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HUNTER_DATABASE_URL", f"postgresql://nobody@/none?host={home}")
    caplog.set_level(logging.WARNING)
    with dns_share.shared(Settings.load()) as reserve:
        assert reserve is not None
        assert [reserve(RESOLVER, BLOCK) for _ in range(3)] == [0.0] * 3
    assert len([line for line in caplog.messages if "keeps its limit by itself" in line]) == 1


@pytest.mark.slow
@ON_POSTGRESQL
@pytest.mark.parametrize("trouble", ["the server stopped", "another one holds the row"])
def test_a_database_that_does_not_answer_is_left_before_domains_count_as_unanswered(
    trouble: str, machines: list[Warehouse], shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_DATABASE_URL", shared_url)
    with dns_share.shared(Settings.load()) as reserve, machines[0].read() as other:
        assert reserve is not None
        reserve(RESOLVER, BLOCK)
        if trouble == "another one holds the row":
            other.execute(update(leases).values(holder="a machine that stopped"))
            seconds = seconds_of(lambda: reserve(RESOLVER, BLOCK))
        else:
            name = make_url(shared_url).database
            processes = "SELECT pid FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
            pids = list(other.execute(text(processes), {"name": name}).scalars())
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                seconds = seconds_of(lambda: reserve(RESOLVER, BLOCK))
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
    assert seconds < DOMAIN_SECONDS / 2


def seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
