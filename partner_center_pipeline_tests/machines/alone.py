"""What one machine does alone with the defaults (SQLite, runs in its own processes): the same work as the machines'."""

import os
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.machines.course import (
    LONG_AGO,
    MachinesError,
    Outcome,
    Plan,
    make_due,
    variables_of,
    write_home,
)
from partner_center_pipeline_tests.machines.services import BIN
from partner_center_simulator import Simulator


def measure(plan: Plan, folder: Path, say: Callable[[str], None], outcome: Outcome) -> None:
    """Sync the days of the plan by `partner-center sync`, then ask about its domains by `partner-center rescan`."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=plan.days, hours=1)
    home = folder / "home"
    for name in [name for name in os.environ if name.startswith(("HUNTER_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ["HUNTER_HOME"] = str(home)
    with Simulator(
        7, datetime.now(UTC), plan.referrals, recent_from=start, directory=folder / "microsoft"
    ) as microsoft:
        resolver = "{}:{}".format(*microsoft.dns_address)
        write_home(home, variables_of(microsoft, [resolver], start, plan))
        microsoft.entra.device_code_interval = 1
        with connect_sign_in(Settings.load()) as sign_in:
            code = sign_in.begin()
            microsoft.approve(code.user_code)
            sign_in.finish(code)
        outcome.backfill_seconds = _timed(folder, "sync")
        say(f"`partner-center sync` took {outcome.backfill_seconds:.0f} s")
        os.chdir(home)
        warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
        make_due(warehouse, microsoft, plan.domains)
        outcome.rescan_seconds = _timed(folder, "rescan")
        say(f"`partner-center rescan` took {outcome.rescan_seconds:.0f} s")
        signals = schema.domain_signals
        with warehouse.read() as connection:
            due = signals.c.next_scan_at == LONG_AGO
            left = connection.scalar(select(func.count()).select_from(signals).where(due)) or 0
            outcome.referrals = connection.scalar(select(func.count()).select_from(schema.raw_referrals)) or 0
            outcome.windows = connection.scalar(select(func.count()).select_from(schema.sync_windows)) or 0
        warehouse.close()
    outcome.rescanned = plan.domains - left


def _timed(folder: Path, command: str) -> float:
    began = time.monotonic()
    with (folder / f"{command}.log").open("wb") as log:
        done = subprocess.run([str(BIN / "partner-center"), command], stdout=log, stderr=log)
    if done.returncode != 0:
        raise MachinesError(f"`partner-center {command}` failed; its log is {log.name}")
    return time.monotonic() - began
