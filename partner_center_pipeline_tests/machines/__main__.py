"""`python -m partner_center_pipeline_tests.machines`: several machines, and what happens to them in bad hours.

What is real: PostgreSQL, Redis, `partner-center ui` (webserver, code server, daemon) and workers of Celery with the
files of `deploy/`, each machine in a network of its own; SIGKILL, a network that is cut, servers that restart; a local
Microsoft over HTTPS and DNS that records who asks when.

What is not: the machines share one kernel, clock and disk, so the shared folder of logs is an ordinary one. Where
networks of their own are not allowed, all are loopback, and the worker is stopped in the place of its network.
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from partner_center_pipeline_tests.machines.alone import measure
from partner_center_pipeline_tests.machines.course import FULL, SHORT, MachinesError, Outcome, prepared


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--short", is_flag=True, help="Three days of windows of an hour and 4,000 domains, with fewer troubles.")
@click.option("--domains", type=click.IntRange(1), help="Domains of the rescan.")
@click.option("--referrals", type=click.IntRange(1), help="Referrals of the world.")
@click.option("--resolvers", type=click.IntRange(1, 50), help="DNS resolvers; each takes 1,000 questions a second.")
@click.option(
    "--workers", type=click.IntRange(0, 8), help="Workers, each on a machine; 0: one machine, with the defaults."
)
@click.option("--no-troubles", is_flag=True, help="Nothing breaks: how much is done in an hour.")
@click.option("--keep", is_flag=True, help="Keep the folder with the logs also when all is well.")
def main(
    short: bool,
    domains: int | None,
    referrals: int | None,
    resolvers: int | None,
    workers: int | None,
    no_troubles: bool,
    keep: bool,
) -> None:
    """Run an installation of several machines through a backfill and a rescan, and say what was missed or doubled.

    One worker is killed, the network of another is cut, Redis and PostgreSQL restart. Exit code 1 when the ledger has a
    gap, a referral is missing or doubled, Partner Center was asked by two runs at once, the token was renewed more than
    once, or the rescan did not use every worker. The last line is JSON. Needs redis-server and PostgreSQL; for networks
    of their own root and the command `ip` (`apt-get install redis-server postgresql iproute2`).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's shell in the background ignores it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends, too
    plan = SHORT if short else FULL
    plan = replace(
        plan,
        domains=domains or plan.domains,
        referrals=referrals or plan.referrals,
        resolvers=resolvers or plan.resolvers,
        workers=plan.workers if workers is None else workers,
        troubles=not no_troubles,
    )
    if plan.troubles and plan.workers < 2:
        raise click.UsageError("troubles need two workers: one is killed while the other goes on")
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="machines-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {text}", err=True)

    outcome = Outcome()
    try:
        if plan.workers == 0:
            measure(plan, folder, say, outcome)
        else:
            with prepared(plan, folder, say) as course:
                outcome.namespaces = course.has_namespaces
                try:
                    course.work(outcome)
                except MachinesError as error:
                    outcome.wrong.append(str(error))
                course.judge(outcome)
    except (MachinesError, RuntimeError) as error:
        outcome.wrong.append(str(error))
    for wrong in outcome.wrong:
        say(f"wrong: {wrong}")
    if keep or outcome.wrong:
        say(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(json.dumps({**outcome.shown(), "seconds": round(time.monotonic() - began)}))
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.machines")
