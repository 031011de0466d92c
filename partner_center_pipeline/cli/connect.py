"""`partner-center connect`: files by which Power BI and Excel connect to the warehouse, and a login for them.

Not here: what the files hold (`reports.connection_files`), what a login may do (`warehouse.readers`).
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import click

from partner_center_pipeline.cli.base import console, emit, notes, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import Settings, home, is_loopback

if TYPE_CHECKING:
    from sqlalchemy import URL

F = TypeVar("F", bound=Callable[..., None])

VIEWS: Final = ("due_first", "leads_ready", "leads_without_company", "company_card", "sync_health")
"""The views that are offered; the first is the list that the report opens with."""

_DEFAULT_PORT: Final = 5432
_LEAST_PASSWORD: Final = 12
"""Characters of a password that a person gives."""
_ROLE_NAME: Final = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,62}")
"""Names that need quotes nowhere. PostgreSQL keeps `pg_` for itself and cuts names after 63 bytes."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a PostgreSQL warehouse is, for other programs."""

    host: str
    port: int
    database: str
    ssl_mode: str

    @property
    def server(self) -> str:
        """The host, with the port unless that is PostgreSQL's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORT else f"{host}:{self.port}"


@click.group()
def connect() -> None:
    """Let Power BI and Excel read the lists from the database: connection files, and a login for them.

    \b
    On PostgreSQL, three steps (docs/powerbi.md):
      partner-center connect reader sales        a login that may read the views and nothing else
      partner-center connect powerbi             partner-center.pbids: open it with Power BI Desktop
      partner-center connect excel               due_first.odc: open it with Excel
    \b
    The views: due_first, leads_ready, leads_without_company, company_card, sync_health (docs/tables.md).

    No file holds a user or a password: Power BI and Excel ask for them. A SQLite warehouse has no logins and no server;
    for it there are the CSV files that the asset lead_report replaces each morning (reports/csv in the home folder).
    """


def _file_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"The file to write, replaced whole; {default} in the working directory if left out.",
    )


_server_option: Final = click.option(
    "--server",
    metavar="HOST[:PORT]",
    help="The database server as the reader's computer names it, where HUNTER_DATABASE_URL names it otherwise.",
)


@connect.command()
@_file_option("partner-center.pbids")
@_server_option
@json_option("Print what was written as JSON.")
@report_errors
def powerbi(output: Path | None, server: str | None, as_json: bool) -> None:
    """Write a .pbids file: Power BI opens the warehouse by it.

    For a warehouse on PostgreSQL. Open the file with Power BI Desktop, enter the login of `partner-center connect
    reader` under "Database", and choose the views. Deadlines
    are compared with the clock when Power BI reads, so refresh as often as the hours matter.

    \b
    Examples:
      partner-center connect powerbi
      partner-center connect powerbi --output sales.pbids --server db.example.com

    It asks no database: server and database come from HUNTER_DATABASE_URL. The contact columns (contact_name,
    contact_email, contact_phone) are personal data: leave them out of what you load unless people need them.
    """
    from partner_center_pipeline.reports.connection_files import powerbi_file

    url = _url()
    if url.get_backend_name() == "sqlite":
        stop(
            f"Power BI reads no SQLite file by itself, so there is nothing to write for {url.database}. Let it read "
            f"the lists in {home() / 'reports' / 'csv'} (Get data, Text/CSV): the asset lead_report replaces them "
            "each morning, with the same columns. Or move the warehouse to PostgreSQL (HUNTER_DATABASE_URL). "
            'docs/powerbi.md, "SQLite", says more'
        )
    place = _place(url, server)
    path = _write(output, "partner-center.pbids", powerbi_file(place.server, place.database))
    if as_json:
        emit({"file": str(path), "server": place.server, "database": place.database, "views": VIEWS})
        return
    console.print(f"Wrote {path}: server {place.server}, database {place.database}, no user and no password.")
    console.print(f"Open it with Power BI Desktop and choose among the views {', '.join(VIEWS)}.")
    _say_if_local(place)


@connect.command()
@_file_option("due_first.odc (or the view's name)")
@click.option("--view", type=click.Choice(VIEWS), default=VIEWS[0], show_default=True, help="What to read.")
@click.option("--with-contacts", is_flag=True, help="Also names, addresses and telephone numbers of contacts.")
@_server_option
@click.option(
    "--driver",
    metavar="NAME",
    help="The ODBC driver's name on the reader's computer, if it is not that of psqlODBC in 64 bits (PostgreSQL "
    "Unicode(x64)) or of the SQLite ODBC driver (SQLite3 ODBC Driver).",
)
@json_option("Print what was written as JSON.")
@report_errors
def excel(
    output: Path | None, view: str, with_contacts: bool, server: str | None, driver: str | None, as_json: bool
) -> None:
    """Write an .odc file: Excel opens a view by it.

    The view becomes a table that can be refreshed. Excel reads by ODBC: the computer needs the driver psqlODBC, in 64
    bits for an Excel in 64 bits. Open the file, let Excel connect, and enter the login of `partner-center connect
    reader`.

    \b
    Examples:
      partner-center connect excel
      partner-center connect excel --view leads_ready --output monday.odc --server db.example.com
      partner-center connect excel --driver "PostgreSQL Unicode"     Excel in 32 bits

    It asks no database. Contacts are personal data: without --with-contacts the file's query does not read them.
    For a SQLite warehouse the file names the warehouse's file, and works with the SQLite ODBC driver on this machine
    only.
    """
    from partner_center_pipeline.reports import connection_files
    from partner_center_pipeline.warehouse.reporting import CONTACTS
    from partner_center_pipeline.warehouse.views import VIEWS as TABLES

    url = _url()
    place: _Place | None = None
    if url.get_backend_name() == "sqlite":
        if server is not None:
            raise click.UsageError("--server is for PostgreSQL; HUNTER_DATABASE_URL names a SQLite file")
        used = driver or connection_files.SQLITE_DRIVER
        source = str(url.database)
        connection = connection_files.sqlite_connection(source, driver=_driver(used))
    else:
        place = _place(url, server)
        used = driver or connection_files.POSTGRES_DRIVER
        source = f"{place.server}, database {place.database}"
        connection = connection_files.postgres_connection(
            place.host, place.port, place.database, driver=_driver(used), ssl_mode=place.ssl_mode
        )
    (table,) = (each for each in TABLES if each.name == view)
    columns = [column.name for column in table.columns if with_contacts or column.name not in CONTACTS]
    query = connection_files.list_query(view, columns)
    text = connection_files.excel_file(f"Partner Center {view}", str(table.comment), connection, query)
    path = _write(output, f"{view}.odc", text)
    if as_json:
        emit({"file": str(path), "view": view, "driver": used, "source": source, "with_contacts": with_contacts})
        return
    console.print(f"Wrote {path}: the view {view} of {source}; no user and no password.", markup=False)
    console.print(f"Open it with Excel, on a computer that has the ODBC driver {used}.", markup=False)
    if with_contacts:
        console.print("It reads contacts (personal data): pass it on only to those who may see them.")
    if place is None:
        notes.print("It works on this machine only; SQLite must not be read over a network share.")
    else:
        _say_if_local(place)


@connect.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Set the password that is read from standard input (one line).")
@click.option("--new-password", is_flag=True, help="Generate a new password for a login that exists.")
@click.option("--revoke", is_flag=True, help="Instead, take all rights from the login and delete it.")
@json_option("Print what was done as JSON, with a password that was generated.")
@report_errors
def reader(name: str, password_stdin: bool, new_password: bool, revoke: bool, as_json: bool) -> None:
    """Make a login that may read the views only.

    The login NAME may connect to the PostgreSQL warehouse and read the five views; it may read no table and write
    nothing. Its password is generated, printed once
    and kept nowhere: the server gets a verifier of it only. Run it again at any time, as after an update of the
    project that brings a new view: the rights become what they should be, and the password stays.

    \b
    Examples:
      partner-center connect reader sales
      partner-center connect reader sales --new-password
      partner-center connect reader sales --password-stdin < password.txt
      partner-center connect reader sales --revoke

    due_first, leads_ready, leads_without_company and company_card hold personal data (contact_name, contact_email,
    contact_phone): give the login only to people who may see them. The user of HUNTER_DATABASE_URL needs the right to
    make roles (CREATEROLE) for this command, and only for it.
    """
    from partner_center_pipeline.warehouse.database import Warehouse, open_warehouse
    from partner_center_pipeline.warehouse.readers import refuse_sqlite, remove_reader, set_up_reader

    if _ROLE_NAME.fullmatch(name) is None:
        raise click.UsageError(
            f"{name!r} is no name for a login here; use small letters a to z, digits and _, at most 63, e.g. sales"
        )
    if revoke + password_stdin + new_password > 1:
        raise click.UsageError("--password-stdin, --new-password and --revoke exclude each other")
    password = _given_password() if password_stdin else None
    settings = Settings.load()
    refuse_sqlite(Warehouse.of(settings))
    with open_warehouse(settings) as warehouse:
        place = {"role": name, "database": warehouse.engine.url.database}
        if revoke:
            is_deleted = remove_reader(warehouse, name)
            if as_json:
                emit({**place, "is_deleted": is_deleted})
            elif is_deleted:
                console.print(f"The login {name} is deleted.")
            else:
                console.print(
                    f"The login {name} has no rights here any more. It stays, because it has rights in another "
                    "database of the server: run this there, too."
                )
            return
        made = set_up_reader(warehouse, name, password=password, renew=new_password)
    if as_json:
        emit({**place, "is_new": made.is_new, "password": made.password, "views": made.views})
        return
    console.print(
        f"The login {name} is {'made' if made.is_new else 'as it should be'}: it may read {', '.join(made.views)}, and "
        "nothing else."
    )
    if made.password is not None:
        console.print("Its password, shown this once and kept nowhere:")
        click.echo(made.password)
    elif password is not None:
        console.print("Its password is the one that was given.")
    else:
        console.print("Its password is what it was; --new-password makes a new one.")
    console.print("Next: partner-center connect powerbi, or partner-center connect excel")


def _url() -> "URL":
    from sqlalchemy import make_url

    return make_url(Settings.load().database_url.get_secret_value())


def _place(url: "URL", server: str | None) -> _Place:
    """Return where the database is: as `server` says, else as the URL does. Stops where neither names a host."""
    host, port = _split(server) if server is not None else _host_of(url)
    ssl_mode = url.query.get("sslmode", "prefer")
    database = url.database or url.username
    if not database:
        stop("HUNTER_DATABASE_URL names no database; write it after the last /, e.g. ...@localhost/hunter")
    return _Place(host, port or _DEFAULT_PORT, database, str(ssl_mode))


def _host_of(url: "URL") -> tuple[str, int | None]:
    named = url.host or url.query.get("host", "")
    port = url.port or url.query.get("port")
    if not isinstance(named, str) or not named or named.startswith(("/", "@")) or "," in named:
        _stop_without_host()
    return named, int(str(port)) if port and str(port).isdecimal() else None


def _stop_without_host() -> NoReturn:
    stop(
        "HUNTER_DATABASE_URL names no single host that another program could connect to (a socket of this machine, "
        "or several hosts); name it with --server, e.g. --server db.example.com"
    )


def _split(server: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{server}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit("//"), None
    if not parts.hostname or parts.path or parts.username or re.search(r"[\s;{}]", server):
        raise click.UsageError(f"{server!r} is not HOST or HOST:PORT, e.g. db.example.com or db.example.com:5433")
    return parts.hostname, port


def _driver(name: str) -> str:
    if "}" in name or "{" in name:
        raise click.UsageError("the name of an ODBC driver has no braces; write it as the ODBC administrator shows it")
    return name


def _write(output: Path | None, default: str, text: str) -> Path:
    """Write a file, which has the ending of `default`: by that Windows knows who opens it. Return its path."""
    from partner_center_pipeline.reports.writing import replacing

    path = (output or Path(default)).expanduser().absolute()
    ending = Path(default).suffix
    if path.suffix.lower() != ending and not path.is_dir():
        raise click.UsageError(f"{path.name} must end with {ending}: by that Windows knows which program opens it")
    with replacing(path, example=default) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _say_if_local(place: _Place) -> None:
    if is_loopback(place.host):
        notes.print(
            f"{place.host} is this machine: for readers on other computers name the server with --server HOST.",
            markup=False,
        )


def _given_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < _LEAST_PASSWORD or not password.isprintable():
        stop(
            f"standard input holds no password of at least {_LEAST_PASSWORD} characters in one line; leave "
            "--password-stdin out to have one generated"
        )
    return password
