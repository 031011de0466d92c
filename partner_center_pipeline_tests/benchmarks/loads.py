"""What `all` measures of loading: the chain and its raw part beside dlt, which copies the same API to one table.

Both sides are commands in processes of their own, measured from start to end: `partner-center sync`, which runs the
assets through Dagster, and a script that uses dlt (`dlt_copy`). The raw part is the product's client, scan and ingest
without Dagster, as in `ingest`, so of dlt there only the run of its pipeline counts, without its imports.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click
from sqlalchemy import text

from partner_center_pipeline_tests.benchmarks.ingest import Bench, Database, Work
from partner_center_pipeline_tests.benchmarks.installation import (
    GENESIS,
    PATIENCE,
    Servers,
    Template,
    datetime_text,
    make_templates,
    start_servers,
    timed,
)
from partner_center_pipeline_tests.benchmarks.pages import Address
from partner_center_pipeline_tests.benchmarks.rows import PAGE_SIZE, Goal, Measuring, Row, measures

NO_DLT: Final = "dlt is not installed: .venv/bin/pip install -q -c constraints.txt -e '.[benchmarks]'"
_AT_WORK: Final = 0.1
"""The share of its time that a process at work spends on a processor, at least."""
FIRST_LOAD: Final = Goal(1.0)
RAW: Final = Goal(4.0, at_least=True)
REPLAY: Final = {Database.SQLITE: Goal(15.0, at_least=True), Database.POSTGRESQL: Goal(3.0, at_least=True)}

_MADE: Final = text(
    """
    SELECT (SELECT count(*) FROM leads) AS leads,
           (SELECT count(*) FROM leads AS l LEFT JOIN companies AS c ON c.domain = l.domain
            LEFT JOIN company_scores AS s ON s.domain = c.domain
            WHERE l.domain IS NOT NULL AND s.domain IS NULL) AS without_score,
           (SELECT count(*) FROM pending_work) AS pending
    """
)
"""What a load has made of all referrals."""

_DLT: Final = "partner_center_pipeline_tests.benchmarks.dlt_copy"


def dlt_seconds(
    servers: Servers, url: str, folder: Path, expected: int, patience: float = PATIENCE
) -> tuple[float, float]:
    """Copy everything with dlt; return the seconds of its process, and of its pipeline alone.

    Raises ClickException where it loads another number of rows, TimeoutExpired after `patience` seconds.
    """
    if find_spec("dlt") is None:
        raise click.ClickException(NO_DLT)
    environment = {
        **servers.environment,
        "REQUESTS_CA_BUNDLE": str(servers.ca_bundle),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(folder),
    }
    before = datetime_text(GENESIS.end)
    command = [sys.executable, "-m", _DLT, servers.base_url, url, str(folder), str(PAGE_SIZE), before]
    seconds, output = timed(command, environment, folder, patience)
    rows, pipeline = output.split()[-2:]
    if int(rows) != expected:
        raise click.ClickException(f"dlt loaded {rows} rows, not {expected}")
    return seconds, float(pipeline)


def dlt_replays(run: Measuring, servers: Servers, bench: Bench, patience: float) -> tuple[float, str]:
    """Load everything with dlt, then again and again; return the median seconds of the later times, and how to say it.

    Where one takes longer than `patience` seconds it is ended, and that is what it is said to take: a merge of 100,000
    rows in SQLite takes more than an hour. Raises ClickException for one that did nothing meanwhile.
    """
    found = []
    with bench.new_database(migrated=False) as url, TemporaryDirectory(dir=run.folder) as folder:
        dlt_seconds(servers, url, Path(folder), servers.count)
        for number in range(run.rounds):
            before = _children_cpu()
            try:
                found.append(dlt_seconds(servers, url, Path(folder), servers.count, patience)[0])
            except subprocess.TimeoutExpired:
                if _children_cpu() - before < patience * _AT_WORK:
                    raise click.ClickException("dlt's replay did nothing until it was ended") from None
                return patience, f"more than {patience:.0f} s, and was ended"
            run.notes.print(f"  {number + 1} of {run.rounds}: dlt again, {found[-1]:.3f}")
    return median(found), f"{median(found):.2f} s"


def _children_cpu() -> float:
    """Return the CPU seconds of the processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sync_seconds(template: Template, new: int) -> float:
    """Sync the first window in a new installation; return the seconds.

    Raises ClickException unless all was fetched, `new` of it stored, and every lead, company and score made.
    """
    with template.installed() as installation:
        seconds, said = installation.sync(GENESIS)
        with installation.warehouse() as db, db.read() as connection:
            made = connection.execute(_MADE).one()._asdict()
    count, rows = template.servers.count, said["rows"]
    found = {"fetched": min(rows["fetched"], count), "new": rows["new_versions"], **made}
    wanted = {"fetched": count, "new": new, "leads": count, "without_score": 0, "pending": 0}
    if found != wanted:
        raise click.ClickException(f"the sync did not do all of its work: {found}, not {wanted}")
    return seconds


@measures("loads")
def loads(run: Measuring) -> Iterator[Row]:
    """The first load, its raw part and the replay, beside dlt's."""
    for count in (run.size(20_000, 2000), run.size(100_000, 4000)):
        servers = start_servers(run, count)
        for database in Database:
            yield from _loads(run, servers, database)


def _loads(run: Measuring, servers: Servers, database: Database) -> Iterator[Row]:
    count, bench = servers.count, run.bench(database)
    address = Address(servers.base_url, servers.ca_bundle)
    pipelines: list[float] = []

    def dlt() -> float:
        with bench.new_database(migrated=False) as url, TemporaryDirectory(dir=run.folder) as folder:
            seconds, pipeline = dlt_seconds(servers, url, Path(folder), count)
            pipelines.append(pipeline)
        return seconds

    def raw() -> float:
        with bench.new_database() as url:
            return bench.run(Work.LOAD, url, address, count).seconds

    first, again = make_templates(run, database, servers)
    chain, theirs, raw_part, replay = run.medians(
        lambda: sync_seconds(first, count), dlt, raw, lambda: sync_seconds(again, 0)
    )
    pipeline, goal = median(pipelines), REPLAY[database]
    their_replay, said = dlt_replays(run, servers, bench, 2 * goal.limit * replay)
    size = f"{count:,} referrals, {database}"
    yield Row(f"first load, API to scored_segments, signals cached: {size}", "dlt, API to one table", chain / theirs,
              FIRST_LOAD, f"{chain:.2f} s, {theirs:.2f} s")  # fmt: skip
    yield Row(f"the raw part alone: {size}", "dlt's pipeline", pipeline / raw_part, RAW,
              f"{raw_part:.2f} s, {pipeline:.2f} s")  # fmt: skip
    yield Row(f"the same again, nothing changed, whole chain: {size}", "dlt's replay", their_replay / replay, goal,
              f"{replay:.2f} s, {said}")  # fmt: skip
