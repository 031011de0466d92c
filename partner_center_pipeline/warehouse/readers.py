"""Logins that may read the views and nothing else (PostgreSQL), and the views' rights over migrations.

A *reader* is a role of the database server with a comment by which it is known again. Not here: the views (`views`),
the files that Power BI and Excel connect by (`reports.connection_files`).
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.views import VIEWS

MARK: Final = "Reads the views of the partner center warehouse; made by `partner-center connect reader`"
"""The comment of a reader. A role without it is never changed: it may be the pipeline's own, or a person's."""

_RANDOM_BYTES: Final = 24
"""Of a generated password: 32 characters, 192 bits."""

_NAMES: Final = tuple(view.name for view in VIEWS)

_ROLE: Final = text("""
SELECT oid, rolcanlogin, shobj_description(oid, 'pg_authid') AS mark,
    rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS is_mighty
FROM pg_roles WHERE rolname = :name
""")
_GROUPS: Final = text(
    "SELECT g.rolname FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid WHERE m.member = :role"
)
_GIVEN: Final = text("""
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, n.nspname AS schema, c.relname AS name
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = :role)
    OR EXISTS (
        SELECT FROM pg_attribute AS t CROSS JOIN LATERAL aclexplode(t.attacl) AS a
        WHERE t.attrelid = c.oid AND a.grantee = :role
    )
