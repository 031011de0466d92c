"""The kill sweep: kills processes at failpoints, starts the next one each time, and compares the result.

Not here: the command and its table (`__main__`).
"""

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path
from queue import Queue
from signal import SIGKILL
from typing import Any, Final

import pytest
from sqlalchemy import func, select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger, pending, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import BEGINNING, WindowGrid, uncovered
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.crash import child
from partner_center_pipeline_tests.crash.child import RUNS, Place
from partner_center_pipeline_tests.crash.content import SEEN_AGAIN, Contents, contents, differences
from partner_center_pipeline_tests.crash.failpoints import Failpoint
from partner_center_simulator import Simulator
from partner_center_simulator.clock import SimulatorClock

_TIMEOUT: Final = 300.0
"""Seconds after which a process is taken to hang. It needs two or three, on a machine with nothing else to do."""

_LAST: Final = RUNS[-1][-1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one history on one database: where processes were killed in it, in order, and what is wrong.

    `problems` is empty if nothing was lost.
    """

    failpoints: Sequence[str]
    database: str
    problems: Sequence[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class World:
    """What all processes share: a folder, the settings, a signed-in token cache, the windows."""

    folder: Path
    variables: dict[str, str]
    token_cache: Path
    grid: WindowGrid


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start a local Microsoft with a frozen clock, changes and bad rows in each window, and sign in to it."""
    now = datetime.now(UTC)
    start = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0) - timedelta(minutes=10 * (_LAST + 2))
    grid = WindowGrid.of(start, 600, 120)
    clock = SimulatorClock(now, frozen=True)
    with Simulator(7, now, 60, recent_from=start, clock=clock, directory=folder / "microsoft") as microsoft:
        microsoft.entra.device_code_interval = 1
        _make_history(microsoft, grid)
        variables = {
            **microsoft.environment(),
            "HUNTER_PARTNER_CENTER_ENABLED": "true",
            "HUNTER_PARTNER_CENTER_PAGE_SIZE": "10",
            "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "HUNTER_DKIM_SELECTORS": "selector1",
        }
        cache = folder / "token_cache"
        settings = Settings(**_fields(variables), partner_center_token_cache_path=cache)
        with connect_sign_in(settings) as sign_in:
            code = sign_in.begin()
            microsoft.approve(code.user_code)
            sign_in.finish(code)
        yield World(folder, variables, cache, grid)


def _fields(variables: dict[str, str]) -> dict[str, Any]:
    """Return arguments for Settings: these variables alone, without `.env` and the environment."""
    return {name.removeprefix("HUNTER_").lower(): value for name, value in variables.items()}


def _make_history(microsoft: Simulator, grid: WindowGrid) -> None:
    """New referrals, some of them changed in the next window, some closed; and rows that break the contract."""
    assert grid.first is not None
    older = [row["id"] for row in microsoft.world.all()][:_LAST]
    for number in range(1, _LAST + 1):
        at = grid.first + number * grid.width
        fresh = [microsoft.world.create(at + 10 * n)["id"] for n in range(7)]
        microsoft.world.change(older[number - 1], at + 1000, {"status": "Closed", "substatus": "Won"})
        microsoft.world.change(fresh[0], at + 2000, {"details/dealValue": 1000 + number})
        microsoft.world.change(fresh[1], at + 3000, {"customerProfile/name": "Bozuk\x00"})


