"""The progress bar of the long commands, with the newest line of what the run tells below it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

from partner_center_pipeline.cli.base import notes, notes_on_a_descriptor_of_their_own
from partner_center_pipeline.telling import heard_by

_TOLD_AGAIN_SECONDS: Final = 10.0
"""Seconds between two lines of trouble where stderr is no terminal: a bar that moves is not seen there."""


class Report(Protocol):
    """A function that shows how many of the total are done and, unless None, a new description and another total."""

    def __call__(self, done: int, now: str | None = None, total: int | None = None) -> None: ...


class _Display(Progress):
    """The bar, and below it the newest line that was told: a wait, a retry, a phase."""

    told = ""
    _printed = float("-inf")

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self.told:
            yield Text(self.told, overflow="fold", no_wrap=False)

    def stop(self) -> None:
        """Show the last state, and end."""
        with notes.or_nowhere():
            super().stop()

    def tell(self, level: int, line: str) -> None:
        """Show a line; print one of trouble where there is no terminal, not more often than _TOLD_AGAIN_SECONDS."""
        if notes.is_terminal:
            self.told = line
        elif level >= logging.WARNING and time.monotonic() - self._printed >= _TOLD_AGAIN_SECONDS:
            self._printed = time.monotonic()
            notes.print(line, markup=False)


def starting_dagster() -> Status:
    """Show in a terminal, for the block that loads it, that Dagster takes its time: two to seven seconds."""
    return notes.status("starting Dagster")


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Report]:
    """Show a bar on stderr while the block runs, and what the run tells.

    `total` is the number of items, about: it grows when more are done. None where nobody knows it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with notes_on_a_descriptor_of_their_own(), _Display(*columns, console=notes) as progress, heard_by(progress.tell):
        bar = progress.add_task(description, total=total)

        def report(done: int, now: str | None = None, total: int | None = None) -> None:
            known = total if total is not None else progress.tasks[0].total
            progress.update(bar, completed=done, description=now, total=known and max(known, done))

        try:
            yield report
        finally:
            progress.told = ""
