"""The scan of domains: what is asked for each, and a synchronous front that runs many at once.

What does not belong here: how one question is asked (`resolver`) and what the answers mean (`judge`).
"""

import asyncio
import queue
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Final

from partner_center_pipeline.mail import wire
from partner_center_pipeline.mail.dmarc import ends_walk, select_dmarc, tree_walk
from partner_center_pipeline.mail.judge import conclude, mx_targets, needs_hints, parse_mx
from partner_center_pipeline.mail.mx import read_mx
from partner_center_pipeline.mail.providers import Place, owner_of
from partner_center_pipeline.mail.resolver import QUERIES_PER_SECOND, CachingResolver, Resolver, StubResolver
from partner_center_pipeline.mail.signals import (
    AUTODISCOVER,
    DMARC,
    DMARC_ABOVE,
    ENTERPRISE_REGISTRATION,
    LYNCDISCOVER,
    MX,
    MX_HOSTS,
    NS,
    SPF_NESTED,
    TXT,
    Lookup,
    MailSignals,
    Outcome,
    dkim_lookup,
)
from partner_center_pipeline.mail.spf import LOOKUP_LIMIT, Spf, parse_spf

DOMAIN_SECONDS: Final = 15.0
"""The time one domain has, all retries included; what is not answered by then counts as a timeout."""

CONCURRENCY: Final = 48
"""Domains under way at the same time."""

MX_HOSTS_LIMIT: Final = 4
"""Hosts of the deciding preference whose CNAMEs are followed."""

_UNANSWERED: Final = Lookup(Outcome.TIMEOUT, missed=Outcome.TIMEOUT)


class Scanner:
    """Asks everything about one domain at a time; many calls may be under way at once."""

    def __init__(self, resolver: Resolver, selectors: Sequence[str], clock: Callable[[], datetime]) -> None:
        self._resolver = resolver
        self._selectors = tuple(dict.fromkeys(selectors))
        self._clock = clock

    async def scan(self, domain: str) -> MailSignals:
        """What DNS says about `domain` (ASCII). Takes at most DOMAIN_SECONDS and never raises for what DNS does."""
        domain = domain.strip().lower().rstrip(".")
        names = {dkim_lookup(s): f"{s}._domainkey.{domain}" for s in self._selectors}
        aliases = {name: f"{name}.{domain}" for name in (AUTODISCOVER, ENTERPRISE_REGISTRATION, LYNCDISCOVER)}
        # In this order they are kept, whichever is answered first.
        lookups = dict.fromkeys((MX, TXT, DMARC, *names, *aliases, NS), _UNANSWERED)
        try:
            async with asyncio.timeout(DOMAIN_SECONDS):
                await asyncio.gather(
                    self._mail(domain, lookups),
                    self._dmarc(domain, lookups),
                    *(self._ask(lookups, lookup, name, wire.TXT) for lookup, name in names.items()),
                    *(self._ask(lookups, lookup, name, wire.CNAME) for lookup, name in aliases.items()),
                    self._ask(lookups, NS, domain, wire.NS),
                )
        except TimeoutError:
            pass
        return conclude(domain, lookups, self._clock())

    async def _ask(self, lookups: dict[str, Lookup], lookup: str, name: str, rdtype: wire.RdataType) -> Lookup:
        answer = await self._resolver.query(name, rdtype)
        if answer.outcome.is_fact:
            found = Lookup(answer.outcome, answer.records, answer.cnames, answered_at=self._clock())
        else:
            found = Lookup(answer.outcome, missed=answer.outcome)
        lookups[lookup] = found
        return found

    async def _mail(self, domain: str, lookups: dict[str, Lookup]) -> None:
        mx, txt = await asyncio.gather(
            self._ask(lookups, MX, domain, wire.MX), self._ask(lookups, TXT, domain, wire.TXT)
        )
        pairs = parse_mx(mx.records)
        reading = read_mx(pairs)
        if reading.owner is None and needs_hints(reading):
            deciding = [host for preference, host in pairs if preference == reading.preference and host]
            lookups[MX_HOSTS] = _UNANSWERED
            lookups[MX_HOSTS] = await self._mx_hosts(deciding)
            reading = read_mx(pairs, mx_targets(lookups))
        if needs_hints(reading) and txt.is_fact:
            lookups[SPF_NESTED] = _UNANSWERED
            lookups[SPF_NESTED] = await self._spf_nested(domain, parse_spf(txt.records))

    async def _mx_hosts(self, hosts: Sequence[str]) -> Lookup:
        """Follow the CNAMEs of MX hosts, as far as somebody in the provider table."""
        records: list[str] = []
        missed: Outcome | None = None
        for host in hosts[:MX_HOSTS_LIMIT]:
            chain = [host]
            while len(chain) <= wire.CHAIN_LIMIT and owner_of(chain[-1]) is None:
                answer = await self._resolver.query(chain[-1], wire.CNAME)
                missed = missed if answer.outcome.is_fact else answer.outcome
                if not answer.records or answer.records[0] in chain:
                    break
                chain.append(answer.records[0])
            if len(chain) > 1:
                records.append(" ".join(chain))
        return self._of_steps(records, missed)

    async def _spf_nested(self, domain: str, spf: Spf) -> Lookup:
        """The hosts that an SPF record draws on below its own. A host of the provider table is not looked into: what it
        draws on says something about its owner, not about the domain."""
        waiting = deque(spf.targets)
        seen = {domain, *waiting}
        records: list[str] = []
        missed: Outcome | None = None
        asked = 0
        while waiting and asked < LOOKUP_LIMIT:
            host = waiting.popleft()
            if owner_of(host, Place.SPF) is not None:
                continue
            asked += 1
            answer = await self._resolver.query(host, wire.TXT)
            missed = missed if answer.outcome.is_fact else answer.outcome
            for target in parse_spf(answer.records).targets:
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
                    records.append(target)
        return self._of_steps(records, missed)

    async def _dmarc(self, domain: str, lookups: dict[str, Lookup]) -> None:
        own = await self._ask(lookups, DMARC, f"_dmarc.{domain}", wire.TXT)
        if not own.is_fact or select_dmarc(own.records, domain) is not None:
            return
        lookups[DMARC_ABOVE] = _UNANSWERED
        records: list[str] = []
        missed: Outcome | None = None
        for above in tree_walk(domain)[1:]:
            answer = await self._resolver.query(f"_dmarc.{above}", wire.TXT)
            missed = missed if answer.outcome.is_fact else answer.outcome
            record = select_dmarc(answer.records, above)
            if record is not None:
                records.append(f"{above} {record.record}")
                if ends_walk(record):
                    break
        lookups[DMARC_ABOVE] = self._of_steps(records, missed)

    def _of_steps(self, records: Sequence[str], missed: Outcome | None) -> Lookup:
        """A look-up of several steps: a fact only when every step is one."""
        if missed is not None:
            return Lookup(missed, tuple(records), missed=missed)
        outcome = Outcome.FOUND if records else Outcome.NODATA
        return Lookup(outcome, tuple(records), answered_at=self._clock())


