"""Table connected_account: whose referrals the warehouse holds, so that no other account's come among them.

Not here: who is signed in (`partner_center.signed_in_account`).
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from partner_center_pipeline.settings import Settings, is_loopback
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.warehouse.schema import connected_account


class AnotherAccountError(WarehouseError):
    """The warehouse holds the referrals of another account."""


@dataclass(frozen=True, slots=True)
class Connected:
    """An account at an API: `account` is a hash of its ids. No field holds personal data."""

    base_url: str
    tenant_id: str
    account: str

    @classmethod
    def of(cls, settings: Settings, account: str) -> "Connected":
        """Return these settings' API and tenant with an account. The local Microsoft has another port at each start."""
        address = urlsplit(settings.partner_center_base_url)
        host = address.hostname or ""
        base_url = f"{address.scheme}://{host}" if is_loopback(host) else settings.partner_center_base_url.rstrip("/")
        return cls(base_url.lower(), (settings.partner_center_tenant_id or "").lower(), account)

    def differences(self, other: "Connected") -> list[str]:
        """Return, in words, what is not the same in another one."""
        words = {
            "base_url": f"the API (HUNTER_PARTNER_CENTER_BASE_URL, before: {other.base_url})",
            "tenant_id": f"the tenant (HUNTER_PARTNER_CENTER_TENANT_ID, before: {other.tenant_id})",
            "account": "the account that is signed in",
        }
        return [text for name, text in words.items() if getattr(self, name) != getattr(other, name)]


def load(connection: Connection) -> Connected | None:
    """Return whose referrals the warehouse holds, None before the first answer of Partner Center."""
    table = connected_account
    row = connection.execute(select(table.c.base_url, table.c.tenant_id, table.c.account)).one_or_none()
    return None if row is None else Connected(*row)


def refuse_another(connection: Connection, present: Connected) -> None:
    """Raise AnotherAccountError when the warehouse holds the referrals of another account."""
    before = load(connection)
    if before is None or before == present:
        return
    raise AnotherAccountError(
        f"this warehouse holds the referrals of another account; what differs is "
        f"{' and '.join(present.differences(before))}. Nothing was fetched, as another account sees other referrals. "
        "Go back to the account of before (settings, `partner-center login`), or name a new warehouse in "
        "HUNTER_DATABASE_URL. If the change is meant, accept it with `partner-center accept-account`"
    )


def record(connection: Connection, present: Connected, now: datetime) -> None:
    """Store whose referrals the warehouse holds from now on."""
    upsert(connection, connected_account, [{"id": 1, **asdict(present), "recorded_at": now}])
