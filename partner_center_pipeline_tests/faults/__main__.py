"""`python -m partner_center_pipeline_tests.faults`: the fault table as a person runs it."""

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from partner_center_pipeline_tests.faults.bench import surroundings
from partner_center_pipeline_tests.faults.document import Line, run_all, written
from partner_center_pipeline_tests.faults.table import FAULTS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--write", type=click.Path(path_type=Path, dir_okay=False), help="Write the table to this file, too.")
@click.option("--only", default="", help="Only faults whose name contains this.")
def main(write: Path | None, only: str) -> None:
    """Bring every fault about, show what is seen of it, and count what is lost."""
    console = Console(highlight=False, soft_wrap=True)
    file = write.absolute() if write else None

    def say(line: Line) -> None:
        console.print(f"{line.fault.name}: {line.seen} [lost {line.lost}, {line.seconds:.1f} s]", markup=False)

    with tempfile.TemporaryDirectory(prefix="faults-") as folder, surroundings(Path(folder)) as around:
        lines = run_all(around, say, [fault for fault in FAULTS if only in fault.name])
    if file is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(written(lines), encoding="utf-8")
    lost = sum(line.lost for line in lines)
    console.print(f"faults: {len(lines)}, rows lost: {lost}")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.faults")
