"""Hands plain objects to the assets: settings as they are now, the open warehouse, a client of the Referrals API.

Each is opened for a run's step and closed after it. Settings are read anew each time, so an edited `.env` counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg

from partner_center_pipeline.partner_center import ReferralsClient, connect
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse


def utc_now() -> datetime:
    """The clock of the assets."""
    return datetime.now(UTC)


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The warehouse that HUNTER_DATABASE_URL names."""

    @contextmanager
    def open(self) -> Iterator[Warehouse]:
        """The open warehouse; SQLite is migrated where needed."""
        warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
        try:
            yield warehouse
        finally:
            warehouse.close()


class PartnerCenterResource(dg.ConfigurableResource[ReferralsClient]):
    """The Referrals API, with the sign-in that `partner-center login` made."""

    @contextmanager
    def open(self, settings: Settings, *, deadline: float) -> Iterator[ReferralsClient]:
        """A client whose calls, waits included, end within `deadline` seconds."""
        with connect(settings, deadline=deadline) as client:
            yield client


@dg.definitions
def resources() -> dg.Definitions:
    """Resources and the executor of every run: in one process, 0.5 s a window instead of 8 (dagster.md, "Cost")."""
    return dg.Definitions(
        resources={"warehouse": WarehouseResource(), "partner_center": PartnerCenterResource()},
        executor=dg.in_process_executor,
    )
