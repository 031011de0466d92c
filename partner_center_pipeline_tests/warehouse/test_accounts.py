"""The warehouse knows whose referrals it holds, and another account is refused in words."""

from datetime import UTC, datetime

import pytest

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import accounts
from partner_center_pipeline.warehouse.accounts import AnotherAccountError, Connected
from partner_center_pipeline.warehouse.database import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE = Connected("https://api.partner.microsoft.com", "tenant-1", "0" * 64)


def admitted(warehouse: Warehouse, present: Connected) -> str | None:
    """The refusal, None where there is none."""
    with warehouse.read() as connection:
        try:
            accounts.refuse_another(connection, present)
        except AnotherAccountError as error:
            return str(error)
    return None


def test_any_account_is_the_first_one_and_is_kept_once(warehouse: Warehouse) -> None:
    assert admitted(warehouse, BEFORE) is None
    with warehouse.write() as connection:
        assert accounts.load(connection) is None
        accounts.record(connection, BEFORE, NOW)
        assert accounts.load(connection) == BEFORE
    assert admitted(warehouse, BEFORE) is None


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (Connected("https://api.partner.example", "tenant-1", "0" * 64), ["HUNTER_PARTNER_CENTER_BASE_URL", "the API"]),
        (Connected(BEFORE.base_url, "tenant-2", "0" * 64), ["HUNTER_PARTNER_CENTER_TENANT_ID", "before: tenant-1"]),
        (Connected(BEFORE.base_url, "tenant-1", "1" * 64), ["the account that is signed in"]),
        (Connected(BEFORE.base_url, "tenant-2", "1" * 64), ["the tenant", " and the account that is signed in"]),
    ],
)
def test_another_one_is_refused_with_what_differs_and_how_to_accept_it(
    present: Connected, words: list[str], warehouse: Warehouse
) -> None:
    with warehouse.write() as connection:
        accounts.record(connection, BEFORE, NOW)
    said = admitted(warehouse, present)
    assert said is not None
    for word in (*words, "Nothing was fetched", "partner-center accept-account"):
        assert word in said
    assert "0" * 64 not in said
    with warehouse.write() as connection:
        accounts.record(connection, present, NOW)
    assert admitted(warehouse, present) is None
    assert admitted(warehouse, BEFORE) is not None


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://api.partner.microsoft.com", "https://api.partner.microsoft.com"),
        ("https://API.partner.microsoft.com/", "https://api.partner.microsoft.com"),
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("https://localhost:40123", "https://localhost"),
        ("https://127.0.0.1:40123", "https://127.0.0.1"),
    ],
)
@pytest.mark.usefixtures("home")
def test_the_local_microsofts_port_makes_no_difference(
    base_url: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_BASE_URL", base_url)
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_TENANT_ID", "Contoso.onmicrosoft.com")
    assert Connected.of(Settings.load(), "a") == Connected(kept, "contoso.onmicrosoft.com", "a")
