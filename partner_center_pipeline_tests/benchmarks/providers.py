"""How often our mail provider differs from the one that another tool concluded from the same DNS.

Reads one JSON object per line (Row), serves them as a zone over real DNS on loopback, scans them with the product and
compares both verdicts. Not here: the rules of our verdict (`partner_center_pipeline.mail`).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import click
import dns.exception
import dns.name
import idna
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from partner_center_pipeline.mail import Lookup, MailSignals, scan, with_tenant
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.settings import DEFAULT_DKIM_SELECTORS
from partner_center_pipeline.vocabulary import Provider
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import DnsFault
from partner_center_simulator.zone import Zone

SURE: Final = 80
"""The peer is sure from this confidence on, in percent."""

PIECES_NEEDED: Final = 2
"""Independent pieces of evidence that back Microsoft without a Microsoft MX."""

_PIECES: Final = frozenset({"spf", "dkim", "autodiscover", "mx_other", "microsoft", "tenant"})

_BIG: Final = {Provider.M365: "microsoft", Provider.GOOGLE: "google", Provider.AMAZON: "aws"}
_OTHER: Final = "other"
_UNFIT: Final = re.compile(r'[\s";()@]')


class ZoneFileError(Exception):
    """A line of the file cannot be used. The message names the line."""


class ScanError(Exception):
    """Our own server did not answer everything, so nothing can be concluded."""


def _host(text: str) -> str:
    """A host as a zone can hold it: lower-case ASCII without the dot at the end; '' is the root (a null MX)."""
    host = text.strip().rstrip(".")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError(f"{text!r} is no host name ({error})") from None
    try:
        dns.name.from_text(host or ".")
    except dns.exception.DNSException as error:
        raise ValueError(f"{text!r} is no host name ({error})") from None
    if _UNFIT.search(host):
        raise ValueError(f"{text!r} is no host name")
    return host.lower()


def _given(value: object) -> object:
    return {} if value is None else value


_Host = Annotated[str, AfterValidator(_host)]


class Row(BaseModel):
    """One domain: what DNS said, and what the peer concluded. Every field may be null or absent.

    `mx` are hosts; the peer has lost their preferences, so they count as equals. `dkim_cname` maps a selector to its
    CNAME target. `peer_confidence` is in percent. `tenant` is what Microsoft's public look-up said of the domain: a
    value where it has a tenant, null where it has none. `txt_verification` and `smtp` are evidence of the peer's that
    is not in the DNS of a zone; they are shown as they stand. `fault` is what the domain's servers do instead of an
    answer, for `stability`.
    """

    model_config = ConfigDict(frozen=True)

    domain: _Host | None = None
    mx: Annotated[tuple[_Host, ...], BeforeValidator(lambda value: value or ())] = ()
    spf: str | None = None
    dkim_cname: Annotated[dict[_Host, _Host | None], BeforeValidator(_given)] = {}
    autodiscover_cname: _Host | None = None
    tenant: Any = None
    txt_verification: Any = None
    smtp: Any = None
    peer_provider: str | None = None
    peer_confidence: float | None = None
    fault: DnsFault | None = None


@dataclass(frozen=True)
class Verdicts:
    """Both verdicts on one domain."""

    row: Row
    ours: MailSignals

    @property
    def is_sure(self) -> bool:
        """Whether the peer concluded something and is sure."""
        return self.theirs not in (None, "unknown") and (self.row.peer_confidence or 0) >= SURE

    @property
    def theirs(self) -> str | None:
        """The provider that the peer concluded: `microsoft`, `google`, `aws`, `domestic`, `foreign`, `unknown`, ..."""
        return self.row.peer_provider and self.row.peer_provider.lower()

    @property
    def is_missed(self) -> bool:
        """The peer is sure of Microsoft and we say otherwise."""
        return self.is_sure and self.theirs == "microsoft" and self.ours.provider is not Provider.M365

    @property
    def is_unbacked(self) -> bool:
        """We say Microsoft, the peer is sure that it is not, and we have neither a Microsoft MX nor two pieces of
        evidence of different kinds."""
        kinds = {each.kind for each in self.ours.evidence if each.points_to == Provider.M365.value}
        backed = bool(kinds & {"mx", "mx_cname"}) or len(kinds & _PIECES) >= PIECES_NEEDED
        return self.disagree and self.ours.provider is Provider.M365 and not backed

    @property
    def is_hidden(self) -> bool:
        """A known gateway stands in front and nothing shows the mailbox behind it."""
        return self.ours.gateway is not None and self.ours.provider is Provider.UNKNOWN and not self.ours.provider_name

    @property
    def disagree(self) -> bool:
        """Whether the peer is sure and the two verdicts cannot both be right. The peer names Microsoft, Google and
        Amazon, and otherwise only in which country the mail host is."""
        theirs = self.theirs if self.theirs in _BIG.values() else _OTHER
        return self.is_sure and theirs != _BIG.get(self.ours.provider, _OTHER)


@dataclass(frozen=True)
class Comparison:
    """Both verdicts on every domain of a file, in its order."""

    verdicts: Sequence[Verdicts]

    @cached_property
    def missed(self) -> Sequence[Verdicts]:
        """See Verdicts.is_missed."""
        return [each for each in self.verdicts if each.is_missed]

    @cached_property
    def unbacked(self) -> Sequence[Verdicts]:
        """See Verdicts.is_unbacked."""
        return [each for each in self.verdicts if each.is_unbacked]

    @property
    def disagreements(self) -> Sequence[Verdicts]:
        """See Verdicts.disagree; what counts against us comes first."""
        return sorted(
            (each for each in self.verdicts if each.disagree),
            key=lambda each: (not each.is_missed, not each.is_unbacked),
        )

    @property
    def summary(self) -> str:
        """`missed: N, unbacked: N, hidden: 0.nnn, n: N`."""
        n = len(self.verdicts)
        hidden = sum(each.is_hidden for each in self.verdicts) / n if n else 0.0
        return f"missed: {len(self.missed)}, unbacked: {len(self.unbacked)}, hidden: {hidden:.3f}, n: {n}"


def read_rows(lines: Iterable[bytes]) -> list[Row]:
    """The rows of a file, one per domain: of several lines on a domain the first counts. Lines that name no domain
    and blank ones are passed over. Raises ZoneFileError for a line that cannot be used."""
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip()
        if not text:
            continue
        try:
            row = Row.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ZoneFileError(f"line {number}: {where + ': ' if where else ''}{first['msg']}") from None
        if row.domain:
            rows.setdefault(row.domain, row)
    return list(rows.values())


def zone_of(rows: Iterable[Row]) -> Zone:
    """The rows as a zone."""
    records: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        domain = row.domain or ""
        own = records.setdefault(domain, {})
        own |= {"MX": [(10, host) for host in row.mx]} if row.mx else {}
        own |= {"TXT": [row.spf]} if row.spf else {}
        aliases = {f"{selector}._domainkey": target for selector, target in row.dkim_cname.items()}
        for name, target in {**aliases, "autodiscover": row.autodiscover_cname}.items():
            if target:
                records[f"{name}.{domain}"] = {"CNAME": [target]}
    return Zone.from_records(records)


def _with_tenant(row: Row, signals: MailSignals) -> MailSignals:
    """Add the row's answer of the public look-up, as the product does where that look-up is switched on."""
    if not row.tenant:
        return signals
    return with_tenant(signals, Lookup(Outcome.FOUND, (str(row.tenant),), answered_at=signals.scanned_at))


