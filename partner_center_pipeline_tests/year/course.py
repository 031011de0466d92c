"""The course of the year: what happens when, and what must be true at the end.

Not here: the process that is stepped (`service`), its loops (`loops`).
"""

import json
import os
import select
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import trustme
from dagster_shared.yaml_utils import load_yaml_from_path
from sqlalchemy import create_engine, text

from partner_center_pipeline.defs.dagster_private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import BEGINNING, WindowGrid, datetime_of, uncovered
from partner_center_pipeline_tests.alerts.receiver import Receiver
from partner_center_pipeline_tests.alerts.receiver import running as running_receiver
from partner_center_pipeline_tests.storage_bound import (
    A_RUN,
    A_TICK,
    A_VERSION,
    A_WINDOW,
    A_WINDOW_OF_A_RANGE,
    AN_ATTEMPT,
    EMPTY,
)
from partner_center_pipeline_tests.year.database import Postgres, running_database
from partner_center_simulator import Simulator
from partner_center_simulator.clock import SimulatorClock

WINDOW: Final = timedelta(minutes=10)
ROUNDS: Final = (timedelta(0), timedelta(minutes=2, seconds=5), timedelta(minutes=5, seconds=5))
"""When the loops go round in each window: after its begin, after the safety lag of the one before, and once more."""

_ANSWER_SECONDS: Final = 600.0
"""Seconds that a round may take: a range of a day takes half a minute on a busy machine."""
_READY_SECONDS: Final = 180.0
_REFERRALS: Final = 120
_DISK: Final = 8 << 30
"""Bytes of the file system in memory that holds the home folder; only what is written takes memory."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long the course is. Windows of ten minutes by schedule, then days by ranges."""

    quiet: int
    """Windows without trouble, before the first trouble and after each."""
    days: int
    windows_a_day: int
    refused: int
    """Windows for which Partner Center refuses the account."""
    stopped: int
    """Windows for which the database is stopped."""


FULL: Final = Length(quiet=22, days=30, windows_a_day=144, refused=15, stopped=9)
SHORT: Final = Length(quiet=0, days=1, windows_a_day=12, refused=3, stopped=1)


@dataclass
class Outcome:
    """What came of it. All is well when nothing is in `wrong`."""

    wrong: list[str] = field(default_factory=list)
    windows: int = 0
    rounds: int = 0
    disk_was_full: bool = False
    gaps: list[str] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=dict)
    dagster_bytes: int = 0
    dagster_bound: int = 0
    warehouse_bytes: int = 0
    warehouse_bound: int = 0

    def shown(self) -> dict[str, Any]:
        """Return the figures by the names that the command prints."""
        return {"ok": not self.wrong, **asdict(self)}


class YearError(Exception):
    """Something that must be true is not. The message says what."""


