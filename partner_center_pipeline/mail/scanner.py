"""The scan of domains: what to ask for each domain, and `scan`, which scans many domains at once.

Not here: asking one question (`resolver`), what the answers mean (`classification`).
"""

import asyncio
import queue
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final

from partner_center_pipeline.mail import wire
from partner_center_pipeline.mail.classification import conclude, mx_pairs, mx_targets, needs_hints
from partner_center_pipeline.mail.dmarc import ends_walk, select_dmarc, tree_walk
from partner_center_pipeline.mail.mx import read_mx
from partner_center_pipeline.mail.providers import Place, owner_of, owner_of_network, provider_table
from partner_center_pipeline.mail.resolver import (
    QUERIES_PER_SECOND,
    CachingResolver,
    Reserve,
    Resolver,
    StubResolver,
)
from partner_center_pipeline.mail.signals import (
    ADDRESS,
    AUTODISCOVER,
    AUTODISCOVER_SRV,
    DMARC,
    DMARC_ABOVE,
    ENTERPRISE_REGISTRATION,
    LYNCDISCOVER,
    MX,
    MX_ADDRESSES,
    MX_HOSTS,
    NS,
    SPF_ERROR,
    SPF_NESTED,
    TXT,
    Lookup,
    MailSignals,
    Outcome,
    dkim_lookup,
)
from partner_center_pipeline.mail.spf import LOOKUP_LIMIT, VOID_LIMIT, Spf, is_spf, parse_spf

DOMAIN_SECONDS: Final = 15.0
"""The time for one domain, retries included. What is not answered in this time counts as a timeout."""

CONCURRENCY: Final = 48
"""Domains scanned at the same time."""

MX_HOSTS_LIMIT: Final = 4
"""The largest number of MX hosts at the deciding preference to follow CNAMEs from."""

RECORDS_KEPT: Final = 100
"""The largest number of records of one look-up that are stored; chosen."""

CHARACTERS_KEPT: Final = 16_384
"""The largest number of characters of a domain's own TXT records that are stored; chosen."""

CHARACTERS_KEPT_ELSEWHERE: Final = 4_096
"""The same for every other look-up. A DKIM key of 4,096 bits has 736 characters."""

_UNANSWERED: Final = Lookup(Outcome.TIMEOUT, missed=Outcome.TIMEOUT)


