"""Companies of a warehouse that enter a category, as scoring writes them, and leads with a deadline."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, select, update

from partner_center_pipeline.alerts.delivery import Delivered
from partner_center_pipeline.alerts.sales import deliver
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.scoring import ScorePolicy, load_rules
from partner_center_pipeline.scoring.model import CommercialSegment
from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, leads, outbox, published, scores
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.outbox import Row
from partner_center_pipeline.warehouse.schema import leases
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import score

PERSON = {
    "firstName": "Deniz",
    "lastName": "Örnekoğlu",
    "email": "deniz.ornekoglu@gmail.com",
    "phoneNumber": "+905550000000",
}


def utc() -> datetime:
    return datetime.now(UTC)


def in_hours(hours: float) -> str:
    """An instant that is so far from now, as the API prints it."""
    return f"{utc() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def known(connection: Connection, *domains: str, **payload: Any) -> None:
    """Make each domain a company with one open referral, which has its name and this in its payload."""
    published.publish(connection, load_rules(), ScorePolicy())
    referrals(connection, {f"r-{domain}": {"domain": domain, **payload} for domain in domains})


def referrals(connection: Connection, by_id: Mapping[str, Mapping[str, Any]]) -> None:
    """Write leads, and the companies that they name."""
    rows = []
    for referral_id, payload in by_id.items():
        domain = payload.get("domain")
        profile = {
            "name": f"Firma {domain or referral_id}",
            "team": [PERSON],
            **({"website": domain} if domain else {}),
        }
        others = {name: value for name, value in payload.items() if name != "domain"}
        rows.append(lead_row(referral_id, domain=domain, **{"customerProfile": profile, **others}))
    leads.write(connection, rows)
    domains = sorted({row["domain"] for row in rows if row["domain"]})
    found = leads.of_domains(connection, domains)
    companies.write(connection, [company_of(name, of_it, load_rules().rates) for name, of_it in found.items()])


def scored(category: str, *domains: str, at: datetime | None = None, **values: Any) -> list[dict[str, Any]]:
    """Scores that put companies into a category."""
    made = {"category": category, "segment": "Migration", "label": "x", "act": "y", **values}
    return [score(domain, scored_at=at or utc(), **made) for domain in domains]


def enter(warehouse: Warehouse, category: str, *domains: str, at: datetime | None = None, **payload: Any) -> None:
    """Let companies enter a category, in one transaction, while alerts are on."""
    with warehouse.write() as connection:
        known(connection, *domains, **payload)
        scores.write(connection, scored(category, *domains, at=at), tell=True)


def send(warehouse: Warehouse, settings: Settings, now: datetime | None = None, **options: Any) -> Delivered:
    """Deliver once, at `now`."""
    moment = now or utc()
    return deliver(
        warehouse, settings, holder=f"a test {uuid4()}", clock=lambda: moment, sleep=lambda _: None, **options
    )


def rows(warehouse: Warehouse) -> list[Row]:
    """All rows of the outbox, by subject."""
    with warehouse.read() as connection:
        return sorted(outbox.listed(connection, everything=True), key=lambda row: (row.subject, row.happened_at))


def states(warehouse: Warehouse) -> list[tuple[str, str]]:
    """Subject and state of each row."""
    return [(row.subject, row.state) for row in rows(warehouse)]


def end_leases(warehouse: Warehouse) -> None:
    """Let as much time pass as a lease of a killed process lasts."""
    with warehouse.write() as connection:
        for row in connection.execute(select(leases)).all():
            connection.execute(update(leases).values(expires_at=row.expires_at - timedelta(minutes=1)))


def wait_for(done: Any, seconds: float = 20.0) -> None:
    """Wait until `done()` is true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rules_of_p1(folder: Path) -> Path:
    """Rules that put each scored company into P1, as a file."""
    text = DEFAULT_RULES.read_text(encoding="utf-8")
    first = 'commercial_segment = ["GREENFIELD"]\nact ='
    assert text.count(first) == 1
    every = ", ".join(f'"{one}"' for one in CommercialSegment)
    file = folder / "rules.toml"
    file.write_text(text.replace(first, f"commercial_segment = [{every}]\nact ="), encoding="utf-8")
    return file


def domains(count: int) -> Sequence[str]:
    """Names of companies."""
    return [f"firma{number:04}.com.tr" for number in range(count)]
