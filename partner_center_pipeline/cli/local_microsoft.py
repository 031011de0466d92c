"""The simulator for `demo` and `ui --demo`: the same referrals each time, a sign-in, settings that point at it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from partner_center_pipeline.cli.base import alone, notes
from partner_center_pipeline.cli.sign_in import show_code
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import EXTRA_ENV_VARIABLE, Settings, home
from partner_center_pipeline.warehouse import demo
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError, open_warehouse
from partner_center_pipeline.windows import WindowGrid, datetime_of
from partner_center_simulator import Simulator, SimulatorClock

SEED: Final = 2026
REFERRALS: Final = 600
"""Roughly a small partner's year (partner_center_api.md, section 2, counts 250)."""

_FOLDER: Final = ".hunter/demo"


@dataclass(frozen=True, slots=True)
class LocalMicrosoft:
    """The running simulator, the warehouse for its referrals, and the world it serves."""

    simulator: Simulator
    warehouse: Warehouse
    world: demo.DemoWorld


@contextmanager
def local_microsoft(*, live: bool) -> Iterator[LocalMicrosoft]:
    """Start the simulator on loopback, point this process and its children at it, and sign in by device code.

    The warehouse stores the world's seed and instants, so that each start serves the same referrals. The settings that
    point at it are in a file of their own, which takes precedence over `.env`. HUNTER_PARTNER_CENTER_ENABLED is in that
    file too; if `live`, it is in the environment, so that `.env` can switch it while the UI runs. Raises WarehouseError
    if the warehouse holds a real tenant's referrals. A second one on the same home folder would take over the first
    one's settings and serve another course of the same referrals, so it is refused.
    """
    settings = Settings.load()
    folder = home() / _FOLDER
    command = "partner-center ui --demo" if live else "partner-center demo"
    with alone("demo", "The local Microsoft", f"`{command}`"), open_warehouse(settings) as warehouse:
        world = _world(warehouse, settings.grid)
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
            with _environment({EXTRA_ENV_VARIABLE: str(file), **(flag if live else {})}):
                _sign_in(simulator)
                yield LocalMicrosoft(simulator, warehouse, world)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, and so of its children, while the block runs."""
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
    """Return the stored world, or store a new one: from the first window up to now, at most one day."""
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
    """Sign in by device code and approve the code, as a person would."""
    with connect_sign_in(Settings.load()) as sign_in:
        code = sign_in.begin()
        show_code(code)
        simulator.approve(code.user_code)
        sign_in.finish(code)
    notes.print("[green]Signed in[/] (the demo entered the code itself).")
