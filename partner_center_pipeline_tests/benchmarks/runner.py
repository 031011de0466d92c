"""A process that runs the chain's graph through Dagster whenever it is told to, and says how long each run took.

Run as `python -m ...runner ours|empty` in an installation's home folder. `empty` is the same graph (assets, partitions,
pool, checks, executor) with bodies that do nothing. Each line of stdin is `FIRST LAST [ASSET]`, the keys of the first
and the last window, and the one asset to be run; each line of stdout is JSON: seconds, cpu. What a process does before
its first run is not counted (`starting` measures that).
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, Self

import click
import dagster as dg

from partner_center_pipeline.definitions import batch_events, defs
from partner_center_pipeline.defs.automation import JOB_NAME
from partner_center_pipeline.defs.checks import SPECS
from partner_center_pipeline.defs.dagster_private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from partner_center_pipeline.defs.executor import EXECUTOR
from partner_center_pipeline.defs.partitions import POOL, chain_asset
from partner_center_pipeline.defs.window_figures import WINDOWS_TAG
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.windows import SyncWindow, WindowGrid
from partner_center_pipeline_tests.benchmarks.installation import Installation

_MODULE: Final = "partner_center_pipeline_tests.benchmarks.runner"
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took: seconds, and CPU seconds of its process."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Runner:
    """The process, from the side of the one that tells it what to run."""

    process: "subprocess.Popen[str]"
    answers: IO[str]
    orders: IO[str]

    @classmethod
    @contextmanager
    def started(cls, kind: str, installation: Installation) -> Iterator[Self]:
        """Start it, and end it after the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=installation.home, env={**installation.environment, "DAGSTER_HOME": str(installation.home)},
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield cls(process, process.stdout, process.stdin)
        finally:
            process.communicate()

    def run(self, *windows: SyncWindow, asset: Asset | None = None) -> Took:
        """Run contiguous windows. Raises ClickException when the run fails."""
        self.orders.write(f"{windows[0].key} {windows[-1].key} {asset or ''}\n")
        self.orders.flush()
        answer = self.answers.readline()
        if not answer:
            raise click.ClickException(f"the runner ended; exit code {self.process.wait()}")
        return Took(**json.loads(answer))


def empty_graph(grid: WindowGrid) -> dg.Definitions:
    """Return the chain's graph with empty bodies."""

    def asset(which: Asset, deps: tuple[Asset, ...]) -> dg.AssetsDefinition:
        def compute(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            return dg.MaterializeResult()

        compute.__name__ = str(which)
        pool = POOL if which is Asset.RAW_REFERRALS else None
        return chain_asset(which, kinds={"python"}, deps=deps, code=lambda: "empty", pool=pool)(compute)(grid)

    @dg.multi_asset_check(name="checks_of_each_run", specs=SPECS, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for one in SPECS:
            yield dg.AssetCheckResult(passed=True, asset_key=one.asset_key, check_name=one.name)

    chain = list(Asset)
    needs: dict[Asset, tuple[Asset, ...]] = {
        which: (chain[number - 1],) if number else () for number, which in enumerate(chain)
    }
    needs[Asset.SCORED_SEGMENTS] = (Asset.COMPANIES, Asset.DOMAIN_SIGNALS)
    job = dg.define_asset_job(
        JOB_NAME, selection=dg.AssetSelection.assets(*(str(which) for which in Asset)), executor_def=EXECUTOR
    )
    assets = [asset(which, deps) for which, deps in needs.items()]
    return dg.Definitions(assets=assets, asset_checks=[checks], jobs=[job], executor=EXECUTOR)


def main(kind: str) -> None:
    """Run what the lines of stdin say until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    batch_events()  # on both sides
    definitions = defs() if kind == "ours" else empty_graph(Settings.load().grid)
    assert isinstance(definitions, dg.Definitions)
    job = definitions.resolve_job_def(JOB_NAME)
    with dg.DagsterInstance.get() as instance:
        for line in sys.stdin:
            first, last, *assets = line.split()
            tags = {WINDOWS_TAG: f"{first} to {last}"}  # as the schedule gives a run
            if first != last:
                tags |= {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
            partitions: dict[str, Any] = {"tags": tags} | ({"partition_key": first} if first == last else {})
            if assets:
                partitions["asset_selection"] = [dg.AssetKey(name) for name in assets]
            start, cpu = time.perf_counter(), time.process_time()
            job.execute_in_process(instance=instance, raise_on_error=True, run_config=_QUIET, **partitions)
            took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
            print(json.dumps(took), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
