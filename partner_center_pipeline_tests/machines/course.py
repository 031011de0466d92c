"""The course of the machines: what is started, what happens to it, and what must be true at the end.

Not here: networks (`network`), programs (`services`), what Microsoft saw (`record`).
"""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from cryptography.fernet import Fernet
from sqlalchemy import func, insert, select, update

from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.mail.row import row_of
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import companies, ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.tokens import shared_sign_in
from partner_center_pipeline.windows import BEGINNING, WindowGrid, datetime_of, parse_ticks, uncovered
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.machines.network import Machine, address_of, machines, why_no_namespaces
from partner_center_pipeline_tests.machines.record import Recorder, at_once, interleaved
from partner_center_pipeline_tests.machines.services import BIN, Postgres, Program, Redis, tasks_of, unfinished
from partner_center_pipeline_tests.ui.running import LOCATION, REPOSITORY, Ui
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_simulator import Simulator
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import HttpFault

TASK_TAG: Final = "dagster-celery/task_id"
SLOTS: Final = 2
"""Runs at once on a worker (deploy/celery-worker.yaml)."""
RESCAN_JOB: Final = "partner_center_rescan"
_ENDED: Final = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
_SENSOR: Final = "partner_center_flag_sensor"
_FIRST: Final = "services"
_UI: Final = "ui"
_READY: Final = " ready."
"""What Celery prints when a worker takes tasks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the course is.

    interval    seconds that a sync window is wide
    days        days of windows to backfill
    referrals   referrals of the world, of which 15 % changed in these days
    domains     domains to ask about again
    resolvers   DNS resolvers, each of which may be asked 1,000 questions a second
    workers     workers of Celery, each on its own machine; 0: one machine alone, with the defaults
    troubles    whether machines die, networks break and servers restart
    is_short    whether troubles overlap, and the sensor is asked for more ticks than it makes by itself
    loses_a_run whether Redis forgets the first run before a worker took it; that is noticed after two minutes
    """

    interval: int = 600
    days: int = 7
    referrals: int = 4000
    domains: int = 20_000
    resolvers: int = 4
    workers: int = 2
    troubles: bool = True
    is_short: bool = False
    loses_a_run: bool = True


FULL: Final = Plan()
SHORT: Final = Plan(interval=3600, days=3, referrals=400, domains=4_000, is_short=True, loses_a_run=False)


class MachinesError(Exception):
    """Something that must be true is not. The message says what."""


@dataclass
class Outcome:
    """What came of it. All is well when nothing is in `wrong`."""

    wrong: list[str] = field(default_factory=list)
    namespaces: bool = True
    windows: int = 0
    gaps: list[str] = field(default_factory=list)
    referrals: int = 0
    requests: int = 0
    requests_at_once: int = 0
    fetches_at_once: int = 0
    renewals: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    rescanned: int = 0
    rescan_runs_by_worker: list[int] = field(default_factory=list)
    backfill_seconds: float = 0.0
    rescan_seconds: float = 0.0

    def shown(self) -> dict[str, Any]:
        """Return the figures by the names that the command prints."""
        hours = self.backfill_seconds / 3600, self.rescan_seconds / 3600
        return {
            "ok": not self.wrong,
            **asdict(self),
            "backfill_seconds": round(self.backfill_seconds, 1),
            "rescan_seconds": round(self.rescan_seconds, 1),
            "windows_an_hour": round(self.windows / hours[0]) if hours[0] else None,
            "referrals_an_hour": round(self.referrals / hours[0]) if hours[0] else None,
            "companies_an_hour": round(self.rescanned / hours[1]) if hours[1] else None,
        }


