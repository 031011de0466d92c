"""`partner-center connect`: the files for Power BI and Excel."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import text

from partner_center_pipeline.cli.connect import VIEWS
from partner_center_pipeline.warehouse import reporting, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.conftest import Home

SECRET = "s3cret-Pässword"
USER = "hunter_user"
SERVED = "postgresql+psycopg://hunter_user:s3cret-P%C3%A4ssword@db.example.com/hunter"
ODC = "{urn:schemas-microsoft-com:office:odc}"


@pytest.fixture
def place(home: Path) -> Home:
    """A home folder whose warehouse is on a server that nobody runs: no file asks it."""
    made = Home(home)
    made.edit_env(HUNTER_DATABASE_URL=SERVED)
    return made


def written(place: Home, *arguments: str) -> str:
    """What the command writes into its file, which holds no user and no password."""
    done = place.invoke("connect", *arguments)
    assert done.exit_code == 0, done.output
    (file,) = [path for path in place.path.iterdir() if path.name != ".env"]
    content = file.read_text(encoding="utf-8")
    for secret in (SECRET, "s3cret", USER):
        assert secret not in content
        assert secret not in done.output
    return content


def connection_of(content: str) -> tuple[str, str]:
    """The connection string and the query of an .odc file."""
    island = re.search(r"<odc:OfficeDataConnection.*</odc:OfficeDataConnection>", content, re.DOTALL)
    assert island
    (connection,) = ElementTree.fromstring(island[0])  # noqa: S314  our own file
    assert connection.get(f"{ODC}Type") == "ODBC"
    assert [child.tag for child in connection] == [f"{ODC}ConnectionString", f"{ODC}CommandText"]
    texts = [child.text or "" for child in connection]
    return texts[0], texts[1]


def test_the_views_are_those_of_the_warehouse() -> None:
    assert sorted(VIEWS) == sorted(view.name for view in views.VIEWS)


def test_power_bi_gets_server_and_database_and_no_password(place: Home) -> None:
    assert json.loads(written(place, "powerbi")) == {
        "version": "0.1",
        "connections": [
            {
                "details": {
                    "protocol": "postgresql",
                    "address": {"server": "db.example.com", "database": "hunter"},
                },
                "options": {},
                "mode": "Import",
            }
        ],
    }
    assert (place.path / "partner-center.pbids").is_file()


@pytest.mark.parametrize(
    ("url", "options", "server"),
    [
        ("postgresql+psycopg://u:p@db.example.com:5433/hunter", [], "db.example.com:5433"),
        ("postgresql+psycopg://u:p@db.example.com:5432/hunter", [], "db.example.com"),
        ("postgresql+psycopg://u:p@[2001:db8::1]:5433/hunter", [], "[2001:db8::1]:5433"),
        ("postgresql+psycopg://u@/hunter?host=db.example.com&port=5433", [], "db.example.com:5433"),
        ("postgresql+psycopg://u:p@localhost/hunter", ["--server", "db.example.com"], "db.example.com"),
        ("postgresql+psycopg://u@/hunter?host=/run/postgresql", ["--server", "db:5433"], "db:5433"),
        ("postgresql+psycopg://hunter@db.example.com", [], "db.example.com"),
    ],
)
def test_the_server_is_named_as_the_url_or_the_option_says(
    url: str, options: list[str], server: str, place: Home
) -> None:
    place.edit_env(HUNTER_DATABASE_URL=url)
    done = place.invoke("connect", "powerbi", "--json", *options)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["server"], said["database"], sorted(said["views"])) == (server, "hunter", sorted(VIEWS))
    address = json.loads(Path(said["file"]).read_text())["connections"][0]["details"]["address"]
    assert address == {"server": server, "database": "hunter"}
    assert ("--server" in done.stderr) is False


def test_a_server_that_is_this_machine_is_told(place: Home) -> None:
    place.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://u:p@localhost/hunter")
    for program in ("powerbi", "excel"):
        done = place.invoke("connect", program)
        assert done.exit_code == 0
        assert "localhost is this machine" in done.stderr
        assert "--server HOST" in done.stderr


def test_excel_gets_a_connection_by_odbc_and_a_query(place: Home) -> None:
    place.edit_env(HUNTER_DATABASE_URL=f"{SERVED}?sslmode=require")
    connection, query = connection_of(written(place, "excel", "--server", "db.example.com:5433"))
    assert connection == (
        "Driver={PostgreSQL Unicode(x64)};Server=db.example.com;Port=5433;Database=hunter;SSLmode=require;ReadOnly=1;"
        "BoolsAsChar=0;"
    )
    assert query.startswith("SELECT rank, referral_id, ")
    assert query.endswith(" FROM due_first ORDER BY rank")
    assert (place.path / "due_first.odc").is_file()


def test_hostile_names_stay_inside_their_value(place: Home) -> None:
    place.edit_env(HUNTER_DATABASE_URL='postgresql+psycopg://db.example.com/a;Pwd=x}<&"')
    content = written(place, "excel", "--driver", "PostgreSQL Unicode")
    assert connection_of(content)[0].startswith(
        'Driver={PostgreSQL Unicode};Server=db.example.com;Port=5432;Database={a;Pwd=x}}<&"};SSLmode=prefer;'
    )
    (place.path / "due_first.odc").unlink()
    assert json.loads(written(place, "powerbi"))["connections"][0]["details"]["address"]["database"] == 'a;Pwd=x}<&"'


@pytest.mark.parametrize("view", views.VIEWS, ids=lambda view: view.name)
def test_the_query_of_each_view_is_read_by_the_database(view: Any, warehouse: Warehouse, home: Path) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=warehouse.url)
    for options, contacts in (((), ()), (("--with-contacts",), reporting.CONTACTS)):
        file = home / f"{view.name}.odc"
        server = () if warehouse.is_sqlite else ("--server", "db.example.com")
        done = place.invoke("connect", "excel", "--view", view.name, *server, *options)
        assert done.exit_code == 0, done.output
        _, query = connection_of(file.read_text(encoding="utf-8"))
        with warehouse.read() as connection:
            columns = list(connection.execute(text(query)).keys())
        expected = [column.name for column in view.columns]
        assert columns == [name for name in expected if name in contacts or name not in reporting.CONTACTS]
        assert ("personal data" in done.output) is bool(contacts)


def test_a_sqlite_file_is_for_excel_on_this_machine_and_not_for_power_bi(home: Path) -> None:
    place = Home(home)
    path = home / "a;b" / "hunter.db"
    place.edit_env(HUNTER_DATABASE_URL=f"sqlite:///{path}")
    done = place.invoke("connect", "excel", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["source"], said["driver"]) == (str(path), "SQLite3 ODBC Driver")
    connection, _ = connection_of(Path(said["file"]).read_text(encoding="utf-8"))
    assert connection == f"Driver={{SQLite3 ODBC Driver}};Database={{{path}}};NoCreat=1;"
    assert "this machine only" in place.invoke("connect", "excel").stderr
    refused = place.invoke("connect", "powerbi")
    assert refused.exit_code == 1
    assert str(home / "reports" / "csv") in refused.stderr
    assert "lead_report" in refused.stderr
    assert not path.exists()
    assert not list(home.glob("*.pbids"))


def test_a_sqlite_file_has_no_logins_and_the_command_says_what_to_give_people_instead(home: Path) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=f"sqlite:///{home / 'hunter.db'}")
    done = place.invoke("connect", "reader", "sales")
    assert done.exit_code == 1
    assert "knows no logins" in done.stderr
    assert "CSV files of `lead_report`" in done.stderr.replace("\n", " ")
    assert not (home / "hunter.db").exists()


def test_a_file_that_is_there_is_replaced_whole(place: Home) -> None:
    path = place.path / "sales.odc"
    path.write_text("old " * 10_000)
    content = written(place, "excel", "--output", str(path))
    assert "old" not in content
    assert unescape(content).rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["powerbi", "--output", "sales.json"], "sales.json must end with .pbids"),
        (["excel", "--output", "sales.xlsx"], "sales.xlsx must end with .odc"),
        (["powerbi", "--output", "missing/a.pbids"], "does not exist; make it first"),
        (["excel", "--output", "."], "is a folder; name a file in it"),
        (["powerbi", "--server", "user@db"], "is not HOST or HOST:PORT"),
        (["powerbi", "--server", "db:port"], "is not HOST or HOST:PORT"),
        (["excel", "--server", "db;Pwd=x"], "is not HOST or HOST:PORT"),
        (["excel", "--driver", "x};Pwd=y"], "has no braces"),
        (["excel", "--view", "leads"], "'leads' is not one of"),
        (["reader", "Sales; DROP"], "is no name for a login here"),
        (["reader", "pg_sales"], "is no name for a login here"),
        (["reader", "sales", "--revoke", "--new-password"], "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_next_step(arguments: list[str], said: str, place: Home) -> None:
    done = place.invoke("connect", *arguments)
    assert done.exit_code in (1, 2)
    assert said in done.output.replace("\n", " ")
    assert [path.name for path in place.path.iterdir()] == [".env"]


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://u@/hunter?host=/run/postgresql", "postgresql+psycopg://u@a,b/hunter"]
)
def test_a_warehouse_without_one_host_asks_for_its_name(url: str, place: Home) -> None:
    place.edit_env(HUNTER_DATABASE_URL=url)
    done = place.invoke("connect", "powerbi")
    assert done.exit_code == 1
    assert "--server db.example.com" in done.stderr
