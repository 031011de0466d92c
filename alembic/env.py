"""Runs the migrations in one transaction, on the database of HUNTER_DATABASE_URL or of the caller's `url` attribute.

Foreign keys are off on SQLite meanwhile: a batch operation drops the old table, and ON DELETE CASCADE would delete the
rows that refer to it (measured: dagster.md, "SQLite warehouse"). On PostgreSQL, views that a migration makes again keep
the rights that were given on them.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy import event

from alembic import context
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse, begin_writing, build_engine
from partner_center_pipeline.warehouse.readers import keeping_view_rights
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata
from partner_center_pipeline.warehouse.time_limits import TimeLimits


def _url() -> str:
    return str(context.config.attributes.get("url") or Settings.load().database_url.get_secret_value())


def _limits() -> TimeLimits:
    """Return the limits of the settings or of the caller; a statement may take any time, as a column may be filled."""
    limits = context.config.attributes.get("limits") or TimeLimits.of(Settings.load())
    return replace(limits, statement_seconds=0)


def _configure(**how: Any) -> None:
    context.configure(target_metadata=metadata, version_table=VERSION_TABLE, compare_type=True, **how)
    with context.begin_transaction():
        context.run_migrations()


def _forget_foreign_keys(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=OFF")  # does nothing inside a transaction, so it cannot wait for one


if context.is_offline_mode():
    _configure(url=_url(), literal_binds=True)
else:
    Warehouse(_url()).make_folder()
    engine = build_engine(_url(), _limits())
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _forget_foreign_keys)
    with begin_writing(engine, _limits()) as connection, keeping_view_rights(connection):
        _configure(connection=connection, render_as_batch=True)
    engine.dispose()