@dataclass
class Course:
    """The machines, what runs on them, and what happens."""

    plan: Plan
    folder: Path
    homes: Mapping[str, Path]
    microsoft: Simulator
    recorder: Recorder
    postgres: Postgres
    redis: Redis
    ui_program: Program
    ui: Ui
    ui_machine: Machine
    workers: list[Program]
    warehouse: Warehouse
    grid: WindowGrid
    has_namespaces: bool
    say: Callable[[str], None]
    lost: str | None = None
    """The run that Redis forgot."""
    _ticked: float = 0.0

    # Looking

    def wait(self, what: str, look: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so, keep the UI running meanwhile, and say what is waited for at the end of it."""
        until = time.monotonic() + seconds
        while True:
            try:
                if look():
                    return
            except (WarehouseError, httpx.HTTPError, ValueError, AssertionError, KeyError, TypeError):
                pass  # a server restarts
            if time.monotonic() > until:
                raise MachinesError(f"waited {seconds:.0f} s in vain for {what}")
            self._supervise()
            time.sleep(0.3)

    def _supervise(self) -> None:
        """Do what systemd does: start again what ended. And in the short course look for dead runs more often."""
        for program in [self.ui_program, *self.workers]:
            if program.has_ended:
                self.say(f"{program.log.stem} ended by itself, and is started again")
                program.start()
        if self.plan.is_short and time.monotonic() - self._ticked > 5:
            self._ticked = time.monotonic()
            sensor = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": _SENSOR}
            with suppress(httpx.HTTPError, ValueError, AssertionError):  # a server restarts
                self.ask(
                    "mutation($s: SensorSelector!) { sensorDryRun(selectorData: $s, cursor: null) { __typename } }",
                    s=sensor,
                )

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the UI, from its machine."""
        return self.ui_machine.do(lambda: self.ui.ask(query, **variables))

    def runs(self) -> list[dict[str, Any]]:
        """All runs: id, status, job and tags."""
        data = self.ask("{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }")
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in data["runsOrError"]["results"]
        ]

    def gaps(self) -> list[str]:
        """What the ledger misses of the days to backfill."""
        assert self.grid.first is not None
        end = self.grid.first + self.plan.days * self.grid.per_day * self.grid.width
        with self.warehouse.read() as connection:
            done = ledger.covered(connection)
        return [f"{datetime_of(low)} to {datetime_of(high)}" for low, high in uncovered(BEGINNING, end, done)]

    def _worker_that_fetches(self) -> Program:
        """The worker that is asking Partner Center now."""
        before = len(self.recorder.asked)
        self.wait("a fetch", lambda: len(self.recorder.asked) > before + 1, 240)
        if not self.has_namespaces:
            return max(self.workers, key=lambda worker: unfinished(worker.said()))
        host = self.recorder.asked[-1].client[0]
        return next(worker for worker in self.workers if worker.machine.address == host)

    # What happens

    def start(self) -> None:
        """Start the UI and the workers."""
        self.ui_program.start()
        self.wait("the UI", lambda: bool(self.ui_machine.do(self.ui.is_loaded)), 300)
        if self.plan.troubles and self.plan.loses_a_run:
            self.lose_a_run()
        for worker in self.workers:
            self.start_worker(worker)
        self.say("UI, daemon and workers are up")

    def lose_a_run(self) -> None:
        """Let Redis forget a run of windows that waits for a worker."""

        def waits() -> bool:
            self.lost = next((run["runId"] for run in self.runs() if run["status"] == "STARTING"), None)
            return self.lost is not None

        self.wait("a run that waits for a worker", waits, 300)
        time.sleep(2)  # it is STARTING a moment before Redis has its task
        self.restart_redis()

    def start_worker(self, worker: Program) -> None:
        """Start a worker, and wait until it takes tasks."""
        before = worker.said().count(_READY)
        worker.start()
        self.wait(f"{worker.log.stem}", lambda: worker.said().count(_READY) > before, 300)

    def backfill(self) -> None:
        """Ask for all windows, as a person does at the assets' page."""
        assert self.grid.first is not None
        end = self.grid.first + self.plan.days * self.grid.per_day * self.grid.width
        keys = [window.key for window in self.grid.between(self.grid.first, end)]
        self.ui_machine.do(lambda: self.ui.backfill([str(asset) for asset in Asset], keys))
        self.say(f"a backfill of {len(keys)} windows is asked for")

    def kill_a_worker(self) -> None:
        """Kill the worker that fetches, and start it again after some seconds."""
        self.microsoft.faults.slow_seconds = 0.3
        victim = self._worker_that_fetches()
        victim.kill()
        self.microsoft.faults.slow_seconds = 0.0
        self.say(f"{victim.log.stem} was killed while it fetched")
        time.sleep(3)
        self.start_worker(victim)

    def cut_a_network(self, seconds: float) -> None:
        """Cut the network of the worker that fetches for a while; without namespaces, stop it (SIGSTOP)."""
        self.microsoft.faults.slow_seconds = 0.3
        victim = self._worker_that_fetches()
        if self.has_namespaces:
            victim.machine.connect(on=False)
        else:
            victim.signal(signal.SIGSTOP)
        self.microsoft.faults.slow_seconds = 0.0
        self.say(f"the network of {victim.log.stem} is cut for {seconds:.0f} s while it fetches")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._supervise()
            time.sleep(0.3)
        if self.has_namespaces:
            victim.machine.connect(on=True)
        else:
            victim.signal(signal.SIGCONT)
        self.say(f"{victim.log.stem} has its network again")

    def restart_redis(self) -> None:
        """Kill Redis and start it again, without what it held."""
        self.redis.program.kill()
        time.sleep(1)
        self.redis.program.start()
        self.say("Redis was killed and started again; what it held is lost")

    def restart_servers(self) -> None:
        """Restart Redis, which forgets all, and PostgreSQL, while runs are under way where there still are some."""
        self.restart_redis()
        time.sleep(3)
        self.postgres.stop()
        time.sleep(1)
        self.postgres.start()
        self.say("PostgreSQL was stopped and started again")

    def until_done(self, seconds: float) -> None:
        """Wait until no window is missing, and no run is under way."""
        self.wait("the last window", lambda: not self.gaps(), seconds)
        self.say("no window is missing")

    def rescan(self, outcome: Outcome) -> None:
        """Make domains due, and launch the runs that the rescan's schedule asks for, as the UI's test of it does."""
        domains = make_due(self.warehouse, self.microsoft, self.plan.domains)
        began = time.monotonic()
        selector = {
            "repositoryName": REPOSITORY,
            "repositoryLocationName": LOCATION,
            "scheduleName": f"{RESCAN_JOB}_schedule",
        }
        data = self.ask(
            "mutation($s: ScheduleSelector!, $at: Float) { scheduleDryRun(selectorData: $s, timestamp: $at) {"
            " ... on PythonError { message } ... on DryRunInstigationTick {"
            " evaluationResult { skipReason error { message causes { message } }"
            " runRequests { runConfigYaml tags { key value } } } } } }",
            s=selector,
            at=time.time(),
        )["scheduleDryRun"]
        requests = (data.get("evaluationResult") or {}).get("runRequests")
        if not requests:
            raise MachinesError(f"the schedule asks for no rescan: {data}")
        ids: list[str] = []

        def launched() -> bool:
            """Launch the next one. The webserver's connections of before a restart of PostgreSQL fail once."""
            ids.append(self._launch(requests[len(ids)]))
            return len(ids) == len(requests)

        self.wait("the runs of the rescan to be launched", launched, 300)
        self.say(f"{self.plan.domains} domains are due; the rescan is cut into {len(ids)} runs")

        def ended() -> bool:
            statuses = {run["runId"]: run["status"] for run in self.runs()}
            return all(statuses[run] in _ENDED for run in ids)

        self.wait("the rescan", ended, 1800)
        outcome.rescan_seconds = time.monotonic() - began
        with self.warehouse.read() as connection:
            table = schema.domain_signals
            asked = table.c.domain.in_(domains)
            outcome.rescanned = connection.execute(
                select(func.count()).select_from(table).where(asked, table.c.scanned_at > LONG_AGO)
            ).scalar_one()
        found = Counter[str]()
        tags = {run["runId"]: run["tags"] for run in self.runs()}
        for worker in self.workers:
            took = tasks_of(worker.said())
            found[worker.log.stem] = sum(tags[run].get(TASK_TAG) in took for run in ids)
        outcome.rescan_runs_by_worker = list(found.values())
        self.say(
            f"{outcome.rescanned} domains asked again in {outcome.rescan_seconds:.0f} s, runs by worker: {dict(found)}"
        )

    def _launch(self, request: Mapping[str, Any]) -> str:
        data = self.ask(
            "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename"
            " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            p={
                "selector": {
                    "repositoryName": REPOSITORY,
                    "repositoryLocationName": LOCATION,
                    "pipelineName": RESCAN_JOB,
                },
                "mode": "default",
                "runConfigData": request["runConfigYaml"] or "{}",
                "executionMetadata": {"tags": [{"key": tag["key"], "value": tag["value"]} for tag in request["tags"]]},
            },
        )["launchPipelineExecution"]
        if data["__typename"] != "LaunchRunSuccess":
            raise ValueError(f"a run of the rescan cannot be launched: {data}")
        run_id: str = data["run"]["runId"]
        return run_id

    def work(self, outcome: Outcome) -> None:
        """Let it all happen."""
        plan = self.plan
        self.start()
        began = time.monotonic()
        if plan.troubles:
            self.microsoft.faults.plan(HttpFault.UNAVAILABLE, after=3, times=2)
            self.microsoft.faults.plan(HttpFault.RESET, after=5)
            self.microsoft.faults.plan(HttpFault.CUT_OFF, after=5)
            self.microsoft.faults.plan(HttpFault.THROTTLED, after=5, retry_after=1)
        self.backfill()
        if plan.troubles:
            self.kill_a_worker()
            if plan.is_short:
                self.rescan(outcome)
                self.restart_servers()
            else:
                self.cut_a_network(75)
                self.wait("another fetch", self._fetches, 300)
                self.restart_servers()
        self.until_done(3600)
        outcome.backfill_seconds = time.monotonic() - began
        if not outcome.rescanned:
            self.rescan(outcome)
        self.wait("the end of all runs", lambda: all(run["status"] in _ENDED for run in self.runs()), 600)

    def _fetches(self) -> bool:
        return bool(self.recorder.asked) and time.monotonic() - self.recorder.asked[-1].ended < 2

    # What must be true

    def judge(self, outcome: Outcome) -> None:
        """Find out what is missing, doubled, or was asked at once."""
        wrong = outcome.wrong
        outcome.windows = self.plan.days * self.grid.per_day
        outcome.gaps = self.gaps()
        wrong.extend(f"the ledger has a gap: {gap}" for gap in outcome.gaps)
        outcome.requests = len(self.recorder.asked)
        outcome.requests_at_once = at_once(self.recorder.asked)
        again = interleaved(self.recorder.clients()) if self.has_namespaces else []
        outcome.fetches_at_once = len(again)
        if outcome.requests_at_once > 1 or again:
            wrong.append(
                f"Partner Center saw two fetches at once: {outcome.requests_at_once} requests, connections {again}"
            )
        outcome.renewals = len(self.recorder.tokens)
        if outcome.renewals != 1:
            wrong.append(f"the token was renewed {outcome.renewals} times, and once was needed")
        wrong.extend(self._doubled(outcome))
        runs = {run["runId"]: run["status"] for run in self.runs()}
        outcome.runs = dict(Counter(runs.values()))
        if self.lost is not None and runs[self.lost] != "FAILURE":
            wrong.append(f"the run {self.lost}, which Redis forgot, is {runs[self.lost]}")
        runs_of_rescan = sum(outcome.rescan_runs_by_worker)
        if runs_of_rescan > SLOTS * (self.plan.workers - 1) and 0 in outcome.rescan_runs_by_worker:
            wrong.append(f"the rescan did not use every worker: {outcome.rescan_runs_by_worker}")
        if outcome.rescanned != self.plan.domains:
            wrong.append(f"{outcome.rescanned} of {self.plan.domains} domains were asked again")

    def _doubled(self, outcome: Outcome) -> list[str]:
        """Compare what is stored with Microsoft's referrals, which did not change meanwhile: each one, once.

        Those of the present window, which is not over, are in no window yet.
        """
        with self.warehouse.read() as connection:
            end = max(high for _, high in ledger.covered(connection))
            world = sorted(
                (row["id"], row["updatedDateTime"])
                for row in self.microsoft.world.all()
                if parse_ticks(row["updatedDateTime"]) < end
            )
            raw, leads = schema.raw_referrals, schema.leads
            versions = select(raw.c.referral_id, raw.c.updated_text).where(raw.c.updated_ticks < end)
            stored = sorted(connection.execute(versions).tuples())
            made = sorted(connection.execute(select(leads.c.referral_id).where(leads.c.updated_ticks < end)).scalars())
            open_attempts = connection.execute(
                select(func.count()).where(schema.sync_attempts.c.state == schema.AttemptState.RUNNING)
            ).scalar_one()
        outcome.referrals = len(stored)
        said = []
        if stored != world:
            said.append(f"{len(stored)} versions are stored, and Microsoft has {len(world)}")
        if made != [key for key, _ in world]:
            said.append(f"there are {len(made)} leads of {len(world)} referrals")
        if open_attempts:
            said.append(f"{open_attempts} attempts say that they are running")
        return said


LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


def make_due(warehouse: Warehouse, microsoft: Simulator, count: int) -> list[str]:
    """Store so many companies of Microsoft's world whose mail set-up is due to be asked again; return their domains."""
    table = schema.domain_signals
    with warehouse.read() as connection:
        present = set(connection.execute(select(schema.companies.c.domain)).scalars())
    domains: list[str] = []
    index = 0
    while len(domains) < count:
        domain = microsoft.world.companies.company(index).domain
        index += 1
        if domain not in present:
            present.add(domain)
            domains.append(domain)
    with warehouse.write() as connection:
        companies.write(connection, [company(domain, referrals=1) for domain in domains], "a rescan of many")
        rows = [row_of(MailSignals(domain, LONG_AGO), None, ttl_hours=1) for domain in domains]
        connection.execute(insert(table), [{**row, "next_scan_at": LONG_AGO} for row in rows])
        later = datetime.now(UTC) + timedelta(days=1)
        connection.execute(update(table).where(table.c.next_scan_at != LONG_AGO).values(next_scan_at=later))
    return domains


def variables_of(microsoft: Simulator, resolvers: Sequence[str], start: datetime, plan: Plan) -> dict[str, str]:
    """Return the settings that all machines share, but the database's address."""
    return microsoft.environment() | {
        "HUNTER_PARTNER_CENTER_ENABLED": "true",
        "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": str(plan.interval),
        "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "HUNTER_DNS_RESOLVERS": ",".join(resolvers),
    }


