"""Rows of the table that `all` prints: work of the product, beside what a user would pick instead, in one run.

A function that measures is registered with `measures` and yields its rows; `all_rows` imports the modules that have
some. Not here: the command and what it prints (`all_rows`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
from rich.console import Console
from sqlalchemy import make_url

from partner_center_pipeline_tests.benchmarks.ingest import Bench, Database
from partner_center_pipeline_tests.postgres import running_server

LEAST_ROUNDS: Final = 3
"""Rounds of which a median counts."""

PAGE_SIZE: Final = 100
"""Referrals per page, for the product and its opponents: the product's default."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio may be: at most `limit`, or at least where `at_least`."""

    limit: float
    at_least: bool = False

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is within the goal. One that is no number, or not above zero, measured nothing."""
        if not math.isfinite(ratio) or ratio <= 0:
            return False
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured against what.

    `ratio` is ours divided by the opponent's for a goal of at most, and the opponent's divided by ours (times as fast)
    for one of at least. Where the goal is an amount, such as MB, `ratio` is that amount, and `against` says so. `found`
    is the figures behind it, in words: `1.71 s, 7.05 s`.
    """

    work: str
    against: str
    ratio: float
    goal: Goal
    found: str = ""

    @property
    def holds(self) -> bool:
        """Whether the goal is met."""
        return self.goal.holds(self.ratio)

    def shown(self) -> dict[str, object]:
        """The row as JSON has it. A ratio that is no number is null."""
        ratio = float(f"{self.ratio:.4g}") if math.isfinite(self.ratio) else None
        return {
            "work": self.work,
            "against": self.against,
            "ratio": ratio,
            "goal": str(self.goal),
            "holds": self.holds,
            "found": self.found,
        }


@dataclass
class Measuring:
    """What the functions that measure are given; `stack` closes what they share."""

    small: bool
    """Whether sizes are those of development: figures mean little then."""
    repeat: int
    """How often each side is measured; the median counts."""
    notes: Console
    stack: ExitStack = field(default_factory=ExitStack)
    versions: dict[str, str] = field(default_factory=dict)
    """Of the servers that were started."""

    @property
    def rounds(self) -> int:
        """How often each side is measured: three times at least, but in development."""
        return max(self.repeat, self.size(LEAST_ROUNDS, 1))

    def size(self, full: int, small: int) -> int:
        """Return the size to measure with."""
        return small if self.small else full

    @cached_property
    def folder(self) -> Path:
        """A folder that is deleted in the end."""
        return Path(self.stack.enter_context(TemporaryDirectory(prefix="benchmark-")))

    @cached_property
    def postgresql(self) -> str:
        """The URL (for SQLAlchemy) of an empty PostgreSQL server that runs until the end."""
        url = self.stack.enter_context(running_server())
        parsed = make_url(url)
        with psycopg.connect(host=str(parsed.query["host"]), user=parsed.username, dbname=parsed.database) as opened:
            self.versions["postgresql"] = str(opened.info.parameter_status("server_version"))
        return url

    def bench(self, database: Database) -> Bench:
        """Return what makes and drops databases of a kind, and runs the cases of `ingest` on them."""
        server = self.postgresql if database is Database.POSTGRESQL else ""
        return Bench(database, self.folder, server, PAGE_SIZE, self.notes)

    def medians(self, *sides: Callable[[], float], at_least: int = 1) -> list[float]:
        """Measure the sides in turn, as often as `rounds` says, but `at_least` so often; return the median of each.

        In turn, so that what slows the machine down for a while slows all sides down.
        """
        rounds = max(self.rounds, at_least)
        found: list[list[float]] = [[] for _ in sides]
        for number in range(rounds):
            for side, measured in zip(sides, found, strict=True):
                measured.append(side())
                self.notes.print(f"  {number + 1} of {rounds}: {measured[-1]:.3f}")
        return [median(each) for each in found]


Measure = Callable[[Measuring], Iterator[Row]]

MEASURES: Final[dict[str, Measure]] = {}
"""What `all` measures, by the name that `--only` takes, in the order of the table."""


def measures(name: str) -> Callable[[Measure], Measure]:
    """Register a function that measures some rows under a name; the names are unique."""

    def register(function: Measure) -> Measure:
        assert name not in MEASURES, name
        MEASURES[name] = function
        return function

    return register


def chosen(only: Sequence[str]) -> dict[str, Measure]:
    """Return what is to be measured: all, or those that are named."""
    return {name: measure for name, measure in MEASURES.items() if not only or name in only}
