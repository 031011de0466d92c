"""Several machines share one sign-in in a PostgreSQL warehouse."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import make_url

from partner_center_pipeline.partner_center import connect_sign_in, sign_in_store
from partner_center_pipeline.partner_center.errors import TokenStoreError
from partner_center_pipeline.partner_center.token_store import SharedTokenStore
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.tokens import SharedSignIn, shared_sign_in
from partner_center_pipeline_tests.conftest import PostgresServer, SqliteFiles
from partner_center_pipeline_tests.partner_center.conftest import microsoft, sim
from partner_center_pipeline_tests.partner_center.machines import renewing_at_once
from partner_center_simulator import Simulator
from partner_center_simulator.faults import TokenFault

__all__ = ["microsoft", "sim"]  # fixtures of the other folder

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.emptied()


@pytest.fixture
def place(url: str) -> Iterator[SharedSignIn]:
    warehouse = Warehouse.open(url)
    yield SharedSignIn(warehouse)
    warehouse.close()


@pytest.fixture
def shared(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a machine that finds its sign-in in the database."""
    monkeypatch.setenv("HUNTER_DATABASE_URL", url)
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_TOKEN_STORE", "database")
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_TOKEN_KEY", Fernet.generate_key().decode())


@pytest.fixture
def signed_in(shared: None, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """These variables, and somebody has signed in on some machine."""
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        code = sign_in.begin()
        sim.approve(code.user_code)
        sign_in.finish(code)
    return settings


def test_what_is_written_is_read_and_replaces_what_was_there(place: SharedSignIn) -> None:
    assert place.read() is None
    for sealed in (b"first\x00", b"second\xff"):
        with place.locked(20):
            place.write(sealed)
        assert place.read() == sealed


@pytest.mark.slow
def test_one_machine_at_a_time_renews_and_the_other_is_told_when_it_takes_too_long(
    place: SharedSignIn, url: str
) -> None:
    other = Warehouse.open(url)
    with place.locked(20):
        assert SharedSignIn(other).read() is None, "who reads waits for nobody"
        late = pytest.raises(WarehouseError, match=r"another machine, has held the sign-in .*token_caches.* for 1 s")
        with late, SharedSignIn(other).locked(1):
            pytest.fail("both have the lock")
        place.write(b"renewed")
    with SharedSignIn(other).locked(20):
        assert SharedSignIn(other).read() == b"renewed"
    other.close()


def test_a_renewal_does_not_wait_for_a_run_that_writes_rows(place: SharedSignIn, url: str) -> None:
    recording = Warehouse.open(url)
    with recording.write(), place.locked(20):
        place.write(b"renewed")
        assert place.read() == b"renewed"
    recording.close()


def _hold(url: str, holding: Event) -> None:
    with SharedSignIn(Warehouse(url)).locked(20):
        holding.set()
        signal.pause()


@pytest.mark.slow
def test_a_machine_that_dies_while_it_renews_holds_nobody_up(place: SharedSignIn, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    holding = context.Event()
    process = context.Process(target=_hold, args=(url, holding))
    process.start()
    assert holding.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with place.locked(20):
        place.write(b"renewed")
    process.join()
    assert place.read() == b"renewed"


@pytest.mark.slow
def test_two_machines_that_renew_at_once_ask_once_and_both_go_on(
    signed_in: Settings, sim: Simulator, tmp_path: Path
) -> None:
    machines = [tmp_path / "first machine", tmp_path / "second machine"]
    for machine in machines:
        machine.mkdir()
    with renewing_at_once(machines) as renewed:
        sim.clock.advance(60)
        sim.faults.plan_token(TokenFault.INVALID_GRANT, after=1, times=10_000)  # a second renewal would fail
    assert renewed[0] == renewed[1]
    assert [list(machine.iterdir()) for machine in machines] == [[], []]
    sim.faults.clear()
    with shared_sign_in(signed_in) as place, connect_sign_in(signed_in, place) as sign_in:
        assert sign_in.token() == renewed[0]
        assert sign_in.token(renew=True)


def test_nothing_is_written_while_the_token_is_good(signed_in: Settings, url: str) -> None:
    def version() -> object:
        parsed = make_url(url)
        with psycopg.connect(
            host=str(parsed.query["host"]), user=parsed.username, dbname=parsed.database
        ) as connection:
            return connection.execute("SELECT xmin, updated_at FROM token_caches").fetchone()

    before = version()
    for _ in range(2):
        with shared_sign_in(signed_in) as place, connect_sign_in(signed_in, place) as sign_in:
            sign_in.token()
    assert version() == before


def test_the_row_is_encrypted_and_its_key_can_be_changed(signed_in: Settings, sim: Simulator) -> None:
    old = signed_in.partner_center_token_key
    assert old is not None
    new = Fernet.generate_key().decode()
    with shared_sign_in(signed_in) as place:
        assert place is not None
        sealed = place.read()
        assert sealed is not None
        assert sim.client_id.encode() not in sealed
        before = SharedTokenStore(place, old).read()
        SharedTokenStore(place, SecretStr(f"{new},{old.get_secret_value()}")).rotate_key()
        assert SharedTokenStore(place, SecretStr(new)).read() == before
        with pytest.raises(TokenStoreError, match="cannot be decrypted with the key in HUNTER"):
            SharedTokenStore(place, old).read()


def test_without_the_key_variable_it_says_that_every_machine_needs_the_same(
    shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUNTER_PARTNER_CENTER_TOKEN_KEY")
    settings = Settings.load()
    refusing = pytest.raises(SettingsError, match=r"is not set.*the same on each")
    with shared_sign_in(settings) as place, refusing as refused:
        sign_in_store(settings, place).read()
    assert refused.value.variable == "HUNTER_PARTNER_CENTER_TOKEN_KEY"


def test_a_sqlite_warehouse_cannot_be_shared(
    shared: None, sqlite: SqliteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_DATABASE_URL", sqlite.migrated())
    refusing = pytest.raises(SettingsError, match="needs a PostgreSQL warehouse")
    with refusing as refused, shared_sign_in(Settings.load()):
        pytest.fail("opened")
    assert refused.value.variable == "HUNTER_PARTNER_CENTER_TOKEN_STORE"


def test_a_schema_that_is_too_old_says_what_to_run(
    shared: None, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_DATABASE_URL", postgres.empty())
    with pytest.raises(WarehouseError, match="run `partner-center migrate`"), shared_sign_in(Settings.load()):
        pytest.fail("opened")


def test_nobody_uses_a_file_by_mistake_where_the_sign_in_is_shared(shared: None) -> None:
    with pytest.raises(ValueError, match="no place in it"):
        sign_in_store(Settings.load())