def compare(rows: Sequence[Row], progress: Callable[[int], None] | None = None, *, tenants: bool = False) -> Comparison:
    """Scan the rows over real DNS; `progress` is called with the number of domains done. With `tenants`, what a row
    says of the public look-up counts as if that were switched on. Raises ScanError when a look-up was not answered."""
    with DnsServer(zone_of(rows)) as server:
        found = {
            signals.domain: signals
            for signals in scan(
                [row.domain for row in rows if row.domain],
                resolvers=[server.address],
                selectors=DEFAULT_DKIM_SELECTORS,
                clock=lambda: datetime.now(UTC),
                progress=progress,
            )
        }
    unanswered = [domain for domain, signals in found.items() if signals.missed]
    if unanswered:
        raise ScanError(
            f"{len(unanswered)} domains were not answered in full by the server on this machine, {unanswered[0]} for "
            "one; it may be too busy: run again"
        )
    if tenants:
        found |= {row.domain: _with_tenant(row, found[row.domain]) for row in rows if row.domain}
    return Comparison([Verdicts(row, found[row.domain]) for row in rows if row.domain])


@click.command()
@click.option(
    "--zone",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.jsonl",
    help="One JSON object per line and domain: domain, mx, spf, dkim_cname, autodiscover_cname, peer_provider, "
    "peer_confidence. Any of them may be null or absent.",
)
@click.option(
    "--tenants/--dns-only",
    default=True,
    show_default=True,
    help="Count the file's `tenant` like an answer of the tenant look-up, as with HUNTER_TENANT_DISCOVERY_ENABLED on.",
)
@click.pass_context
def providers(context: click.Context, path: Path, tenants: bool) -> None:
    """Compare the mail providers we name with what another tool concluded from the same DNS.

    Serves FILE as a zone over real DNS on loopback, scans it with the product, and lists every domain where the other
    tool is sure (peer_confidence of at least 80) and the verdicts differ, with the evidence of both. The last line is
    "missed: N, unbacked: N, hidden: 0.nnn, n: N":

    \b
      missed    the peer is sure of Microsoft and we say otherwise
      unbacked  we say Microsoft, the peer is sure that it is not, and we have neither a
                Microsoft MX nor two independent pieces of evidence (SPF, DKIM target,
                autodiscover, the tenant look-up)
      hidden    share of the domains that have a known gateway in front and nothing that
                shows the mailbox behind it
      n         distinct domains; of several lines on one domain the first counts

    The exit code is 1 when missed or unbacked is not 0.
    """
    notes = Console(stderr=True, highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with path.open("rb") as file:
            rows = read_rows(file)
        with Progress(*columns, console=notes) as bar:
            task = bar.add_task("scanning", total=len(rows))
            comparison = compare(rows, lambda done: bar.update(task, completed=done), tenants=tenants)
    except (ZoneFileError, ScanError) as error:
        raise click.ClickException(f"{path}: {error}") from error
    _show(comparison.disagreements)
    click.echo(comparison.summary)
    if comparison.missed or comparison.unbacked:
        context.exit(1)


def _show(disagreements: Sequence[Verdicts]) -> None:
    # Where nobody looks at a terminal there is no width to fit.
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    columns = (Column(name, overflow="fold") for name in ("domain", "ours", "theirs"))
    table = Table(*columns, show_lines=True, title=f"{len(disagreements)} disagreements")
    for each in disagreements:
        kind = "missed" if each.is_missed else "unbacked" if each.is_unbacked else "differs"
        table.add_row(*(escape(text) for text in (f"{each.row.domain}\n{kind}", _ours(each.ours), _theirs(each.row))))
    console.print(table)


def _ours(signals: MailSignals) -> str:
    lines = [
        f"provider {signals.provider.value} ({signals.provider_name or 'no name'})",
        f"gateway {signals.gateway or 'none'}",
        f"confidence {signals.confidence}",
        *(f"{each.kind} {each.detail} -> {each.points_to}" for each in signals.evidence),
        *(f"note {note}" for note in signals.notes),
    ]
    return "\n".join(lines)


def _theirs(row: Row) -> str:
    lines = [
        f"provider {row.peer_provider or 'none'}",
        f"confidence {row.peer_confidence or 0:g}",
        f"mx {' '.join(row.mx) or 'none'}",
        f"spf {row.spf or 'none'}",
        *(f"dkim {selector} {target}" for selector, target in row.dkim_cname.items() if target),
        f"autodiscover {row.autodiscover_cname or 'none'}",
        f"tenant {row.tenant or 'none'}",
        *(f"txt {text}" for text in row.txt_verification or ()),
        *(f"smtp {text}" for text in row.smtp or ()),
    ]
    return "\n".join(lines)
