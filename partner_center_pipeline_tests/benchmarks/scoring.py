"""How long it takes to score a million companies on one core, beside `score_domain` for each.

The companies are made up, each fact drawn independently: more combinations occur than in any real warehouse. Not here:
whether the two give the same scores, which is a test; reading and writing scores (`warehouse.scores`).
"""

import json
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import click

from partner_center_pipeline.scoring import ScoreInput, score_domain, score_frame
from partner_center_pipeline.scoring.frame import inputs_frame
from partner_center_pipeline.vocabulary import DmarcPolicy, Provider, TenantSource

COMPANIES: Final = 1_000_000
"""Companies of the frame."""

SAMPLE: Final = 50_000
"""Companies that are scored one by one; their time is scaled up."""

ROUNDS: Final = 3
"""The best round counts: other processes of the machine slow the others down."""

SEED: Final = 2026
"""Of the companies."""


def made_up(count: int, chance: Random) -> list[ScoreInput]:
    """Companies with evidence of their own each: one in ten with a tenant, one in five with an open co-sell."""

    def often(share: float) -> bool:
        return chance.random() < share

    def company(number: int) -> ScoreInput:
        tenant, cosell = often(0.1), often(0.2)
        return ScoreInput(
            domain=f"firma{number}.com.tr",
            domain_valid=True,
            provider=chance.choice([*Provider]),
            no_mx=often(0.03),
            signals_complete=often(0.97),
            spf_present=often(0.7),
            spf_multiple=often(0.02),
            spf_includes=chance.randrange(7),
            dkim_present=chance.choice([True, False, None]),
            dmarc_policy=chance.choice([*DmarcPolicy, None]),
            tenant=f"tenant{number}" if tenant else None,
            tenant_source=chance.choice([*TenantSource]) if tenant else None,
            open_cosell=cosell,
            mx_host=f"mx{number}.example",
            dkim_selector="selector1",
            cosell_referral=f"r-{number}" if cosell else None,
        )

    return [company(number) for number in range(count)]


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU seconds of this process that the best of ROUNDS took."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(ROUNDS))


def one_by_one(companies: Sequence[ScoreInput]) -> None:
    """Score each company by itself, its reasons left as objects: less than `score_frame` does."""
    for company in companies:
        score_domain(company)


def main(count: int = COMPANIES, sample: int = SAMPLE) -> None:
    """Print the CPU seconds of both ways for `count` companies and their ratio; the last line is the same as JSON."""
    companies = made_up(count, Random(SEED))  # noqa: S311  no secret hangs on it
    frame = inputs_frame([{name: getattr(one, name) for name in ScoreInput.__slots__} for one in companies])
    together = cpu_seconds(lambda: score_frame(frame))
    some = companies[:sample]
    alone = cpu_seconds(lambda: one_by_one(some)) * count / len(some)
    click.echo(f"score_frame           {together:7.2f} CPU seconds for {count:,} companies")
    click.echo(f"score_domain in turn  {alone:7.2f} CPU seconds, scaled up from {len(some):,}")
    click.echo(f"ratio                 {alone / together:7.1f}")
    figures = {"companies": count, "frame_cpu_seconds": round(together, 2), "loop_cpu_seconds": round(alone, 2)}
    click.echo(json.dumps({**figures, "ratio": round(alone / together, 1)}))


@click.command()
def scoring() -> None:
    """Measure how long a million companies take to be scored anew, beside scoring each by itself.

    The last line is JSON: companies, frame_cpu_seconds, loop_cpu_seconds, ratio.
    """
    main()
