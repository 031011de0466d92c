"""Telling operators that the warehouse cannot be used, which it cannot keep itself: a small file in the home folder.

The file has since when that is so, why, and which channels were told. It is written before a message is sent, whose id
follows from it, so a process that is killed between sending and marking sends the same message with the same id again.
When the warehouse can be used again, what is still to be told goes into its outbox, and the file is deleted.
"""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from partner_center_pipeline.alerts.delivery import SenderBusyError
from partner_center_pipeline.health import Grade
from partner_center_pipeline.settings import home
from partner_center_pipeline.warehouse import outbox
from partner_center_pipeline.warehouse.outbox import Change, Event

SUBJECT: Final = "warehouse"

_FOLDER: Final = ".hunter"
_FILE: Final = "warehouse_alert.json"
_LOCK: Final = "warehouse_alert.lock"


@dataclass(frozen=True, slots=True)
class State:
    """Since when the warehouse cannot be used (UTC), why, and the channels that were told."""

    since: datetime
    text: str
    told: tuple[str, ...] = ()

    def raised(self, channel: str) -> Event:
        """Return the event that the warehouse cannot be used."""
        return outbox.changed(SUBJECT, Change.RAISED, Grade.WRONG, self.text, self.since, self.since, channel)

    def events(self, channels: Collection[str], now: datetime) -> list[Event]:
        """Return what is to be told when it can be used again: that, and that it could not where nobody was told."""
        missed = [self.raised(name) for name in channels if name not in self.told]
        over = "the database can be used again"
        return missed + [
            outbox.changed(SUBJECT, Change.CLEARED, Grade.WRONG, over, self.since, now, name) for name in channels
        ]


class Kept:
    """The file, for the one who holds its lock."""

    def __init__(self) -> None:
        self.state: State | None = _read()

    def begin(self, text: str, now: datetime) -> State:
        """Note that the warehouse cannot be used from `now` (UTC) on, unless that is noted; return what is."""
        state = self.state or State(now, text)
        if self.state is None:
            self._write(state)
        return state

    def mark(self, channel: str) -> None:
        """Note that a channel was told."""
        if self.state is not None:
            self._write(replace(self.state, told=(*self.state.told, channel)))

    def forget(self) -> None:
        """Delete the file: the outbox has what is still to be told."""
        if self.state is not None:
            _path().unlink(missing_ok=True)
            self.state = None

    def _write(self, state: State) -> None:
        path = _path()
        text = json.dumps({"since": state.since.isoformat(), "text": state.text, "told": state.told})
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        self.state = state


@contextmanager
def alone() -> Iterator[Kept]:
    """Read the file, and be the only one who changes it while the block runs. Raises SenderBusyError."""
    _path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(_path().with_name(_LOCK)).acquire(timeout=0):
            yield Kept()
    except Timeout:
        raise SenderBusyError("another process is sending alerts; nothing was done") from None


def noted() -> State | None:
    """Return what was noted of a warehouse that cannot be used."""
    return _read()


def _path() -> Path:
    return home() / _FOLDER / _FILE


def _read() -> State | None:
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
        return State(datetime.fromisoformat(kept["since"]), str(kept["text"]), tuple(kept["told"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # not ours, or cut off by a machine that went down: it says nothing
        return None
