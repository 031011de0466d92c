"""Keeps the sign-in of several machines in a PostgreSQL warehouse: one encrypted row, and a lock for writing it.

Not here: the key, and what the row holds (`partner_center.token_store`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from partner_center_pipeline.settings import Settings, SettingsError, TokenPlace
from partner_center_pipeline.telling import SIGN_IN_HELD
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError, open_warehouse
from partner_center_pipeline.warehouse.locks import lock_on_postgresql
from partner_center_pipeline.warehouse.schema import token_caches

_NAME: Final = "sign_in"
_RENEWERS: Final = 0x73_69_67_6E_5F_69_6E
"""The key of the advisory lock for a renewal: "sign_in" in ASCII."""


class SharedSignIn:
    """The row of `token_caches` that holds the sign-in. A refusal by PostgreSQL raises WarehouseError."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._holding: Connection | None = None

    @property
    def where(self) -> str:
        """The table and its database, without the password."""
        return f"in the table {token_caches.name} of {self._warehouse.shown}"

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock for renewing and writing, for all machines; wait up to `seconds` for it. Does not nest.

        A transaction on a connection of its own holds the lock: PostgreSQL frees it when the process dies, a minute
        after its machine did (`TimeLimits.silence_seconds`), and when nothing was written for `seconds`; a connection
        pooler cannot give it to another client. Raises WarehouseError when the wait is over.
        """
        with self._warehouse.read() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{seconds * 1000:.0f}ms'"))
            try:
                lock_on_postgresql(connection, _RENEWERS, seconds, SIGN_IN_HELD, self.where, seconds)
            except OperationalError as error:
                if not isinstance(error.orig, LockNotAvailable):
                    raise
                raise WarehouseError(
                    f"another process, here or on another machine, has held the sign-in {self.where} for "
                    f"{seconds:.0f} s; let it finish, or end it"
                ) from None
            self._holding = connection
            try:
                yield
            finally:
                self._holding = None

    def read(self) -> bytes | None:
        """Return the encrypted sign-in, or None when there is none."""
        with self._warehouse.read() as connection:
            sealed = connection.scalar(select(token_caches.c.sealed).where(token_caches.c.name == _NAME))
        return None if sealed is None else bytes(sealed)

    def write(self, sealed: bytes) -> None:
        """Replace the encrypted sign-in, once, as the last act inside `locked()`: the lock is free from then on.

        It is written by the transaction that holds the lock. So whoever lost it, and may not be the only one to renew,
        writes nothing over what another one has written.
        """
        if self._holding is None:
            raise RuntimeError("the sign-in is written inside `locked()`")
        row = insert(token_caches).values(name=_NAME, sealed=sealed, updated_at=func.now())
        row = row.on_conflict_do_update(
            index_elements=[token_caches.c.name],
            set_={"sealed": row.excluded.sealed, "updated_at": row.excluded.updated_at},
        )
        with self._warehouse.refusals_in_words():
            self._holding.execute(row)
            self._holding.commit()


@contextmanager
def shared_sign_in(settings: Settings) -> Iterator[SharedSignIn | None]:
    """Open the row for HUNTER_PARTNER_CENTER_TOKEN_STORE=database; yield None where the sign-in is in a file.

    Raises SettingsError when the warehouse is a SQLite file, which several machines cannot share, and WarehouseError
    when it cannot be opened.
    """
    if settings.partner_center_token_store is TokenPlace.FILE:
        yield None
        return
    if Warehouse.of(settings).is_sqlite:
        raise SettingsError(
            "HUNTER_PARTNER_CENTER_TOKEN_STORE",
            "database needs a PostgreSQL warehouse in HUNTER_DATABASE_URL; beside a SQLite file, keep the sign-in in "
            "a file too",
        )
    with open_warehouse(settings) as warehouse:
        yield SharedSignIn(warehouse)
