"""What the commands share that keep a person's decisions: who decides, which leads are meant, and applying at once."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem
from sqlalchemy import Connection, and_, func, or_

from partner_center_pipeline.cli.base import notes, os_user, stop
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError, open_warehouse
from partner_center_pipeline.warehouse.schema import leads

if TYPE_CHECKING:
    from partner_center_pipeline.leads.decisions import Author, Decision, LeadState

F = TypeVar("F", bound=Callable[..., Any])

OFFERED: Final = 30
"""How many names a shell is offered to choose from."""

_SEVERAL_SHOWN: Final = 5


def decision_options(command: F) -> F:
    """Add `--note` and `--by` to a command that decides."""
    note = click.option("--note", metavar="TEXT", help="Why. It is kept and shown.")
    by = click.option("--by", metavar="NAME", help="Who decides, if not the user of this system.")
    return note(by(command))


class Day(click.ParamType[datetime]):
    """A day, whose beginning in UTC counts."""

    name = "day"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        found = read_day(value)
        if found is None:
            self.fail(f"{value!r} is no day; write 2026-12-31 or 31.12.2026", param, ctx)
        return found


def read_day(text: str) -> datetime | None:
    """Return the beginning (UTC) of a day that is written as 2026-12-31 or 31.12.2026; None for anything else."""
    for form in ("%Y-%m-%d", "%d.%m.%Y"):
        try:
            day: date = datetime.strptime(text.strip(), form).date()  # noqa: DTZ007  a day has no time zone
        except ValueError:
            continue
        return datetime.combine(day, time(), UTC)
    return None


def author_of(by: str | None, note: str | None) -> "Author":
    """Return who decides now: the name given, or the user of this system."""
    from partner_center_pipeline.leads.decisions import Author

    return Author((by or "").strip() or os_user(), datetime.now(UTC), (note or "").strip() or None)


def keep(db: Warehouse, settings: Settings, made: Sequence["Decision"], author: "Author") -> bool:
    """Keep decisions, all or none, and apply them at once. Return whether the lists show them already."""
    from partner_center_pipeline.defs.derivation import apply_decisions
    from partner_center_pipeline.warehouse import decisions

    with db.write() as connection:
        decisions.append(connection, made, author)
    applied = apply_decisions(db, settings, author.at)
    if not applied:
        notes.print(
            "[yellow]note[/] The decisions are kept. The lists follow them after the next run (`partner-center sync`): "
            "much else is still to be derived first."
        )
    return applied


def leads_meant(connection: Connection, text: str) -> "list[LeadState]":
    """Return the leads that a person means: by id, its beginning, a company's domain, or a company's name.

    A company stands for its open leads, or for all of them where none is open. Ends the command where no lead or more
    than one company is meant.
    """
    from partner_center_pipeline.leads import normalize_domain
    from partner_center_pipeline.warehouse import decisions

    given = text.strip()
    by_id = decisions.states(connection, leads.c.referral_id == given)
    if not by_id and given:
        by_id = decisions.states(connection, leads.c.referral_id.startswith(given.lower(), autoescape=True), OFFERED)
    if len(by_id) > 1:
        shown = ", ".join(str(one.lead["referral_id"]) for one in by_id[:_SEVERAL_SHOWN])
        stop(f"more than one lead's id begins with {given!r} ({shown} ...); give more of it")
    if by_id:
        return by_id
    domain = normalize_domain(given)
    shown_still = leads.c.vanished_at.is_(None)
    of_company = decisions.states(connection, and_(leads.c.domain == domain, shown_still)) if domain else []
    if not of_company:
        of_company = decisions.states(connection, and_(leads.c.company_name == given, shown_still))
    if len({(one.lead["domain"] or one.lead["referral_id"]) for one in of_company}) > 1:
        shown = ", ".join(str(one.lead["referral_id"]) for one in of_company[:_SEVERAL_SHOWN])
        stop(f"more than one company or lead is named {given!r} ({shown} ...); give the id or the domain")
    if not of_company:
        stop(f"no lead or company is {given!r}; `partner-center lead list` shows the ids, and TAB completes them")
    return [one for one in of_company if one.lead["is_open"]] or of_company


def domain_meant(domain: str, settings: Settings) -> str:
    """Return the registrable domain that a person names. Ends the command, with the reason, for one of nobody's."""
    from partner_center_pipeline.leads.customer_domain import DomainReason, read_domain
    from partner_center_pipeline.texts import Texts

    found = read_domain(domain, frozenset(settings.own_domains))
    if isinstance(found, DomainReason):
        stop(f"{domain!r} cannot be a customer's domain: {Texts('en').word('domain_reason', found)}")
    return found


# Completion -----------------------------------------------------------------------------------------------------------

Complete = Callable[[Connection, str], list[CompletionItem]]


def completing(find: Complete) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return a function that offers a shell what `find` finds; nothing where the warehouse cannot be read."""

    @wraps(find)
    def offered(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with open_warehouse(Settings.load()) as db, db.read() as connection:
                return find(connection, incomplete)
        except (WarehouseError, ValueError):  # a message would spoil the line that is typed
            return []

    return offered


@completing
def complete_lead(connection: Connection, incomplete: str) -> list[CompletionItem]:
    """Return the ids of open leads that begin so, or whose company's name or domain has the text in it."""
    from partner_center_pipeline.warehouse import decisions

    part = incomplete.lower()
    where = and_(
        leads.c.is_open,
        leads.c.vanished_at.is_(None),
        or_(
            leads.c.referral_id.startswith(part, autoescape=True),
            func.lower(leads.c.company_name).contains(part, autoescape=True),
            leads.c.domain.contains(part, autoescape=True),
        ),
    )
    found = decisions.states(connection, where, OFFERED)
    return [CompletionItem(one.lead["referral_id"], help=one.lead["company_name"] or "") for one in found]
