"""The progress bar of the long commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from partner_center_pipeline.cli.base import notes, notes_on_a_descriptor_of_their_own


class Report(Protocol):
    """A function that shows how many of the total are done and, unless None, a new description and another total."""

    def __call__(self, done: int, now: str | None = None, total: int | None = None) -> None: ...


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Report]:
    """Show a bar on stderr while the block runs.

    `total` is the number of items, about: it grows when more are done. None where nobody knows it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with notes_on_a_descriptor_of_their_own(), Progress(*columns, console=notes) as progress:
        bar = progress.add_task(description, total=total)

        def report(done: int, now: str | None = None, total: int | None = None) -> None:
            known = total if total is not None else progress.tasks[0].total
            progress.update(bar, completed=done, description=now, total=known and max(known, done))

        yield report
