"""`partner-center decisions import`: take in a workbook that the sales team filled in."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.cli.base import console, emit, notes, report_errors, stop
from partner_center_pipeline.cli.deciding import author_of, decision_options, keep
from partner_center_pipeline.cli.options import json_option, language_option
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline.windows import datetime_of

if TYPE_CHECKING:
    from partner_center_pipeline.leads.decisions import Decision, LeadState
    from partner_center_pipeline.reports.filled_in import Cell, Plan

FAULTS_SHOWN: Final = 100


@click.group()
def decisions() -> None:
    """Take in what the sales team decided in a workbook. `lead` and `matches` decide one by one."""


@decisions.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would change and write nothing.")
@decision_options
@json_option("Print the outcome as JSON.")
@language_option
@report_errors
def import_(file: Path, dry_run: bool, note: str | None, by: str | None, as_json: bool, language: str) -> None:
    """Take in the columns Decision, Snoozed until and Domain of a workbook that `export --format xlsx` wrote.

    FILE may be in Turkish or English, sorted or filtered. Only what somebody wrote counts, not what has changed since.
    In the list Leads a row stands for all open leads of its company. An emptied Decision reopens the lead, an emptied
    Domain takes a domain back that was set by hand. All of it is taken in, or nothing: each wrong cell is named.
    """
    from partner_center_pipeline.reports.filled_in import read_workbook

    settings = Settings.load()
    filled = read_workbook(file)
    author = author_of(by, note)
    with open_warehouse(settings) as db:
        with db.read() as connection:
            plan, states = _plan(connection, filled, settings, author.at, Language(language))
        applied = None
        if not plan.faults and plan.decisions and not dry_run:
            applied = keep(db, settings, [one for one, _ in plan.decisions], author)
    if as_json:
        emit(_plain(plan, states, dry_run, applied, Language(language)))
    else:
        _show(plan, states, dry_run, Texts(language))
    if plan.faults:
        notes.print("[bold red]error[/] ", end="")
        for fault in plan.faults[:FAULTS_SHOWN]:
            notes.print(fault.told(Language(language)), markup=False)
        stop(Texts(language)("decisions.refused", count=len(plan.faults)))


def _plan(
    connection: Any, filled: Any, settings: Settings, now: Any, language: Language
) -> "tuple[Plan, dict[str, LeadState]]":
    """Return the plan for a workbook, and the leads that it names or stands for."""
    from sqlalchemy import and_

    from partner_center_pipeline.reports.filled_in import Planner
    from partner_center_pipeline.warehouse import decisions as stored
    from partner_center_pipeline.warehouse.bulk import among, chunks
    from partner_center_pipeline.warehouse.schema import leads

    states: dict[str, LeadState] = {}

    def read(column: Any, keys: Sequence[str], *more: Any) -> "list[LeadState]":
        found = [
            one
            for chunk in chunks(sorted(set(keys)))
            for one in stored.states(connection, and_(among(column, chunk), *more))
        ]
        states.update({one.lead["referral_id"]: one for one in found})
        return found

    read(leads.c.referral_id, [row.referral_id for row in filled.rows])
    companies = {
        states[row.referral_id].lead["domain"] for row in filled.rows if row.of_company and row.referral_id in states
    }
    of_company: dict[str, list[str]] = {}
    for one in read(leads.c.domain, list(companies - {None}), leads.c.is_open, leads.c.vanished_at.is_(None)):
        of_company.setdefault(one.lead["domain"], []).append(one.lead["referral_id"])
    planner = Planner(states, of_company, frozenset(settings.own_domains), now, language)
    return planner.plan(filled), states


def _plain(
    plan: "Plan", states: "dict[str, LeadState]", dry_run: bool, applied: bool | None, language: Language
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "changes": [_plain_change(one, cell, states) for one, cell in plan.decisions],
        "already_decided": plan.same,
        "written": len(plan.decisions) if applied is not None else 0,
        "applied": applied,
        "faults": [
            {"sheet": fault.cell.sheet, "cell": fault.cell.place, "code": fault.code, "message": fault.told(language)}
            for fault in plan.faults
        ],
    }


def _plain_change(one: "Decision", cell: "Cell", states: "dict[str, LeadState]") -> dict[str, Any]:
    return {
        "sheet": cell.sheet,
        "cell": cell.place,
        "referral_id": one.subject,
        "company_name": states[one.subject].lead["company_name"],
        "kind": one.kind,
        "choice": one.choice,
        "domain": one.domain,
        "until": None if one.until_ticks is None else datetime_of(one.until_ticks).date().isoformat(),
    }


def _show(plan: "Plan", states: "dict[str, LeadState]", dry_run: bool, say: Texts) -> None:
    from partner_center_pipeline.leads import unicode_domain

    if plan.decisions and not plan.faults:
        table = Table(*(say(f"decisions.{name}") for name in ("cell", "company", "before", "after")), box=None)
        for one, cell in plan.decisions:
            state = states[one.subject]
            before = state.mark["choice"] if one.kind == "mark" and state.mark else None
            was = say.word("decision", before) if before else ""
            if one.kind == "domain":
                was = unicode_domain(state.lead["domain"]) if state.lead["domain"] else ""
            what = [say.word("decision", one.choice)]
            what += [unicode_domain(one.domain)] if one.domain else []
            what += [say.day(datetime_of(one.until_ticks))] if one.until_ticks is not None else []
            name = state.lead["company_name"] or one.subject
            table.add_row(Text(f"{cell.sheet}!{cell.place}"), Text(name), Text(was), Text(" ".join(what)))
        console.print(table)
    if not plan.faults:
        done = "decisions.would_change" if dry_run else "decisions.changed"
        console.print(say(done, count=len(plan.decisions), same=plan.same))