UNION ALL
SELECT 'SCHEMA', NULL, n.nspname FROM pg_namespace AS n
WHERE EXISTS (SELECT FROM aclexplode(n.nspacl) AS a WHERE a.grantee = :role)
UNION ALL
SELECT 'DATABASE', NULL, d.datname FROM pg_database AS d
WHERE d.datname = current_database() AND EXISTS (SELECT FROM aclexplode(d.datacl) AS a WHERE a.grantee = :role)
""")
_MISSING: Final = text("""
SELECT 'CONNECT ON DATABASE ' || quote_ident(current_database())
WHERE NOT has_database_privilege(:name, current_database(), 'CONNECT')
UNION ALL
SELECT 'USAGE ON SCHEMA ' || quote_ident(current_schema())
WHERE NOT has_schema_privilege(:name, current_schema(), 'USAGE')
UNION ALL
SELECT 'SELECT ON ' || quote_ident(c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = ANY(:views) AND NOT has_table_privilege(:name, c.oid, 'SELECT')
""")
_EXCESS: Final = text("""
SELECT 'ALL ON ' || quote_ident(c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
    has_table_privilege(:name, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    OR has_any_column_privilege(:name, c.oid, 'INSERT, UPDATE')
    OR c.relname <> ALL(:views) AND has_any_column_privilege(:name, c.oid, 'SELECT')
)
UNION ALL
SELECT 'CREATE ON SCHEMA ' || quote_ident(current_schema())
WHERE has_schema_privilege(:name, current_schema(), 'CREATE')
ORDER BY 1
""")
_VIEW_RIGHTS: Final = text("""
SELECT c.relname AS view, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee,
    a.privilege_type AS privilege, a.is_grantable
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE n.nspname = current_schema() AND c.relkind = 'v' AND a.grantee <> c.relowner
""")
_VIEWS_THERE: Final = text("""
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind = 'v'
""")


class _Right(NamedTuple):
    """A right on a view. `grantee` is None for everyone (PUBLIC)."""

    view: str
    grantee: str | None
    privilege: str
    is_grantable: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """A login that was set up. `password` is the one that was generated for it now, to be shown once, or None."""

    name: str
    is_new: bool
    password: str | None = None
    views: tuple[str, ...] = _NAMES


def refuse_sqlite(db: Warehouse) -> None:
    """Raise WarehouseError for a SQLite file, which has no logins."""
    if db.is_sqlite:
        raise WarehouseError(
            f"{db.shown} is a SQLite file, which knows no logins: whoever may read the file may read all of it. Give "
            "people the CSV files of `lead_report` instead, or move the warehouse to PostgreSQL"
        )


def set_up_reader(db: Warehouse, name: str, *, password: str | None = None, renew: bool = False) -> Reader:
    """Make a reader where there is none, and give it what a reader may do: no more, and no less.

    password  the one to set. Without it, one is generated for a new reader
    renew     generate one for a reader that is there, too

    The password itself never reaches the server: PostgreSQL's own library makes a SCRAM verifier of it here, so that
    no log of statements holds it. Raises WarehouseError, and changes nothing, for a role that is no reader, where the
    warehouse's user may not do this, and where the reader could do more by rights that this user cannot take back.
    """
    with db.write() as connection, _as_missing_right(db):
        role = _role(connection, name)
        _refuse_others(name, role)
        generated = secrets.token_urlsafe(_RANDOM_BYTES) if password is None and (role is None or renew) else None
        login = sql.Identifier(name)
        if role is None:
            _run(connection, sql.SQL("CREATE ROLE {} LOGIN").format(login))
            _run(connection, sql.SQL("COMMENT ON ROLE {} IS {}").format(login, sql.Literal(MARK)))
        else:
            _take_rights(connection, name, role.oid)
            if not role.rolcanlogin:
                _run(connection, sql.SQL("ALTER ROLE {} LOGIN").format(login))
        secret = password if password is not None else generated
        if secret is not None:
            verifier = _driver(connection).pgconn.encrypt_password(secret.encode(), name.encode(), b"scram-sha-256")
            _run(connection, sql.SQL("ALTER ROLE {} PASSWORD {}").format(login, sql.Literal(verifier.decode())))
        _give_rights(connection, name)
        _check_rights(connection, db, name, is_new=role is None)
    return Reader(name, is_new=role is None, password=generated)


def remove_reader(db: Warehouse, name: str) -> bool:
    """Take all rights in this database from a reader, and delete it. Return False where the server keeps it.

    It is kept while it has rights in another database of the server. Raises WarehouseError as `set_up_reader` does,
    and when there is no such reader.
    """
    with db.write() as connection, _as_missing_right(db):
        role = _role(connection, name)
        if role is None:
            raise WarehouseError(f"{db.shown} has no login {name}; nothing was changed")
        _refuse_others(name, role)
        _take_rights(connection, name, role.oid)
        try:
            with connection.begin_nested():
                _run(connection, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.DependentObjectsStillExist):
                return False
            raise
    return True


@contextmanager
def keeping_view_rights(connection: Connection) -> Iterator[None]:
    """Give back, when the block ends, the rights on views that it dropped and made again.

    PostgreSQL forgets a view's rights with the view, and a migration that changes a view has to drop it. Kept is what
    anybody was given, not only readers. SQLite knows no rights.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    before = _view_rights(connection)
    yield
    there = set(connection.execute(_VIEWS_THERE).scalars())
    for right in sorted(before - _view_rights(connection), key=str):
        if right.view in there:
            statement = sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(right.privilege),  # the server's own word
                sql.Identifier(right.view),
                sql.SQL("PUBLIC") if right.grantee is None else sql.Identifier(right.grantee),
            )
            _run(connection, statement + sql.SQL(" WITH GRANT OPTION" if right.is_grantable else ""))


def _view_rights(connection: Connection) -> set[_Right]:
    return {_Right(*row) for row in connection.execute(_VIEW_RIGHTS)}


def _role(connection: Connection, name: str) -> Any:
    """Return what the server says of a role, None without one."""
    return connection.execute(_ROLE, {"name": name}).one_or_none()


def _refuse_others(name: str, role: Any) -> None:
    if role is not None and role.mark != MARK:
        raise WarehouseError(
            f"the database server has a role {name} that this command did not make; nothing was changed. Choose "
            "another name"
        )
    if role is not None and role.is_mighty:
        raise WarehouseError(
            f"somebody made the login {name} more than a reader (superuser, or a right to make roles or databases, to "
            "replicate or to bypass row security); nothing was changed. Let an administrator take that away, or drop "
            "the role, then run again"
        )


def _take_rights(connection: Connection, name: str, oid: int) -> None:
    """Take from a role what it was given in this database, and its membership in groups."""
    login = sql.Identifier(name)
    for (group,) in connection.execute(_GROUPS, {"role": oid}).all():
        _run(connection, sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), login))
    for kind, schema, thing in connection.execute(_GIVEN, {"role": oid}).all():
        place = sql.Identifier(thing) if schema is None else sql.Identifier(schema, thing)
        _run(connection, sql.SQL("REVOKE ALL ON {} {} FROM {}").format(sql.SQL(kind), place, login))


