"""The local Microsoft as the demo uses it: the same past each time, a sign-in, and settings that point at it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from partner_center_pipeline.cli.base import notes
from partner_center_pipeline.cli.sign_in import show_code
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import EXTRA_ENV_VARIABLE, Settings, home
from partner_center_pipeline.simulator import Simulator, SimulatorClock
from partner_center_pipeline.warehouse import demo
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.windows import WindowGrid, datetime_of

SEED: Final = 2026
REFERRALS: Final = 600
"""About what a small partner's year looks like (partner_center_api.md, section 2, counts 250)."""

_FOLDER: Final = ".hunter/demo"


@dataclass(frozen=True, slots=True)
class LocalMicrosoft:
    """The running simulator, the warehouse that its referrals go to, and the past it serves."""

    simulator: Simulator
    warehouse: Warehouse
    world: demo.DemoWorld


@contextmanager
def local_microsoft(*, live: bool) -> Iterator[LocalMicrosoft]:
    """Start the simulator on loopback, point this process and its children at it, and sign in by device code.

    Its past is kept with the warehouse, so that another start meets the same one. The settings that point at it live
    in a file of their own, ahead of `.env`. The flag is on in that file too, except when `live`: then it is on in the
    environment, where `.env` can switch it off and on while the UI runs. Raises WarehouseError when the warehouse holds
    a real tenant's referrals.
    """
    settings = Settings.load()
    warehouse = Warehouse.open(settings.database_url.get_secret_value())
    world = _world(warehouse, settings.grid)
    folder = home() / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    simulator = Simulator(
        world.seed,
        world.anchor,
        world.referrals,
        recent_from=world.recent_from,
        live=live,
        clock=SimulatorClock(datetime.now(UTC)),
        directory=folder,
    )
    with simulator:
        variables = {
            **simulator.environment(),
            "HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH": str(folder / "token_cache"),
            "HUNTER_PARTNER_CENTER_TOKEN_STORE": "file",
        }
        flag = {"HUNTER_PARTNER_CENTER_ENABLED": "true"}
        file = folder / "demo.env"
        in_file = variables if live else {**variables, **flag}
        file.write_text("".join(f"{name}='{value}'\n" for name, value in in_file.items()), encoding="utf-8")
        try:
            with _environment({EXTRA_ENV_VARIABLE: str(file), **(flag if live else {})}):
                _sign_in(simulator)
                yield LocalMicrosoft(simulator, warehouse, world)
        finally:
            warehouse.close()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process and of the children it starts meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _world(warehouse: Warehouse, grid: WindowGrid) -> demo.DemoWorld:
    """The past that this warehouse met before, or a new one: up to now, at most a day of windows after the start."""
    with warehouse.write() as connection:
        world = demo.load(connection)
        if world is None:
            now = datetime.now(UTC)
            last = grid.last_due(now)
            if grid.first is None or last is None:
                first = datetime_of((grid.first or 0) + grid.width) + timedelta(seconds=grid.lag)
                raise WarehouseError(f"no sync window has ended yet; the first is due at {first:%Y-%m-%d %H:%M} UTC")
            start = datetime_of(grid.first)
            anchor = min(now, start + timedelta(days=1), datetime_of(last.end)).replace(microsecond=0)
            world = demo.DemoWorld(SEED, anchor, start, REFERRALS)
            demo.found(connection, world)
        return world


def _sign_in(simulator: Simulator) -> None:
    """A device code sign-in as a person would do it, the page's button included."""
    with connect_sign_in(Settings.load()) as sign_in:
        code = sign_in.begin()
        show_code(code)
        simulator.approve(code.user_code)
        sign_in.finish(code)
    notes.print("[green]Signed in[/] (the demo entered the code itself).")
