"""`python -m partner_center_pipeline_tests.mutation`: which small changes of the code no test notices."""

import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from queue import Queue

import click
from rich.console import Console

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.mutation.mutants import Mutant, sites_of
from partner_center_pipeline_tests.mutation.scope import Scope, equivalents, modules, tests_of
from partner_center_pipeline_tests.mutation.trials import Coverage, Outcome, Worker, copy_of

REQUIRED = 0.9
"""The share of the mutants that the tests have to notice."""

_NOTICED = (Outcome.KILLED, Outcome.TIMEOUT)
_ALIVE = (Outcome.SURVIVED, Outcome.UNTESTED)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    default=Scope.SYNC.value,
    show_default=True,
    help="sync: windows, partner_center, warehouse, defs. rules: leads, mail, scoring.",
)
@click.option("--module", "names", multiple=True, help="Only modules whose path contains this; may be repeated.")
@click.option("--sample", type=int, help="Only so many mutants, drawn from all places alike.")
@click.option("--seed", type=int, default=1, show_default=True, help="Draws another sample.")
@click.option("--jobs", type=int, default=2, show_default=True, help="Mutants tried side by side.")
def main(scope: str, names: tuple[str, ...], sample: int | None, seed: int, jobs: int) -> None:
    """Change the code in many small ways, one at a time, and list the changes that no test notices.

    It works in copies of the project. Exit code 1 when fewer than 90 % are noticed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end what was started, and remove the copies
    console = Console(highlight=False, soft_wrap=True)
    paths = [path for path in modules(Scope(scope)) if not names or any(name in path for name in names)]
    if not paths:
        raise click.UsageError("no module's path contains that")
    sources = {path: (PROJECT_ROOT / path).read_text(encoding="utf-8") for path in paths}
    sites = [site for path in paths for site in sites_of(path, sources[path])]
    random.Random(seed).shuffle(sites)  # noqa: S311  the same sample each time
    known = {one.name for one in equivalents()}
    mutants = (mutant for site in sites if (mutant := site.mutant(sources[site.path])) is not None)
    chosen = list(islice((mutant for mutant in mutants if mutant.name not in known), sample))
    outcomes: dict[str, Counter[Outcome]] = {path: Counter() for path in paths}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, ExitStack() as stack:
        copies = [stack.enter_context(copy_of(PROJECT_ROOT, Path(folder) / str(job))) for job in range(jobs)]
        console.print(f"{len(chosen)} mutants; first the tests without any")
        coverage = Coverage.measure(copies, tests_of(paths))
        workers = []
        for copy in copies:
            workers.append(Worker(copy))
            stack.callback(workers[-1].stop)
        for mutant, outcome in _tried(workers, chosen, coverage, sources):
            outcomes[mutant.path][outcome] += 1
            if outcome in _ALIVE:
                console.print(f"{outcome}: {mutant}", markup=False)
    console.print()
    for path, counted in outcomes.items():
        if counted:
            console.print(f"{path}: {_said(counted)}")
    total = sum(outcomes.values(), Counter())
    console.print(f"mutants: {_said(total)}; noticed: {_noticed(total):.1%} (at least {REQUIRED:.0%} are asked for)")
    sys.exit(0 if _noticed(total) >= REQUIRED else 1)


def _tried(
    workers: Sequence[Worker], mutants: Sequence[Mutant], coverage: Coverage, sources: Mapping[str, str]
) -> Iterator[tuple[Mutant, Outcome]]:
    """Yield each mutant with its outcome, as they come."""
    free: Queue[Worker] = Queue()
    for worker in workers:
        free.put(worker)

    def run(mutant: Mutant) -> tuple[Mutant, Outcome]:
        worker = free.get()
        try:
            tests = coverage.tests_of(mutant, sources[mutant.path])
            return mutant, worker.run(mutant, tests, coverage.patience(tests))
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        yield from pool.map(run, mutants)


def _noticed(counted: Counter[Outcome]) -> float:
    noticed, alive = sum(counted[one] for one in _NOTICED), sum(counted[one] for one in _ALIVE)
    return noticed / (noticed + alive) if noticed + alive else 1.0


def _said(counted: Counter[Outcome]) -> str:
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome if counted[outcome])


if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.mutation")
