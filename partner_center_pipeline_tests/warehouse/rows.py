"""Rows of the warehouse's tables with nothing special about them, and a transaction that leaves none behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from partner_center_pipeline.warehouse.database import Warehouse


@contextmanager
def undone(warehouse: Warehouse) -> Iterator[Connection]:
    """A connection whose writes are rolled back: a clean warehouse for each example of a property."""
    with warehouse.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def company(domain: str, **values: Any) -> dict[str, Any]:
    """A company without referrals."""
    return {
        "domain": domain,
        "domain_unicode": domain,
        "domain_ascii_key": domain,
        "name": None,
        "name_key": None,
        "name_block": None,
        "country": None,
        "city": None,
        "referrals": 0,
        "open_referrals": 0,
        "engagements": 0,
        "open_cosell": False,
        "cosell_referral": None,
        "next_expiry_ticks": None,
        "deal_value": None,
        "currency": None,
        "tenant": None,
        "tenant_source": None,
        "referral_ids": [],
        "updated_ticks": 0,
        "derived_with": "",
        **values,
    }
