"""Alembic's entry: the warehouse's address from the settings, one transaction for a migration.

Foreign keys are off on SQLite while tables are rebuilt: a batch operation drops the old table, and ON DELETE CASCADE
would empty its children (measured: dagster.md, "SQLite warehouse").
"""

from typing import Any

from alembic import context
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import build_engine
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata


def _url() -> str:
    return str(context.config.attributes.get("url") or Settings.load().database_url.get_secret_value())


def _configure(**how: Any) -> None:
    context.configure(target_metadata=metadata, version_table=VERSION_TABLE, compare_type=True, **how)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _configure(url=_url(), literal_binds=True)
else:
    engine = build_engine(_url())
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.commit()
        _configure(connection=connection, render_as_batch=True)
        connection.commit()
    engine.dispose()
