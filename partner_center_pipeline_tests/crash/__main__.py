"""`python -m partner_center_pipeline_tests.crash`: the kill sweep as a person runs it."""

import sys
import tempfile
from itertools import count
from pathlib import Path

from rich.console import Console

from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.conftest import Databases, PostgresServer, SqliteFiles
from partner_center_pipeline_tests.crash.failpoints import FAILPOINTS
from partner_center_pipeline_tests.crash.sweep import Verdict, sweep, world
from partner_center_pipeline_tests.postgres import running_server

_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory. A killed process loses nothing that it gave to the kernel, so no disk is needed."""


def main() -> int:
    """Sweep both databases and return the exit code, 1 if rows differ after a kill."""
    console = Console(highlight=False, soft_wrap=True)
    total = 2 * len(FAILPOINTS)
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="kill-sweep-", dir=_IN_MEMORY) as folder, running_server() as admin:
        place = Path(folder)
        template = place / "template.db"
        warehouse = Warehouse(f"sqlite:///{template}")
        warehouse.migrate()
        warehouse.close()
        server = PostgresServer(admin, count(), [])
        server.make_templates()
        databases: dict[str, Databases] = {"sqlite": SqliteFiles(place, template, count()), "postgresql": server}
        kinds = {kind: (each, [[failpoint] for failpoint in FAILPOINTS]) for kind, each in databases.items()}
        with world(place) as here:
            for verdict in sweep(here, kinds):
                verdicts.append(verdict)
                survived = "survived" if not verdict.problems else "NOT SURVIVED"
                console.print(
                    f"{len(verdicts):3}/{total}  {verdict.database:10}  {verdict.failpoints[0]:62}  {survived}  "
                    f"{verdict.seconds:4.1f} s"
                )
                for problem in verdict.problems:
                    console.print(f"         {problem}", markup=False)
    survivors = sum(not verdict.problems for verdict in verdicts)
    console.print(f"failpoints: {len(verdicts)}, survived: {survivors}")
    return 0 if survivors == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
