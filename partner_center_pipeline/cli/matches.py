"""`partner-center matches`: companies that may be one, in groups: list, accept, reject, and undo either."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from partner_center_pipeline.cli.base import console, emit, report_errors, stop
from partner_center_pipeline.cli.deciding import author_of, completing, decision_options, keep
from partner_center_pipeline.cli.lead import decision_line
from partner_center_pipeline.cli.options import json_option, language_option
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.warehouse import decisions
from partner_center_pipeline.warehouse.database import open_warehouse

if TYPE_CHECKING:
    from partner_center_pipeline.leads.decisions import Decision, Verdict

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A company (`kind` company, its domain) or a lead without a domain (`kind` lead, its referral's id)."""

    kind: str
    id: str
    name: str | None
    country: str | None
    open_referrals: int


@dataclass(slots=True)
class Group:
    """The suggestions about the same two names (or one name): one line for a person to decide about."""

    id: str
    reason: str
    similarity: int
    pairs: list[Row] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def companies(self) -> list[Member]:
        """Its companies, the one with the most open referrals first."""
        found = [one for one in self.members.values() if one.kind == "company"]
        return sorted(found, key=lambda one: (-one.open_referrals, one.id))

    @property
    def leads(self) -> list[Member]:
        """Its leads without a domain."""
        return [one for one in self.members.values() if one.kind == "lead"]


def grouped(rows: Iterable[Row]) -> list[Group]:
    """Return rows of `decisions.suggested` in groups, in the order in which each begins."""
    groups: dict[str, Group] = {}
    for row in rows:
        group = groups.setdefault(row["group_id"], Group(row["group_id"], row["reason"], row["similarity"]))
        group.pairs.append(row)
        for side, kind in (("subject", row["kind"]), ("domain", "company")):
            member = Member(kind, row[side], row[f"{side}_name"], row[f"{side}_country"], int(row[f"{side}_open"] or 0))
            group.members[row[side]] = member
    return list(groups.values())


@completing
def _complete(connection: Connection, incomplete: str) -> list[CompletionItem]:
    """Return the groups whose id begins so, or that have the text in a name."""
    part = incomplete.lower()
    found = []
    for group in grouped(decisions.suggested(connection)):
        names = [one.name or one.id for one in group.members.values()]
        if group.id.startswith(part) or any(part in name.lower() for name in names):
            found.append(CompletionItem(group.id, help=names[0]))
    return found


@click.group()
def matches() -> None:
    """Companies that may be one, and leads that may be a company's: accept or reject them.

    Identical names are one line, a group. Nothing is merged until you accept it; then what was accepted counts as of
    the one company, also in what is synced later, until you undo it. What you reject is never suggested again.
    """


@matches.command("list")
@click.option("--decided", is_flag=True, help="Instead, what was accepted and rejected: by whom, when, why.")
@json_option("Print the list as JSON.")
@language_option
@report_errors
def list_(decided: bool, as_json: bool, language: str) -> None:
    """List what is suggested, a group a line, the likeliest first."""
    say = Texts(language)
    with open_warehouse(Settings.load()) as db, db.read() as connection:
        if decided:
            rows = decisions.verdicts(connection)
        else:
            groups = grouped(decisions.suggested(connection))
    if decided:
        if as_json:
            emit([{name: value for name, value in row.items() if name != "until_ticks"} for row in rows])
            return
        for row in rows:
            console.print(Text(f"{row['group_id'] or '':<8}  {row['subject']}  {decision_line(row, say)}"))
        if not rows:
            console.print(say("matches.none_decided"))
        return
    if as_json:
        emit([_plain(group) for group in groups])
        return
    if not groups:
        console.print(say("matches.none"))
        return
    table = Table(*(say(f"matches.{name}") for name in ("group", "why", "companies", "leads")), box=None)
    for group in groups:
        table.add_row(
            Text(group.id),
            f"{say.word('match_reason', group.reason)} ({group.similarity})",
            Text("; ".join(f"{one.name or ''} ({one.id})" for one in group.companies)),
            Text("; ".join(f"{count} × {name}" for name, count in Counter(one.name for one in group.leads).items())),
        )
    console.print(table)
    console.print(say("matches.total", groups=len(groups), pairs=sum(len(group.pairs) for group in groups)))


@matches.command()
@click.argument("what", metavar="GROUP|ID|DOMAIN", shell_complete=_complete)
@click.argument("into", required=False, metavar="[COMPANY]")
@decision_options
@json_option("Print what was decided as JSON.")
@report_errors
def accept(what: str, into: str | None, note: str | None, by: str | None, as_json: bool) -> None:
    """Let a group, a lead (its id) or a company (its domain) count as of COMPANY, a domain.

    COMPANY may be left out where a group has one company only. Of a group, what is suggested with COMPANY is taken.
    `undo` takes it back.
    """
    from partner_center_pipeline.leads.decisions import DecisionKind, Verdict, counts_as

    settings = Settings.load()
    with open_warehouse(settings) as db:
        with db.read() as connection:
            pairs = _pairs(connection, what, into)
            target = _target(pairs, what, into)
            merged = decisions.merged(connection)
        if (now_of := counts_as(target, merged)) != target:
            stop(f"{target} counts as {now_of} itself; accept into {now_of}, or undo that first")
        made = {}
        for pair in pairs:
            if target not in (pair["domain"], pair["subject"]):
                continue
            other = pair["subject"] if pair["domain"] == target else pair["domain"]
            kind = DecisionKind.LEAD_MATCH if pair["kind"] == "lead" else DecisionKind.COMPANY_MATCH
            made[kind, other] = _decision(kind, other, target, Verdict.ACCEPTED, pair["group_id"])
        _keep(db, settings, list(made.values()), (note, by, as_json))