class Scanner:
    """Asks all questions about a domain. Many calls may run at the same time."""

    def __init__(
        self,
        resolver: Resolver,
        selectors: Sequence[str],
        clock: Callable[[], datetime],
        *,
        mail_host_addresses: bool = False,
    ) -> None:
        self._resolver = resolver
        self._selectors = tuple(dict.fromkeys(selectors))
        self._clock = clock
        self._mail_host_addresses = mail_host_addresses

    async def scan(self, domain: str) -> MailSignals:
        """Scan one domain (ASCII). Takes at most DOMAIN_SECONDS and never raises for what DNS does."""
        domain = domain.strip().lower().rstrip(".")
        selectors = {dkim_lookup(s): f"{s}._domainkey.{domain}" for s in self._selectors}
        aliases = {name: f"{name}.{domain}" for name in (AUTODISCOVER, ENTERPRISE_REGISTRATION, LYNCDISCOVER)}
        # They are kept in this order, not in the order of the answers.
        lookups = dict.fromkeys((MX, TXT, DMARC, *selectors, *aliases, NS), _UNANSWERED)
        try:
            async with asyncio.timeout(DOMAIN_SECONDS):
                await asyncio.gather(
                    self._ask_mx_and_spf(domain, lookups),
                    self._ask_dmarc(domain, lookups),
                    *(self._ask(lookups, key, name, wire.TXT) for key, name in selectors.items()),
                    *(self._ask(lookups, key, name, wire.CNAME) for key, name in aliases.items()),
                    self._ask(lookups, NS, domain, wire.NS),
                )
        except TimeoutError:
            pass
        return conclude(domain, lookups, self._clock())

    async def _ask(self, lookups: dict[str, Lookup], key: str, name: str, rdtype: wire.RdataType) -> Lookup:
        answer = await self._resolver.query(name, rdtype)
        if answer.outcome.is_fact:
            records, cut = keep_within_limits(key, answer.records)
            lookup = Lookup(answer.outcome, records, answer.cnames, answered_at=self._clock(), cut=cut)
        else:
            lookup = Lookup(answer.outcome, missed=answer.outcome, missed_since=self._clock())
        lookups[key] = lookup
        return lookup

    async def _ask_mx_and_spf(self, domain: str, lookups: dict[str, Lookup]) -> None:
        mx, txt = await asyncio.gather(
            self._ask(lookups, MX, domain, wire.MX), self._ask(lookups, TXT, domain, wire.TXT)
        )
        if mx.outcome is Outcome.NODATA:
            lookups[ADDRESS] = _UNANSWERED
            lookups[ADDRESS] = await self._ask_address(domain)
        pairs = mx_pairs(domain, lookups)
        reading = read_mx(pairs)
        if reading.owner is None and needs_hints(reading):
            deciding = [host for preference, host in pairs if preference == reading.preference and host]
            lookups[MX_HOSTS] = _UNANSWERED
            lookups[MX_HOSTS] = await self._follow_mx_hosts(deciding)
            reading = read_mx(pairs, mx_targets(lookups))
            if self._mail_host_addresses and reading.owner is None:
                lookups[MX_ADDRESSES] = _UNANSWERED
                lookups[MX_ADDRESSES] = await self._name_mx_addresses(deciding)
        is_open = needs_hints(reading)
        spf = parse_spf(txt.records)
        steps = [self._ask_for_hints(domain, lookups)] if is_open else []
        if txt.is_fact and (is_open or any(owner_of(host, Place.SPF) is None for host in spf.followed)):
            steps.append(self._follow_spf(domain, spf, lookups))
        await asyncio.gather(*steps)

    async def _ask_address(self, domain: str) -> Lookup:
        """Return the addresses of a name: those of IPv4 or, without any, those of IPv6."""
        for rdtype in (wire.A, wire.AAAA):
            answer = await self._resolver.query(domain, rdtype)
            if answer.records or not answer.outcome.is_fact:
                break
        return self._combine_steps(answer.records, None if answer.outcome.is_fact else answer.outcome)

    async def _ask_for_hints(self, domain: str, lookups: dict[str, Lookup]) -> None:
        """Ask what can name the mailbox behind an MX that leaves it open, and is not asked of every domain."""
        selectors = [selector for selector in provider_table().selectors if selector not in self._selectors]
        names = {dkim_lookup(selector): f"{selector}._domainkey.{domain}" for selector in selectors}
        lookups |= dict.fromkeys((AUTODISCOVER_SRV, *names), _UNANSWERED)
        await asyncio.gather(
            self._ask(lookups, AUTODISCOVER_SRV, f"_autodiscover._tcp.{domain}", wire.SRV),
            *(self._ask(lookups, key, name, wire.TXT) for key, name in names.items()),
        )

    async def _follow_mx_hosts(self, hosts: Sequence[str]) -> Lookup:
        """Follow the CNAMEs of MX hosts until a host has an owner in the provider table."""
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
        return self._combine_steps(records, missed)

    async def _name_mx_addresses(self, hosts: Sequence[str]) -> Lookup:
        """Ask for the addresses of MX hosts, and for the names that their hoster has given to these (PTR)."""
        records: list[str] = []
        missed: Outcome | None = None
        for host in hosts[:MX_HOSTS_LIMIT]:
            addresses = await self._resolver.query(host, wire.A)
            missed = missed if addresses.outcome.is_fact else addresses.outcome
            for address in addresses.records[:MX_HOSTS_LIMIT]:
                names = await self._resolver.query(ip_address(address).reverse_pointer, wire.PTR)
                missed = missed if names.outcome.is_fact else names.outcome
                records.extend(f"{host} {address} {name}" for name in names.records[:MX_HOSTS_LIMIT])
        return self._combine_steps(records, missed)

    async def _follow_spf(self, domain: str, spf: Spf, lookups: dict[str, Lookup]) -> None:
        """Read the records that an SPF record includes or redirects to, at any depth.

        SPF_NESTED is what they let pass: hosts, and ranges of known owners. SPF_ERROR is what makes receivers give up.
        """
        lookups |= dict.fromkeys((SPF_NESTED, SPF_ERROR), _UNANSWERED)
        pending = deque((host, host in spf.targets) for host in spf.followed)
        seen = {domain, *spf.followed}
        records: list[str] = []
        errors: list[str] = []
        missed: Outcome | None = None
        asked, void, needed = 0, 0, spf.lookups
        while pending and asked < LOOKUP_LIMIT:
            host, passes = pending.popleft()
            # The record of a host in the provider table says something about the owner, not about the domain.
            if owner_of(host, Place.SPF) is not None:
                continue
            asked += 1
            answer = await self._resolver.query(host, wire.TXT)
            nested = parse_spf(answer.records)
            if not answer.outcome.is_fact:
                missed = answer.outcome
                continue
            void += not answer.records
            needed += nested.lookups
            if nested.error is not None or not nested.present:
                errors.append(f"{host}: {nested.error or 'SPF?'}")
            if passes:
                known = (term for term in nested.networks if owner_of_network(term) is not None)
                records.extend(term for term in known if term not in records)
            for target in nested.followed:
                if target not in seen:
                    seen.add(target)
                    counts = passes and target in nested.targets
                    pending.append((target, counts))
                    records.extend([target] if counts else [])
        if needed > LOOKUP_LIMIT:
            errors.append(f"DNS: {needed} > {LOOKUP_LIMIT}")
        if void > VOID_LIMIT:
            errors.append(f"void: {void} > {VOID_LIMIT}")
        lookups[SPF_NESTED] = self._combine_steps(records, missed)
        lookups[SPF_ERROR] = self._combine_steps(errors, missed)

    async def _ask_dmarc(self, domain: str, lookups: dict[str, Lookup]) -> None:
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
        lookups[DMARC_ABOVE] = self._combine_steps(records, missed)

    def _combine_steps(self, records: Sequence[str], missed: Outcome | None) -> Lookup:
        """Return the look-up made of several steps. It is a fact only when every step is one."""
        kept, cut = keep_within_limits("", records)
        if missed is not None:
            return Lookup(missed, kept, missed=missed, missed_since=self._clock(), cut=cut)
        outcome = Outcome.FOUND if records else Outcome.NODATA
        return Lookup(outcome, kept, answered_at=self._clock(), cut=cut)


