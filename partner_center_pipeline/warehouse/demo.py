"""Table demo_world: which generated past the demo's referrals come from; keeps them apart from a real tenant's."""

from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from partner_center_pipeline.settings import Settings, is_loopback
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.warehouse.schema import (
    connected_account,
    demo_world,
    quarantined_referrals,
    raw_referrals,
    sync_windows,
)


@dataclass(frozen=True, slots=True)
class DemoWorld:
    """What the simulator needs to serve the same past again. The times are UTC."""

    seed: int
    anchor: datetime
    recent_from: datetime
    referrals: int


def load(connection: Connection) -> DemoWorld | None:
    """Return the world that this warehouse's referrals come from, or None when it holds no demo."""
    row = connection.execute(select(demo_world)).one_or_none()
    return None if row is None else DemoWorld(row.seed, row.anchor, row.recent_from, row.referrals)


def found(connection: Connection, world: DemoWorld) -> None:
    """Mark this as the demo's warehouse.

    Raises WarehouseError when it holds anything of a real tenant: a row, a window that was closed, or whose it is.
    Windows that were begun in vain hold nothing; the demo's run goes on with them.
    """
    signs = (
        select(raw_referrals.c.referral_id),
        select(quarantined_referrals.c.fingerprint),
        select(sync_windows.c.window_start).where(sync_windows.c.raw_referrals_at.is_not(None)),
        select(connected_account.c.account),
    )
    if any(connection.execute(sign.limit(1)).first() is not None for sign in signs):
        raise WarehouseError(
            "this warehouse holds a real tenant's referrals, and the demo would mix its own among them; "
            "name another in HUNTER_DATABASE_URL for the demo, e.g. sqlite:///.hunter/demo.db"
        )
    connection.execute(demo_world.insert().values(id=1, **asdict(world)))


def refuse_mixing(connection: Connection, base_url: str) -> None:
    """Raise WarehouseError when rows of a real API are about to go into the demo's warehouse."""
    host = urlsplit(base_url).hostname or ""
    if not is_loopback(host) and connection.execute(select(demo_world.c.id)).first() is not None:
        raise WarehouseError(
            "this warehouse holds the demo's invented referrals; name a new one in HUNTER_DATABASE_URL "
            "(or delete .hunter/hunter.db), then run again"
        )


def refuse_asking(connection: Connection, settings: Settings) -> None:
    """Raise WarehouseError when real name servers are about to be asked about the demo's invented companies."""
    api = urlsplit(settings.partner_center_base_url).hostname or ""
    is_local = (
        is_loopback(api) and settings.dns_resolvers and all(is_loopback(host) for host, _ in settings.dns_resolvers)
    )
    if not is_local and connection.execute(select(demo_world.c.id)).first() is not None:
        raise WarehouseError(
            "this warehouse holds the demo's invented companies, about which real name servers are not asked; "
            "`partner-center ui --demo` asks its own. For a tenant's companies name a new warehouse in "
            "HUNTER_DATABASE_URL"
        )
