"""The local Microsoft's clock: real time with an offset, or frozen and moved by hand.

Not here: anything that happens because time passes (`world`, `entra`).
"""

import time
from datetime import datetime, timedelta
from threading import Lock

from partner_center_simulator.instants import datetime_of, ticks_of


class SimulatorClock:
    """A server clock in UTC. It runs at the speed of real time unless frozen; safe to use from any thread.

    `SimulatorClock()` shows real time; with `start` (aware) it shows `start` at the moment it is made.
    """

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        self._lock = Lock()
        self._offset = 0 if start is None else ticks_of(start) - _real_ticks()
        self._frozen_at: int | None = None
        if frozen:
            self.freeze()

    def ticks(self) -> int:
        """Return the time now in 100 ns ticks since 1970."""
        with self._lock:
            return self._ticks()

    def now(self) -> datetime:
        """Return the time now, UTC, to the microsecond."""
        return datetime_of(self.ticks())

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen_at is not None

    def set(self, moment: datetime) -> None:
        """Show `moment` (aware) now. A frozen clock stays frozen."""
        with self._lock:
            self._shift(ticks_of(moment))

    def advance(self, by: timedelta | float) -> None:
        """Move forward by `by` (seconds or a timedelta), backward when negative."""
        delta = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            self._shift(self._ticks() + delta // timedelta(microseconds=1) * 10)

    def freeze(self) -> None:
        """Stand still from now on."""
        with self._lock:
            self._frozen_at = self._ticks()

    def resume(self) -> None:
        """Run again, from the time shown."""
        with self._lock:
            at = self._ticks()
            self._frozen_at = None
            self._offset = at - _real_ticks()

    def _shift(self, ticks: int) -> None:
        if self._frozen_at is not None:
            self._frozen_at = ticks
        else:
            self._offset = ticks - _real_ticks()

    def _ticks(self) -> int:
        return _real_ticks() + self._offset if self._frozen_at is None else self._frozen_at


def _real_ticks() -> int:
    return time.time_ns() // 100