def sweep(here: World, kinds: Mapping[str, tuple[Databases, Sequence[Sequence[Failpoint]]]]) -> Iterator[Verdict]:
    """Run each history of a database, the databases in parallel; yield verdicts as they come.

    A history is the failpoints at which its processes are killed, one process each; the last one is left alone.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([child.__name__, f"{__package__}.preload"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**here.variables, "HUNTER_HOME": str(here.folder)}.items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    verdicts: Queue[Verdict] = Queue()
    with ThreadPoolExecutor(len(kinds)) as pool:
        workers = [
            pool.submit(_Sweep(context, here, kind, databases).all, histories, verdicts.put)
            for kind, (databases, histories) in kinds.items()
        ]
        for _ in range(sum(len(histories) for _, histories in kinds.values())):
            while verdicts.empty() and not any(worker.done() and worker.exception() for worker in workers):
                time.sleep(0.05)
            for worker in workers:
                if worker.done():
                    worker.result()  # what ended it, if anything did
            yield verdicts.get()


class _Sweep:
    """The sweep on one kind of database."""

    def __init__(self, context: Any, here: World, kind: str, databases: Databases) -> None:
        self.context = context
        self.here = here
        self.kind = kind
        self.databases = databases
        self.template = here.folder / f"{kind}-template"
        self.places = 0

    def all(self, histories: Sequence[Sequence[Failpoint]], say: Callable[[Verdict], None]) -> None:
        self._make_template()
        expected = self._undisturbed()
        for history in histories:
            started = time.monotonic()
            problems = self._one(history, expected)
            say(Verdict([each.name for each in history], self.kind, problems, time.monotonic() - started))

    def _make_template(self) -> None:
        """Make the home folder that each place copies: signed in, with Dagster's storage, which takes 0.3 s to make."""
        shutil.copytree(self.here.token_cache, self.template / ".token_cache")
        place = Place(self.template, {**self.here.variables, "HUNTER_DATABASE_URL": self.databases.empty()})
        assert self._run(child.prepare, place) == 0, _end_of(place)

    def _undisturbed(self) -> Contents:
        place, url = self._place(self.databases.migrated())
        assert self._run(child.work, place, None) == 0, _end_of(place)
        with _opened(url) as db:
            return contents(db)

    def _one(self, history: Sequence[Failpoint], expected: Contents) -> list[str]:
        place, url = self._place(self.databases.empty() if history[0].empty else self.databases.migrated())
        for failpoint in history:
            if (ended := self._run(child.work, place, failpoint.name)) != -SIGKILL:
                return [f"it was not killed at {failpoint.name!r}, but ended with {ended}: {_end_of(place)}"]
        if (ended := self._run(child.resume, place)) != 0:
            return [f"started again, it ended with {ended}: {_end_of(place)}"]
        with _opened(url) as db:
            problems = [*differences(expected, contents(db)), *self._left_open(db)]
            before = json.loads(place.before.read_text())
            problems += [f"the replay wrote: {said}" for said in differences(before, contents(db, SEEN_AGAIN))]
        shutil.rmtree(place.home)
        return problems

    def _left_open(self, db: Warehouse) -> Iterator[str]:
        """Yield the ledger's gaps, and attempts that were not ended."""
        grid = self.here.grid
        assert grid.first is not None
        with db.read() as connection:
            gaps = uncovered(BEGINNING, grid.first + (_LAST + 1) * grid.width, ledger.covered(connection))
            running = connection.execute(
                select(func.count()).where(schema.sync_attempts.c.state == schema.AttemptState.RUNNING)
            ).scalar_one()
            left = pending.count(connection) + len(pending.failed(connection))
        if gaps:
            yield f"the ledger has {len(gaps)} gaps"
        if running:
            yield f"{running} attempts are still running"
        if left:
            yield f"{left} rows are not derived"

    def _place(self, url: str) -> tuple[Place, str]:
        self.places += 1
        home = self.here.folder / f"{self.kind}-{self.places}"
        shutil.copytree(self.template, home)
        return Place(home, {**self.here.variables, "HUNTER_DATABASE_URL": url}), url

    def _run(self, what: Callable[..., None], *arguments: Any) -> int | None:
        process = self.context.Process(target=what, args=arguments)
        process.start()
        process.join(_TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        ended: int = process.exitcode
        return ended


@contextmanager
def _opened(url: str) -> Iterator[Warehouse]:
    db = Warehouse(url)
    try:
        yield db
    finally:
        db.close()


def _end_of(place: Place) -> str:
    return place.log.read_text(errors="replace")[-3000:] if place.log.exists() else "it wrote nothing"