def _run(session: Coroutine[Any, Any, None]) -> None:
    # The resolver watches sockets, which the default loop of Windows cannot.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(session)


@contextmanager
def _started(
    resolvers: Sequence[tuple[str, int]],
    selectors: Sequence[str],
    clock: Callable[[], datetime],
    queries_per_second: float,
) -> Iterator[Callable[[str], Future[MailSignals]]]:
    """A scanner on an event loop in a thread of its own; what is given starts the scan of one domain."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Scanner]] = Future()

    async def session() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with StubResolver(resolvers, queries_per_second) as stub:
            scanner = Scanner(CachingResolver(stub, loop.time), selectors, clock)
            ready.set_result((loop, stop, scanner))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="dns-scan") as executor:
        running = executor.submit(_run, session())
        either: tuple[Future[Any], ...] = (ready, running)
        wait(either, return_when=FIRST_COMPLETED)
        if not ready.done():
            running.result()
        loop, stop, scanner = ready.result()
        try:
            yield lambda domain: asyncio.run_coroutine_threadsafe(scanner.scan(domain), loop)
        finally:
            # Scans still under way are cancelled when the loop ends.
            loop.call_soon_threadsafe(stop.set)


def scan(
    domains: Iterable[str],
    *,
    resolvers: Sequence[tuple[str, int]],
    selectors: Sequence[str],
    clock: Callable[[], datetime],
    progress: Callable[[int], None] | None = None,
    concurrency: int = CONCURRENCY,
    queries_per_second: float = QUERIES_PER_SECOND,
) -> Generator[MailSignals, None, None]:
    """Scan domains, many at once, and yield each one's signals as soon as they are complete: not in order.

    resolvers           (host, port) of recursive resolvers, asked in turn; empty means the machine's own
    selectors           the DKIM selectors to try (HUNTER_DKIM_SELECTORS)
    clock               the time in UTC; called from another thread
    progress            called after each domain with the number of domains done
    concurrency         domains under way at most; `domains` is not read further ahead than that
    queries_per_second  to each resolver, loopback excepted

    The look-ups run on an event loop in a thread of their own, so it does not matter whether the caller's thread has
    one. Leaving the iterator early stops them. Raises ResolverError, at the first result, when no resolver can be used.
    """
    finished: queue.SimpleQueue[Future[MailSignals]] = queue.SimpleQueue()
    # A domain asks some twenty questions at once; more domains than the rate allows would time out waiting for a turn.
    limit = max(1, min(concurrency, int(queries_per_second * DOMAIN_SECONDS / 100)))
    done = 0
    with _started(resolvers, selectors, clock, queries_per_second) as start:
        waiting = iter(domains)
        under_way = 0
        while True:
            for domain in islice(waiting, limit - under_way):
                start(domain).add_done_callback(finished.put)
                under_way += 1
            if not under_way:
                return
            signals = finished.get().result()
            under_way -= 1
            done += 1
            yield signals
            if progress is not None:
                progress(done)
