"""`partner-center connect reader`, on the real PostgreSQL of the tests: what the login may do, and what it may not."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from alembic import command
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.readers import MARK
from partner_center_pipeline.warehouse.schema import metadata
from partner_center_pipeline.warehouse.views import VIEWS, view_sql
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.warehouse.test_upgrades import with_a_later_migration

NAMES = [view.name for view in VIEWS]
READER = "sales_reader"
OWNER = "hunter_owner"

MADE_AGAIN = """
from alembic import op
revision, down_revision = "test", "{head}"

def upgrade():
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {{name}}")
    for statement in STATEMENTS:
        op.execute(statement)
"""


class Installation(Home):
    """A home folder whose warehouse is a database of the running server."""

    def __init__(self, path: Path, server: PostgresServer) -> None:
        super().__init__(path)
        self.server = server
        self.use(server.migrated())

    def use(self, url: str) -> None:
        """Let HUNTER_DATABASE_URL name this database."""
        self.url = url
        self.edit_env(HUNTER_DATABASE_URL=url)

    @property
    def database(self) -> str:
        return str(make_url(self.url).database)

    def run(self, statement: str) -> None:
        """Run a statement as the superuser, in the warehouse's database."""
        self.server.run(statement, self.database)

    def reader(self, *options: str, name: str = READER) -> dict[str, Any]:
        """What the command says in JSON."""
        done = self.invoke("connect", "reader", name, "--json", *options)
        assert done.exit_code == 0, done.output
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def refused(self, *options: str, name: str = READER) -> str:
        """What the command says, which must end with exit code 1."""
        done = self.invoke("connect", "reader", name, *options)
        assert done.exit_code == 1, done.output
        return done.stderr.replace("\n", " ")

    @contextmanager
    def session(self, user: str = READER, password: str | None = None) -> Iterator["psycopg.Connection[Any]"]:
        """A session of a user, each statement a transaction of its own."""
        host = str(make_url(self.url).query["host"])
        with psycopg.connect(
            host=host, user=user, dbname=self.database, password=password, autocommit=True
        ) as connection:
            yield connection

    def readable(self, user: str = READER) -> set[str]:
        """The tables and views that a user can read."""
        found = set()
        with self.session(user) as connection:
            for name in (*metadata.tables, *NAMES):
                try:
                    connection.execute(f"SELECT * FROM {name} LIMIT 1".encode())
                except psycopg.errors.InsufficientPrivilege:
                    continue
                found.add(name)
        return found

    def value(self, statement: str) -> Any:
        """The one value that a statement gives the superuser."""
        with self.session("postgres") as connection:
            row = connection.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def is_there(self) -> bool:
        """Whether the server knows the reader."""
        return bool(self.value(f"SELECT count(*) FROM pg_roles WHERE rolname = '{READER}'"))


@pytest.fixture
def installation(home: Path, postgres: PostgresServer) -> Iterator[Installation]:
    made = Installation(home, postgres)
    yield made
    postgres.drop()  # the databases before the roles that have rights in them
    for role in (READER, OWNER, "a_group"):
        postgres.run(f"DROP ROLE IF EXISTS {role}")


pytestmark = pytest.mark.postgres


def test_the_login_reads_the_five_views_and_nothing_else(installation: Installation) -> None:
    said = installation.reader()
    assert (said["role"], said["is_new"], said["views"]) == (READER, True, NAMES)
    assert installation.readable() == set(NAMES)
    with installation.session() as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SHOW jit").fetchone() == ("off",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE mine (id int)")


def test_the_login_writes_nothing_even_where_it_lifts_read_only(installation: Installation) -> None:
    installation.reader()
    refusals = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
    with installation.session() as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            "INSERT INTO leads (referral_id) VALUES ('x')",
            "UPDATE companies SET country = 'XX'",
            "DELETE FROM raw_referrals",
            "TRUNCATE company_scores",
            "DELETE FROM leads_without_company",
            "CREATE TABLE mine (id int)",
            "CREATE ROLE other LOGIN",
        ):
            with pytest.raises(refusals):
                connection.execute(statement.encode())


