"""What `all` measures of DNS: companies a second through the asset domain_signals, beside plain dnspython.

dnspython asks what the scanner asks for a sample of the same domains, one question after the other, of the same server.
Domains whose servers fail are left out on both sides: they would measure how long we wait.
"""

import time
from collections.abc import Iterator
from statistics import median
from typing import Final

from sqlalchemy import delete, func, select

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.schema import companies, domain_signals
from partner_center_pipeline_tests.benchmarks.dns import ask_one_by_one, is_answered, questions_of
from partner_center_pipeline_tests.benchmarks.ingest import Database
from partner_center_pipeline_tests.benchmarks.installation import GENESIS, Installation, make_templates, start_servers
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures
from partner_center_pipeline_tests.benchmarks.runner import Runner

FASTER: Final = Goal(8.0, at_least=True)
PER_CORE: Final = Goal(300.0, at_least=True)
_SAMPLE: Final = 100


def _forget_answers(installation: Installation) -> list[str]:
    """Delete the DNS answers of all domains that are answered in full; return the domains."""
    with installation.warehouse() as db, db.write() as connection:
        names = [name for name in connection.execute(select(companies.c.domain)).scalars() if is_answered(name)]
        for first in range(0, len(names), 500):
            connection.execute(delete(domain_signals).where(domain_signals.c.domain.in_(names[first : first + 500])))
    return names


@measures("cold-signals")
def cold_signals(run: Measuring) -> Iterator[Row]:
    """The asset domain_signals with no answer known."""
    servers = start_servers(run, run.size(20_000, 2000))
    host, port = servers.environment["HUNTER_DNS_RESOLVERS"].rsplit(":", 1)
    address = (host, int(port))
    for database in Database:
        _, template = make_templates(run, database, servers)
        seconds, cpu, plain, count = [], [], [], 0
        for _ in range(run.repeat):
            with template.installed() as installation:
                names = _forget_answers(installation)
                with Runner.started("ours", installation) as runner:
                    took = runner.run(GENESIS, asset=Asset.DOMAIN_SIGNALS)
                with installation.warehouse() as db, db.read() as connection:
                    known = connection.execute(
                        select(func.count()).where(domain_signals.c.domain.in_(names[:500]))
                    ).scalar_one()
            assert known == len(names[:500]), "the asset did not ask about every company"
            seconds.append(took.seconds)
            cpu.append(took.cpu)
            count = len(names)
            sample = names[:: max(1, len(names) // _SAMPLE)]
            questions = questions_of(sample, address)
            start = time.perf_counter()
            ask_one_by_one(questions, address)
            plain.append((time.perf_counter() - start) / len(sample))
        ours, theirs, core = count / median(seconds), 1 / median(plain), count / median(cpu)
        work = f"cold signals, {count:,} companies through the asset, all look-ups: {database}"
        yield Row(work, "plain sequential dnspython", ours / theirs, FASTER, f"{ours:.0f} a second, {theirs:.0f}")
        yield Row(f"the same, companies a CPU second: {database}", "an amount, at least", core, PER_CORE,
                  f"{median(cpu):.2f} CPU s")  # fmt: skip
