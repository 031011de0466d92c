"""How long a report takes, how much memory it needs and how large its files are, with many companies and with few.

The companies are made up and written straight into a SQLite warehouse. Each file is written by a process of its own, so
that its memory is its own. Not here: whether the files are right, which is tested.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

COMPANIES: Final = 100_000
FEW: Final = 1_000
"""Companies of the report that the other is compared with."""
WITHOUT_COMPANY: Final = 0.2
"""Open leads without a company, per company."""
NEW: Final = 0.05
"""Share of the leads that are new since the last report."""

MEMORY_LIMIT: Final = 300.0
"""MB that writing the workbook of COMPANIES may need at its peak. Most of it is Python with its libraries."""
GROWTH_LIMIT: Final = 1.5
"""How many times the memory of FEW that may be."""
PAGE_LIMIT: Final = 12.0
"""MB that the page may have: a browser shows that at once."""

SEED: Final = 2026
_CHUNK: Final = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """A file that was written: wall and CPU seconds, the peak of the process's memory, and the file's size in MB."""

    seconds: float
    cpu_seconds: float
    peak: float
    size: float


def fill(url: str, count: int) -> None:
    """Write `count` companies with a lead, signals and a score each, and leads without a company."""
    from partner_center_pipeline.scoring import ScorePolicy, load_rules, score_domain
    from partner_center_pipeline.scoring.row import score_columns
    from partner_center_pipeline.warehouse import published, schema
    from partner_center_pipeline.warehouse.database import Warehouse
    from partner_center_pipeline.windows import render_ticks, ticks_of
    from partner_center_pipeline_tests.benchmarks.scoring import made_up

    chance = Random(SEED)  # noqa: S311  no secret hangs on it
    now = datetime.now(UTC)
    rules = load_rules()

    def referral(number: int, domain: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        referral_id = f"00000000-0000-4000-8000-{number:012}"
        created = ticks_of(now - timedelta(hours=chance.randrange(24 * 100)))
        due = ticks_of(now + timedelta(hours=chance.randrange(-500, 500)))
        is_new = chance.random() < NEW
        lead = {
            "referral_id": referral_id, "source": "partnercenter", "version": "v", "updated_ticks": created,
            "updated_text": render_ticks(created), "engagement_id": f"e{number}", "name": f"Deal {number}",
            "category": chance.choice(["co-sell", "marketplace", "solution-provider"]), "category_rule": "shared",
            "type": "Shared", "qualification": "SalesQualified", "direction": "Incoming", "status": "New",
            "substatus": "Received", "is_open": chance.random() < 0.8 or domain is None,
            "company_name": f"Öztürk Çelik {number} San. ve Tic. A.Ş.", "domain": domain,
            "domain_reason": None if domain else "consumer_only", "former_domains": [], "products": [],
            "contact_name": "Ayşe Yılmaz", "contact_email": f"a{number}@example.com", "country": "TR",
            "city": "Bursa", "created_text": render_ticks(created), "created_ticks": created,
            "expires_text": render_ticks(due), "expires_ticks": due, "deal_value": chance.randrange(1_000_000),
            "currency": chance.choice(["TRY", "USD", "EUR"]), "derived_with": "",
        }  # fmt: skip
        raw = {
            "referral_id": referral_id, "version": "v", "updated_ticks": created,
            "updated_text": render_ticks(created), "window_start": 0, "late": False, "content_hash": "h",
            "payload": {"acceptedDateTime": render_ticks(created + 10**12) if chance.random() < 0.7 else None},
            "fetched_at": now - timedelta(days=1 if is_new else 60),
        }  # fmt: skip
        return lead, raw

    warehouse = Warehouse.open(url)
    for begin in range(0, count, _CHUNK):
        inputs = made_up(min(_CHUNK, count - begin), chance)
        companies, leads, raws, signals, scored, changes = (list[dict[str, Any]]() for _ in range(6))
        for at, facts in enumerate(inputs, begin):
            domain = f"firma{at}.com.tr"
            lead, raw = referral(at, domain)
            score = score_columns(score_domain(facts, rules), rules)
            leads.append(lead)
            raws.append(raw)
            companies.append(
                {
                    "domain": domain, "domain_unicode": domain, "domain_ascii_key": domain,
                    "name": lead["company_name"], "country": "TR", "city": "Bursa", "referrals": 1,
                    "open_referrals": int(lead["is_open"]), "engagements": 1, "open_cosell": facts.open_cosell,
                    "next_expiry_ticks": lead["expires_ticks"], "deal_value": lead["deal_value"],
                    "currency": lead["currency"], "referral_ids": [lead["referral_id"]],
                    "updated_ticks": lead["updated_ticks"], "derived_with": "",
                }
            )  # fmt: skip
            signals.append(
                {
                    "domain": domain, "provider": facts.provider, "provider_name": None, "gateway": None,
                    "confidence": 90, "is_complete": True, "signals": {}, "scanned_at": now, "facts_at": now,
                    "next_scan_at": now, "failures": 0,
                }
            )  # fmt: skip
            scored.append(
                {**score, "domain": domain, "inputs": {}, "referral_ids": [], "scored_at": now, "derived_with": ""}
            )
            changes.append(
                {
                    "domain": domain, "changed_at": now - timedelta(days=60 * (chance.random() > NEW)),
                    "cause": "signals", "segment_before": "Cold", "segment_after": score["segment"],
                    "score_before": 20, "score_after": score["score"], "detail": {},
                }
            )  # fmt: skip
        for at in range(round(len(inputs) * WITHOUT_COMPANY)):
            lead, raw = referral(10**9 + begin + at, None)
            leads.append(lead)
            raws.append(raw)
        with warehouse.write() as connection:
            for table, rows in (
                (schema.raw_referrals, raws), (schema.leads, leads), (schema.companies, companies),
                (schema.domain_signals, signals), (schema.company_scores, scored), (schema.score_changes, changes),
            ):  # fmt: skip
                connection.execute(table.insert(), rows)
            if not begin:
                published.publish(connection, rules, ScorePolicy())
    warehouse.close()


def write(url: str, form: str, path: str) -> None:
    """Write a report as a process of its own does, and print the outcome as JSON."""
    from partner_center_pipeline.reports.model import About, Format
    from partner_center_pipeline.reports.words import Words
    from partner_center_pipeline.reports.writing import write_report
    from partner_center_pipeline.scoring import load_rules
    from partner_center_pipeline.vocabulary import Language
    from partner_center_pipeline.warehouse.database import Warehouse
    from partner_center_pipeline_tests.benchmarks.ingest import peak_memory

    now = datetime.now(UTC)
    about = About(made_at=now, since=now - timedelta(days=7), language=Language.TR)
    warehouse = Warehouse(url)
    began, cpu = time.perf_counter(), time.process_time()
    with warehouse.read() as connection:
        write_report(connection, Path(path), Format(form), about, Words(load_rules(), Language.TR))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    size = Path(path).stat().st_size / 1e6
    outcome = Outcome(round(seconds, 2), round(cpu_seconds, 2), round(peak_memory(), 1), round(size, 2))
    click.echo(json.dumps(asdict(outcome)))


def outcomes(folder: Path, count: int) -> Iterator[tuple[str, Outcome]]:
    """Fill a warehouse and write each format from it."""
    url = f"sqlite:///{folder / f'{count}.db'}"
    fill(url, count)
    for form in ("xlsx", "html", "csv"):
        code = (
            "from partner_center_pipeline_tests.benchmarks.report import write; "
            f"write({url!r}, {form!r}, {str(folder / f'{count}.{form}')!r})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1800)
        if done.returncode:
            raise click.ClickException(done.stderr)
        yield form, Outcome(**json.loads(done.stdout.splitlines()[-1]))


@click.command()
@click.option("--companies", type=click.IntRange(min=1), default=COMPANIES, show_default=True, help="How many.")
@click.option("--few", type=click.IntRange(min=1), default=FEW, show_default=True, help="How many to compare with.")
def report(companies: int, few: int) -> None:
    """Measure a report of 100,000 companies: time, memory and size of the workbook, the page and the CSV file.

    The last line is JSON. Exit code 1 when the workbook needs more than 300 MB, or 1.5 times what it needs for few
    companies, or when the page has more than 12 MB.
    """
    figures: dict[str, Any] = {"companies": companies, "few": few}
    with TemporaryDirectory() as folder:
        for count in (few, companies):
            for form, outcome in outcomes(Path(folder), count):
                click.echo(
                    f"{count:>9,} companies  {form:<5}{outcome.seconds:8.1f} s {outcome.cpu_seconds:8.1f} CPU s "
                    f"{outcome.peak:8.0f} MB peak {outcome.size:8.1f} MB file"
                )
                if count == companies:
                    figures |= {f"{form}_{name}": value for name, value in asdict(outcome).items()}
                else:
                    figures[f"{form}_peak_few"] = outcome.peak
    growth = figures["xlsx_peak"] / figures["xlsx_peak_few"]
    figures["xlsx_growth"] = round(growth, 2)
    click.echo(f"the workbook's memory is {growth:.2f} times that of {few:,} companies")
    click.echo(json.dumps(figures))
    if figures["xlsx_peak"] > MEMORY_LIMIT or growth > GROWTH_LIMIT or figures["html_size"] > PAGE_LIMIT:
        raise SystemExit(1)
