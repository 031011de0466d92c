"""One fetch at a time: a lease that a killed run cannot keep, and that a sleeper cannot write under."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse import lease
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import LEASE_SECONDS, Lease, LeaseLostError, heartbeats, renewed
from partner_center_pipeline.warehouse.schema import leases, run_heartbeats
from partner_center_pipeline_tests.conftest import PostgresServer, SqliteFiles
from partner_center_pipeline_tests.warehouse.rows import undone


def utc() -> datetime:
    return datetime.now(UTC)


def held_by(warehouse: Warehouse, run_id: str) -> Lease:
    return Lease(warehouse, run_id, utc)


def let_time_pass(warehouse: Warehouse, seconds: float) -> None:
    """Set everything kept about leases and signs of life so far back."""
    with warehouse.write() as connection:
        for row in connection.execute(select(leases)).all():
            earlier = row.expires_at - timedelta(seconds=seconds)
            connection.execute(update(leases).where(leases.c.name == row.name).values(expires_at=earlier))
        for row in connection.execute(select(run_heartbeats)).all():
            earlier = row.seen_at - timedelta(seconds=seconds)
            connection.execute(
                update(run_heartbeats).where(run_heartbeats.c.run_id == row.run_id).values(seen_at=earlier)
            )


def set_back(warehouse: Warehouse, what: str, seconds: float) -> None:
    """Set those rows so far back whose run begins with `what`."""
    with warehouse.write() as connection:
        for row in connection.execute(select(run_heartbeats).where(run_heartbeats.c.run_id.startswith(what))).all():
            earlier = row.seen_at - timedelta(seconds=seconds)
            connection.execute(
                update(run_heartbeats).where(run_heartbeats.c.run_id == row.run_id).values(seen_at=earlier)
            )


def test_one_run_holds_it_and_the_other_is_told_which(warehouse: Warehouse) -> None:
    waited: list[float] = []
    held_by(warehouse, "first").acquire(0, waited.append)
    with pytest.raises(LeaseLostError, match="run first is fetching"):
        held_by(warehouse, "second").acquire(3, waited.append)
    assert sum(waited) == 3
    held_by(warehouse, "first").release()
    held_by(warehouse, "second").acquire(0, waited.append)


def test_the_same_run_may_take_it_again(warehouse: Warehouse) -> None:
    held_by(warehouse, "first").acquire(0, time.sleep)
    held_by(warehouse, "first").acquire(0, time.sleep)


def test_a_holder_that_falls_silent_loses_it_and_can_write_no_more(warehouse: Warehouse) -> None:
    sleeper, other = held_by(warehouse, "sleeper"), held_by(warehouse, "other")
    sleeper.acquire(0, time.sleep)
    let_time_pass(warehouse, LEASE_SECONDS)
    other.acquire(0, time.sleep)
    with pytest.raises(LeaseLostError, match="another one took over"), warehouse.write() as connection:
        sleeper.confirm(connection)
    sleeper.release()  # takes nothing from the other
    with warehouse.write() as connection:
        other.confirm(connection)


def test_a_holder_that_was_cut_off_asks_nothing_before_it_has_the_lease_again(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = time.monotonic()
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: seconds))
    cut_off, other = held_by(warehouse, "cut off"), held_by(warehouse, "other")
    cut_off.acquire(0, time.sleep)
    let_time_pass(warehouse, LEASE_SECONDS)
    other.acquire(0, time.sleep)
    seconds += lease.ASKING_SECONDS  # not longer ago than that: what was asked is answered before the lease ends
    cut_off.hold()
    seconds += 1
    with pytest.raises(LeaseLostError, match="another one took over"):
        cut_off.hold()
    other.renew()
    other.hold()


def test_a_lease_that_was_never_taken_lets_nothing_be_asked(warehouse: Warehouse) -> None:
    with pytest.raises(LeaseLostError):
        held_by(warehouse, "nobody").hold()


def test_a_holder_that_overslept_keeps_it_while_nobody_took_it(warehouse: Warehouse) -> None:
    sleeper = held_by(warehouse, "sleeper")
    sleeper.acquire(0, time.sleep)
    let_time_pass(warehouse, 2 * LEASE_SECONDS)
    with warehouse.write() as connection:
        sleeper.confirm(connection)
    with pytest.raises(LeaseLostError):
        held_by(warehouse, "other").acquire(0, time.sleep)


@pytest.fixture
def on_a_server(postgres: PostgresServer) -> Iterator[Warehouse]:
    """A warehouse that machines share whose clocks differ."""
    opened = Warehouse.open(postgres.emptied())
    yield opened
    opened.close()


def an_hour_behind() -> datetime:
    return utc() - timedelta(hours=1)


def an_hour_ahead() -> datetime:
    return utc() + timedelta(hours=1)


@pytest.mark.postgres
class TestTheServersClock:
    """On PostgreSQL no machine's own clock decides."""

    def test_a_machine_that_is_ahead_takes_no_lease_that_lasts(self, on_a_server: Warehouse) -> None:
        held_by(on_a_server, "first").acquire(0, time.sleep)
        with pytest.raises(LeaseLostError):
            Lease(on_a_server, "second", an_hour_ahead).acquire(0, time.sleep)

    def test_a_machine_that_is_behind_holds_its_lease_as_long_as_others(self, on_a_server: Warehouse) -> None:
        Lease(on_a_server, "first", an_hour_behind).acquire(0, time.sleep)
        with pytest.raises(LeaseLostError):
            held_by(on_a_server, "second").acquire(0, time.sleep)

    @pytest.mark.parametrize("clock", [an_hour_behind, an_hour_ahead])
    def test_a_renewal_lasts_from_the_servers_time_on(
        self, on_a_server: Warehouse, clock: Callable[[], datetime]
    ) -> None:
        held = Lease(on_a_server, "first", clock)
        held.acquire(0, time.sleep)
        before = utc()
        with on_a_server.write() as connection:
            held.confirm(connection)
        with on_a_server.read() as connection:
            until = connection.execute(select(leases.c.expires_at)).scalar_one()
        assert before <= until - timedelta(seconds=LEASE_SECONDS) <= utc()

    @pytest.mark.parametrize("clock", [an_hour_behind, an_hour_ahead])
    def test_whether_a_run_is_dead_is_seen_alike_by_all_machines(
        self, on_a_server: Warehouse, clock: Callable[[], datetime]
    ) -> None:
        with heartbeats(on_a_server, "run", clock):
            pass
        for other in (clock, utc, an_hour_ahead):
            assert lease.dead(on_a_server, ["run"], other) == []
        let_time_pass(on_a_server, lease.SILENT_SECONDS + 1)
        assert lease.dead(on_a_server, ["run"], an_hour_behind) == []  # doubted
        set_back(on_a_server, "doubt of run", lease.DOUBT_SECONDS)
        assert lease.dead(on_a_server, ["run"], an_hour_behind) == ["run"]


