"""The command group and what the commands share: the home folder, the console, error messages.

Commands import large libraries where they use them, so that `--help` answers at once.
"""

import errno
import getpass
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, NoReturn, ParamSpec, TextIO, TypeVar

import click
from filelock import FileLock, Timeout
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.cli.dagster_home import dagster_home_to_read, write_dagster_yaml
from partner_center_pipeline.settings import HOME_VARIABLE, Settings, SettingsError, home

P = ParamSpec("P")
R = TypeVar("R")

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk that is full, or of a person's share of it."""

console: Final = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
"""Prints results to stdout, 140 columns wide where that is no terminal. Lines are not wrapped, so that commands, paths
and codes can be copied."""


class Notes(Console):
    """Messages and progress on stderr. Where its disk is full they are left out: no result depends on them."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does, or nowhere any more."""
        with self.or_nowhere():
            super().print(*objects, **how)

    @contextmanager
    def or_nowhere(self) -> Iterator[None]:
        """Print nowhere any more when the block fails because the disk is full."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.quiet = True
            leave_full(2)
            with suppress(OSError):
                leave_full(self.file.fileno())


notes: Final = Notes(stderr=True, highlight=False, soft_wrap=True)
"""Prints messages and progress to stderr."""

COMMANDS: Final = {
    "demo": "demo:demo",
    "init": "init:init",
    "ui": "ui:ui",
    "login": "sign_in:login",
    "token": "token:token",
    "accept-account": "accept_account:accept_account",
    "doctor": "doctor:doctor",
    "status": "status:status",
    "metrics": "metrics:metrics",
    "sync": "sync:sync",
    "reconcile": "reconcile:reconcile",
    "quarantine": "quarantine:quarantine",
    "drift": "drift:drift",
    "rescan": "rescan:rescan",
    "rescore": "rescore:rescore",
    "inspect": "inspect_domain:inspect",
    "export": "export:export",
    "connect": "connect:connect",
    "alerts": "alerts:alerts",
    "lead": "lead:lead",
    "matches": "matches:matches",
    "decisions": "decisions:decisions",
    "subject": "subject:subject",
    "migrate": "migrate:migrate",
    "migrate-warehouse": "migrate_warehouse:migrate_warehouse",
    "prune": "prune:prune",
    "compact-windows": "compact_windows:compact_windows",
    "backup": "backup:backup",
    "restore": "restore:restore",
    "simulate": "simulate:simulate",
}


class _Stopped(SystemExit):
    """The end of a command with exit code 1, after its message was shown on stderr."""

    def __init__(self, message: str) -> None:
        super().__init__(1)
        self.message = message


class _Output:
    """What the present command printed as JSON, and which descriptors lead to a terminal."""

    has_json = False
    terminals: Final[set[int]] = set()


class _Lazy(click.Group):
    """Loads a command's module when the command is used. Ends it in one way, whatever happens."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command. With `--json` an error is one JSON object on stdout, too, beside its message on stderr."""
        arguments = sys.argv[1:] if args is None else list(args)
        _replace_what_cannot_be_printed()
        try:
            with _private_files(), _signals_end_as_ctrl_c():
                return self._run(arguments, prog_name, complete_var, standalone_mode, **extra)
        except OSError as error:
            if error.errno not in _FULL or error.filename is not None:
                raise
            leave_full(1)
            stop(f"nothing more can be written ({error.strerror}); free some space on the disk, then run again")

    def _run(
        self,
        arguments: list[str],
        prog_name: str | None,
        complete_var: str | None,
        standalone_mode: bool,
        **extra: Any,
    ) -> Any:
        if not standalone_mode or "--json" not in arguments:
            return super().main(arguments, prog_name, complete_var, standalone_mode, **extra)
        _Output.has_json = False
        try:
            code = super().main(arguments, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            error.show()
            _emit_error(error.format_message())
            code = error.exit_code
        except click.Abort:
            notes.print("Aborted!")
            _emit_error("interrupted")
            code = 1
        except _Stopped as stopped:
            _emit_error(stopped.message)
            raise
        except Exception as error:
            _emit_error(f"a defect ({type(error).__name__}); stderr has the rest")
            raise
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        from importlib import import_module

        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"partner_center_pipeline.cli.{module}"), attribute)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="partner-center-pipeline")