@pytest.fixture
def passwords_count(installation: Installation) -> Iterator[None]:
    """The server asks the reader for its password, which it does of nobody else in the tests."""
    file = Path(installation.value("SHOW hba_file"))
    before = file.read_text()

    def write(content: str) -> None:
        loaded = installation.value("SELECT pg_conf_load_time()")
        file.write_text(content)
        installation.run("SELECT pg_reload_conf()")
        until = time.monotonic() + 30
        while installation.value("SELECT pg_conf_load_time()") == loaded and time.monotonic() < until:
            time.sleep(0.01)

    write(f"local all {READER} scram-sha-256\n{before}")
    yield
    write(before)


def can_log_in(installation: Installation, password: str) -> bool:
    try:
        with installation.session(password=password) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


@pytest.mark.usefixtures("passwords_count")
def test_the_password_is_shown_once_counts_and_changes_only_when_asked(installation: Installation) -> None:
    first = installation.invoke("connect", "reader", READER)
    assert first.exit_code == 0, first.output
    password = first.stdout.splitlines()[-2]
    assert len(password) == 32
    assert first.output.count(password) == 1
    assert can_log_in(installation, password)
    assert not can_log_in(installation, "x" * 32)
    again = installation.invoke("connect", "reader", READER)
    assert "Its password is what it was" in again.stdout
    assert installation.reader()["password"] is None
    assert can_log_in(installation, password)
    renewed = installation.reader("--new-password")["password"]
    assert not can_log_in(installation, password)
    assert can_log_in(installation, renewed)
    given = installation.invoke("connect", "reader", READER, "--password-stdin", stdin="ağır bir şifre\n")
    assert "Its password is the one that was given." in given.stdout
    assert can_log_in(installation, "ağır bir şifre")
    assert "at least 12 characters" in installation.invoke("connect", "reader", READER, "--password-stdin").stderr