def write_home(home: Path, variables: Mapping[str, str]) -> None:
    """Write the `.env` of a home folder."""
    home.mkdir(mode=0o700, exist_ok=True)
    lines = "".join(f"{name}='{value}'\n" for name, value in variables.items())
    (home / ".env").write_text(lines, encoding="utf-8")


@contextmanager
def prepared(plan: Plan, folder: Path, say: Callable[[str], None]) -> Iterator[Course]:
    """Make the machines and all that is on them."""
    why_not = why_no_namespaces()
    say(f"all machines are loopback: {why_not}" if why_not else "each machine has a network of its own")
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=plan.days, hours=1)
    worker_names = [f"worker-{number + 1}" for number in range(plan.workers)]
    with ExitStack() as stack:
        names = [_FIRST, _UI, *worker_names]
        made = stack.enter_context(
            machines(names, own_networks=why_not is None, more_addresses=0 if why_not else plan.resolvers)
        )
        services = made[_FIRST]
        microsoft = Simulator(
            7,
            datetime.now(UTC),
            plan.referrals,
            recent_from=start,
            directory=folder / "microsoft",
            host=services.address,
        )
        recorder = Recorder(microsoft.asgi_app)
        microsoft.asgi_app = recorder
        services.do(microsoft.start)
        stack.callback(microsoft.stop)
        resolvers = ["{}:{}".format(*microsoft.dns_address)]
        if why_not is None:
            resolvers = []
            for number in range(plan.resolvers):
                server = DnsServer(microsoft.zone, microsoft.faults, host=address_of(number), port=53)
                services.do(server.start)
                stack.callback(server.stop)
                resolvers.append("{}:{}".format(*server.address))
        postgres = Postgres(services, folder / "postgres", services.do(free_port))
        stack.callback(postgres.stop)
        (folder / "redis").mkdir()
        redis = Redis(services, folder / "redis", services.do(free_port))
        redis.program.start()
        stack.callback(redis.program.kill)
        logs = folder / "compute_logs"
        logs.mkdir()
        variables = variables_of(microsoft, resolvers, start, plan) | {
            "HUNTER_DATABASE_URL": postgres.url("psycopg", "hunter"),
            "HUNTER_PARTNER_CENTER_TOKEN_STORE": "database",
            "HUNTER_PARTNER_CENTER_TOKEN_KEY": Fernet.generate_key().decode(),
        }
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HUNTER_", "DAGSTER_"))
        }
        environment |= {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DAGSTER_PG_URL": postgres.url("psycopg2", "dagster"),
            "DAGSTER_CELERY_BROKER": redis.url(0),
            "DAGSTER_CELERY_BACKEND": redis.url(1),
            "DAGSTER_COMPUTE_LOGS": str(logs),
            "DAGSTER_EVENT_BATCH_SIZE": "100",
        }
        homes: dict[str, Path] = {}
        for name in [_UI, *worker_names]:
            homes[name] = folder / name
            write_home(homes[name], variables)
            configuration = yaml.safe_load((PROJECT_ROOT / "deploy/dagster-celery.yaml").read_text(encoding="utf-8"))
            configuration["concurrency"]["runs"]["max_concurrent_runs"] = SLOTS * plan.workers
            (homes[name] / "dagster.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
            shutil.copyfile(PROJECT_ROOT / "deploy/celery-worker.yaml", homes[name] / "celery-worker.yaml")

        def of(name: str, *command: str) -> Program:
            own = {"HUNTER_HOME": str(homes[name]), "DAGSTER_HOME": str(homes[name])}
            return Program(
                made[name],
                [str(BIN / command[0]), *command[1:]],
                folder / f"{name}.log",
                homes[name],
                environment | own,
            )

        def once(name: str, *command: str) -> None:
            program = of(name, *command)
            program.start()
            assert program.process is not None
            if program.process.wait(120) != 0:
                raise MachinesError(f"`{' '.join(command)}` failed: {program.said()[-2000:]}")

        for name in [name for name in os.environ if name.startswith(("HUNTER_", "DAGSTER_"))]:
            del os.environ[name]
        os.environ["HUNTER_HOME"] = str(homes[_UI])
        os.environ.update({name: environment[name] for name in environment if name.startswith("DAGSTER_")})
        once(_UI, "partner-center", "migrate")
        once(_UI, "dagster", "instance", "concurrency", "set", "mail_dns", str(SLOTS * plan.workers))
        made[_UI].do(lambda: _sign_in(microsoft))
        recorder.tokens.clear()
        port = made[_UI].do(free_port)
        ui_program = of(_UI, "partner-center", "ui", "--port", str(port))
        workers = [
            of(
                name,
                "dagster-celery",
                "worker",
                "start",
                "-A",
                "dagster_celery.app",
                "-y",
                "celery-worker.yaml",
                "-n",
                name,
            )
            for name in worker_names
        ]
        warehouse = Warehouse(postgres.local_url("hunter"))
        stack.callback(warehouse.close)
        for program in workers:
            stack.callback(program.kill)
        stack.callback(ui_program.end)
        ui = Ui(f"http://127.0.0.1:{port}", homes[_UI], ui_program.log)
        yield Course(
            plan, folder, homes, microsoft, recorder, postgres, redis, ui_program, ui, made[_UI], workers, warehouse,
            Settings.load().grid, why_not is None, say,
        )  # fmt: skip


def _sign_in(microsoft: Simulator) -> None:
    """Sign in with a token that is over at once: the first run has to renew it, and no later one."""
    lifetime = microsoft.faults.token_lifetime_seconds
    microsoft.entra.device_code_interval = 1
    microsoft.faults.token_lifetime_seconds = 1
    settings = Settings.load()
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        code = sign_in.begin()
        microsoft.approve(code.user_code)
        sign_in.finish(code)
    microsoft.faults.token_lifetime_seconds = lifetime
