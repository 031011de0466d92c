"""`partner-center subject`: find, export and erase what is held about one person (personal_data.md)."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from partner_center_pipeline.cli.base import console, emit, notes, os_user, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import Settings, home
from partner_center_pipeline.warehouse.database import OWN_FOLDER, Warehouse, open_warehouse

if TYPE_CHECKING:
    from partner_center_pipeline.privacy import Identifier
    from partner_center_pipeline.warehouse.erasures import Found

F = TypeVar("F", bound=Callable[..., Any])

_REFERRALS_SHOWN: Final = 20


def _person_options(command: F) -> F:
    """Add `--email`, `--phone` and `--name`, each as often as wanted, all of one person."""
    for name, placeholder, help_text in (
        ("name", "TEXT", "A full name. Names are not unique: look at what `find` shows first."),
        ("phone", "NUMBER", "A telephone number, in any spelling; without a country it is Turkish."),
        ("email", "ADDRESS", "An e-mail address, in any spelling."),
    ):
        command = click.option(f"--{name}", f"{name}s", multiple=True, metavar=placeholder, help=help_text)(command)
    return command


@click.group()
def subject() -> None:
    """Find, export or erase what is held about one person.

    A person is named by e-mail addresses, telephone numbers and full names, each as often as you like; all that you
    give are of the same person. docs/personal_data.md says what lies where, and for how long.
    """


@subject.command()
@_person_options
@json_option("Print the figures as JSON.")
@report_errors
def find(emails: tuple[str, ...], phones: tuple[str, ...], names: tuple[str, ...], as_json: bool) -> None:
    """Say where a person is named, and in how many rows. Shows nothing of what is there."""
    identifiers = _identifiers(emails, phones, names)
    with open_warehouse(Settings.load()) as warehouse:
        found, files = _search(warehouse, identifiers)
        left = _left(warehouse)
    if as_json:
        emit({**_figures(found, files), "not_searched": left})
        return
    _tell(found, files, names_only=not (emails or phones))
    _tell_left(left)


@subject.command()
@_person_options
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. It must not exist; only you may read it (mode 0600).",
)
@report_errors
def export(emails: tuple[str, ...], phones: tuple[str, ...], names: tuple[str, ...], output: Path) -> None:
    """Write all that is held about a person into one JSON file.

    It has the person's contacts as received, the texts that name the person, and where each was found. A text may name
    others, too: read the file before you hand it over.
    """
    identifiers = _identifiers(emails, phones, names)
    with open_warehouse(Settings.load()) as warehouse:
        found, files = _search(warehouse, identifiers)
    document = {
        "made_at": datetime.now(UTC),
        "looked_for": {"email": emails, "phone": phones, "name": names},
        **_figures(found, files),
        "held": [
            {
                "table": hit.table.name,
                **hit.about,
                "found": [{"path": change.path, "value": change.before} for change in hit.changes],
            }
            for hit in found.hits
        ],
    }
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        stop(f"{output} exists already; name another file, or delete it")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=2, default=str)
    console.print(f"{len(found.hits)} rows written to {output}. It holds personal data: delete it when it is answered.")


@subject.command()
@_person_options
@click.option("--dry-run", is_flag=True, help="Say what would be emptied. Changes nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where only names are given.")
@click.option("--by", metavar="NAME", help="Who erases, if not the user of this system. It is kept.")
@json_option("Print the figures as JSON. Needs --yes or --dry-run.")
@report_errors
def erase(
    emails: tuple[str, ...],
    phones: tuple[str, ...],
    names: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Take a person out of all that is stored, for good.

    The referrals stay, without the person; of an e-mail address the domain stays, which is the company's. Nothing that
    Partner Center sends brings the person back. This cannot be undone. Who did it, when, and in how many rows is kept
    for three years, without the person.
    """
    identifiers = _identifiers(emails, phones, names)
    names_only = not (emails or phones)
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing, so it needs --yes or --dry-run")
    settings = Settings.load()
    with open_warehouse(settings) as warehouse:
        found, files = _search(warehouse, identifiers)
        if not as_json:
            _tell(found, files, names_only=names_only)
        if dry_run:
            if as_json:
                emit({"dry_run": True, **_figures(found, files)})
            return
        if not yes:
            if names_only:
                stop(
                    "a name alone may be that of several people; see above, and add --yes if all of it is one person's"
                )
            click.confirm("Erase this for good?", abort=True, err=True)
        done = _erase(warehouse, settings, identifiers, by, files)
        left = _left(warehouse)
    if as_json:
        emit({"dry_run": False, **done, "not_searched": left})
        return
    rows = sum(done["rows"].values())
    console.print(
        f"Erased: {rows} rows emptied, {len(files)} files of reports deleted. Nothing brings the person back."
    )
    _tell_left(left)


