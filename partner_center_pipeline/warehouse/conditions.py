"""Table alert_conditions: what is not well and operators were told of. Not here: what is one (`alerts.conditions`)."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from partner_center_pipeline.health import Grade
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import alert_conditions


@dataclass(frozen=True, slots=True)
class Condition:
    """What is not well, as it was told last; `size` is how much of it there was, 0 where that is no number."""

    subject: str
    grade: Grade
    size: int
    text: str
    since: datetime
    told_at: datetime


def load(connection: Connection) -> dict[str, Condition]:
    """Return the conditions that are open, by subject."""
    rows = connection.execute(select(alert_conditions).order_by(alert_conditions.c.subject))
    return {row.subject: Condition(**{**row._mapping, "grade": Grade(row.grade)}) for row in rows}


def keep(connection: Connection, conditions: Iterable[Condition]) -> None:
    """Write conditions, each as it was told last."""
    if rows := [asdict(condition) for condition in conditions]:
        upsert(connection, alert_conditions, rows)


def forget(connection: Connection, subjects: Collection[str]) -> None:
    """Delete conditions: what they say is no longer so."""
    connection.execute(delete(alert_conditions).where(alert_conditions.c.subject.in_(list(subjects))))
