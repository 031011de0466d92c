"""The breaker: after some failed runs in a row Partner Center is left alone for a while, and then one page is tried.

Belongs here: counting and when it opens. Not here: what a run does about it (`defs`). It is kept in the database, so a
restart does not forget it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, select

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import breakers

NAME: Final = "partner_center"
FAILURES: Final = 5
"""Failed runs in a row that open the breaker."""

FIRST_REST: Final = timedelta(minutes=15)
LONGEST_REST: Final = timedelta(hours=4)
"""A rest is twice as long as the one before it, as long as the page that is tried after it fails, too."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """How things stand: failed runs in a row, what the last failed with, and until when there is a rest (UTC)."""

    failures: int = 0
    reason: str | None = None
    open_until: datetime | None = None

    @property
    def tripped(self) -> bool:
        """Whether the next run is to try one page before anything else."""
        return self.open_until is not None

    def rests(self, now: datetime) -> bool:
        """Whether Partner Center is to be left alone at `now`."""
        return self.open_until is not None and now < self.open_until

    def __str__(self) -> str:
        """The state in words."""
        if self.open_until is None:
            return "runs normally"
        return (
            f"Partner Center is left alone until {self.open_until:%Y-%m-%d %H:%M} UTC after {self.failures} failed "
            f"runs in a row; then one page is tried. The last one failed with: {self.reason} To try at once, run "
            "`partner-center sync` or materialize a window"
        )


def load(connection: Connection) -> Breaker:
    """How the breaker stands."""
    row = connection.execute(select(breakers).where(breakers.c.name == NAME)).one_or_none()
    return Breaker() if row is None else Breaker(row.failures, row.reason, row.open_until)


def note_failure(connection: Connection, reason: str, now: datetime) -> Breaker:
    """Count a failed run; from FAILURES on, open the breaker for a while."""
    failures = load(connection).failures + 1
    over = failures - FAILURES
    rest = min(FIRST_REST * 2 ** min(max(over, 0), 10), LONGEST_REST)
    after = Breaker(failures, reason[:2000], now + rest if over >= 0 else None)
    row = {"name": NAME, "failures": failures, "reason": after.reason, "open_until": after.open_until}
    upsert(connection, breakers, [row])
    return after


def close(connection: Connection) -> None:
    """Partner Center answered, or a person signed in anew: forget the failures."""
    connection.execute(delete(breakers).where(breakers.c.name == NAME))
