"""Golden zones: what the product says about whole mail set-ups, written by thought from mail_signals.md and scoring.md.

One file is one domain: its `zone` (records one a line, RFC 1035, section 5: `@` is the domain, and names without a
final dot are below it), where wanted `faults` (the simulator's DnsFault by name), and what is `expected`, in the form
that `verdict` gives. What is not expected must not be there. A file under `tables/` is many domains that differ in
their MX host only: each of its `hosts` (by owner) in each of its `shapes`, with `{host}`, `{owner}` and `{domain}` put
in.

`python -m partner_center_pipeline_tests.mail.golden NAME ...` scans the named zones and prints what the product says.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dns.name
import dns.rdata
from dns.name import Name
from dns.rdata import Rdata
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.TXT import TXT

from partner_center_pipeline.defs.enrichment import score_input
from partner_center_pipeline.mail import MailSignals, scan
from partner_center_pipeline.scoring import score_domain
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.zone import Zone

NOW: Final = datetime(2026, 4, 1, 12, tzinfo=UTC)
SELECTORS: Final = ("selector1", "selector2", "google", "default", "s1", "s2", "k1", "mail", "zoho", "zmail")

_FOLDER: Final = Path(__file__).parent

Verdict = dict[str, Any]
"""What `verdict` gives; TOML holds it as it is."""


@dataclass(frozen=True, slots=True)
class GoldenZone:
    """One domain, its records (name -> type -> values, as `Zone.add` takes them), its faults and what is expected."""

    name: str
    domain: str
    records: dict[str, dict[str, list[Any]]]
    faults: dict[str, str]
    expected: Verdict

    @property
    def mail_hosts(self) -> tuple[str, ...]:
        """Hosts that an MX or a CNAME of the zone names, in lower case."""
        found = [host for types in self.records.values() for _, host in types.get("MX", [])]
        found += [host for types in self.records.values() for host in types.get("CNAME", [])]
        return tuple(host.lower() for host in found)


def golden_zones() -> tuple[GoldenZone, ...]:
    """All golden zones, in the order of their names."""
    alone = [_zone(path.stem, _read(path)) for path in sorted(_FOLDER.glob("*.toml"))]
    return (*alone, *(each for path in sorted(_FOLDER.glob("tables/*.toml")) for each in _table(path)))


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _table(path: Path) -> Iterator[GoldenZone]:
    table = _read(path)
    for owner, hosts in table["hosts"].items():
        for host in hosts:
            for shape in table["shapes"]:
                domain = f"{host.replace('.', '-')}.{shape['name']}.{path.stem}.example"
                filled = _filled(shape, {"{host}": host, "{owner}": owner, "{domain}": domain})
                yield _zone(f"{path.stem}/{host}/{shape['name']}", {"domain": domain, **filled})


def _filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, words) for each in value]
    if isinstance(value, str):
        return re.sub(r"\{(?:host|owner|domain)\}", lambda word: words[word[0]], value)
    return value


def _zone(name: str, written: dict[str, Any]) -> GoldenZone:
    domain = written["domain"]
    return GoldenZone(name, domain, _records(domain, written["zone"]), written.get("faults", {}), written["expected"])


def _records(domain: str, zone: str) -> dict[str, dict[str, list[Any]]]:
    origin = dns.name.from_text(domain)
    records: dict[str, dict[str, list[Any]]] = {}
    for line in zone.splitlines():
        owner, kind, text = line.split(None, 2)
        rdata = dns.rdata.from_text("IN", kind, text, origin=origin, relativize=False)
        name = _host(dns.name.from_text(owner, origin)).lower()
        records.setdefault(name, {}).setdefault(kind, []).append(_value(rdata))
    return records


def _value(rdata: Rdata) -> Any:
    match rdata:
        case MX():
            return rdata.preference, _host(rdata.exchange)
        case TXT():
            return rdata.strings
        case CNAME() | NS():
            return _host(rdata.target)
        case _:
            return rdata.to_text()


def _host(name: Name) -> str:
    return name.to_text(omit_final_dot=True)


def server_of(zones: Iterable[GoldenZone]) -> DnsServer:
    """One name server for all of the zones. Raises ValueError for a name that two of them hold."""
    records: dict[str, dict[str, list[Any]]] = {}
    faults: dict[str, str] = {}
    for golden in zones:
        if shared := records.keys() & golden.records.keys():
            raise ValueError(f"golden zone {golden.name}: {', '.join(sorted(shared))} stands in another zone too")
        records |= golden.records
        faults |= golden.faults
    return DnsServer(Zone.from_records(records, faults))


def scanned(zones: Iterable[GoldenZone]) -> dict[str, MailSignals]:
    """What the product's scan says over real DNS about the domains of the zones, by domain."""
    zones = tuple(zones)
    with server_of(zones) as server:
        found = scan(
            [each.domain for each in zones], resolvers=[server.address], selectors=SELECTORS, clock=lambda: NOW
        )
        return {signals.domain: signals for signals in found}


def verdict(signals: MailSignals) -> Verdict:
    """Signals, and the score of a company of which nothing else is known, as plain TOML values.

    What is None or empty is left out; `confidence` always stands.
    """
    company: dict[str, Any] = dict.fromkeys(("tenant", "tenant_source", "next_expiry_ticks"))
    score = score_domain(
        score_input({**company, "domain": signals.domain, "open_cosell": False, "cosell_referral": False}, signals)
    )
    said: Verdict = {
        "provider": signals.provider.value,
        "provider_name": signals.provider_name,
        "gateway": signals.gateway,
        "confidence": signals.confidence,
        "evidence": [f"{each.kind} {each.detail}: {each.points_to}" for each in signals.evidence],
        "notes": list(signals.notes),
        "no_mail": signals.no_mx_reason,
        "missed": [f"{name} {outcome}" for name, outcome in signals.missed.items()],
        "tenant": f"{signals.tenant} ({signals.tenant_source})" if signals.tenant else None,
        "spf": _spf(signals),
        "dkim": _dkim(signals),
        "dmarc": _dmarc(signals),
        "readiness": score.readiness,
        "segment": score.segment.value,
        "reasons": [f"{reason.points:+} {reason.code}" for reason in score.reasons],
    }
    return {name: value for name, value in said.items() if value not in (None, [])}


def _spf(signals: MailSignals) -> str:
    """The terms that the product reads, in one order."""
    spf = signals.spf
    if not signals.lookups["txt"].is_fact:
        return "unknown"
    if not spf.present:
        return "more than one record" if spf.multiple else "none"
    terms = ["v=spf1", *(f"include:{target}" for target in spf.includes)]
    terms += [f"redirect={spf.redirect}"] if spf.redirect else []
    terms += [f"{spf.all}all"] if spf.all else []
    return " ".join(terms)


def _dkim(signals: MailSignals) -> str:
    if signals.dkim_present is None:
        return "unknown"
    return ", ".join(signals.dkim_selectors) if signals.dkim_present else "absent"


def _dmarc(signals: MailSignals) -> str:
    record = signals.dmarc
    if record is None:
        return "absent" if signals.lookups["dmarc"].is_fact else "unknown"
    tags = {"p": record.policy, **{tag: getattr(record, tag) for tag in ("sp", "np", "t", "psd", "pct")}}
    written = " ".join(f"{tag}={value}" for tag, value in tags.items() if value is not None)
    return f"{written} at {record.found_at}"
