"""`partner-center status`: how well the pipeline does, for people and for a monitor. It asks its databases only."""

import sys
import traceback
from collections.abc import Iterator
from typing import Final

import click

from partner_center_pipeline import health
from partner_center_pipeline.cli.base import console, emit
from partner_center_pipeline.cli.health_check import (
    dagster_items,
    disk_items,
    private_file_items,
    sign_in_items,
    utc_now,
    warehouse_items,
)
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.health import EXIT_CODES, Grade, Item
from partner_center_pipeline.settings import HOME_VARIABLE, Settings, SettingsError, home

_SECONDS: Final = 3.0
"""Seconds that the warehouse may take, and the stored sign-in."""
_MARKS: Final = {Grade.OK: "[green]ok[/]     ", Grade.WARNING: "[yellow]warning[/]", Grade.WRONG: "[red]wrong[/]  "}


@click.command()
@json_option("Print the findings as JSON.")
def status(as_json: bool) -> None:
    """Say whether the sync keeps up, and all that would stop it: for a person, or for a monitor.

    \b
    Exit code   0  all is well
                1  a warning: look at it this week
                2  something is wrong: look at it now; also when it cannot be found out

    It reads the database and Dagster's storage, asks nobody else, makes and changes nothing, and ends within 15 seconds
    when a database does not answer. `partner-center doctor` also asks Microsoft, and says what to set up.
    docs/operations.md lists each subject, from when on it is a warning or wrong, and the JSON.
    """
    try:
        items = []
        for item in findings():
            items.append(item)
            if not as_json:
                console.print(f"{_MARKS[item.grade]}  [bold]{item.subject}[/]  ", end="")
                console.print(item.text, markup=False)
    except Exception as error:  # noqa: BLE001  a defect is nothing that a monitor may take for a warning
        traceback.print_exc()
        if as_json:
            emit({"error": f"a defect ({type(error).__name__}); stderr has the rest"})
        sys.exit(EXIT_CODES[Grade.WRONG])
    grade = health.worst(items)
    if as_json:
        found = [
            {"subject": item.subject, "grade": item.grade, "text": item.text, "figures": dict(item.figures)}
            for item in items
        ]
        emit({"grade": grade, "exit_code": EXIT_CODES[grade], "items": found})
    sys.exit(EXIT_CODES[grade])


def findings() -> Iterator[Item]:
    """Yield all that is judged. Raises nothing but for a defect."""
    try:
        if not home().is_dir():
            yield Item("home", Grade.WRONG, f"there is no folder {home()}; correct {HOME_VARIABLE}, or make the folder")
            return
        settings = Settings.load()
    except SettingsError as error:
        yield Item("settings", Grade.WRONG, str(error))
        return
    now = utc_now()
    yield health.of_flag(settings.partner_center_enabled)
    warehouse = list(warehouse_items(settings, _SECONDS, now))
    yield from warehouse
    yield from dagster_items(settings, now)
    if all(item.subject != "warehouse" for item in warehouse):  # it may hold the sign-in, and would be waited for again
        yield from sign_in_items(settings, _SECONDS)
    yield from disk_items(settings)
    yield from private_file_items(settings)
