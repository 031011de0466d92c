"""Checks for operators with findings that a test gives, and what was told."""

from collections.abc import Iterable
from datetime import UTC, datetime

from partner_center_pipeline.alerts import operators
from partner_center_pipeline.alerts.operators import Checked
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import outbox
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.outbox import Row

WRONG = Item("breaker", Grade.WRONG, "tripped: Partner Center is not asked until 12:00 UTC", {"tripped": True})
WELL = Item("breaker", Grade.OK, "closed: Partner Center is asked", {"tripped": False})
DISK = Item("disk", Grade.WARNING, "1.5 GB free at /srv: make room, or writing fails", {"free_bytes": 1_500_000_000})


def checked(settings: Settings, *items: Item, now: datetime | None = None, ignore_pause: bool = False) -> Checked:
    """Check once with these findings."""
    moment = now or datetime.now(UTC)
    return operators.check(
        settings,
        lambda: items,
        holder=f"a test at {moment}",
        clock=lambda: moment,
        sleep=lambda _: None,
        ignore_pause=ignore_pause,
    )


def noted(warehouse: Warehouse, channels: Iterable[str] = ()) -> list[Row]:
    """The rows of the outbox, the oldest first, of these channels or of all."""
    with warehouse.read() as connection:
        rows = outbox.listed(connection, everything=True)
    wanted = set(channels)
    found = [row for row in rows if not wanted or row.channel in wanted]
    return sorted(found, key=lambda row: (row.happened_at, row.subject, row.detail))