def main() -> None:
    """Microsoft Partner Center referrals, complete, explained and on time.

    \b
    First look, without any Microsoft account:
      partner-center demo          the whole pipeline against a local Microsoft
      partner-center ui            the same data in the Dagster UI
    \b
    With a real tenant (README, "Connecting a real tenant"):
      partner-center doctor        what is configured, and what is missing
      partner-center login         sign in once, by device code
      partner-center sync          the windows that are due, here and now
      partner-center ui            schedule, sensor, backfills
      partner-center status        whether the sync keeps up; its exit code is for a monitor
      partner-center backup --to DIR                   everything that another machine needs; and restore
    \b
    What is known, and why:
      partner-center export --output monday.xlsx       the sales team's lists; or .html, .csv
      partner-center connect powerbi                   the lists in Power BI; or excel
      partner-center inspect example.com.tr            one company's card, from DNS answer to reason
      partner-center rescan                            ask DNS again where the answer is too old
      partner-center rescore --dry-run --rules FILE    what rules of your own would change
    \b
    What you decide (docs/decisions.md):
      partner-center lead mark ID contacted            also: not-interested, snoozed, reopened
      partner-center lead set-domain ID DOMAIN         the customer's domain, where none or a wrong one was found
      partner-center matches list                      companies that may be one: accept, reject
      partner-center decisions import monday.xlsx      what the sales team filled in
    \b
    What is held about one person (docs/personal_data.md):
      partner-center subject find --email ADDRESS      also: export, erase

    Settings are HUNTER_* variables in .env; .env.example explains each.
    """


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: errors of the project print their message, without a traceback, and give exit code 1.

    So do files and folders that cannot be used, such as a home folder that is read-only.
    """

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from sqlalchemy.exc import DBAPIError

        from partner_center_pipeline.cli.backup_folder import BackupError
        from partner_center_pipeline.defs.gate import GateClosedError
        from partner_center_pipeline.partner_center import PartnerCenterError
        from partner_center_pipeline.reports.model import ReportError
        from partner_center_pipeline.scoring import RulesError
        from partner_center_pipeline.warehouse.database import WarehouseError

        try:
            return command(*args, **kwargs)
        except (
            BackupError, GateClosedError, SettingsError, WarehouseError, PartnerCenterError, ReportError, RulesError,
        ) as error:  # fmt: skip
            stop(str(error))
        except DBAPIError as error:  # the warehouse's own are WarehouseError
            reason = next(iter(str(error.orig).splitlines()), "") or type(error.orig).__name__
            stop(
                f"Dagster's storage cannot be used ({reason}). What was fetched is kept. Check that the disk of "
                f"{home()} has space and may be written, and with PostgreSQL that the server runs; then run again, and "
                "it goes on from there"
            )
        except OSError as error:
            if error.filename is None:
                raise
            stop(f"{error.filename} cannot be used ({error.strerror}); check it, and that it may be written{_hint()}")

    return wrapped


def _hint() -> str:
    return f". The home folder is {home()}; {HOME_VARIABLE} names another"


def stop(message: str) -> NoReturn:
    """End the command with a message on stderr and exit code 1."""
    notes.print("[bold red]error[/] ", end="")
    notes.print(message, markup=False)
    raise _Stopped(message)


def leave_full(number: int) -> None:
    """Print nowhere from now on what goes to a descriptor whose disk is full: Python fails when it ends, otherwise."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def os_user() -> str:
    """Return the name of the operating system's user; containers may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"


def emit(value: object) -> None:
    """Print a value as one JSON document; in ASCII where stdout takes no more, which loses nothing."""
    _Output.has_json = True
    click.echo(json.dumps(value, ensure_ascii=not _is_unicode(sys.stdout), indent=2, default=str))


def _emit_error(message: str) -> None:
    """Print an error as JSON, unless the command printed its JSON before it failed."""
    if not _Output.has_json:
        emit({"error": message})


def _is_unicode(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "").lower().startswith("utf")


def _replace_what_cannot_be_printed() -> None:
    """Let stdout and stderr print `?` for a letter that their encoding has not, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if not _is_unicode(stream) and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def print_table(table: Table) -> None:
    """Print a table in which no word is cut, however narrow the terminal.

    Where the longest words of all columns do not fit beside each other, each row becomes lines of its own: an id that
    goes over several lines cannot be copied.
    """
    for column in table.columns:
        column.overflow = "fold"
    wide = console.options.update(max_width=10_000)
    whole = Measurement.get(console, wide, table)
    if whole.minimum <= console.width:
        if whole.maximum > console.width:
            _share_width(table, wide, console.width - whole.minimum)
        console.print(table, soft_wrap=False)
        return
    if table.title:
        console.print(table.title)
    names = [Text.from_markup(column.header) if isinstance(column.header, str) else Text() for column in table.columns]
    longest = max(map(len, names))
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        for name, cell in zip(names, cells, strict=True):
            shown = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
            head = Text(name.plain.ljust(longest + 2), "bold")
            console.print(head + Text("\n" + " " * len(head)).join(shown.split("\n")))
        console.print()


def _share_width(table: Table, wide: ConsoleOptions, spare: int) -> None:
    """Give each column the width of its longest word, and its share of the `spare` characters.

    Left to itself, rich takes from wide columns until they are as narrow as others, also where that cuts words.
    """
    needs = [
        [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)] for column in table.columns
    ]
    least = [max(need.minimum for need in of_column) for of_column in needs]
    wanted = [max(need.maximum for need in of_column) - low for of_column, low in zip(needs, least, strict=True)]
    for column, low, more in zip(table.columns, least, wanted, strict=True):
        column.width = low + spare * more // sum(wanted)


