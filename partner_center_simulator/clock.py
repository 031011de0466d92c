"""The clock of the simulated servers: real time with an offset, or frozen and set by hand.

Not here: what happens because time passes (`world`, `entra`).
"""

import time
from datetime import datetime, timedelta
from threading import Lock

from partner_center_simulator.instants import datetime_of, ticks_of


class SimulatorClock:
    """A clock in UTC. It runs at the speed of real time unless it is frozen. Safe to use from any thread.

    Without `start` it shows real time. With `start` (aware) it shows that instant when it is created.
    """

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        self._lock = Lock()
        self._offset = 0 if start is None else ticks_of(start) - _real_ticks()
        self._frozen_at: int | None = None
        if frozen:
            self.freeze()

    def ticks(self) -> int:
        """Return the present time in 100 ns ticks since 1970."""
        with self._lock:
            return self._ticks()

    def now(self) -> datetime:
        """Return the present time as an aware UTC datetime."""
        return datetime_of(self.ticks())

    @property
    def frozen(self) -> bool:
        """Whether the clock is frozen."""
        return self._frozen_at is not None

    def set(self, moment: datetime) -> None:
        """Set the clock to `moment` (aware). A frozen clock stays frozen."""
        with self._lock:
            self._shift(ticks_of(moment))

    def advance(self, by: timedelta | float) -> None:
        """Move the clock forward by `by` (seconds or a timedelta), or backward if it is negative."""
        delta = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            self._shift(self._ticks() + delta // timedelta(microseconds=1) * 10)

    def freeze(self) -> None:
        """Stop the clock at the time that it shows."""
        with self._lock:
            self._frozen_at = self._ticks()

    def resume(self) -> None:
        """Let the clock run again from the time that it shows."""
        with self._lock:
            shown = self._ticks()
            self._frozen_at = None
            self._offset = shown - _real_ticks()

    def _shift(self, ticks: int) -> None:
        if self._frozen_at is not None:
            self._frozen_at = ticks
        else:
            self._offset = ticks - _real_ticks()

    def _ticks(self) -> int:
        return _real_ticks() + self._offset if self._frozen_at is None else self._frozen_at


def _real_ticks() -> int:
    return time.time_ns() // 100
