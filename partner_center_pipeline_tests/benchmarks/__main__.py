"""`python -m partner_center_pipeline_tests.benchmarks`: one command per benchmark."""

import click

from partner_center_pipeline_tests.benchmarks.all_rows import all_rows
from partner_center_pipeline_tests.benchmarks.dns import dns_benchmark
from partner_center_pipeline_tests.benchmarks.domains import domains
from partner_center_pipeline_tests.benchmarks.ingest import ingest
from partner_center_pipeline_tests.benchmarks.providers import providers
from partner_center_pipeline_tests.benchmarks.report import report
from partner_center_pipeline_tests.benchmarks.scoring import scoring
from partner_center_pipeline_tests.benchmarks.stability import stability


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Measure what the product promises, on this machine. Nothing leaves it: every server is on loopback."""


main.add_command(providers)
main.add_command(stability)
main.add_command(dns_benchmark)
main.add_command(domains)
main.add_command(scoring)
main.add_command(ingest)
main.add_command(report)
main.add_command(all_rows)

if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.benchmarks")