def faketime_library() -> Path:
    """Return libfaketime's library. Raises YearError where it is not installed."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    if not found:
        raise YearError("libfaketime is not installed: `apt-get install faketime` on Debian")
    return found[0]


class Service:
    """The process under stepped time. Its log is in `folder`."""

    def __init__(self, home: Path, log: Path, offset: float) -> None:
        self._log = log.open("ab")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HUNTER_", "DAGSTER_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "partner_center_pipeline_tests.year.service"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment
            | {
                "HUNTER_HOME": str(home),
                "LD_PRELOAD": str(faketime_library()),
                "FAKETIME": f"+{offset:.3f}",
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            },
        )
        self._read(_READY_SECONDS)

    def order(self, offset: float) -> None:
        """Let the clock show the real time and `offset` seconds, and do a round."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"offset": offset}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> list[str]:
        """Wait for the end of the round; return its errors."""
        errors: list[str] = self._read(_ANSWER_SECONDS)["errors"]
        return errors

    def has_answered(self) -> bool:
        """Whether the round has ended."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def _read(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise YearError(f"the process gave no answer for {seconds:.0f} s; its log is {self._log.name}")
        line = self._process.stdout.readline()
        if not line:
            raise YearError(f"the process ended by itself; its log is {self._log.name}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._log.close()


@dataclass
class Disk:
    """The file system of the home folder, which can be made full without any byte written."""

    folder: Path
    is_mounted: bool = True
    """Whether it is one of its own. A folder of another one cannot be made full."""

    def leave(self, free: int | None) -> None:
        """Leave so many bytes free; None is all that there were at first."""
        used = shutil.disk_usage(self.folder).used
        size = _DISK if free is None else max(used, 4096) + free
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@contextmanager
def own_disk(folder: Path, *, needed: bool) -> Iterator[Disk]:
    """Mount a file system in memory on a folder. Raises YearError where that is `needed` and this user may not."""
    folder.mkdir(mode=0o700)
    if not needed and os.geteuid() != 0:
        yield Disk(folder, is_mounted=False)
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=0700", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        raise YearError(f"a file system for the full disk cannot be mounted (are you root?): {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@dataclass
class Course:
    """One installation, and what happens to it."""

    length: Length
    folder: Path
    disk: Disk
    microsoft: Simulator
    receiver: Receiver
    database: Postgres
    start: datetime
    say: Callable[[str], None]
    empty: int
    """Bytes of the warehouse before anything was synced."""
    service: Service | None = None
    now: datetime = field(init=False)
    errors: list[str] = field(default_factory=list)
    rounds: int = 0

    def __post_init__(self) -> None:
        self.now = self.start

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.disk.folder

    # Time

    def _offset(self, to: datetime) -> float:
        """Set all clocks to an instant, or to now where it is over already; return what to add to the real clock."""
        self.now = max(to, self.microsoft.clock.now() + timedelta(seconds=1))
        self.microsoft.clock.set(self.now)
        offset = (self.now - datetime.now(UTC)).total_seconds()
        self.database.offset(offset)
        return offset

    def begin(self) -> None:
        """Start the process."""
        self.service = Service(self.home, self.folder / "service.log", self._offset(self.now))

    def round(self, at: datetime) -> list[str]:
        """Let the loops go round once at an instant."""
        assert self.service is not None
        self.service.order(self._offset(at))
        errors = self.service.answer()
        self.errors.extend(errors)
        self.rounds += 1
        return errors

    def windows(self, count: int) -> None:
        """Let so many windows pass, in small steps."""
        for _ in range(count):
            window = self.start + (self.now - self.start) // WINDOW * WINDOW + WINDOW
            for after in ROUNDS:
                self.round(window + after)

    def until_quiet(self, most: int = 60) -> None:
        """Let windows pass until nothing is missing. Raises YearError when that takes too long."""
        for _ in range(most):
            if not self.gaps():
                return
            self.windows(1)
        raise YearError(f"after {most} more windows there is still a gap: {self.gaps()}")

    # What happens

    def interrupted(self, what: Callable[[], None]) -> None:
        """Do something while a run of the next window works."""
        assert self.service is not None
        window = self.start + (self.now - self.start) // WINDOW * WINDOW + WINDOW
        self.round(window)
        self.microsoft.faults.slow_seconds = 4.0
        asked = self.microsoft.api.requests
        self.service.order(self._offset(window + ROUNDS[1]))
        end = time.monotonic() + _READY_SECONDS
        while self.microsoft.api.requests == asked:
            if time.monotonic() > end or self.service.has_answered():
                raise YearError("no run asked Partner Center, so nothing could be interrupted")
            time.sleep(0.05)
        what()
        self.microsoft.faults.slow_seconds = 0.0

    def kill_and_start(self) -> None:
        """Kill the process in the middle of a run, and start it again."""

        def kill() -> None:
            assert self.service is not None
            self.service.kill()

        self.interrupted(kill)
        self.begin()

    def restart_database(self) -> None:
        """Stop the database in the middle of a run, and start it again after a second."""

        def restart() -> None:
            self.database.stop()
            timer = threading.Timer(1.0, self.database.start)
            timer.start()
            timer.join()

        self.interrupted(restart)
        assert self.service is not None
        self.errors.extend(self.service.answer())

    def work(self) -> None:
        """Let it all happen."""
        length, quiet = self.length, self.length.quiet
        self.begin()
        self.say("windows by schedule")
        self.windows(1)
        self.windows(quiet)
        self.say("Partner Center refuses the account")
        self.microsoft.faults.role_missing = True
        self.windows(length.refused)
        self.microsoft.faults.role_missing = False
        self.until_quiet()
        self.windows(quiet)
        self.say("the process is killed in the middle of a run")
        self.kill_and_start()
        self.windows(1)
        self.until_quiet()
        self.windows(quiet)
        self.say("the database restarts in the middle of a run, and is stopped for some windows")
        self.restart_database()
        self.database.stop()
        self.windows(length.stopped)
        self.database.start()
        self.until_quiet()
        self.windows(quiet)
        if self.disk.is_mounted:
            self.say("the disk fills up")
            for free in (1_500_000_000, 300_000_000):  # a warning, and wrong
                self.disk.leave(free)
                self.round(self.now + WINDOW / 2)
            self.disk.leave(0)
            self.windows(1)
            self.disk.leave(None)
            self.until_quiet()
            self.windows(quiet)
        self.say(f"{length.days} days by ranges")
        for day in range(length.days):
            self.round(self.now + length.windows_a_day * WINDOW)
            self.windows(1)
            self.until_quiet()
            self.say(f"day {day + 1} of {length.days} is done")

    # What must be true

    def gaps(self) -> list[str]:
        """What the ledger misses of all that was due a window ago."""
        grid = Settings.load().grid
        warehouse = Warehouse.open(self.database.url)
        try:
            with warehouse.read() as connection:
                done = ledger.covered(connection)
        finally:
            warehouse.close()
        end = grid.due_end(self.now - WINDOW)
        return [f"{datetime_of(low)} to {datetime_of(high)}" for low, high in uncovered(BEGINNING, end, done)]

    def changes(self) -> dict[str, list[str]]:
        """What operators were told of each subject, in order, each message once."""
        told: dict[str, list[str]] = defaultdict(list)
        seen: set[str | None] = set()
        for message in self.receiver.received:
            if message.id in seen:
                continue
            seen.add(message.id)
            for one in message.body["conditions"]:
                told[one["subject"]].append(one["change"])
        return dict(told)

    def judge(self, outcome: Outcome) -> None:
        """End the process, and find out what is missing, what was told and what is left on disk."""
        if self.service is not None:
            self.service.kill()
            self.service = None
        outcome.rounds = self.rounds
        outcome.windows = (self.now - self.start) // WINDOW
        outcome.gaps = self.gaps()
        outcome.wrong.extend(f"the ledger has a gap: {gap}" for gap in outcome.gaps)
        outcome.told = self.changes()
        outcome.disk_was_full = self.disk.is_mounted
        outcome.wrong.extend(wrong_alerts(outcome.told, self._expected()))
        self._measure(outcome)
        for what, size, bound in (
            ("Dagster's storage", outcome.dagster_bytes, outcome.dagster_bound),
            ("the warehouse", outcome.warehouse_bytes, outcome.warehouse_bound),
        ):
            if size > bound:
                outcome.wrong.append(f"{what} takes {size:,} bytes, more than the bound of {bound:,}")

    def _expected(self) -> dict[str, range]:
        """Return how often each condition may have been raised.

        The sync is late after the account was refused, after the database was away, and after each day without a
        machine, where the check comes before the range; in the short course perhaps never.
        """
        once = range(1, 2)
        late = range(int(self.length is FULL), self.length.days + 3)
        disk = {"disk": once} if self.disk.is_mounted else {}
        return {"breaker": once, "warehouse": once, "sync": late, **disk}

    def _measure(self, outcome: Outcome) -> None:
        """Compare what is on disk with what docs state for the runs, ticks, windows and versions that are kept."""
        kept = self.home / ".dagster"
        outcome.dagster_bytes = sum(file.stat().st_size for file in kept.rglob("*") if file.is_file())
        os.environ["DAGSTER_HOME"] = str(self.home)
        grid = Settings.load().grid
        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs()
            of_ranges = sum(_windows_of(run.tags, grid) for run in runs)
        with closing(sqlite3.connect(kept / "storage/schedules/schedules.db")) as connection:
            (ticks,) = connection.execute("SELECT count(*) FROM job_ticks").fetchone()
        outcome.dagster_bound = EMPTY + len(runs) * A_RUN + of_ranges * A_WINDOW_OF_A_RANGE + ticks * A_TICK
        engine = create_engine(self.database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM FULL"))
            outcome.warehouse_bytes = connection.scalar(text("SELECT pg_database_size('hunter')")) or 0
            windows, versions, attempts = (
                connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0
                for name in ("sync_windows", "raw_referrals", "sync_attempts")
            )
        engine.dispose()
        outcome.warehouse_bound = self.empty + windows * A_WINDOW + attempts * AN_ATTEMPT + versions * A_VERSION


def _windows_of(tags: Mapping[str, str], grid: WindowGrid) -> int:
    """Return how many windows a run of several was for; 0 for another run."""
    first, last = tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if not first or not last:
        return 0
    return (grid.window_of_key(last).end - grid.window_of_key(first).start) // grid.width


def wrong_alerts(told: Mapping[str, Sequence[str]], expected: Mapping[str, range]) -> list[str]:
    """Return what is wrong with the messages: a subject that was raised twice, did not clear, or not as often.

    `expected` says of subjects how often they were raised. Others need only have ended.
    """
    found = []
    for subject in sorted(told.keys() | expected.keys()):
        changes = [change for change in told.get(subject, ()) if change != "worse"]
        times = len(changes) // 2
        if changes != ["raised", "cleared"] * times or times not in expected.get(subject, range(1, sys.maxsize)):
            found.append(f"operators were told of {subject}: {', '.join(told.get(subject, ())) or 'nothing'}")
    return found


def prepare(home: Path, variables: dict[str, str], microsoft: Simulator) -> None:
    """Write `.env` and `dagster.yaml` into a home folder, and sign in."""
    (home / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()), encoding="utf-8")
    config: Any = load_yaml_from_path(str(PROJECT_ROOT / "dagster.yaml"))
    module = "dagster._core.launcher.sync_in_memory_run_launcher"
    config["run_launcher"] = {"module": module, "class": "SyncInMemoryRunLauncher"}
    (home / "dagster.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    for name in [name for name in os.environ if name.startswith(("HUNTER_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ["HUNTER_HOME"] = str(home)
    os.chdir(home)
    microsoft.entra.device_code_interval = 1
    with connect_sign_in(Settings.load()) as sign_in:
        code = sign_in.begin()
        microsoft.approve(code.user_code)
        sign_in.finish(code)


@contextmanager
def prepared(length: Length, folder: Path, say: Callable[[str], None]) -> Iterator[Course]:
    """Make the installation and all that it talks to. The course begins at the next midnight (UTC)."""
    now = datetime.now(UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    library = faketime_library()
    with ExitStack() as stack:
        disk = stack.enter_context(own_disk(folder / "home", needed=length is FULL))
        microsoft = stack.enter_context(
            Simulator(7, start, _REFERRALS, live=True, clock=SimulatorClock(start), directory=folder / "microsoft")
        )
        receiver = stack.enter_context(running_receiver(folder, trustme.CA()))
        database = stack.enter_context(running_database(folder / "postgres", library, (start - now).total_seconds()))
        both = folder / "both.pem"
        both.write_bytes(microsoft.ca_bundle.read_bytes() + receiver.ca.read_bytes())
        variables = microsoft.environment() | {
            "HUNTER_PARTNER_CENTER_CA_BUNDLE": str(both),
            "HUNTER_PARTNER_CENTER_ENABLED": "true",
            "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "HUNTER_DATABASE_URL": database.url,
            "HUNTER_OPERATORS_WEBHOOK_URL": receiver.at("/ops/hook"),
        }
        prepare(disk.folder, variables, microsoft)
        warehouse = Warehouse(database.url)
        warehouse.migrate()
        with warehouse.read() as connection:
            empty = connection.scalar(text("SELECT pg_database_size('hunter')")) or 0
        warehouse.close()
        course = Course(length, folder, disk, microsoft, receiver, database, start, say, empty)
        try:
            yield course
        finally:
            os.chdir(folder)
            if course.service is not None:
                course.service.kill()