def test_neither_the_servers_log_nor_the_home_folder_holds_the_password(installation: Installation) -> None:
    installation.run(f"ALTER DATABASE {installation.database} SET log_statement = 'all'")
    password = installation.reader()["password"]
    log = (Path(str(make_url(installation.url).query["host"])) / "log").read_text(errors="replace")
    assert f'CREATE ROLE "{READER}"' in log
    assert password not in log
    stored = installation.value(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{READER}'")
    assert stored.startswith("SCRAM-SHA-256$")
    for file in installation.path.rglob("*"):
        assert file.is_dir() or password.encode() not in file.read_bytes()


@pytest.mark.slow
def test_run_again_it_has_the_rights_that_it_should_have(installation: Installation) -> None:
    installation.reader()
    for statement in (
        f"GRANT SELECT ON leads, company_scores TO {READER}",
        f"GRANT SELECT (payload) ON raw_referrals TO {READER}",
        f"GRANT UPDATE ON SEQUENCE score_changes_id_seq TO {READER}",
        f"REVOKE SELECT ON due_first FROM {READER}",
        "CREATE ROLE a_group",
        "GRANT SELECT ON companies TO a_group",
        f"GRANT a_group TO {READER}",
        f"ALTER ROLE {READER} NOLOGIN",
        f"ALTER ROLE {READER} SET default_transaction_read_only = off",
    ):
        installation.run(statement)
    said = installation.reader()
    assert (said["is_new"], said["password"]) == (False, None)
    assert installation.readable() == set(NAMES)
    with installation.session() as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        for table, right in (("score_changes_id_seq", "UPDATE"), ("raw_referrals", "SELECT")):
            check = "has_sequence_privilege" if table.endswith("seq") else "has_any_column_privilege"
            assert connection.execute(f"SELECT {check}('{table}', '{right}')".encode()).fetchone() == (False,)


def test_views_that_a_migration_makes_again_keep_the_rights(installation: Installation, tmp_path: Path) -> None:
    installation.reader()
    installation.run("CREATE ROLE a_group")
    installation.run("GRANT SELECT ON leads_ready TO a_group WITH GRANT OPTION")
    installation.run("GRANT SELECT ON sync_health TO PUBLIC")
    warehouse = Warehouse(installation.url)
    again = f"STATEMENTS = {list(view_sql('postgresql').values())!r}\nVIEWS = {NAMES!r}\n"
    source = MADE_AGAIN + again.replace("{", "{{").replace("}", "}}")
    config = with_a_later_migration(warehouse, tmp_path, source)
    before = installation.value("SELECT 'leads_ready'::regclass::oid")
    command.upgrade(config, "head")
    warehouse.close()
    assert installation.value("SELECT 'leads_ready'::regclass::oid") != before
    assert installation.readable() == set(NAMES)
    acl = installation.value("SELECT relacl::text FROM pg_class WHERE oid = 'leads_ready'::regclass")
    assert "a_group=r*/postgres" in acl
    assert "=r/postgres" in installation.value("SELECT relacl::text FROM pg_class WHERE oid = 'sync_health'::regclass")


@pytest.mark.slow
def test_the_rights_on_a_view_outlive_the_migrations_from_an_earlier_version(installation: Installation) -> None:
    installation.use(installation.server.empty())
    warehouse = Warehouse(installation.url)
    warehouse.migrate("0006")
    installation.run("CREATE ROLE a_group LOGIN")
    installation.run("GRANT SELECT ON leads_ready TO a_group")
    assert installation.invoke("migrate").exit_code == 0
    warehouse.close()
    assert installation.readable("a_group") == {"leads_ready"}


@pytest.mark.slow
def test_revoked_it_is_gone_once_no_other_database_needs_it(installation: Installation) -> None:
    first = installation.url
    installation.reader()
    installation.use(installation.server.migrated())
    assert installation.reader()["is_new"] is False
    assert installation.readable() == set(NAMES)
    kept = installation.invoke("connect", "reader", READER, "--revoke")
    assert "It stays, because it has rights in another database" in kept.stdout.replace("\n", " ")
    assert installation.readable() == set()
    installation.use(first)
    assert installation.readable() == set(NAMES)
    assert installation.reader("--revoke") == {
        "role": READER,
        "database": installation.database,
        "is_deleted": True,
    }
    assert not installation.is_there()
    assert f"has no login {READER}" in installation.refused("--revoke")


def test_a_role_that_the_command_did_not_make_is_left_alone(installation: Installation) -> None:
    installation.run(f"CREATE ROLE {READER} LOGIN")
    installation.run(f"GRANT SELECT ON leads TO {READER}")
    for options in ((), ("--revoke",)):
        assert "did not make; nothing was changed. Choose another name" in installation.refused(*options)
    assert installation.readable() == {"leads"}
    assert "did not make" in installation.refused(name="postgres")
    installation.run(f"COMMENT ON ROLE {READER} IS '{MARK}'")
    installation.run(f"ALTER ROLE {READER} CREATEDB")
    assert "more than a reader" in installation.refused()


@pytest.mark.parametrize(
    ("grant", "remedy"),
    [
        ("GRANT SELECT ON leads TO PUBLIC", "REVOKE ALL ON leads FROM PUBLIC"),
        ("GRANT UPDATE (country) ON companies TO PUBLIC", "REVOKE ALL ON companies FROM PUBLIC"),
        ("GRANT DELETE ON leads_without_company TO PUBLIC", "REVOKE ALL ON leads_without_company FROM PUBLIC"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    ],
)
def test_no_login_is_made_where_everyone_may_do_more(grant: str, remedy: str, installation: Installation) -> None:
    installation.run(grant)
    assert remedy in installation.refused()
    assert not installation.is_there()
    installation.run(remedy)
    assert installation.reader()["is_new"]
    installation.run(grant)
    assert f"{remedy}, {READER}" in installation.refused()


@pytest.mark.slow
def test_a_user_who_may_not_give_rights_is_told_who_can_help(installation: Installation) -> None:
    installation.run(f"CREATE ROLE {OWNER} LOGIN")
    installation.use(installation.server.empty())
    installation.run(f"ALTER DATABASE {installation.database} OWNER TO {OWNER}")
    installation.use(make_url(installation.url).set(username=OWNER).render_as_string(hide_password=False))
    assert installation.invoke("migrate").exit_code == 0
    assert "ALTER ROLE ... CREATEROLE" in installation.refused()
    assert not installation.is_there()
    installation.run(f"ALTER ROLE {OWNER} CREATEROLE")
    assert installation.reader()["is_new"]
    assert installation.readable() == set(NAMES)
    installation.run("ALTER VIEW due_first OWNER TO postgres")
    installation.run(f"REVOKE SELECT ON due_first FROM {READER}")
    installation.run(f"GRANT SELECT ON due_first TO {OWNER}")
    assert f'GRANT SELECT ON due_first TO "{OWNER}" WITH GRANT OPTION' in installation.refused()
