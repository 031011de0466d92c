"""Finding out how well the pipeline does, for `status` and `doctor`. What does not answer ends as an item, in time.

Not here: the rules (`health`).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Final, TypeVar

from partner_center_pipeline import health
from partner_center_pipeline.cli.base import enter_home, notes
from partner_center_pipeline.cli.dagster_home import dagster_home_to_read
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.private_files import opening
from partner_center_pipeline.settings import Settings, env_files, home, secret_files
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
        from partner_center_pipeline.defs import health_items

        try:
            return list(health_items.of_warehouse(warehouse, settings, now))
        finally:
            warehouse.close()

    try:
        yield from within(seconds, f"{warehouse.shown} (HUNTER_DATABASE_URL)", ask)
    except (WarehouseError, NoAnswerError) as error:
        yield Item("warehouse", Grade.WRONG, str(error))


def dagster_items(settings: Settings, now: datetime) -> Iterator[Item]:
    """Yield what Dagster's storage says; one item where it does not answer."""
    from partner_center_pipeline.defs import dagster_state, health_items

    folder = dagster_home_to_read(enter_home(make=False))
    try:
        facts = within(_DAGSTER_SECONDS, "Dagster's storage (dagster.yaml)", lambda: dagster_state.facts(folder))
    except NoAnswerError as error:
        yield Item("daemon", Grade.WRONG, str(error))
        return
    except Exception as error:  # noqa: BLE001  whatever the storage raises: that is what is to be told
        reason = next(iter(str(error).splitlines()), "")
        yield Item("daemon", Grade.WRONG, f"Dagster's storage cannot be read ({type(error).__name__}: {reason})")
        return
    yield from health_items.of_dagster(facts, settings, now)


def sign_in_items(settings: Settings, seconds: float) -> Iterator[Item]:
    """Yield what is stored of the sign-in; nothing is sent to Microsoft."""
    from partner_center_pipeline.defs import health_items
    from partner_center_pipeline.partner_center import PartnerCenterError
    from partner_center_pipeline.settings import SettingsError

    try:
        yield within(seconds, "the stored sign-in", lambda: health_items.of_sign_in(settings))
    except (PartnerCenterError, WarehouseError, SettingsError, NoAnswerError) as error:
        yield Item("sign-in", Grade.WRONG, str(error))


def disk_items(settings: Settings) -> Iterator[Item]:
    """Yield the free bytes of the disks that the program writes to."""
    from partner_center_pipeline.defs import health_items

    yield from health_items.of_disks(settings)


def private_file_items(settings: Settings) -> Iterator[Item]:
    """Yield what other users of this machine can read or change of settings, secrets and the database's file."""
    database = Warehouse.of(settings).file
    files = [*env_files(), *secret_files().values(), *([home() / database] if database is not None else [])]
    files += sorted(settings.partner_center_token_cache_path.glob("sign_in.*"))
    found = {file: open_to_others for file in files if (open_to_others := opening(file)) is not None}
    yield health.of_private_files([(one.text, one.may_change) for one in found.values()])


def utc_now() -> datetime:
    """Return the present time (UTC)."""
    return datetime.now(UTC)
