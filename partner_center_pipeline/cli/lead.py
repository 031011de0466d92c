"""`partner-center lead`: list and show leads, mark them, and say which domain is the customer's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy import ColumnElement, and_

from partner_center_pipeline.cli.base import console, emit, report_errors, stop
from partner_center_pipeline.cli.deciding import (
    Day,
    author_of,
    complete_lead,
    decision_options,
    domain_meant,
    keep,
    leads_meant,
)
from partner_center_pipeline.cli.options import json_option, language_option
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse import decisions
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline.warehouse.schema import leads
from partner_center_pipeline.windows import datetime_of, ticks_of

if TYPE_CHECKING:
    from partner_center_pipeline.leads.decisions import Decision, LeadState

MARKS = ("contacted", "not-interested", "snoozed", "reopened")


@click.group()
def lead() -> None:
    """Leads: list and show them, mark them, and say which domain is the customer's.

    ID is a referral's id or any beginning of it that only one has; TAB completes it, also from a part of the company's
    name. A company's domain or name stands for its open leads. Who decided, when and why is kept (docs/decisions.md).
    """


@lead.command("list")
@click.option("--without-company", is_flag=True, help="Only leads that have no domain.")
@click.option("--closed", is_flag=True, help="Closed leads too.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many rows.")
@json_option("Print the list as JSON.")
@language_option
@report_errors
def list_(without_company: bool, closed: bool, limit: int, as_json: bool, language: str) -> None:
    """List open leads by company, with their mark and domain. No contact is shown."""
    where: list[ColumnElement[bool]] = [leads.c.vanished_at.is_(None)]
    if without_company:
        where.append(leads.c.domain.is_(None))
    if not closed:
        where.append(leads.c.is_open)
    with open_warehouse(Settings.load()) as db, db.read() as connection:
        found = decisions.states(connection, and_(*where), limit)
    if as_json:
        emit([plain(one) for one in found])
        return
    say = Texts(language)
    if not found:
        console.print(say("lead.none"))
        return
    columns = ("id", "company", "domain", "mark", "until", "by")
    table = Table(*(say(f"lead.{name}") for name in columns), box=None)
    for one in found:
        table.add_row(
            Text(one.lead["referral_id"]),
            Text(one.lead["company_name"] or ""),
            Text(_domain(one, say)),
            _mark(one, say),
            _until(one, say),
            Text(one.mark["decided_by"] if one.mark else ""),
        )
    console.print(table)
    if len(found) == limit:
        console.print(say("lead.more", limit=limit))


@lead.command()
@click.argument("lead_id", metavar="ID", shell_complete=complete_lead)
@json_option("Print the lead and all decisions about it as JSON.")
@language_option
@report_errors
def show(lead_id: str, as_json: bool, language: str) -> None:
    """Show a lead, what is decided about it, and every earlier decision: who, when, why."""
    with open_warehouse(Settings.load()) as db, db.read() as connection:
        found = leads_meant(connection, lead_id)
        histories = [decisions.history(connection, one.lead["referral_id"]) for one in found]
    if as_json:
        emit(
            [
                {**plain(one), "decisions": [_plain_decision(row) for row in rows]}
                for one, rows in zip(found, histories, strict=True)
            ]
        )
        return
    say = Texts(language)
    for one, rows in zip(found, histories, strict=True):
        console.print(Text(f"{one.lead['company_name'] or ''}  {one.lead['referral_id']}", "bold"))
        facts = (
            ("domain", _domain(one, say) or say.word("domain_reason", one.lead["domain_reason"] or "")),
            ("mark", " ".join(filter(None, (_mark(one, say), _until(one, say))))),
        )
        for name, value in facts:
            console.print(Text(f"  {say(f'lead.{name}'):<14} {value}"))
        for row in rows:
            console.print(Text("  " + decision_line(row, say)))


@lead.command("set-domain")
@click.argument("lead_id", metavar="ID", shell_complete=complete_lead)
@click.argument("domain", required=False)
@click.option("--none", "refuse", is_flag=True, help="No domain: the one that was found is not the customer's.")
@decision_options
@json_option("Print the decisions as JSON.")
@report_errors
def set_domain(lead_id: str, domain: str | None, refuse: bool, note: str | None, by: str | None, as_json: bool) -> None:
    """Say which domain is the customer's. It goes before what the referral names, whatever is synced later.

    DOMAIN is a host, a URL or an e-mail address. The lead counts as of that company at once; DNS is asked by the next
    run. `clear-domain` takes it back.
    """
    from partner_center_pipeline.leads.decisions import Decision, DecisionKind, DomainChoice

    if refuse == bool(domain):
        raise click.UsageError("give the DOMAIN, or --none")
    settings = Settings.load()
    to = domain_meant(domain, settings) if domain else None
    choice = DomainChoice.SET if to else DomainChoice.REFUSED
    _decide(
        settings,
        lead_id,
        lambda one: Decision(kind=DecisionKind.DOMAIN, subject=one.lead["referral_id"], choice=choice, domain=to),
        (note, by, as_json),
    )


@lead.command("clear-domain")
@click.argument("lead_id", metavar="ID", shell_complete=complete_lead)
@decision_options
@json_option("Print the decisions as JSON.")
@report_errors
def clear_domain(lead_id: str, note: str | None, by: str | None, as_json: bool) -> None:
    """Take back what `set-domain` said: the domain is what the referral names again."""
    from partner_center_pipeline.leads.decisions import Decision, DecisionKind, DomainChoice

    def cleared(one: "LeadState") -> "Decision | None":
        if one.by_hand is None:
            return None
        return Decision(kind=DecisionKind.DOMAIN, subject=one.lead["referral_id"], choice=DomainChoice.CLEARED)

    _decide(Settings.load(), lead_id, cleared, (note, by, as_json), "nobody set a domain of that lead")


@lead.command()
@click.argument("lead_id", metavar="ID", shell_complete=complete_lead)
@click.argument("mark", type=click.Choice(MARKS))
@click.option("--until", type=Day(), metavar="DATE", help="Of a snoozed lead: the day on which it comes back (UTC).")
@decision_options
@json_option("Print the decisions as JSON.")
@report_errors
def mark(lead_id: str, mark: str, until: datetime | None, note: str | None, by: str | None, as_json: bool) -> None:
    """Mark how far you are with a lead.

    \b
    contacted        shown in the lists; changes no order
    not-interested   last in the lists, until it is reopened
    snoozed          last in the lists, until the day of --until
    reopened         takes the mark back
    """
    from partner_center_pipeline.leads.decisions import Decision, DecisionKind, Mark

    chosen = Mark(mark.replace("-", "_"))
    if (chosen is Mark.SNOOZED) != (until is not None):
        raise click.UsageError("a snoozed lead needs --until DATE, and no other mark has one")
    if until is not None and until <= datetime.now(UTC):
        raise click.UsageError(f"{until:%Y-%m-%d} has begun already; give a day to come")
    ticks = None if until is None else ticks_of(until)
    _decide(
        Settings.load(),
        lead_id,
        lambda one: Decision(kind=DecisionKind.MARK, subject=one.lead["referral_id"], choice=chosen, until_ticks=ticks),
        (note, by, as_json),
    )


def _decide(
    settings: Settings,
    lead_id: str,
    decide: Any,
    said: tuple[str | None, str | None, bool],
    nothing: str = "",
) -> None:
    """Keep what `decide` makes of each lead that is meant, and print it; end the command with `nothing` for none."""
    note, by, as_json = said
    author = author_of(by, note)
    with open_warehouse(settings) as db:
        with db.read() as connection:
            made = [one for one in map(decide, leads_meant(connection, lead_id)) if one is not None]
        if not made:
            stop(nothing)
        applied = keep(db, settings, made, author)
        with db.read() as connection:
            after = decisions.states(connection, leads.c.referral_id.in_([one.subject for one in made]))
    if as_json:
        emit({"applied": applied, "by": author.by, "leads": [plain(one) for one in after]})
        return
    say = Texts("en")
    for one in after:
        told = (_mark(one, say), _until(one, say), _domain(one, say) or say.word("domain_reason", "refused_by_hand"))
        name = one.lead["company_name"] or one.lead["referral_id"]
        console.print(Text(f"{name}: {', '.join(filter(None, told))}"))


# Showing --------------------------------------------------------------------------------------------------------------


def plain(state: "LeadState") -> dict[str, Any]:
    """Return a lead and what is decided about it, for JSON."""
    lead_row, mark_row, by_hand = state.lead, state.mark, state.by_hand
    due = lead_row["expires_ticks"]
    return {
        "referral_id": lead_row["referral_id"],
        "company_name": lead_row["company_name"],
        "is_open": lead_row["is_open"],
        "status": lead_row["status"],
        "response_due": None if due is None else datetime_of(due).isoformat(),
        "domain": lead_row["domain"],
        "domain_source": lead_row["domain_source"],
        "domain_reason": lead_row["domain_reason"],
        "domain_by_hand": None if by_hand is None else _plain_decision(by_hand),
        "mark": None if mark_row is None else _plain_decision(mark_row),
    }


def _plain_decision(row: Mapping[str, Any]) -> dict[str, Any]:
    until = row["until_ticks"]
    return {
        **{name: row[name] for name in ("kind", "choice", "domain", "decided_by", "note")},
        "until": None if until is None else datetime_of(until).date().isoformat(),
        "decided_at": row["decided_at"].isoformat(),
    }


def decision_line(row: Mapping[str, Any], say: Texts) -> str:
    """Return a decision as a line: when, who, what, why."""
    from partner_center_pipeline.leads import unicode_domain

    what: Sequence[str | None] = (
        say.word("decision", row["choice"]),
        unicode_domain(row["domain"]) if row["domain"] else None,
        None if row["until_ticks"] is None else say.day(datetime_of(row["until_ticks"])),
    )
    line = f"{say.instant(row['decided_at'])}  {row['decided_by']}: {' '.join(filter(None, what))}"
    return f"{line} ({row['note']})" if row["note"] else line


def _mark(one: "LeadState", say: Texts) -> str:
    return say.word("decision", one.mark["choice"]) if one.mark else ""


def _until(one: "LeadState", say: Texts) -> str:
    return say.day(datetime_of(one.mark["until_ticks"])) if one.mark and one.mark["until_ticks"] else ""


def _domain(one: "LeadState", say: Texts) -> str:
    """Return the domain, and whether a person set it."""
    from partner_center_pipeline.leads import unicode_domain

    if one.lead["domain"] is None:
        return ""
    domain = unicode_domain(one.lead["domain"])
    return say("lead.by_hand", domain=domain) if one.lead["domain_source"] == "decision" else domain
