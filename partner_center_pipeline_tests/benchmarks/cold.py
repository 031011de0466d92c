"""What `all` measures of DNS: companies a second through the asset domain_signals, beside plain dnspython.

dnspython asks what the scanner asks for a sample of the same domains, one question after the other, of the same server.
The server answers after DELAY. Domains whose servers fail are left out on both sides: they would measure how long we
wait.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Final

import click
from sqlalchemy import func, select

from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import pending
from partner_center_pipeline.warehouse.bulk import among, insert_new
from partner_center_pipeline.warehouse.schema import companies, domain_signals
from partner_center_pipeline_tests.benchmarks.dns import ask_one_by_one, domains, questions_of, served_elsewhere
from partner_center_pipeline_tests.benchmarks.ingest import Database
from partner_center_pipeline_tests.benchmarks.installation import GENESIS, Installation, make_templates, start_servers
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures
from partner_center_pipeline_tests.benchmarks.runner import Runner
from partner_center_pipeline_tests.warehouse.rows import company

FASTER: Final = Goal(8.0, at_least=True)
PER_CORE: Final = Goal(300.0, at_least=True)
DELAY: Final = 0.005
"""Seconds until an answer: a provider's resolver that has it in its cache is about so far away."""
_SAMPLE: Final = 50


def _add_companies(installation: Installation, names: list[str]) -> None:
    """Add companies that DNS was never asked about."""
    with installation.warehouse() as db, db.write() as connection:
        insert_new(connection, companies, [company(name, referrals=1) for name in names])
        pending.add(connection, Task.SIGNALS, names, datetime.now(UTC))


@measures("cold-signals")
def cold_signals(run: Measuring) -> Iterator[Row]:
    """The asset domain_signals with no answer known."""
    servers = start_servers(run, 200)
    address = run.stack.enter_context(served_elsewhere(DELAY))
    count = run.size(2000, 400)
    names = list(islice(domains(), count))
    sample = names[:: count // _SAMPLE]
    questions = questions_of(sample, address)
    for database in Database:
        _, template = make_templates(run, database, servers)
        seconds, cpu, plain = [], [], []
        for _ in range(run.rounds):
            with template.installed() as installation:
                asked = installation.asking(address)
                _add_companies(asked, names)
                with Runner.started("ours", asked) as runner:
                    took = runner.run(GENESIS, asset=Asset.DOMAIN_SIGNALS)
                with asked.warehouse() as db, db.read() as connection:
                    complete = connection.execute(
                        select(func.count()).where(domain_signals.c.is_complete, among(domain_signals.c.domain, names))
                    ).scalar_one()
            if complete != count:
                raise click.ClickException(f"DNS answered about {complete} companies, not {count}")
            seconds.append(took.seconds)
            cpu.append(took.cpu)
            start = time.perf_counter()
            ask_one_by_one(questions, address)
            plain.append((time.perf_counter() - start) / len(sample))
        ours, theirs, core = count / median(seconds), 1 / median(plain), count / median(cpu)
        work = f"cold signals, {count:,} companies through the asset, all look-ups: {database}"
        yield Row(work, "plain sequential dnspython", ours / theirs, FASTER, f"{ours:.0f} a second, {theirs:.0f}")
        yield Row(f"the same, companies a CPU second: {database}", "an amount, at least", core, PER_CORE,
                  f"{median(cpu):.2f} CPU s")  # fmt: skip
