"""A warehouse with leads of real payloads, derived as the assets do, and the commands that decide about them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from partner_center_pipeline.defs.derivation import apply_decisions
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending, schema, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import row_dict
from partner_center_pipeline.windows import render_ticks, ticks_of
from partner_center_pipeline_tests.cli.conftest import Home

NOW = datetime.now(UTC).replace(microsecond=0)
LEADS = {
    "aaaa-1": ("Çelik Ltd. Şti.", "celik.com.tr", 1),
    "aaaa-2": ("Çelik Ltd. Şti.", "celik.com.tr", 2),
    "bbbb-1": ("Çelik A.Ş.", "celik-as.com.tr", 3),
    "cccc-1": ("Çelik", None, 4),
    "dddd-1": ("Cam Ltd", "cam.com", 5),
    "eeee-1": ("Kimsesiz Ticaret", None, None),
}
"""By id: the customer's name, its domain, and in how many days the answer is due."""


class Decided(Home):
    """A home folder whose warehouse holds LEADS."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self.warehouse = Warehouse.open(url)
        self.edit_env(HUNTER_DATABASE_URL=url, HUNTER_OWN_DOMAINS="partner.com.tr")
        self.store(LEADS)

    def store(self, leads: Mapping[str, tuple[str, str | None, int | None]], version: int = 1) -> None:
        """Store a version of each referral and derive it, as a window does."""
        rows = [
            {
                "referral_id": referral_id, "version": f"v{version}", "updated_ticks": ticks_of(NOW) + version,
                "updated_text": render_ticks(ticks_of(NOW) + version), "window_start": 0, "late": False,
                "content_hash": f"{referral_id}{version}", "fetched_at": NOW,
                "payload": {
                    "id": referral_id, "name": f"Deal of {name}", "status": "New", "type": "Independent",
                    "createdDateTime": (NOW - timedelta(days=3)).isoformat().replace("+00:00", "Z"),
                    "customerProfile": {
                        "name": name, "address": {"country": "TR"},
                        "team": [{"email": f"info@{domain}" if domain else "celik@gmail.com"}],
                    },
                    **(
                        {"expirationDateTime": render_ticks(ticks_of(NOW + timedelta(days=days)))} if days else {}
                    ),
                },
            }
            for referral_id, (name, domain, days) in leads.items()
        ]  # fmt: skip
        with self.warehouse.write() as connection:
            connection.execute(schema.raw_referrals.insert(), rows)
            pending.add(connection, Task.LEADS, list(leads), NOW)
        assert apply_decisions(self.warehouse, Settings.load(), datetime.now(UTC))

    def run(self, *arguments: str) -> Any:
        """What a command says in JSON."""
        done = self.invoke(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        """What a command says that ends with an error, on one line."""
        done = self.invoke(*arguments)
        assert done.exit_code in (1, 2), done.output
        return " ".join(done.output.split())

    def rows(self, view: Any) -> dict[str, dict[str, Any]]:
        """The rows of a list by referral, in its order."""
        with self.warehouse.read() as connection:
            found = [row_dict(row) for row in connection.execute(select(view).order_by(view.c.rank))]
        return {row["referral_id"]: row for row in found}

    def domain(self, referral_id: str) -> tuple[str | None, str | None]:
        """A lead's domain, and why it has none."""
        table = schema.leads
        with self.warehouse.read() as connection:
            query = select(table.c.domain, table.c.domain_reason).where(table.c.referral_id == referral_id)
            row = connection.execute(query).one()
        return row.domain, row.domain_reason

    def open_leads(self) -> list[str]:
        """The open leads that the two lists hold, by company; each as often as it is there."""
        table = schema.leads
        with self.warehouse.read() as connection:
            domains = set(connection.execute(select(views.leads_ready.c.domain)).scalars())
            held = connection.execute(select(table.c.referral_id).where(table.c.domain.in_(domains), table.c.is_open))
            return sorted(
                [*held.scalars(), *connection.execute(select(views.leads_without_company.c.referral_id)).scalars()]
            )

    def decisions(self) -> list[dict[str, Any]]:
        """All rows of the table, in order."""
        with self.warehouse.read() as connection:
            table = schema.decisions
            return [row_dict(row) for row in connection.execute(select(table).order_by(table.c.id))]
