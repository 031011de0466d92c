"""Writing lists as a CSV file, for a person's spreadsheet or another program."""

import csv
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from partner_center_pipeline.reports.cells import harmless
from partner_center_pipeline.reports.columns import Column, Kind, Listing, Value, columns_of
from partner_center_pipeline.reports.model import About, Figures
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.vocabulary import Language

SEPARATOR: Final = {Language.EN: ",", Language.TR: ";"}
"""What stands between two cells: what Excel expects in each language. In Turkish a comma is part of a number."""


def write_csv(path: Path, listings: Sequence[Listing], about: About, words: Words, figures: Figures) -> None:
    """Write lists to one file in UTF-8 with a byte order mark, so that Excel reads its letters right.

    Its columns are those of all the lists; the first says which list a row is of, the last two when the report was
    made and whether it has contacts. `figures` counts the rows while they are written.
    """
    chosen = {listing.name: columns_of(listing.name, about) for listing in listings}
    keys = list(dict.fromkeys(column.key for columns in chosen.values() for column in columns))
    heads = [words.text(f"heading.{key}") for key in ("list", *keys, "made_at", "with_contacts")]
    last = [_cell(about.made_at, words), words.yes_no(about.with_contacts)]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=SEPARATOR[words.language])
        writer.writerow(heads)
        for listing in listings:
            places: dict[str, Column] = {column.key: column for column in chosen[listing.name]}
            ordered = [places.get(key) for key in keys]
            name = words.text(f"list.{listing.name}")
            for row in listing.rows:
                figures.count(listing.name, row)
                cells = ("" if one is None else _cell(one.value(row, words), words, one.kind) for one in ordered)
                writer.writerow([name, *cells, *last])


def _cell(value: Value, words: Words, kind: Kind = Kind.TEXT) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return words.say.day(value) if kind is Kind.DAY else words.instant(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        text = f"{value:.1f}" if isinstance(value, float) else f"{value:f}"
        return text.replace(".", ",") if words.language is Language.TR else text
    return harmless(value)
