"""Runs the migrations in one transaction, on the database of HUNTER_DATABASE_URL or of the caller's `url` attribute.

Foreign keys are off on SQLite meanwhile: a batch operation drops the old table, and ON DELETE CASCADE would delete the
rows that refer to it (measured: dagster.md, "SQLite warehouse"). On PostgreSQL, views that a migration makes again keep
the rights that were given on them. A SQLite file is copied first, under the lock that keeps writers off. What new
columns leave to be derived is noted.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event

from alembic import context
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.copies import copy_before_migration
from partner_center_pipeline.warehouse.database import Warehouse, begin_writing, build_engine
from partner_center_pipeline.warehouse.new_columns import deriving_new_columns
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
        if not context.is_offline_mode():
            _copy()
        context.run_migrations()


def _copy() -> None:
    """Copy a SQLite file that has a schema and gets another one."""
    file, revision = Warehouse(_url()).file, context.get_context().get_current_revision()
    if file is None or revision is None or revision == _destination(revision):
        return
    copy_before_migration(file, revision, datetime.now(UTC))


def _destination(present: str) -> Any:
    try:
        return context.get_revision_argument()
    except KeyError:  # a command of Alembic's that migrates nothing, such as `alembic current`
        return present


def _forget_foreign_keys(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=OFF")  # does nothing inside a transaction, so it cannot wait for one
    # Another process may be copying and migrating a large file.
    connection.execute(f"PRAGMA busy_timeout={_limits().lock_seconds * 1000}")


if context.is_offline_mode():
    _configure(url=_url(), literal_binds=True)
else:
    Warehouse(_url()).make_folder()
    engine = build_engine(_url(), _limits())
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _forget_foreign_keys)
    with (
        begin_writing(engine, _limits()) as connection,
        keeping_view_rights(connection),
        deriving_new_columns(connection),
    ):
        _configure(connection=connection, render_as_batch=True)
    engine.dispose()
