"""Every command with `--json` prints exactly one JSON object when it fails, too, and says it in words on stderr."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from partner_center_pipeline.cli import main
from partner_center_pipeline_tests.cli.conftest import Home

NEEDED = {
    "export": ("--output", "leads.csv"),
    "inspect": ("firma.com.tr",),
    "quarantine show": ("0123",),
    "quarantine replay": ("--all",),
    "connect reader": ("sales",),
    "lead show": ("0123",),
    "lead mark": ("0123", "contacted"),
    "lead set-domain": ("0123", "firma.com.tr"),
    "lead clear-domain": ("0123",),
    "matches accept": ("0123",),
    "matches reject": ("0123",),
    "matches undo": ("0123",),
    "decisions import": (__file__,),
    "subject find": ("--email", "ayse@example.com"),
    "subject erase": ("--email", "ayse@example.com", "--yes"),
    "backup": ("--to", "backups"),
    "restore": ("--from", "backups"),
    "migrate-warehouse": ("--to", "postgresql://hunter@localhost/hunter"),
}
"""Arguments that a command cannot be without."""
NO_SETTINGS = {"doctor", "status", "init", "restore"}
"""Commands whose result is what is wrong, the one that makes the settings, and one whose settings are of a backup."""


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all commands that have the option `--json`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join((*words, name))


WITH_JSON = list(commands(main))


def error_of(stdout: str) -> str:
    """The message of the only thing on stdout: a JSON object."""
    shown = json.loads(stdout)
    assert set(shown) == {"error"}
    message: str = shown["error"]
    assert message
    return message


def test_these_are_all_commands() -> None:
    assert len(WITH_JSON) >= 19
    assert {*NEEDED, *NO_SETTINGS} <= set(WITH_JSON)


@pytest.mark.parametrize("command", WITH_JSON)
def test_wrong_usage_and_wrong_settings_are_one_json_object_and_a_sentence(command: str, home: Path) -> None:
    place = Home(home)
    usage = place.invoke(*command.split(), *NEEDED.get(command, ()), "--json", "--no-such-option")
    assert usage.exit_code == 2
    assert "--no-such-option" in error_of(usage.stdout)
    assert "--no-such-option" in usage.stderr
    if command in NO_SETTINGS:
        return
    place.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
    settings = place.invoke(*command.split(), *NEEDED.get(command, ()), "--json")
    assert settings.exit_code == 1
    assert error_of(settings.stdout).startswith("HUNTER_PARTNER_CENTER_PAGE_SIZE: ")
    assert "HUNTER_PARTNER_CENTER_PAGE_SIZE: " in settings.stderr
    assert "Traceback" not in settings.stderr


def test_without_the_option_nothing_is_on_stdout(home: Path) -> None:
    place = Home(home)
    place.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
    assert place.invoke("drift").stdout == ""
