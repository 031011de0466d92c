"""Finding out how well the pipeline does, for `status` and `doctor`. What does not answer ends as an item, in time.

Not here: the rules (`health`).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Final, TypeVar

from partner_center_pipeline import health
from partner_center_pipeline.cli.base import enter_home, notes
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError

T = TypeVar("T")

_DAGSTER_SECONDS: Final = 5.0
"""Seconds that Dagster's storage may take."""


class NoAnswerError(Exception):
    """Something did not answer in time."""


def within(seconds: float, whom: str, ask: Callable[[], T]) -> T:
    """Return what `ask` returns. Raises what it raises, and NoAnswerError after `seconds`.

    A name server that does not answer holds a look-up for longer than any timeout of a connection. So it has a thread,
    which is left behind then.
    """
    answered: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            answered.append(ask())
        except BaseException as error:  # noqa: BLE001  raised again below
            failed.append(error)

    thread = Thread(target=run, name=whom, daemon=True)
    thread.start()
    with notes.status(f"waiting for {whom}"):
        thread.join(seconds)
    if failed:
        raise failed[0]
    if not answered:
        raise NoAnswerError(
            f"no answer from {whom} within {seconds:.0f} s; check the network, the name servers of this machine, a "
            "proxy (HTTPS_PROXY) and that setting"
        )
    return answered[0]


def warehouse_items(settings: Settings, seconds: float, now: datetime) -> Iterator[Item]:
    """Yield what the warehouse says; one item where it does not answer or is not up to date."""
    warehouse = Warehouse.of(settings)

    def ask() -> list[Item]:
        try:
            return list(_asked(warehouse, settings, now))
        finally:
            warehouse.close()

    try:
        yield from within(seconds, f"{warehouse.shown} (HUNTER_DATABASE_URL)", ask)
    except (WarehouseError, NoAnswerError) as error:
        yield Item("warehouse", Grade.WRONG, str(error))


def _asked(warehouse: Warehouse, settings: Settings, now: datetime) -> Iterator[Item]:
    from partner_center_pipeline.scoring import load_rules
    from partner_center_pipeline.warehouse import health as in_warehouse

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
    yield health.of_rules(load_rules(settings.scoring_rules).version, facts.scored_by)


def dagster_items(settings: Settings, now: datetime) -> Iterator[Item]:
    """Yield what Dagster's storage says; one item where it does not answer."""
    from partner_center_pipeline.defs import dagster_state

    enter_home(make=False)
    try:
        facts = within(_DAGSTER_SECONDS, "Dagster's storage (dagster.yaml)", lambda: dagster_state.facts(PROJECT_ROOT))
    except NoAnswerError as error:
        yield Item("daemon", Grade.WRONG, str(error))
        return
    except Exception as error:  # noqa: BLE001  whatever the storage raises: that is what is to be told
        reason = next(iter(str(error).splitlines()), "")
        yield Item("daemon", Grade.WRONG, f"Dagster's storage cannot be read ({type(error).__name__}: {reason})")
        return
    items = health.of_dagster(facts, now)
    yield from items if settings.partner_center_enabled else health.while_off(items)


def sign_in_items(settings: Settings, seconds: float) -> Iterator[Item]:
    """Yield what is stored of the sign-in; nothing is sent to Microsoft."""
    from partner_center_pipeline.partner_center import PartnerCenterError, connect_sign_in
    from partner_center_pipeline.settings import SettingsError
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    if not settings.partner_center_client_id or not settings.partner_center_tenant_id:
        text = "not configured: `partner-center doctor` says what to set"
        yield Item("sign-in", Grade.WARNING, text, {"signed_in": False})
        return

    def ask() -> Item:
        with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
            status = sign_in.status()
        command = "partner-center login" if status.flow is None else status.flow.command
        return health.of_sign_in(health.SignInFacts(status.signed_in, status.signed_in_at, status.age_days, command))

    try:
        yield within(seconds, "the stored sign-in", ask)
    except (PartnerCenterError, WarehouseError, SettingsError, NoAnswerError) as error:
        yield Item("sign-in", Grade.WRONG, str(error))


def disk_items(settings: Settings) -> Iterator[Item]:
    """Yield the free bytes of the disks that the program writes to."""
    from partner_center_pipeline.defs.gate import free_space

    for place, size in free_space(settings):
        yield health.of_disk(size, str(place))


def utc_now() -> datetime:
    """Return the present time (UTC)."""
    return datetime.now(UTC)
