"""The command group and what the commands share: the home folder, the console, error messages.

Commands import large libraries where they use them, so that `--help` answers at once.
"""

import getpass
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Final, NoReturn, ParamSpec, TypeVar

import click
from filelock import FileLock
from rich.console import Console

from partner_center_pipeline.settings import PROJECT_ROOT, Settings, SettingsError, home

P = ParamSpec("P")
R = TypeVar("R")

console: Final = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
"""Prints results to stdout, 140 columns wide where that is no terminal. Lines are not wrapped, so that commands, paths
and codes can be copied."""
notes: Final = Console(stderr=True, highlight=False, soft_wrap=True)
"""Prints messages and progress to stderr."""

COMMANDS: Final = {
    "demo": "demo:demo",
    "ui": "ui:ui",
    "login": "sign_in:login",
    "token": "token:token",
    "accept-account": "accept_account:accept_account",
    "doctor": "doctor:doctor",
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
    "migrate": "migrate:migrate",
    "simulate": "simulate:simulate",
}


class _Lazy(click.Group):
    """Loads a command's module when the command is used."""

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

    Settings are HUNTER_* variables in .env; .env.example explains each.
    """


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: errors of the project print their message, without a traceback, and give exit code 1."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from partner_center_pipeline.defs.gate import GateClosedError
        from partner_center_pipeline.partner_center import PartnerCenterError
        from partner_center_pipeline.reports.model import ReportError
        from partner_center_pipeline.scoring import RulesError
        from partner_center_pipeline.warehouse.database import WarehouseError

        try:
            return command(*args, **kwargs)
        except (GateClosedError, SettingsError, WarehouseError, PartnerCenterError, ReportError, RulesError) as error:
            stop(str(error))

    return wrapped


def stop(message: str) -> NoReturn:
    """End the command with a message on stderr and exit code 1."""
    notes.print("[bold red]error[/] ", end="")
    notes.print(message, markup=False)
    sys.exit(1)


def os_user() -> str:
    """Return the name of the operating system's user; containers may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"


def emit(value: object) -> None:
    """Print a value as one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def enter_home() -> Path:
    """Make the home folder the working directory, set DAGSTER_HOME and return the folder.

    The paths in dagster.yaml are relative to the working directory. Without DAGSTER_HOME Dagster keeps its history in a
    temporary folder and deletes it.
    """
    root = home()
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    os.environ["DAGSTER_HOME"] = str(PROJECT_ROOT)
    return root


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