def keep_within_limits(lookup: str, records: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return the records of a look-up that are stored, and how many are not: whole records only, the first ones first.

    A domain can publish 64 KB under every name that is asked for. Of the domain's own TXT records those that a rule
    reads come first, so that others cannot push them out.
    """
    limit = CHARACTERS_KEPT if lookup == TXT else CHARACTERS_KEPT_ELSEWHERE
    if len(records) <= RECORDS_KEPT and sum(map(len, records)) <= limit:
        return tuple(records), 0
    kept: list[str] = []
    for record in sorted(records, key=lambda record: not (is_spf(record) or record.startswith("MS="))):
        if len(kept) < RECORDS_KEPT and len(record) <= limit:
            kept.append(record)
            limit -= len(record)
    return tuple(kept), len(records) - len(kept)


def _run_event_loop(session: Coroutine[Any, Any, None]) -> None:
    # The resolver needs `add_reader`, which the default loop of Windows does not have.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(session)


@contextmanager
def _scanner_thread(
    resolvers: Sequence[tuple[str, int]],
    selectors: Sequence[str],
    clock: Callable[[], datetime],
    queries_per_second: float,
    mail_host_addresses: bool,
    reserve: Reserve | None,
) -> Iterator[Callable[[str], Future[MailSignals]]]:
    """Run a scanner on an event loop in its own thread, and yield a function that starts the scan of one domain."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Scanner]] = Future()

    async def session() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with StubResolver(resolvers, queries_per_second, reserve) as stub:
            cached = CachingResolver(stub, loop.time)
            scanner = Scanner(cached, selectors, clock, mail_host_addresses=mail_host_addresses)
            ready.set_result((loop, stop, scanner))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="dns-scan") as executor:
        running = executor.submit(_run_event_loop, session())
        ready_or_failed: tuple[Future[Any], ...] = (ready, running)
        wait(ready_or_failed, return_when=FIRST_COMPLETED)
        if not ready.done():
            running.result()
        loop, stop, scanner = ready.result()
        try:
            yield lambda domain: asyncio.run_coroutine_threadsafe(scanner.scan(domain), loop)
        finally:
            # The end of the loop cancels the scans that still run.
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
    mail_host_addresses: bool = False,
    reserve: Reserve | None = None,
) -> Generator[MailSignals, None, None]:
    """Scan many domains at once and yield the signals of each when its scan ends, in any order.

    resolvers           (host, port) of recursive resolvers, asked in turn; empty means the machine's own
    selectors           the DKIM selectors to try (HUNTER_DKIM_SELECTORS)
    clock               returns the time in UTC; called from another thread
    progress            called after each domain with the number of domains done
    concurrency         the largest number of scans at one time; `domains` is not read further ahead than that
    queries_per_second  to each resolver; no limit for a resolver on loopback
    mail_host_addresses ask for addresses of unknown mail hosts and their names (HUNTER_MAIL_HOST_ADDRESSES_ENABLED)
    reserve             how this process gets its share of a resolver's time, where others ask the same resolvers

    The look-ups run on an event loop in their own thread, so the caller's thread may have one too. Closing the iterator
    stops them. Raises ResolverError, at the first result, when no resolver can be used.
    """
    finished: queue.SimpleQueue[Future[MailSignals]] = queue.SimpleQueue()
    # A domain asks about twenty questions at once. With more domains than the rate allows, questions would time out.
    limit = max(1, min(concurrency, int(queries_per_second * DOMAIN_SECONDS / 100)))
    done = 0
    with _scanner_thread(resolvers, selectors, clock, queries_per_second, mail_host_addresses, reserve) as start:
        remaining = iter(domains)
        running = 0
        while True:
            for domain in islice(remaining, limit - running):
                start(domain).add_done_callback(finished.put)
                running += 1
            if not running:
                return
            signals = finished.get().result()
            running -= 1
            done += 1
            yield signals
            if progress is not None:
                progress(done)
