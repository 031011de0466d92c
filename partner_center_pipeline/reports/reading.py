"""Reading a report's rows and figures out of the warehouse.

The lists are read while they are written. Only "New and moved" is held in memory as a whole, as it is sorted by name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from partner_center_pipeline.reports.collation import name_key
from partner_center_pipeline.reports.columns import Listing
from partner_center_pipeline.reports.model import (
    About,
    Card,
    ChangeKind,
    ChangeRow,
    Event,
    Figures,
    LeadRow,
    ListName,
)
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.warehouse import reporting, views
from partner_center_pipeline.windows import TICKS_PER_SECOND, datetime_of, parse_ticks

WEEKS: Final = 12
"""How many weeks of new leads are counted, this one included."""

ANSWER_DAYS: Final = (("day_1", 1), ("day_3", 3), ("day_7", 7))
"""Within how many days a lead was answered."""

_VIEWS: Final = {
    ListName.DUE_FIRST: views.due_first,
    ListName.LEADS: views.leads_ready,
    ListName.WITHOUT_COMPANY: views.leads_without_company,
}
_TICKS_A_DAY: Final = 86_400 * TICKS_PER_SECOND


def read_listings(connection: Connection, about: About) -> list[Listing]:
    """Return the lists of a report; rows are read from `connection` as they are asked for, one list after the other."""
    lists = [
        Listing(name, _lead_rows(connection, name, about)) for name in ListName if name is not ListName.NEW_AND_MOVED
    ]
    return [*lists, Listing(ListName.NEW_AND_MOVED, _change_rows(connection, about))]


def _lead_rows(connection: Connection, name: ListName, about: About) -> Iterator[LeadRow]:
    for row in reporting.list_rows(connection, _VIEWS[name], with_contacts=about.with_contacts):
        lead = LeadRow.of(row)
        if about.choice.takes(lead, about.made_at):
            yield lead


def _change_rows(connection: Connection, about: About) -> Iterator[ChangeRow]:
    """Yield what happened since the last report: by kind, then by name."""
    order = list(ChangeKind)
    rows = [*changes(connection, about.since, about.made_at)]
    rows.sort(key=lambda row: (order.index(row.kind), name_key(row.company_name or ""), row.referral_id or ""))
    yield from rows


def changes(connection: Connection, since: datetime, now: datetime) -> Iterator[ChangeRow]:
    """Yield what happened after `since` (UTC): each new open lead, each company that moved, each deadline that passed.

    A new company is told by its new leads. It has a row of its own where its open leads were known before.
    """
    with_new_leads = set()
    for row in reporting.new_leads(connection, since):
        with_new_leads.add(row["domain"])
        yield _of_lead(ChangeKind.NEW, row["at"], row)
    for row in reporting.moved_companies(connection, since):
        kind = _direction(row)
        is_no_news = kind is ChangeKind.NEW and (row["domain"] in with_new_leads or not row["open_referrals"])
        if kind is not None and not is_no_news:
            yield ChangeRow(kind=kind, **{name: value for name, value in row.items() if name != "open_referrals"})
    for row in reporting.expired_leads(connection, since, now):
        yield _of_lead(ChangeKind.EXPIRED, datetime_of(row["expires_ticks"]), row)


def _of_lead(kind: ChangeKind, at: datetime, row: Mapping[str, Any]) -> ChangeRow:
    ticks = row["expires_ticks"]
    return ChangeRow(
        kind=kind,
        at=at,
        company_name=row["company_name"],
        domain=row["domain"],
        domain_unicode=row["domain_unicode"],
        referral_id=row["referral_id"],
        segment_after=row["segment"],
        score_after=row["score"],
        response_due=None if ticks is None else datetime_of(ticks),
    )


def _direction(row: Mapping[str, Any]) -> ChangeKind | None:
    """Return where a company moved; None where it is back at what it was. No score is less than any."""
    if row["segment_before"] is None:
        return ChangeKind.NEW
    before, after = (-1 if row[f"score_{side}"] is None else row[f"score_{side}"] for side in ("before", "after"))
    if before != after:
        return ChangeKind.MOVED_UP if after > before else ChangeKind.MOVED_DOWN
    return ChangeKind.OTHER_SEGMENT if row["segment_before"] != row["segment_after"] else None


def read_figures(connection: Connection, now: datetime) -> Figures:
    """Return figures with the counts over all referrals; those of the lists are counted while the lists are written."""
    return Figures(
        leads_per_week=by_week(reporting.created_days(connection), now.date()),
        answers=by_answer(reporting.answer_times(connection)),
    )


def by_week(days: Iterable[tuple[str, int]], today: date) -> dict[date, int]:
    """Return how many leads were created in each of the last WEEKS weeks, by the week's Monday.

    A day that is no date is left out.
    """
    this_week = today - timedelta(days=today.weekday())
    counts = {this_week - timedelta(weeks=back): 0 for back in reversed(range(WEEKS))}
    for text, count in days:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            continue
        monday = day - timedelta(days=day.weekday())
        if monday in counts:
            counts[monday] += count
    return counts


def by_answer(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many leads were answered (accepted) within each of ANSWER_DAYS, later, or are open without an answer.

    A lead that was closed without an answer, or whose instants cannot be read, is left out.
    """
    counts = {**{name: 0 for name, _ in ANSWER_DAYS}, "later": 0, "open": 0}
    for row in rows:
        if row["accepted_text"] is None:
            counts["open"] += row["is_open"]
            continue
        try:
            ticks = parse_ticks(row["accepted_text"]) - parse_ticks(row["created_text"])
        except ValueError:
            continue
        within = next((name for name, days in ANSWER_DAYS if ticks <= days * _TICKS_A_DAY), "later")
        counts[within] += 1
    return counts


def read_cards(connection: Connection, domains: Sequence[str], words: Words) -> dict[str, Card]:
    """Return the card of each of these companies: its referrals and its history, the newest first."""
    referrals: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    history: defaultdict[str, list[Event]] = defaultdict(list)
    for kind, row in reporting.histories(connection, domains):
        domain = row["domain"]
        if kind == "referral":
            referrals[domain].append(row)
        else:
            text = _scored(row, words) if kind == "score" else _mail(row, words)
            history[domain].append(Event(row["changed_at"].astimezone(UTC), text))
    return {
        domain: Card(tuple(referrals[domain]), tuple(sorted(history[domain], key=lambda event: event.at, reverse=True)))
        for domain in domains
    }


def _scored(row: Mapping[str, Any], words: Words) -> str:
    before, after = (
        " ".join(
            part
            for part in (
                words.known("segment", row[f"segment_{side}"]),
                "" if row[f"score_{side}"] is None else str(row[f"score_{side}"]),
            )
            if part
        )
        for side in ("before", "after")
    )
    if row["segment_before"] is None:
        return words.text("page.scored_first", after=after)
    return words.text("page.scored", before=before, after=after, cause=words.known("cause", row["cause"]))


def _mail(row: Mapping[str, Any], words: Words) -> str:
    before, after = (
        " + ".join(part for part in (words.known("provider", row[f"provider_{side}"]), row[f"gateway_{side}"]) if part)
        for side in ("before", "after")
    )
    if row["provider_before"] is None:
        return words.text("page.mail_first", after=after)
    if before == after:
        return words.text("page.mail_same", parts=", ".join(sorted(row["detail"] or ())))
    return words.text("page.mail_moved", before=before, after=after)
