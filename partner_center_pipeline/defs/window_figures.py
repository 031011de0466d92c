"""What a materialization says of its window: the rows that it holds, and what the run did to them, as numbers.

Numbers of a run that takes several windows are given for each of them, so that a plot over windows is true. Dagster
would copy those of the whole run to each window (dagster.md, trap 8).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import window_rows
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.leads import Keys
from partner_center_pipeline.windows import SyncWindow, datetime_of

ROWS: Final = "dagster/partition_row_count"
_WRITTEN: Final = frozenset({"new", "changed"})

WINDOWS_TAG: Final = "partner_center/windows"
"""The tag that says in words which windows a run is for, so that lists of runs show it."""


def in_words(windows: Sequence[SyncWindow]) -> str:
    """Return windows as a person reads them, such as `2026-11-28 09:00 to 12:00 UTC, 18 windows`."""
    start, end = datetime_of(windows[0].start), datetime_of(windows[-1].end)
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    count = f"{len(windows)} windows" if len(windows) > 1 else "1 window"
    return f"{start:%Y-%m-%d %H:%M} to {until} UTC, {count}"


def tag_with_windows(context: dg.AssetExecutionContext, windows: Sequence[SyncWindow]) -> None:
    """Tag the run with its windows, where whoever requested it has not: a person, or a backfill."""
    if WINDOWS_TAG not in context.run.tags:
        context.instance.add_run_tags(context.run.run_id, {WINDOWS_TAG: in_words(windows)})


def keys_of(windows: Sequence[SyncWindow], *names: str) -> Keys | None:
    """Return where a run of several windows notes the keys of what it did; None for a run of one, which counts only.

    The first window of an installation may bring a million rows, and is a run of its own.
    """
    return {name: set() for name in names} if len(windows) > 1 else None


def materialized(
    context: dg.AssetExecutionContext,
    numbers: Mapping[SyncWindow, Mapping[str, Any]],
    of_run: Mapping[str, Any],
) -> dg.MaterializeResult[None]:
    """Return a materialization with the `numbers` of each window, and what is said of the run as a whole."""
    named = {window: {"window": window.key, "interval": str(window), **figures} for window, figures in numbers.items()}
    if len(named) == 1:
        (figures,) = named.values()
        return dg.MaterializeResult(metadata={**figures, **of_run})
    for window, figures in named.items():
        context.add_asset_metadata(figures, partition_key=window.key)
    return dg.MaterializeResult(metadata=dict(of_run))


def derived(
    db: Warehouse,
    asset: Asset,
    windows: Sequence[SyncWindow],
    of_run: Mapping[str, int],
    keys: Keys | None,
    rest: str | None = "unchanged",
) -> dict[SyncWindow, dict[str, int]]:
    """Return the numbers of each window of a later asset: rows held, and how many of them the run did what to.

    `of_run` are the numbers of the run, which are those of its window when it has one. `keys`: see `keys_of`. `rest`
    names the rows that are neither new nor changed, None where they are not to be told.
    """
    with db.read() as connection:
        if keys is None:
            (window,) = windows
            return {window: {ROWS: window_rows.count(connection, asset, window), **of_run}}
        numbers = {window: {ROWS: 0, **dict.fromkeys(keys, 0)} for window in windows}
        if rest is not None:
            for figures in numbers.values():
                figures[rest] = 0
        for window, key in window_rows.keys(connection, asset, windows):
            figures = numbers[window]
            figures[ROWS] += 1
            found = {name for name, noted in keys.items() if key in noted}
            for name in found:
                figures[name] += 1
            if rest is not None and not found & _WRITTEN:
                figures[rest] += 1
    return numbers