def _erase(
    warehouse: Warehouse,
    settings: Settings,
    identifiers: "Sequence[Identifier]",
    by: str | None,
    files: Sequence[Path],
) -> dict[str, Any]:
    from partner_center_pipeline.defs.derivation import apply_decisions
    from partner_center_pipeline.warehouse import erasures

    now = datetime.now(UTC)
    erased = erasures.erase(warehouse, identifiers, (by or "").strip() or os_user(), now)
    if not apply_decisions(warehouse, settings, now):
        notes.print("[yellow]note[/] The companies follow after the next run (`partner-center sync`): much is pending.")
    for file in files:
        file.unlink(missing_ok=True)
    reason = erasures.forget_deleted(warehouse)
    if reason is not None:
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(
            f"what was replaced may still be in free space of the database: {reason}; end what reads it, and run the "
            "same command again",
            markup=False,
        )
    return {"rows": dict(erased.rows), "files_deleted": [str(file) for file in files], "free_space": reason}


def _identifiers(emails: Sequence[str], phones: Sequence[str], names: Sequence[str]) -> "list[Identifier]":
    from partner_center_pipeline.privacy import Identifier, Kind, UnusableIdentifierError

    given = [
        *((Kind.EMAIL, text) for text in emails),
        *((Kind.PHONE, text) for text in phones),
        *((Kind.NAME, text) for text in names),
    ]
    if not given:
        raise click.UsageError("say whom: --email, --phone or --name, or several of them")
    try:
        return [Identifier.read(kind, text) for kind, text in given]
    except UnusableIdentifierError as error:
        raise click.UsageError(str(error)) from None


def _search(warehouse: Warehouse, identifiers: "Sequence[Identifier]") -> "tuple[Found, list[Path]]":
    from partner_center_pipeline.reports.named_in import files_naming
    from partner_center_pipeline.reports.writing import FOLDER
    from partner_center_pipeline.warehouse import erasures

    found = erasures.search(warehouse, identifiers)
    return found, files_naming(home() / FOLDER, found.names)


def _left(warehouse: Warehouse) -> list[str]:
    """Return the files of other warehouses in the home folder, such as the one from before a move to PostgreSQL."""
    from partner_center_pipeline.warehouse.copies import other_warehouses

    folders = {home(), home() / OWN_FOLDER}
    if warehouse.file is not None:
        folders.add(warehouse.file.parent)
    return [str(file) for file in other_warehouses(folders, warehouse.file)]


def _tell_left(left: Sequence[str]) -> None:
    if not left:
        return
    notes.print("[bold yellow]warning[/] Files of another warehouse, such as from before a move, were not searched:")
    for file in left:
        notes.print(f"  {file}", markup=False)
    notes.print("They may name the person; delete them when you need them no longer.")


def _figures(found: "Found", files: Sequence[Path]) -> dict[str, Any]:
    return {
        "rows": found.rows(),
        "referrals": found.referral_ids(),
        "other_people_with_the_same_number_or_name": found.spared,
        "files": [str(file) for file in files],
        "erased_before": found.erased,
    }


def _tell(found: "Found", files: Sequence[Path], *, names_only: bool) -> None:
    if found.erased:
        console.print("Somebody with this address, number or name was erased before.")
    if not (found.hits or files):
        console.print("Nothing is held about this person.")
    for table, rows in sorted(found.rows().items()):
        console.print(f"{table:<24} {rows:>6} {'row' if rows == 1 else 'rows'}")
    ids = found.referral_ids()
    if ids:
        more = f" and {len(ids) - _REFERRALS_SHOWN} more" if len(ids) > _REFERRALS_SHOWN else ""
        console.print(f"Referrals: {', '.join(ids[:_REFERRALS_SHOWN])}{more}", markup=False)
    for file in files:
        console.print(f"File: {file}", markup=False)
    if found.spared:
        console.print(
            f"Not counted: {found.spared} contacts with the same number or name, but another address or name. If one "
            "is the same person, give that address or name, too."
        )
    if names_only:
        notes.print("[bold yellow]warning[/] Names are not unique: all of this may be of several people.")
