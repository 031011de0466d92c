"""The clock that the client reads and sleeps by. It is passed in, so that a test need not wait.

Not here: the server's time, which comes from its `Date` header (`client`).
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """This machine's time."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary point; they never go back."""
        ...

    def utc(self) -> datetime:
        """Return the time now, aware, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` (at least 0)."""
        ...


class SystemClock:
    """The `Clock` of the operating system."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
