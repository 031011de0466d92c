"""How many domains a second the scanner looks up, beside plain dnspython that asks the same questions one by one.

The zone is the local Microsoft's world, served from a process of its own, so that it does not use the scanner's core.
Not here: whether the verdicts are right (`providers`).
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count, islice
from multiprocessing.connection import Connection
from typing import Final

import click
import dns.rdatatype
import dns.resolver
from rich.console import Console
from rich.progress import track
from rich.table import Table

from partner_center_pipeline.mail import scan
from partner_center_pipeline.mail.resolver import Resolver, StubResolver
from partner_center_pipeline.mail.scanner import Scanner
from partner_center_pipeline.mail.wire import Answer, RdataType
from partner_center_pipeline.settings import DEFAULT_DKIM_SELECTORS
from partner_center_simulator.companies import Companies
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.mail_setups import Mailbox, WorldZone

SEED: Final = 2026
"""The world whose companies are looked up."""

START_SECONDS: Final = 60.0
"""How long the server's process may take to start."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A measurement. `seconds` are by the clock on the wall, `cpu_seconds` this process's, all its threads together;
    `domains_per_cpu_second` is what one core does that waits for nothing."""

    domains: int
    seconds: float
    cpu_seconds: float
    domains_per_second: float
    domains_per_cpu_second: float


class Stopwatch:
    """Started when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def pace(self, domains: int) -> Pace:
        """The pace of `domains` since the start."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Pace(domains, round(wall, 3), round(cpu, 3), round(domains / wall, 1), round(domains / cpu, 1))


@cache
def _world() -> tuple[WorldZone, Companies]:
    companies = Companies(SEED)
    return WorldZone(SEED, companies), companies


def domains() -> Iterator[str]:
    """The world's company domains, without those whose name servers fail: they would measure how long we wait."""
    world, companies = _world()
    for index in count():
        domain = companies.company(index).domain
        if world.mailbox(domain) is not Mailbox.BROKEN:
            yield domain


def _serve(connection: Connection, delay: float) -> None:
    with DnsServer(_world()[0], delay=delay) as server:
        connection.send(server.address)
        # Ends with the other end of the pipe, and so with the process that started this one.
        connection.poll(None)


@contextmanager
def served_elsewhere(delay: float = 0.0) -> Iterator[tuple[str, int]]:
    """The address of a server of the world in a process of its own, which answers after `delay` seconds.

    Raises TimeoutError when it does not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, delay), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_SECONDS):
            raise TimeoutError(f"the DNS server's process did not start within {START_SECONDS:g} s")
        yield ours.recv()
    finally:
        ours.close()
        process.join()


class _Recorder:
    """A resolver that remembers what it was asked."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.asked: list[tuple[str, RdataType]] = []

    async def query(self, name: str, rdtype: RdataType) -> Answer:
        self.asked.append((name, rdtype))
        return await self._resolver.query(name, rdtype)


def questions_of(names: Sequence[str], address: tuple[str, int]) -> list[tuple[str, RdataType]]:
    """Everything that the scanner asks for these domains, in its order, repetitions and all."""

    async def record() -> list[tuple[str, RdataType]]:
        async with StubResolver([address]) as stub:
            ingest = _Recorder(stub)
            scanner = Scanner(ingest, DEFAULT_DKIM_SELECTORS, _now)
            for name in names:
                await scanner.scan(name)
            return ingest.asked

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(record())


def ask_one_by_one(questions: Sequence[tuple[str, RdataType]], address: tuple[str, int]) -> None:
    """Ask with dnspython's own resolver and cache, each question when the one before is answered."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [address[0]]
    resolver.port = address[1]
    resolver.cache = dns.resolver.LRUCache()
    for name, rdtype in questions:
        try:
            resolver.resolve(name, rdtype, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            continue


def _now() -> datetime:
    return datetime.now(UTC)


@click.command("dns")
@click.option("--domains", "number", type=click.IntRange(min=1), default=1500, show_default=True, help="How many.")
@click.option(
    "--sample", type=click.IntRange(min=1), default=100, show_default=True, help="How many of them dnspython asks for."
)
def dns_benchmark(number: int, sample: int) -> None:
    """Measure how many domains the scanner looks up per second.

    Every look-up is on, with the default DKIM selectors. dnspython comes second, when the server has its answers at
    hand, and asks what the scanner asks for a sample of the same domains. "per CPU second" is what one core does when
    nothing else needs it; a busy machine slows only "per second". The last line is JSON; ratio is of the domains per
    second.
    """
    notes = Console(stderr=True, highlight=False)
    names = list(islice(domains(), number))
    with served_elsewhere() as address:
        stopwatch = Stopwatch()
        found = scan(names, resolvers=[address], selectors=DEFAULT_DKIM_SELECTORS, clock=_now)
        unanswered = sum(
            bool(signals.missed) for signals in track(found, "scanning", total=number, console=notes, transient=True)
        )
        ours = stopwatch.pace(number)
        if unanswered:
            raise click.ClickException(f"{unanswered} domains were not answered in full; the machine is too busy")
        sampled = names[:: -(-number // sample)]
        questions = questions_of(sampled, address)
        stopwatch = Stopwatch()
        ask_one_by_one(questions, address)
        plain = stopwatch.pace(len(sampled))
    table = Table("", "domains", "seconds", "CPU seconds", "per second", "per CPU second")
    for name, pace in (("scanner", ours), ("dnspython", plain)):
        table.add_row(name, *(str(value) for value in asdict(pace).values()))
    Console(highlight=False).print(table)
    ratio = round(ours.domains_per_second / plain.domains_per_second, 1)
    click.echo(json.dumps({"scanner": asdict(ours), "dnspython": asdict(plain), "ratio": ratio}))
