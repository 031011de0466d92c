"""`python -m partner_center_pipeline_tests.documents`: writes the generated pages anew."""

import tempfile
from pathlib import Path

import click

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.documents.generated import pages
from partner_center_pipeline_tests.documents.pictures import take
from partner_center_pipeline_tests.faults.bench import surroundings
from partner_center_pipeline_tests.faults.document import run_all, written


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--faults", is_flag=True, help="Also docs/faults.md: each fault is brought about, which takes minutes.")
@click.option("--pictures", is_flag=True, help="Also docs/pictures: the tour of the UI in Chromium, two minutes.")
def main(faults: bool, pictures: bool) -> None:
    """Write .env.example, docs/settings.md and docs/tables.md from the code."""
    wanted = pages()
    if faults:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, surroundings(Path(folder)) as around:
            wanted[PROJECT_ROOT / "docs/faults.md"] = written(run_all(around))
    for path, content in wanted.items():
        path.write_text(content, encoding="utf-8")
        click.echo(f"wrote {path.relative_to(PROJECT_ROOT)}")
    if pictures:
        for path in take():
            click.echo(f"wrote {path.relative_to(PROJECT_ROOT)}")


if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.documents")