def _give_rights(connection: Connection, name: str) -> None:
    """Give a role what a reader may do, and let it see times in UTC and the views without their schema."""
    database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
    words = {"login": sql.Identifier(name), "database": sql.Identifier(database), "schema": sql.Identifier(schema)}
    views = sql.SQL(", ").join(sql.Identifier(schema, view) for view in _NAMES)
    for statement in (
        "GRANT CONNECT ON DATABASE {database} TO {login}",
        "GRANT USAGE ON SCHEMA {schema} TO {login}",
        "GRANT SELECT ON {views} TO {login}",
        "ALTER ROLE {login} SET default_transaction_read_only = on",
        "ALTER ROLE {login} SET timezone = 'UTC'",
        "ALTER ROLE {login} SET jit = off",  # compiling the plan of a view takes seconds
        "ALTER ROLE {login} IN DATABASE {database} SET search_path = {schema}",
    ):
        _run(connection, sql.SQL(statement).format(**words, views=views))


def _check_rights(connection: Connection, db: Warehouse, name: str, *, is_new: bool) -> None:
    """Raise WarehouseError unless the server says that the role may do what a reader may, and nothing more.

    A grant that its giver may not give is only a warning to PostgreSQL, and what everyone may do, a reader may, too.
    """
    asked = {"name": name, "views": list(_NAMES)}
    missing = connection.execute(_MISSING, asked).scalars().all()
    if missing:
        user = sql.Identifier(connection.execute(text("SELECT current_user")).scalar_one()).as_string(None)
        raise WarehouseError(
            f"the user of {db.shown} may not give others all that a reader needs; nothing was changed. Let an "
            f"administrator run {'; '.join(f'GRANT {right} TO {user} WITH GRANT OPTION' for right in missing)}, then "
            "run again"
        )
    excess = connection.execute(_EXCESS, asked).scalars().all()
    if excess:
        whom = "PUBLIC" if is_new else f"PUBLIC, {name}"
        raise WarehouseError(
            f"{name} could do more in {db.shown} than read the views, by rights that everyone (PUBLIC) has or that "
            "somebody else gave; nothing was changed. Let an administrator run "
            f"{'; '.join(f'REVOKE {right} FROM {whom}' for right in excess)}, then run again"
        )


@contextmanager
def _as_missing_right(db: Warehouse) -> Iterator[None]:
    """Turn the server's refusal to make or change a role into a WarehouseError that says who can help."""
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        raise WarehouseError(
            f"the user of {db.shown} may not do that ({error.orig.diag.message_primary}); nothing was changed. Let an "
            "administrator of the server run ALTER ROLE ... CREATEROLE for that user, run this again, and take it "
            "back with NOCREATEROLE"
        ) from None


def _driver(connection: Connection) -> "psycopg.Connection[Any]":
    """Return psycopg's own connection."""
    own = connection.connection.driver_connection
    if not isinstance(own, psycopg.Connection):
        raise TypeError(f"{type(own).__name__} is no connection of psycopg")
    return own


def _run(connection: Connection, statement: sql.Composable) -> None:
    connection.exec_driver_sql(statement.as_string(_driver(connection)))
