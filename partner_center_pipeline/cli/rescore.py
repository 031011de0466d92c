"""`partner-center rescore`: scores every company again, or shows what other rules would change."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy import Connection, make_url

from partner_center_pipeline.cli.base import console, emit, notes, print_table, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar
from partner_center_pipeline.scoring import Category, Rules, ScorePolicy, Segment, load_rules, score_frame
from partner_center_pipeline.scoring.frame import inputs_frame
from partner_center_pipeline.scoring.model import FACTS
from partner_center_pipeline.scoring.preview import Moves, Preview, compare, sides
from partner_center_pipeline.scoring.row import frame_columns, score_digest
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, published, scores
from partner_center_pipeline.warehouse.database import Warehouse, open_warehouse
from partner_center_pipeline.warehouse.leads import Written

PAGE: Final = 20_000
"""Scores read, and written in one transaction, at a time."""

CHUNK: Final = 1000
"""Companies whose largest deal is chosen in one transaction."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was compared and written. `lacking` counts scores not touched because a stored input is missing."""

    preview: Preview = field(default_factory=Preview)
    lacking: int = 0
    written: Written = field(default_factory=Written)
    causes: Counter[str] = field(default_factory=Counter)


@click.command()
@click.option(
    "--rules", "file", type=click.Path(path_type=Path), metavar="FILE", help="Try this rules file (dry only)."
)
@click.option("--dry-run", is_flag=True, help="Say what would change and write nothing.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="How many movers to name.")
@json_option("Print the outcome as JSON.")
@report_errors
def rescore(file: Path | None, dry_run: bool, top: int, as_json: bool) -> None:
    """Score every company anew, from what its stored score was made from. Asks neither Microsoft nor DNS.

    The rules are those of HUNTER_SCORING_RULES, or of FILE; bonus, baseline and tenant discovery are those of the
    settings. Says how many companies are in each segment and category before and after, who goes where, and whose score
    moves most and why. Scores that differ are written, each change with its history row, and so are the rates and texts
    that the lists show.
    """
    if file is not None and not dry_run:
        raise click.UsageError(
            "--rules only tries a file, with --dry-run. To score under it, set HUNTER_SCORING_RULES in .env to it and "
            "run `partner-center rescore`"
        )
    settings = Settings.load()
    file = file or settings.scoring_rules
    rules = load_rules(file)
    with _open_warehouse(settings, dry_run) as warehouse:
        tell = settings.teams_webhook_url is not None
        outcome = _rescore(warehouse, rules, ScorePolicy.of(settings), dry_run, top, tell=tell)
        if not dry_run:
            _publish(warehouse, rules, ScorePolicy.of(settings))
    if as_json:
        emit({"dry_run": dry_run, "rules": file, "rules_version": rules.version, **_plain(outcome)})
    else:
        _show(outcome, f"version {rules.version} ({file or 'as delivered'})", dry_run)


def _open_warehouse(settings: Settings, dry_run: bool) -> AbstractContextManager[Warehouse]:
    """Open the warehouse. A dry run makes neither a SQLite file nor tables."""
    if dry_run:
        warehouse = Warehouse.of(settings)
        is_there = not warehouse.is_sqlite or Path(make_url(warehouse.url).database or "").exists()
        if not is_there or not warehouse.is_current():
            stop(
                f"{warehouse.shown} has not the tables that this version needs, and a dry run makes none; "
                "run `partner-center migrate` first"
            )
        warehouse.close()
    return open_warehouse(settings)


def _publish(warehouse: Warehouse, rules: Rules, policy: ScorePolicy) -> None:
    """Write what the lists need of the rules, and choose by their rates which of a company's deals is the largest."""
    with warehouse.write() as connection:
        published.publish(connection, rules, policy)
    last = ""
    while True:
        with warehouse.write() as connection:
            domains = companies.with_several_currencies(connection, last, CHUNK)
            if not domains:
                return
            companies.choose_deals(connection, domains, rules.rates)
        last = domains[-1]


def _rescore(
    warehouse: Warehouse, rules: Rules, policy: ScorePolicy, dry_run: bool, top: int, *, tell: bool
) -> Outcome:
    """Read, score and, unless `dry_run`, write one page after the other.

    A page is read and written in one transaction, so that no score is lost that a sync writes at the same time.
    """
    outcome, last = Outcome(), ""
    with warehouse.read() as connection:
        total = scores.count(connection)
    rows_done = 0
    with progress_bar("scoring", total) as report:
        while True:
            with warehouse.read() if dry_run else warehouse.write() as connection:
                rows = scores.page(connection, last, PAGE)
                if not rows:
                    return outcome
                page = _rescore_page(rows, rules, policy, top, None if dry_run else connection, tell=tell)
            outcome = Outcome(
                preview=outcome.preview.joined(page.preview, top),
                lacking=outcome.lacking + page.lacking,
                written=outcome.written + page.written,
                causes=outcome.causes + page.causes,
            )
            last = rows[-1]["domain"]
            rows_done += len(rows)
            report(rows_done)


def _rescore_page(
    rows: Sequence[Mapping[str, Any]],
    rules: Rules,
    policy: ScorePolicy,
    top: int,
    writer: Connection | None,
    *,
    tell: bool,
) -> Outcome:
    complete = [row for row in rows if row["inputs"].keys() >= FACTS]
    scored = score_frame(inputs_frame([row["inputs"] for row in complete]), rules, policy)
    preview, lacking = compare(complete, scored, policy, top), len(rows) - len(complete)
    if writer is None:
        return Outcome(preview, lacking)
    now, settings, digest = datetime.now(UTC), asdict(policy), score_digest(rules, policy)
    new = [
        {**row, **columns, "inputs": {**row["inputs"], **settings}, "scored_at": now, "derived_with": digest}
        for row, columns in zip(complete, frame_columns(scored, rules), strict=True)
    ]
    done = scores.rewrite(writer, {row["domain"]: row for row in complete}, new, tell=tell)
    return Outcome(preview, lacking, done.written, done.causes)


def _plain(outcome: Outcome) -> dict[str, Any]:
    preview = outcome.preview
    return {
        "companies": preview.companies,
        "changed": preview.changed,
        "changed_without_a_new_version": preview.unversioned,
        "left_alone": outcome.lacking,
        "segments": _plain_sides(preview.segments, Segment),
        "categories": _plain_sides(preview.categories, Category),
        "transitions": [
            {"before": before, "after": after, "companies": companies}
            for (before, after), companies in preview.segments.most_common()
        ],
        "movers": [asdict(mover) for mover in preview.movers],
        "written": outcome.written.rows,
        "changes_by_cause": dict(outcome.causes),
    }


def _plain_sides(moves: Moves, order: Iterable[str]) -> list[dict[str, Any]]:
    before, after = sides(moves)
    return [{"name": name, "before": before[name], "after": after[name]} for name in _ordered(moves, order)]


def _show(outcome: Outcome, rules: str, dry_run: bool) -> None:
    preview = outcome.preview
    if preview.companies:
        for heading, moves, order in (
            ("Segment", preview.segments, Segment),
            ("Category", preview.categories, Category),
        ):
            print_table(_sides_table(heading, moves, order))
        print_table(_transitions_table(preview.segments))
        if preview.movers:
            print_table(_movers_table(preview))
    done = "would change" if dry_run else "changed"
    console.print(f"{preview.changed:,} of {preview.companies:,} scores {done} under rules {rules}.", markup=False)
    if dry_run:
        console.print("A dry run: nothing was written.")
    else:
        causes = ", ".join(f"{cause} {times:,}" for cause, times in outcome.causes.most_common())
        console.print(f"{outcome.written.rows:,} rows written; history rows by cause: {causes or 'none'}.")
    if preview.unversioned:
        notes.print(
            f"[yellow]note[/] {preview.unversioned:,} of these scores were made under rules of the same version: give "
            "the edited rules another `version`, or history cannot say what changed."
        )
    if outcome.lacking:
        notes.print(
            f"[yellow]note[/] left alone: {outcome.lacking:,}. An older version wrote these scores without a fact that "
            "is needed now; `partner-center sync --from T --to T` for their windows makes them anew."
        )


def _sides_table(heading: str, moves: Moves, order: Iterable[str]) -> Table:
    before, after = sides(moves)
    table = Table(heading, *(Column(name, justify="right") for name in ("before", "after", "difference")))
    for name in _ordered(moves, order):
        table.add_row(name or "none", f"{before[name]:,}", f"{after[name]:,}", f"{after[name] - before[name]:+,}")
    return table


def _transitions_table(moves: Moves) -> Table:
    names = _ordered(moves, Segment)
    table = Table("from, to", *(Column(name or "none", justify="right") for name in names))
    for before in names:
        table.add_row(before, *(f"{moves[before, after]:,}" if moves[before, after] else "" for after in names))
    return table


def _movers_table(preview: Preview) -> Table:
    table = Table("Top movers", "Score", "Segment", "Reasons that differ")
    for mover in preview.movers:
        table.add_row(
            Text(mover.domain),
            _step(mover.score_before, mover.score_after),
            _step(mover.segment_before, mover.segment_after),
            "\n".join(f"{reason.code} {_step(reason.before, reason.after, '+')}" for reason in mover.reasons),
        )
    return table


def _step(before: str | int | None, after: str | int | None, sign: str = "") -> str:
    old, new = ("none" if value is None else format(value, sign) for value in (before, after))
    return old if before == after else f"{old} -> {new}"


def _ordered(moves: Moves, order: Iterable[str]) -> list[str | None]:
    """Return the values that occur: those of `order` in that order, then unknown ones, then None."""
    present = {value for move in moves for value in move}
    known = [str(value) for value in order if value in present]
    unknown = sorted(value for value in present - set(known) if value is not None)
    return [*known, *unknown, *([None] if None in present else [])]
