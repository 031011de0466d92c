"""The clock that the client reads and sleeps by, passed in so that a test need not wait.

What does not belong here: the server's time, which comes from its `Date` header (`client`).
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """This machine's time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        ...

    def utc(self) -> datetime:
        """The time now, aware, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` (at least 0)."""
        ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The time now, aware, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        time.sleep(seconds)