def test_a_run_that_could_give_a_sign_and_did_not_is_dead_and_no_other(warehouse: Warehouse) -> None:
    for run_id in ("dead", "back", "alive"):
        with heartbeats(warehouse, run_id, utc):
            pass
        if run_id == "back":
            let_time_pass(warehouse, lease.SILENT_SECONDS + 1)
    runs = ["alive", "back", "dead", "never heard of"]
    assert lease.dead(warehouse, runs, utc) == []  # doubted
    let_time_pass(warehouse, lease.DOUBT_SECONDS - 2)
    assert lease.dead(warehouse, runs, utc) == []
    with heartbeats(warehouse, "back", utc):
        pass
    set_back(warehouse, "doubt of dead", lease.DOUBT_SECONDS)
    assert lease.dead(warehouse, runs, utc) == ["dead"]


def test_a_heartbeat_or_a_lease_from_a_clock_that_was_ahead_counts_for_nothing(warehouse: Warehouse) -> None:
    next_month = utc() + timedelta(days=30)
    with heartbeats(warehouse, "dead", utc):
        pass
    held_by(warehouse, "dead").acquire(0, time.sleep)
    with warehouse.write() as connection:
        connection.execute(update(run_heartbeats).values(seen_at=next_month))
        connection.execute(update(leases).values(acquired_at=next_month, expires_at=next_month))
    held_by(warehouse, "next").acquire(0, time.sleep)
    assert lease.dead(warehouse, ["dead"], utc) == []
    set_back(warehouse, "doubt of dead", lease.DOUBT_SECONDS)
    assert lease.dead(warehouse, ["dead"], utc) == ["dead"]


