"""A wait for a lock of the warehouse, or of the sign-in, is told while it lasts; a short one is not."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from partner_center_pipeline import telling
from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.tokens import SharedSignIn
from partner_center_pipeline_tests.conftest import PostgresServer

WRITER = "another run or command writes to "
SIGN_IN = "another process holds the sign-in "


@contextmanager
def held_until_told(held: AbstractContextManager[object], beginning: str) -> Iterator[list[str]]:
    """Hold a lock in another thread until a line that begins so was told; give all lines of waits that were told."""
    has_it, told = threading.Event(), threading.Event()
    lines: list[str] = []

    def listen(level: int, line: str) -> None:
        if level == logging.WARNING and line.startswith((WRITER, SIGN_IN)):
            lines.append(line)
            if line.startswith(beginning):
                told.set()

    def hold() -> None:
        with held:
            has_it.set()
            told.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert has_it.wait(20)
    try:
        with telling.heard_by(listen):
            yield lines
    finally:
        told.set()
        holder.join()


@pytest.fixture
def soon_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "UNTOLD_SECONDS", 0.05)


def test_who_waits_to_write_is_told_for_what_and_until_when(warehouse: Warehouse, soon_told: None) -> None:
    other = Warehouse(warehouse.url)
    with held_until_told(other.write(), WRITER) as lines, warehouse.write():
        pass
    other.close()
    (line,) = lines
    assert warehouse.shown in line
    assert f"waiting up to {60 if warehouse.is_sqlite else warehouse.limits.lock_seconds} s" in line


def test_who_has_the_lock_at_once_is_told_nothing(warehouse: Warehouse, soon_told: None) -> None:
    lines: list[str] = []
    with telling.heard_by(lambda _, line: lines.append(line)), warehouse.write():
        pass
    assert lines == []


def test_who_waits_for_the_sign_in_of_this_machine_is_told(tmp_path: Path, soon_told: None) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    one, two = TokenStore(tmp_path / "place", key), TokenStore(tmp_path / "place", key)
    with held_until_told(one.locked(), SIGN_IN) as lines, two.locked():
        pass
    assert lines == [f"{SIGN_IN}{one.where}; waiting up to 90 s until it has renewed it"]


@pytest.mark.postgres
def test_who_waits_for_the_sign_in_of_several_machines_is_told(postgres: PostgresServer, soon_told: None) -> None:
    url = postgres.emptied()
    one, two = Warehouse(url), Warehouse(url)
    with held_until_told(SharedSignIn(one).locked(20), SIGN_IN) as lines, SharedSignIn(two).locked(20):
        pass
    one.close()
    two.close()
    assert lines == [f"{SIGN_IN}{SharedSignIn(one).where}; waiting up to 20 s until it has renewed it"]
