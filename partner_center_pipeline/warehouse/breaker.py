"""The circuit breaker: after several failed runs in a row, or when asked to wait, Partner Center is not called.

Then one page is tried. The state is kept in the database, so a restart does not forget it, by the clock that decides
there (`deciding_time`), so that it holds for machines whose clocks differ. Not here: what schedules and runs do about
it (`defs.automation`, `defs.assets.raw_referrals`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, select

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.deciding_time import deciding_time
from partner_center_pipeline.warehouse.schema import breakers
from partner_center_pipeline.windows import counts_until

NAME: Final = "partner_center"
FAILURES: Final = 5
"""Failed runs in a row that open the breaker."""

FIRST_REST: Final = timedelta(minutes=15)
LONGEST_REST: Final = timedelta(hours=4)
"""The first pause and the upper limit. When the page that is tried after a pause fails too, the next pause is twice as
long."""

LONGEST_ASKED: Final = timedelta(days=7)
"""The longest wait that Microsoft is believed to ask for: a date far ahead is a fault of a clock."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker's state: failed runs in a row, the error of the last one, end and beginning of the pause (UTC).

    `opened_at` is None for a pause that an earlier version of the program wrote.
    """

    failures: int = 0
    reason: str | None = None
    open_until: datetime | None = None
    opened_at: datetime | None = None

    @property
    def tripped(self) -> bool:
        """Whether the next run must try one page before anything else."""
        return self.open_until is not None

    def rests(self, now: datetime) -> bool:
        """Say whether Partner Center must not be called at `now` (UTC, by the clock that decides).

        A pause that began later than `now`, or ends further ahead than the longest one, was written by a clock that was
        wrong, and is void.
        """
        if self.open_until is None:
            return False
        longest = LONGEST_REST if self.opened_at is None else self.open_until - self.opened_at
        return counts_until(self.open_until, now, longest)

    def __str__(self) -> str:
        """Return the state as text for people."""
        if self.open_until is None:
            return "runs normally"
        why = f"after {self.failures} failed runs in a row" if self.failures >= FAILURES else "because it asked to wait"
        return (
            f"Partner Center is left alone until {self.open_until:%Y-%m-%d %H:%M} UTC {why}; then one page is tried. "
            f"The last run failed with: {self.reason} To try at once, run `partner-center sync` or materialize a window"
        )


def load(connection: Connection) -> Breaker:
    """Return the breaker's state."""
    row = connection.execute(select(breakers).where(breakers.c.name == NAME)).one_or_none()
    return Breaker() if row is None else Breaker(row.failures, row.reason, row.open_until, row.opened_at)


def resting(connection: Connection, clock: Callable[[], datetime]) -> Breaker | None:
    """Return the breaker's state while Partner Center must not be called, None otherwise. `clock` gives UTC."""
    state = load(connection)
    return state if state.rests(deciding_time(connection, clock)) else None


def note_failure(
    connection: Connection, reason: str, clock: Callable[[], datetime], asked_wait: float | None = None
) -> Breaker:
    """Count a failed run; from FAILURES on, open the breaker. Return the new state.

    It is open at once where Microsoft asked to wait (`asked_wait`, seconds): at least that long, LONGEST_ASKED at most.
    `clock` gives UTC.
    """
    now = deciding_time(connection, clock)
    failures = load(connection).failures + 1
    pauses_before = failures - FAILURES
    pause = min(FIRST_REST * 2 ** min(max(pauses_before, 0), 10), LONGEST_REST)
    ends = [now + pause] if pauses_before >= 0 else []
    if asked_wait:
        ends.append(now + min(timedelta(seconds=min(asked_wait, 1e9)), LONGEST_ASKED))
    state = Breaker(failures, reason[:2000], max(ends, default=None), now if ends else None)
    upsert(connection, breakers, [{"name": NAME, **asdict(state)}])
    return state


def close(connection: Connection) -> None:
    """Forget the failures: Partner Center answered, or a person signed in again."""
    connection.execute(delete(breakers).where(breakers.c.name == NAME))