@contextmanager
def _private_files() -> Iterator[None]:
    """Let nobody else read what this process and its children write."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _signals_end_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP (the terminal was closed) end the command as Ctrl-C does: runs record that they ended.

    A signal that is ignored stays so: `nohup` ignores SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Output.terminals.update(number for number in (0, 1, 2) if os.isatty(number))

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell sets that for background commands
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_terminal() -> None:
    """Print nowhere from now on: each write to a terminal that was closed fails."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in _Output.terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)


def _is_on_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except OSError:  # a stream in memory
        return False


@contextmanager
def notes_on_a_descriptor_of_their_own() -> Iterator[None]:
    """Print notes and progress to a copy of descriptor 2 while the block runs.

    Dagster redirects descriptor 2 into a file while a step runs, and with it all that goes to stderr.
    """
    stream = sys.stderr
    if not _is_on_descriptor_2(stream):
        yield
        return
    number = os.dup(2)
    if os.isatty(number):
        _Output.terminals.add(number)
    with open(number, "w", encoding=stream.encoding, errors=stream.errors, buffering=1) as copy:  # noqa: PTH123
        notes.file = copy
        try:
            yield
        finally:
            notes.file = stream
            _Output.terminals.discard(number)


@contextmanager
def stderr_held_back() -> Iterator[Callable[[], bytes]]:
    """Keep what goes to descriptor 2 while the block runs; what it yields returns that afterwards.

    Descriptors 1 and 2 lead where they did when it ends: Dagster redirects both, and cannot always undo it when the
    disk is full. Nothing would be printed any more then.
    """
    sys.stdout.flush()
    before = [os.dup(1), os.dup(2)]
    copies_of_terminals = {copy for copy in before if os.isatty(copy)}
    _Output.terminals.update(copies_of_terminals)
    with TemporaryFile() if sys.platform != "linux" else open(os.memfd_create("stderr"), "w+b") as held:  # noqa: PTH123
        os.dup2(held.fileno(), 2)
        kept: list[bytes] = []
        try:
            yield lambda: b"".join(kept)
        finally:
            for number, stream in ((1, sys.stdout), (2, sys.stderr)):
                os.dup2(held.fileno(), number)
                with suppress(OSError, ValueError):
                    stream.flush()  # what a full disk did not take
            for number, copy in zip((1, 2), before, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            _Output.terminals.difference_update(copies_of_terminals)
            held.seek(0)
            kept.append(held.read())


def enter_home(*, make: bool = True) -> Path:
    """Make the home folder the working directory and DAGSTER_HOME, and return it. `make`: make what is missing there.

    The paths in dagster.yaml are relative to the working directory. Without DAGSTER_HOME Dagster keeps its history in a
    temporary folder and deletes it.
    """
    root = home()
    if make:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_dagster_yaml(root)
    os.chdir(root)
    os.environ["DAGSTER_HOME"] = str(dagster_home_to_read(root))
    return root


@contextmanager
def alone(name: str, what: str, detail: str) -> Iterator[None]:
    """Let one process of this home folder do a thing at a time; another one is refused, and told which does it.

    `name` names the files in `.hunter` (the lock, and what its holder says of itself), `what` the thing, and `detail`
    is said of the holder beside its process id.
    """
    folder = home() / ".hunter"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    holder = folder / f"{name}.running"
    try:
        lock = FileLock(folder / f"{name}.lock").acquire(timeout=0)
    except Timeout:
        known = holder.read_text(encoding="utf-8") if holder.exists() else "its process is not known"
        stop(
            f"{what} runs already on the home folder {home()} ({known}); use that one, end it, or name another folder "
            f"in {HOME_VARIABLE}"
        )
    with lock:
        holder.write_text(f"process {os.getpid()}, {detail}", encoding="utf-8")
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def holder_of(name: str) -> str | None:
    """Return what the process that holds `alone(name, ...)` says of itself; None when there is none."""
    folder = home() / ".hunter"
    if not (folder / f"{name}.running").exists():
        return None
    try:
        with FileLock(folder / f"{name}.lock").acquire(timeout=0):
            return None
    except Timeout:
        return (folder / f"{name}.running").read_text(encoding="utf-8")


def codes_folder() -> Path:
    """Return the folder of the codes in links that sign a browser in to the UI."""
    return home() / ".hunter/ui_codes"


def ensure_sync_start(at_least: timedelta = timedelta(0)) -> None:
    """Write HUNTER_SYNC_START into `.env` if it is not set anywhere: the last midnight (UTC) before now - `at_least`.

    A command sets `at_least` when it needs windows that have ended. From then on the instant is configuration.
    """
    start = (datetime.now(UTC) - at_least).replace(hour=0, minute=0, second=0, microsecond=0)
    file = home() / ".env"
    lock = home() / ".hunter/env.lock"
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(lock):
        if Settings.load().sync_start is not None:
            return
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        line = f"HUNTER_SYNC_START={start:%Y-%m-%dT%H:%M:%SZ}\n"
        text = before if not before or before.endswith("\n") else before + "\n"
        file.write_text(text + "# Where the sync windows begin; written by the first command that needed it.\n" + line)
    notes.print(f"Wrote [bold]{line.strip()}[/] into {file}: sync windows begin there.")