@matches.command()
@click.argument("what", metavar="GROUP|ID|DOMAIN", shell_complete=_complete)
@click.argument("company", required=False, metavar="[COMPANY]")
@decision_options
@json_option("Print what was decided as JSON.")
@report_errors
def reject(what: str, company: str | None, note: str | None, by: str | None, as_json: bool) -> None:
    """Say that a group is not one company, or that a lead or a company is not COMPANY. It is never suggested again.

    Of a group, each pair is rejected. What comes later with the same name is suggested.
    """
    from partner_center_pipeline.leads.decisions import DecisionKind, Verdict

    settings = Settings.load()
    with open_warehouse(settings) as db:
        with db.read() as connection:
            pairs = _pairs(connection, what, company)
        made = [
            _decision(
                DecisionKind(f"{pair['kind']}_match"),
                pair["subject"],
                pair["domain"],
                Verdict.REJECTED,
                pair["group_id"],
            )
            for pair in pairs
        ]
        _keep(db, settings, made, (note, by, as_json))


@matches.command()
@click.argument("what", metavar="GROUP|ID|DOMAIN")
@click.argument("company", required=False, metavar="[COMPANY]")
@decision_options
@json_option("Print what was decided as JSON.")
@report_errors
def undo(what: str, company: str | None, note: str | None, by: str | None, as_json: bool) -> None:
    """Take an accepted or rejected match back; `list --decided` shows them. It may be suggested again."""
    from partner_center_pipeline.leads.decisions import DecisionKind, Verdict

    settings = Settings.load()
    names = {_domain(what), what.strip().lower()}
    with open_warehouse(settings) as db:
        with db.read() as connection:
            rows = decisions.verdicts(connection)
        sides = {_domain(company)} if company else None
        found = [
            row
            for row in rows
            if (company is None and row["group_id"] in names)
            or (
                names & {row["subject"].lower(), row["domain"]}
                and (not sides or sides & {row["subject"], row["domain"]})
            )
        ]
        if not found:
            stop(f"no match of {what!r} is decided; `partner-center matches list --decided` shows those that are")
        made = [
            _decision(DecisionKind(row["kind"]), row["subject"], row["domain"], Verdict.UNDONE, row["group_id"])
            for row in found
        ]
        _keep(db, settings, made, (note, by, as_json))


def _decision(kind: Any, subject: str, domain: str, choice: "Verdict", group_id: str | None) -> "Decision":
    from partner_center_pipeline.leads.decisions import Decision

    return Decision(kind=kind, subject=subject, domain=domain, choice=choice, group_id=group_id)


def _keep(db: Any, settings: Settings, made: "Sequence[Decision]", said: tuple[str | None, str | None, bool]) -> None:
    note, by, as_json = said
    author = author_of(by, note)
    applied = keep(db, settings, made, author)
    if as_json:
        shown = [{"kind": one.kind, "subject": one.subject, "choice": one.choice, "domain": one.domain} for one in made]
        emit({"applied": applied, "by": author.by, "decisions": shown})
        return
    told = defaultdict(list)
    for one in made:
        told[one.choice, one.domain].append(one.subject)
    for (choice, domain), subjects in told.items():
        console.print(Text(f"{choice}: {', '.join(subjects)} – {domain}"))


def _pairs(connection: Connection, what: str, company: str | None) -> list[Row]:
    """Return the suggested pairs that are meant. Ends the command where none is."""
    rows = decisions.suggested(connection)
    given = what.strip().lower()
    group = [row for row in rows if row["group_id"] == given]
    if group:
        if company is None:
            return group
        domain = _domain(company)
        found = [row for row in group if domain in (row["subject"], row["domain"])]
        if not found:
            named = sorted({row["domain"] for row in group})
            stop(f"{company!r} is no company of group {given}; its companies are: {', '.join(named)}")
        return found
    if company is None:
        stop(
            f"{what!r} is no group; `partner-center matches list` shows them. To decide about one pair, name the "
            "lead's id or the company's domain, then the other company's domain"
        )
    sides = {_domain(what), given}, {_domain(company)}
    found = [
        row
        for row in rows
        if (row["subject"].lower() in sides[0] and row["domain"] in sides[1])
        or (row["kind"] == "company" and row["domain"] in sides[0] and row["subject"] in sides[1])
    ]
    if not found:
        stop(
            f"{what!r} and {company!r} are not suggested as one; `partner-center matches list` shows what is. To "
            "give a lead another domain, use `partner-center lead set-domain`"
        )
    return found


def _target(pairs: Sequence[Row], what: str, into: str | None) -> str:
    if into is not None and (domain := _domain(into)) is not None:
        return domain
    domains = sorted({row["domain"] for row in pairs} | {row["subject"] for row in pairs if row["kind"] == "company"})
    if len(domains) > 1:
        stop(
            f"group {what} has more than one company ({', '.join(domains)}); name the one that the others count as: "
            f"`partner-center matches accept {what} {domains[0]}`"
        )
    return str(domains[0])


def _domain(text: str | None) -> str | None:
    from partner_center_pipeline.leads import normalize_domain

    return normalize_domain(text)


def _plain(group: Group) -> dict[str, Any]:
    def member(one: Member) -> dict[str, Any]:
        return {"id": one.id, "name": one.name, "country": one.country, "open_referrals": one.open_referrals}

    return {
        "group": group.id,
        "reason": group.reason,
        "similarity": group.similarity,
        "pairs": len(group.pairs),
        "companies": [member(one) for one in group.companies],
        "leads": [member(one) for one in group.leads],
    }
