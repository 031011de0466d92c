"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(help_text: str) -> Callable[[F], F]:
    """Add `--json` to a command, as its parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def language_option(command: F) -> F:
    """Add `--language` to a command that shows people what they sell by."""
    return click.option(
        "--language", type=click.Choice(["en", "tr"]), default="en", show_default=True, help="Of what is shown."
    )(command)
