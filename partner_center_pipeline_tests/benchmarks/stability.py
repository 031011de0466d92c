"""Whether a company's mail provider changes only where a record that decides it changed.

Replays the dated zones of one country in their order over real DNS on loopback, keeps what a scan leaves as the product
does, and looks at every change of provider. Not here: reading a zone's rows (`providers`), the rules of the verdict
(`partner_center_pipeline.mail`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from partner_center_pipeline.mail import MailSignals, scan
from partner_center_pipeline.mail.retention import keep_facts
from partner_center_pipeline.settings import DEFAULT_DKIM_SELECTORS
from partner_center_pipeline_tests.benchmarks.providers import Row, ZoneFileError, read_rows, zone_of
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import DnsFault

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_OF_THE_MAILBOX: Final = frozenset(
    {"mx", "mx_cname", "mx_other", "dkim", "dkim_key", "missing_dot", "spf", "autodiscover", "gateway"}
)


@dataclass(frozen=True)
class Change:
    """A company's provider before and after a date, and whether a record that decides it explains the change."""

    domain: str
    date: str
    before: MailSignals
    after: MailSignals
    is_explained: bool


@dataclass(frozen=True)
class Replay:
    """All changes of provider, in the order of the dates."""

    changes: Sequence[Change]

    @property
    def unexplained(self) -> Sequence[Change]:
        """The changes without a changed record that decides."""
        return [change for change in self.changes if not change.is_explained]

    @property
    def summary(self) -> str:
        """`changed: N, unexplained: N`."""
        return f"changed: {len(self.changes)}, unexplained: {len(self.unexplained)}"


def dated_files(folder: Path) -> list[tuple[str, Path]]:
    """Return the zones of a folder with the date in their names, the oldest first.

    Raises ZoneFileError for a folder with fewer than two of them, and for a file without a date or with one twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.jsonl")):
        match = _DATE.search(path.name)
        if match is None:
            raise ZoneFileError(f"{path.name}: the name of a zone holds its date, e.g. at-2026-04-01.jsonl")
        if match[0] in found:
            raise ZoneFileError(f"{path.name}: {found[match[0]].name} has the same date")
        found[match[0]] = path
    if len(found) < 2:
        raise ZoneFileError("a replay needs the zones (*.jsonl) of two dates or more")
    return sorted(found.items())


def published(row: Row) -> set[str]:
    """Return what a row publishes that can decide the provider: hosts, and the terms of its SPF record."""
    spf = (row.spf or "").lower().split()
    terms = {term.partition(":")[2] or term.partition("=")[2] for term in spf if ":" in term or "=" in term}
    targets = {target for target in row.dkim_cname.values() if target}
    return {*row.mx, *terms, *targets, *((row.autodiscover_cname,) if row.autodiscover_cname else ())}


def is_explained(old: Row, new: Row, before: MailSignals, after: MailSignals) -> bool:
    """Say whether a record that bears on one of the two providers was published or withdrawn in between."""
    gone, come = published(old) - published(new), published(new) - published(old)
    return bool(gone & _bearing_on(before, before, after) or come & _bearing_on(after, before, after))


def _bearing_on(signals: MailSignals, *verdicts: MailSignals) -> set[str]:
    """Return the hosts of the evidence for the providers of the verdicts, and of those in front of them."""
    named = {name for one in verdicts for name in (one.provider.value, one.provider_name, one.gateway) if name}
    evidence = [one for one in signals.evidence if one.kind in _OF_THE_MAILBOX]
    return {one.detail.rpartition(" ")[2] for one in evidence if one.points_to in named}


def replay(days: Sequence[tuple[str, Sequence[Row]]]) -> Replay:
    """Scan the rows of each date in turn. A row with a `fault` is a domain whose servers fail on that date."""
    known: dict[str, MailSignals] = {}
    last: dict[str, Row] = {}
    changes: list[Change] = []
    for date, rows in days:
        for domain, scanned in _scanned(date, rows).items():
            row = next(row for row in rows if row.domain == domain)
            # Servers that fail for a day have withdrawn nothing.
            row = last.get(domain, row) if row.fault else row
            before, after = known.get(domain), keep_facts(known.get(domain), scanned)
            if before is not None and (before.provider, before.provider_name) != (after.provider, after.provider_name):
                explained = is_explained(last[domain], row, before, after)
                changes.append(Change(domain, date, before, after, explained))
            known[domain] = after
            last[domain] = row
    return Replay(changes)


def _scanned(date: str, rows: Sequence[Row]) -> Mapping[str, MailSignals]:
    at = datetime.fromisoformat(date).replace(tzinfo=UTC)
    zone = zone_of(rows)
    for name, fault in _faults(rows):
        zone.set_fault(name, fault)
    with DnsServer(zone) as server:
        found = scan(
            [row.domain for row in rows if row.domain],
            resolvers=[server.address],
            selectors=DEFAULT_DKIM_SELECTORS,
            clock=lambda: at,
        )
        return {signals.domain: signals for signals in found}


def _faults(rows: Sequence[Row]) -> Iterator[tuple[str, DnsFault]]:
    below = ["_dmarc", "autodiscover", "enterpriseregistration", "lyncdiscover", "_autodiscover._tcp"]
    below += [f"{selector}._domainkey" for selector in DEFAULT_DKIM_SELECTORS]
    for row in rows:
        if row.domain and row.fault:
            yield from ((name, DnsFault(row.fault)) for name in (row.domain, *(f"{one}.{row.domain}" for one in below)))


@click.command()
@click.option(
    "--zones",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Zones of one country (*.jsonl, as for `providers`), one per date; the name of each holds its date.",
)
@click.pass_context
def stability(context: click.Context, folder: Path) -> None:
    """Replay dated zones and see that a provider changes only where a record that decides it changed.

    Scans the domains of each date in turn, keeps what a scan leaves as the product does, and lists every change of
    provider with the evidence on both dates. A line may have `"fault": "servfail"` (or refused, timeout, malformed):
    the domain's servers fail on that date. The last line is "changed: N, unexplained: N".

    The exit code is 1 when a change is unexplained.
    """
    try:
        days = []
        for date, path in dated_files(folder):
            with path.open("rb") as file:
                days.append((date, read_rows(file)))
    except ZoneFileError as error:
        raise click.ClickException(f"{folder}: {error}") from error
    found = replay(days)
    _show(found.changes)
    click.echo(found.summary)
    if found.unexplained:
        context.exit(1)


def _show(changes: Sequence[Change]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table("domain", "before", "after", show_lines=True, title=f"{len(changes)} changes of provider")
    for change in sorted(changes, key=lambda change: change.is_explained):
        verdict = "explained" if change.is_explained else "unexplained"
        cells = (f"{change.domain}\n{change.date}\n{verdict}", _told(change.before), _told(change.after))
        table.add_row(*map(escape, cells))
    console.print(table)


def _told(signals: MailSignals) -> str:
    evidence = (f"{one.kind} {one.detail} -> {one.points_to}" for one in signals.evidence)
    return "\n".join([f"{signals.provider.value} ({signals.provider_name or 'no name'})", *evidence])
