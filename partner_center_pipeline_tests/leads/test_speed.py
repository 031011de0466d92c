"""The measurement of `normalize_domain` works; how fast it is depends on the machine, so a person runs it."""

import json
from random import Random

import pytest

from partner_center_pipeline.leads import normalize_domain
from partner_center_pipeline.leads.domains import find_hosts
from partner_center_pipeline_tests.benchmarks.domains import main, mixed_texts


@pytest.mark.slow
def test_the_benchmark_ends_with_its_figures_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(2000)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["texts"] == 2000
    assert figures["per_second"] > 0
    assert figures["ratio"] == pytest.approx(figures["per_second"] / figures["tldextract_per_second"], abs=0.01)


def test_the_benchmark_reads_hosts_it_has_not_met_and_rubbish() -> None:
    texts = mixed_texts(5000, Random(1))  # noqa: S311  no secret hangs on it
    hosts = [host.name for text in texts for host in find_hosts(text) if host.platform is None]
    assert len(set(hosts)) == len(hosts) > 4000
    assert any("xn--" in host for host in hosts)
    assert 0.05 < sum(normalize_domain(text) is None for text in texts) / len(texts) < 0.2
