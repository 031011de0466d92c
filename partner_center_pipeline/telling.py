"""What a run tells while it works, for the run page and the terminal: its phases, with numbers, and its troubles.

A module tells a line by its own logger, `logging.getLogger(__name__)`: INFO for a phase, WARNING for trouble and for a
wait. No line holds a secret or personal data. Who listens is decided where Dagster or a terminal is known
(`defs.asset_run`, `cli.progress`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

PACE: Final = 5.0
"""Seconds between two lines of progress: a run of three hours tells about 2,000 at most."""

UNTOLD_SECONDS: Final = 1.0
"""How long a wait for a lock may last until it is told: most are over at once."""

SIGN_IN_HELD: Final = "another process holds the sign-in %s; waiting up to %.0f s until it has renewed it"
"""The line of a wait for the stored sign-in: where it is, and how long is waited."""

ONLY_IN_FILE: Final = {"only_in_file": True}
"""`extra` of a line that is for the log file alone, as Dagster and the terminal show it by other ways."""

_at_work_on: Final[dict[str, str]] = {}

_PACKAGE: Final = logging.getLogger("partner_center_pipeline")

Tell = Callable[[int, str], object]
"""Given a level of `logging` and a line."""


class _Forward(logging.Handler):
    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "only_in_file"):
            return
        try:
            self._tell(record.levelno, record.getMessage())
        except Exception:  # noqa: BLE001  as each handler of logging: what cannot be told stops no work
            self.handleError(record)


@contextmanager
def heard_by(tell: Tell) -> Iterator[None]:
    """Give each line that is told while the block runs to `tell`."""
    forward, level = _Forward(tell), _PACKAGE.level
    _PACKAGE.addHandler(forward)
    if _PACKAGE.getEffectiveLevel() > logging.INFO:
        _PACKAGE.setLevel(logging.INFO)
    try:
        yield
    finally:
        _PACKAGE.removeHandler(forward)
        _PACKAGE.setLevel(level)


@contextmanager
def about(**facts: str | None) -> Iterator[None]:
    """Name what the process is at work on while the block runs, such as `run` and `windows`: the log file shows it.

    It is the same for all threads, as a process works on one run at a time. What was named before is forgotten.
    """
    _at_work_on.clear()
    note(**facts)
    try:
        yield
    finally:
        _at_work_on.clear()


def note(**facts: str | None) -> None:
    """Name more of what the process is at work on from now on, such as its latest call; None names it no longer."""
    for name, value in facts.items():
        _at_work_on.pop(name, None)
        if value is not None:
            _at_work_on[name] = value


def at_work_on() -> Mapping[str, str]:
    """Return what the process is at work on, by name."""
    return dict(_at_work_on)


class Paced:
    """Tells a line of progress not more often than each `seconds` (PACE if not given), and none in the first ones."""

    def __init__(self, log: logging.Logger, seconds: float | None = None) -> None:
        self._log = log
        self._seconds = PACE if seconds is None else seconds
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next line."""
        return time.monotonic() - self._last >= self._seconds

    def __call__(self, line: str, *values: object) -> None:
        """Tell the line (`%` format of `logging`), if it is time."""
        if self.is_due:
            self._last = time.monotonic()
            self._log.info(line, *values)


def told_wait(acquire: Callable[[float | None], bool], log: logging.Logger, line: str, *values: object) -> bool:
    """Wait for a lock, and tell the line (`%` format of `logging`) once the wait has lasted UNTOLD_SECONDS.

    `acquire` gets the seconds that it may wait, None for as long as the lock's own limit allows, and returns whether
    the lock is held. Returns whether it is held in the end.
    """
    if acquire(UNTOLD_SECONDS):
        return True
    log.warning(line, *values)
    return acquire(None)


def shown_seconds(seconds: float) -> str:
    """Return a number of seconds for a line: exact to a tenth below 10."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def giving_up(now: datetime, seconds: float) -> str:
    """Return until when is tried, for a line: `seconds` from now (UTC)."""
    return f"giving up at {now + timedelta(seconds=max(seconds, 0.0)):%H:%M:%S} UTC"