FAR = timedelta(days=400)


@pytest.fixture(scope="module")
def on_a_file(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    opened = Warehouse.open(SqliteFiles(tmp_path_factory.mktemp("lease"), sqlite_template, count()).migrated())
    yield opened
    opened.close()


@example(ahead=timedelta(hours=1), later=timedelta(0))
@example(ahead=timedelta(seconds=LEASE_SECONDS), later=timedelta(0))
@given(
    ahead=st.timedeltas(-FAR, FAR) | st.timedeltas(timedelta(0), timedelta(minutes=2)),
    later=st.timedeltas(timedelta(0), timedelta(hours=2)),
)
@settings(max_examples=60)
def test_no_lease_blocks_for_longer_than_one_lasts_whatever_clock_wrote_its_end(
    on_a_file: Warehouse, ahead: timedelta, later: timedelta
) -> None:
    now, lasts = datetime(2026, 3, 1, tzinfo=UTC), timedelta(seconds=LEASE_SECONDS)
    with undone(on_a_file) as connection:
        row = {"name": lease.FETCH, "holder": "a run", "acquired_at": now, "expires_at": now + ahead}
        connection.execute(insert(leases).values(row))
        found = lease.held(connection, lambda: now + later)
        assert (found is not None) == (timedelta(0) < ahead - later <= lasts)
        if found is not None:
            assert lease.held(connection, lambda: now + later + lasts) is None


def test_a_lease_that_is_held_is_told_with_its_holder_and_since_when(warehouse: Warehouse) -> None:
    before = utc()
    held_by(warehouse, "first").acquire(0, time.sleep)
    with warehouse.read() as connection:
        found = lease.held(connection, utc)
    assert found is not None
    assert found.holder == "first"
    assert abs(found.since - before) < timedelta(seconds=5)
    held_by(warehouse, "first").release()
    with warehouse.read() as connection:
        assert lease.held(connection, utc) is None


@pytest.mark.slow
def test_a_long_wait_renews_the_lease_by_itself(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    held = held_by(warehouse, "first")
    held.acquire(0, time.sleep)
    let_time_pass(warehouse, LEASE_SECONDS - 1)
    with renewed(held):
        time.sleep(1.5)
        with pytest.raises(LeaseLostError):
            held_by(warehouse, "second").acquire(0, time.sleep)


@pytest.mark.slow
def test_a_run_killed_on_another_machine_frees_it_within_a_minute(warehouse: Warehouse) -> None:
    code = (
        "import sys, time; from datetime import UTC, datetime;"
        "from partner_center_pipeline.warehouse.database import Warehouse;"
        "from partner_center_pipeline.warehouse.lease import Lease, renewed;"
        "db = Warehouse.open(sys.argv[1]); clock = lambda: datetime.now(UTC);"
        "lease = Lease(db, 'killed', clock); lease.acquire(0, time.sleep)\n"
        "with renewed(lease):\n    print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, warehouse.url], stdout=subprocess.PIPE, cwd=PROJECT_ROOT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LeaseLostError, match="run killed is fetching"):
        held_by(warehouse, "next").acquire(1, time.sleep)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    started = time.monotonic()
    held_by(warehouse, "next").acquire(60, time.sleep)
    assert time.monotonic() - started < 60
