"""Digests of code and its inputs, by which rows are known that other code, rules or settings made.

Not here: which rows are made anew because of it (`defs.derivation`).
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_CHARACTERS: Final = 16


def digest_of(package: str, *inputs: str) -> str:
    """Return a digest of all files of a package (its dotted name) and of other inputs of what it computes."""
    return sha256("\0".join((_digest_of_files(package), *inputs)).encode()).hexdigest()[:_CHARACTERS]


@cache
def _digest_of_files(package: str) -> str:
    digest = sha256()
    _add(digest.update, files(package))
    return digest.hexdigest()


def _add(update: Callable[[bytes], None], folder: Traversable) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            _add(update, entry)
        elif entry.is_file():
            update(entry.name.encode())
            update(entry.read_bytes())
