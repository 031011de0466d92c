"""What was found of how well the pipeline does, as items: for `status`, `doctor`, and what operators are told.

Not here: the rules (`health`), and what does not answer in time (`cli.health_check`).
"""

from collections.abc import Iterator
from datetime import datetime

from partner_center_pipeline import health
from partner_center_pipeline.defs.gate import free_space
from partner_center_pipeline.health import DagsterFacts, Grade, Item
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.scoring import RulesError, load_rules
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import health as in_warehouse
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.tokens import shared_sign_in


def of_warehouse(warehouse: Warehouse, settings: Settings, now: datetime) -> Iterator[Item]:
    """Yield what the warehouse says, and whether the rules can be used. Raises WarehouseError."""
    is_current = warehouse.is_current()
    revision = warehouse.revision()
    if not is_current:
        yield health.of_schema(False, revision, is_sqlite=warehouse.is_sqlite)
        return
    facts = in_warehouse.facts(warehouse, settings.grid, now)
    sync = health.of_sync(facts, settings.grid, now, settings.lag_windows)
    yield from sync if settings.partner_center_enabled else health.while_off(sync)
    yield from health.of_warehouse(facts, now)
    yield health.of_schema(True, revision, is_sqlite=warehouse.is_sqlite)
    try:
        version = load_rules(settings.scoring_rules).version
    except RulesError as error:
        yield Item("rules", Grade.WRONG, str(error))
        return
    yield health.of_rules(version, facts.scored_by)


def of_dagster(facts: DagsterFacts | None, settings: Settings, now: datetime) -> Iterator[Item]:
    """Yield what Dagster's storage says."""
    items = health.of_dagster(facts, now)
    yield from items if settings.partner_center_enabled else health.while_off(items)


def of_sign_in(settings: Settings) -> Item:
    """Return what is stored of the sign-in. Raises PartnerCenterError, WarehouseError and SettingsError."""
    if not settings.partner_center_client_id or not settings.partner_center_tenant_id:
        text = "not configured: `partner-center doctor` says what to set"
        return Item("sign-in", Grade.WARNING, text, {"signed_in": False})
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        status = sign_in.status()
    command = "partner-center login" if status.flow is None else status.flow.command
    return health.of_sign_in(health.SignInFacts(status.signed_in, status.signed_in_at, status.age_days, command))


def of_disks(settings: Settings) -> Iterator[Item]:
    """Yield the free bytes of the disks that the program writes to."""
    for place, size in free_space(settings):
        yield health.of_disk(size, str(place))
