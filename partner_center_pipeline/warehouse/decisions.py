"""Table decisions: what people decided about leads and suggested matches, append-only.

The newest row about the same thing counts. What follows from a new row is added to `pending_work` in its transaction
(`append`), so the leads are made again from their referrals. Not here: what a decision means (`leads.decisions`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, insert, select

from partner_center_pipeline.leads.decisions import (
    Author,
    Decision,
    DecisionKind,
    DomainChoice,
    DomainDecisions,
    LeadState,
    Verdict,
    counts_as,
)
from partner_center_pipeline.leads.suggestions import MatchKind
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import list_order, pending
from partner_center_pipeline.warehouse.bulk import among, chunks, take_statistics
from partner_center_pipeline.warehouse.schema import companies, decisions, leads, row_dict, suggested_matches

Row = Mapping[str, Any]
_TABLE: Final = decisions
MATCH_KINDS: Final = {DecisionKind.LEAD_MATCH: MatchKind.LEAD, DecisionKind.COMPANY_MATCH: MatchKind.COMPANY}
"""The kinds of decisions about matches, and what `suggested_matches` calls them."""


def append(connection: Connection, made: Sequence[Decision], author: Author) -> None:
    """Append decisions, and let what follows from them be derived anew. Nothing that is there is changed."""
    if not made:
        return
    before = merged(connection)
    rows = [
        {
            "kind": str(one.kind), "subject": one.subject, "choice": str(one.choice), "domain": one.domain,
            "until_ticks": one.until_ticks, "group_id": one.group_id,
            "decided_at": author.at, "decided_by": author.by, "note": author.note,
        }
        for one in made
    ]  # fmt: skip
    connection.execute(insert(_TABLE), rows)
    take_statistics(connection, _TABLE)  # without, the lists of 5,000 companies took 9 s instead of 0.5 s
    _derive_again(connection, made, (before, merged(connection)), author.at)
    marked = sorted({one.subject for one in made if one.kind is DecisionKind.MARK})
    for chunk in chunks(marked):
        named = select(leads.c.domain).where(among(leads.c.referral_id, chunk), leads.c.domain.is_not(None))
        list_order.renew(connection, set(connection.execute(named).scalars()))


def _derive_again(
    connection: Connection, made: Iterable[Decision], merges: Iterable[Mapping[str, str]], now: datetime
) -> None:
    """Add to pending_work the leads whose domain a decision may change, and the suggestions that it may end or renew.

    A lead of merged companies is under the domain that they counted as before, or do now.
    """
    referral_ids = {one.subject for one in made if one.kind in (DecisionKind.DOMAIN, DecisionKind.LEAD_MATCH)}
    pairs = [(one.subject, one.domain) for one in made if one.kind is DecisionKind.COMPANY_MATCH]
    domains = {domain for pair in pairs for domain in pair if domain is not None}
    moved = domains | {counts_as(domain, merge) for domain in domains for merge in merges}
    for chunk in chunks(sorted(moved)):
        referral_ids |= set(
            connection.execute(select(leads.c.referral_id).where(among(leads.c.domain, chunk))).scalars()
        )
    pending.add(connection, Task.LEADS, referral_ids, now)
    pending.add(connection, Task.COMPANY_MATCHES, domains, now)
    pending.add(connection, Task.LEAD_MATCHES, referral_ids, now)


# Reading --------------------------------------------------------------------------------------------------------------


def _newest(*where: ColumnElement[bool]) -> Select[Any]:
    """Select the newest row of each subject."""
    return select(_TABLE).where(_TABLE.c.id.in_(select(func.max(_TABLE.c.id)).where(*where).group_by(_TABLE.c.subject)))


def of_leads(connection: Connection, referral_ids: Sequence[str]) -> DomainDecisions:
    """Return what is decided about the domains of these leads, and which companies count as others."""
    by_hand = _newest(_TABLE.c.kind == DecisionKind.DOMAIN, among(_TABLE.c.subject, referral_ids))
    verdicts = _verdicts(connection, DecisionKind.LEAD_MATCH, among(_TABLE.c.subject, referral_ids))
    return DomainDecisions(
        by_hand={row.subject: row.domain for row in connection.execute(by_hand) if row.choice != DomainChoice.CLEARED},
        accepted=_accepted(verdicts),
        merged=merged(connection),
    )


def merged(connection: Connection) -> dict[str, str]:
    """Return, by domain, the company that a company counts as."""
    return _accepted(_verdicts(connection, DecisionKind.COMPANY_MATCH))


def rejected(connection: Connection) -> set[tuple[str, str, str]]:
    """Return the pairs that are not to be suggested, by `pair_key`."""
    return {
        key
        for kind in MATCH_KINDS
        for key, row in _verdicts(connection, kind).items()
        if row["choice"] == Verdict.REJECTED
    }


def verdicts(connection: Connection) -> list[Row]:
    """Return the verdict in force about each pair, the newest first; without those that were undone."""
    rows = [row for kind in MATCH_KINDS for row in _verdicts(connection, kind).values()]
    return sorted((row for row in rows if row["choice"] != Verdict.UNDONE), key=lambda row: -row["id"])


def pair_key(kind: str, subject: str, domain: str) -> tuple[str, str, str]:
    """Return what names a pair: two companies are the same pair in either order."""
    if kind == DecisionKind.COMPANY_MATCH and subject > domain:
        return kind, domain, subject
    return kind, subject, domain


def _verdicts(
    connection: Connection, kind: DecisionKind, *where: ColumnElement[bool]
) -> dict[tuple[str, str, str], Row]:
    """Return the newest row about each pair, the oldest of them first. People make few of them: they fit in memory."""
    newest: dict[tuple[str, str, str], Row] = {}
    for row in connection.execute(select(_TABLE).where(_TABLE.c.kind == kind, *where).order_by(_TABLE.c.id)):
        key = pair_key(kind, row.subject, row.domain)
        newest.pop(key, None)
        newest[key] = row_dict(row)
    return newest


def _accepted(found: Mapping[tuple[str, str, str], Row]) -> dict[str, str]:
    return {row["subject"]: row["domain"] for row in found.values() if row["choice"] == Verdict.ACCEPTED}


def history(connection: Connection, referral_id: str) -> list[Row]:
    """Return all decisions about a lead, the newest first."""
    about_lead = and_(_TABLE.c.subject == referral_id, _TABLE.c.kind != DecisionKind.COMPANY_MATCH)
    return [row_dict(row) for row in connection.execute(select(_TABLE).where(about_lead).order_by(_TABLE.c.id.desc()))]


STATE_COLUMNS: Final = (
    "referral_id", "company_name", "name", "category", "status", "is_open", "domain", "domain_source", "domain_reason",
    "country", "expires_ticks", "vanished_at",
)  # fmt: skip
"""The columns of `leads` that are read: no contact and no notes."""


def states(connection: Connection, where: ColumnElement[bool], limit: int | None = None) -> list[LeadState]:
    """Return the leads for which `where` holds (a condition on table `leads`), by company's name."""
    columns = [leads.c[name] for name in STATE_COLUMNS]
    query = select(*columns).where(where).order_by(leads.c.company_name, leads.c.referral_id).limit(limit)
    found = [row_dict(row) for row in connection.execute(query)]
    newest: dict[tuple[str, str], Row] = {}
    for chunk in chunks([row["referral_id"] for row in found]):
        for kind in (DecisionKind.MARK, DecisionKind.DOMAIN):
            for row in connection.execute(_newest(_TABLE.c.kind == kind, among(_TABLE.c.subject, chunk))):
                newest[kind, row.subject] = row_dict(row)
    return [
        LeadState(
            row,
            newest.get((DecisionKind.MARK, row["referral_id"])),
            newest.get((DecisionKind.DOMAIN, row["referral_id"])),
        )
        for row in found
    ]


def suggested(connection: Connection) -> list[Row]:
    """Return the suggested matches with the names of both sides, the likeliest first."""
    subject, lead = companies.alias("subject_company"), leads
    of_companies = suggested_matches.c.kind == MatchKind.COMPANY
    query = (
        select(
            suggested_matches,
            companies.c.name.label("domain_name"),
            companies.c.country.label("domain_country"),
            companies.c.open_referrals.label("domain_open"),
            func.coalesce(subject.c.name, lead.c.company_name).label("subject_name"),
            func.coalesce(subject.c.country, lead.c.country).label("subject_country"),
            func.coalesce(subject.c.open_referrals, case((lead.c.is_open, 1), else_=0)).label("subject_open"),
        )
        .join(companies, companies.c.domain == suggested_matches.c.domain)
        .outerjoin(subject, and_(of_companies, subject.c.domain == suggested_matches.c.subject))
        .outerjoin(lead, and_(~of_companies, lead.c.referral_id == suggested_matches.c.subject))
        .order_by(
            suggested_matches.c.similarity.desc(),
            suggested_matches.c.group_id,
            suggested_matches.c.kind,
            suggested_matches.c.subject,
            suggested_matches.c.domain,
        )
    )
    return [row_dict(row) for row in connection.execute(query)]
