"""The progress bar of the long commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from partner_center_pipeline.cli.base import notes


class Report(Protocol):
    """A function that shows how many of the total are done and, unless None, a new description."""

    def __call__(self, done: int, now: str | None = None) -> None: ...


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Report]:
    """Show a bar on stderr while the block runs; `total` is the number of items."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task(description, total=total)

        def report(done: int, now: str | None = None) -> None:
            progress.update(bar, completed=done, description=now)

        yield report
