"""Pictures for metadata, as tables in Markdown: Dagster's UI shows neither SVG nor images that are in the text."""

from collections.abc import Mapping, Sequence
from typing import Final

import dagster as dg

_LONGEST: Final = 24
"""Characters of the longest bar."""


def bars(name: str, counts: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Return a bar for each value, the largest first. `name` is what a value is."""
    most = max(counts.values(), default=0)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = [f"| {value} | {count} | {'█' * -(-count * _LONGEST // most)} |" for value, count in ordered if count]
    return dg.MarkdownMetadataValue("\n".join([f"| {name} | companies | |", "|---|--:|---|", *rows]))


def grid(
    counts: Mapping[tuple[str, str | None], int], down: Sequence[str], across: Sequence[str | None], name: str
) -> dg.MarkdownMetadataValue:
    """Return a table of counts by two values, with totals and a bar for each row. None across is shown as "none"."""
    of_row = {value: [counts.get((value, other), 0) for other in across] for value in down}
    most = max(map(sum, of_row.values()), default=0)
    lines = [
        f"| {name} | {' | '.join(other or 'none' for other in across)} | all | |",
        f"|---|{'--:|' * (len(across) + 1)}---|",
    ]
    for value, numbers in of_row.items():
        bar = "█" * -(-sum(numbers) * _LONGEST // most) if most else ""
        lines.append(f"| {value} | {' | '.join(str(one or '') for one in numbers)} | {sum(numbers)} | {bar} |")
    return dg.MarkdownMetadataValue("\n".join(lines))
