"""`partner-center init`: makes a home folder, with settings to fill in."""

import shlex
from pathlib import Path
from typing import Final

import click

from partner_center_pipeline.cli.base import console, emit, report_errors, stop
from partner_center_pipeline.cli.dagster_home import write_dagster_yaml
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import HOME_VARIABLE, SHIPPED, home

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@json_option("Print the folder, its files and the next steps as JSON.")
@report_errors
def init(folder: Path | None, as_json: bool) -> None:
    """Make a home folder: .env with every setting and its explanation, and Dagster's dagster.yaml.

    FOLDER must be new or empty; without it, the home folder of this environment is made (HUNTER_HOME). Only this user
    may enter the folder. Nothing is overwritten. An upgrade renews dagster.yaml while nobody has edited it; your own
    stays as it is.
    """
    place = (folder or home()).expanduser().resolve()
    _refuse_used(place)
    place.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
    place.chmod(_PRIVATE_FOLDER)
    settings = place / ".env"
    settings.touch(mode=_PRIVATE_FILE, exist_ok=False)
    settings.write_bytes((SHIPPED / ".env.example").read_bytes())
    files = [settings, write_dagster_yaml(place)]
    steps = _next_steps(place)
    if as_json:
        emit({"home": str(place), "files": [str(file) for file in files], "next": steps})
        return
    console.print(f"Made the home folder [bold]{place}[/].")
    for number, step in enumerate(steps, 1):
        console.print(f"  {number}. {step}", markup=False)


def _refuse_used(place: Path) -> None:
    """End the command where the folder holds anything: it may be a home folder already, or another program's."""
    if place.exists() and not place.is_dir():
        stop(f"{place} is a file; name a folder that is new or empty")
    present = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    if present:
        shown = ", ".join(present[:3]) + (", …" if present[3:] else "")
        stop(f"{place} is not empty ({shown}), and nothing in it was changed; name a folder that is new or empty")


def _next_steps(place: Path) -> list[str]:
    tell = (
        [] if place == home() else [f"export {HOME_VARIABLE}={shlex.quote(str(place))}   (in the service's unit, too)"]
    )
    return [
        *tell,
        f"edit {place / '.env'}: HUNTER_PARTNER_CENTER_CLIENT_ID, HUNTER_PARTNER_CENTER_TENANT_ID and "
        "HUNTER_PARTNER_CENTER_ENABLED=true (docs/tenant_setup.md)",
        "partner-center login    sign in once",
        "partner-center doctor   what works, and what is missing",
        "partner-center ui       schedule, sensor and the Dagster UI",
    ]
