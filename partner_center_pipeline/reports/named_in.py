"""Which files of the reports' folder name a person: the texts of workbooks, pages and CSV files.

Not here: who the person is (`warehouse.erasures`), making the files (`writing`).
"""

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from zipfile import BadZipFile, ZipFile

_TAG: Final = re.compile("<[^>]*>")
_MARKED_UP: Final = frozenset({".html", ".htm", ".xlsx"})


def files_naming(folder: Path, names: Callable[[str], bool]) -> list[Path]:
    """Return the files in a folder with a text of which `names` says that it names the person.

    A file that cannot be opened is none of the reports.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and any(map(names, _texts(path))))


def _texts(path: Path) -> Iterator[str]:
    try:
        parts = _of_workbook(path) if path.suffix == ".xlsx" else [path.read_text(encoding="utf-8", errors="replace")]
    except (BadZipFile, OSError):
        return
    for part in parts:
        if path.suffix in _MARKED_UP:
            yield from filter(None, (html.unescape(text).strip() for text in _TAG.split(part)))
        else:
            yield from part.splitlines()


def _of_workbook(path: Path) -> list[str]:
    with ZipFile(path) as workbook:
        return [workbook.read(name).decode("utf-8", "replace") for name in workbook.namelist() if name.endswith(".xml")]
