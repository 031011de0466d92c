"""Tables company_scores and score_changes: the current score of each company, and why it changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, func, or_, select, text

from partner_center_pipeline.scoring.history import change_between, enters_told_category
from partner_center_pipeline.warehouse import list_order, outbox
from partner_center_pipeline.warehouse.bulk import among, upsert
from partner_center_pipeline.warehouse.leads import Written, named_by, same_content
from partner_center_pipeline.warehouse.schema import companies, company_scores, leads, row_dict, score_changes


@dataclass(frozen=True, slots=True)
class ScoresWritten:
    """The counts of a write, and how often each cause changed a score."""

    written: Written
    causes: Counter[str]


def load(connection: Connection, domains: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the scores of these domains, by domain."""
    rows = connection.execute(select(company_scores).where(among(company_scores.c.domain, domains)))
    return {row.domain: row_dict(row) for row in rows}


def page(connection: Connection, after: str, size: int) -> list[dict[str, Any]]:
    """Return up to `size` scores of domains after `after` in the database's order ("" returns the first page).

    Reading in pages needs no long transaction: each page may be read in its own.
    """
    rows = connection.execute(
        select(company_scores).where(company_scores.c.domain > after).order_by(company_scores.c.domain).limit(size)
    )
    return [row_dict(row) for row in rows]


def count(connection: Connection) -> int:
    """Count the companies with a score."""
    return connection.execute(select(func.count()).select_from(company_scores)).scalar_one()


def by_segment_and_category(connection: Connection) -> Counter[tuple[str, str | None]]:
    """Return how many companies that a referral names are in each segment and category."""
    columns = company_scores.c.segment, company_scores.c.category
    every = select(*columns, func.count()).group_by(*columns)  # from an index alone, in its order
    unnamed = every.join(companies, companies.c.domain == company_scores.c.domain).where(companies.c.referrals == 0)
    found = Counter({(segment, category): number for segment, category, number in connection.execute(every)})
    for segment, category, number in connection.execute(unnamed):
        found[segment, category] -= number
    return +found


VERSIONS: Final = """
WITH RECURSIVE versions (version) AS (
    SELECT min(rules_version) FROM company_scores
    UNION ALL
    SELECT (SELECT min(s.rules_version) FROM company_scores AS s WHERE s.rules_version > v.version)
    FROM versions AS v WHERE v.version IS NOT NULL
)
SELECT version FROM versions WHERE version IS NOT NULL"""
"""The versions of the rules that made the scores. From one to the next by an index: DISTINCT reads all of it."""


def versions(connection: Connection) -> list[str]:
    """Return the versions of the rules that made the stored scores, sorted."""
    return sorted(connection.execute(text(VERSIONS)).scalars())


def outdated(start: int, end: int, derived_with: str | None) -> Select[str]:
    """Select the domains of windows in `[start, end)` (ticks) with a score that was not derived with this digest.

    With None, all domains of the windows. One without a score is always among them.
    """
    query = named_by(start, end)
    if derived_with is None:
        return query
    query = query.outerjoin_from(leads, company_scores, company_scores.c.domain == leads.c.domain)
    return query.where(or_(company_scores.c.domain.is_(None), company_scores.c.derived_with != derived_with))


def write(connection: Connection, rows: Sequence[Mapping[str, Any]], *, tell: bool = False) -> ScoresWritten:
    """Write the scores that differ from the stored ones, with a history row for each changed score or segment.

    A different `scored_at` alone does not count: it says when the stored score was made. Where only `derived_with`
    differs, that alone is written. With `tell`, each company that enters P1 or P2 gets a row in the outbox.
    """
    return rewrite(connection, load(connection, [row["domain"] for row in rows]), rows, tell=tell)


def rewrite(
    connection: Connection,
    stored: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    tell: bool = False,
) -> ScoresWritten:
    """Do the same as `write`, with the `stored` scores by domain, which this transaction has read already."""
    to_write: list[Mapping[str, Any]] = []
    changed: list[Mapping[str, Any]] = []
    history: list[dict[str, Any]] = []
    entered: list[outbox.Event] = []
    for row in rows:
        before = stored.get(row["domain"])
        if before is not None and same_content({**before, "scored_at": row["scored_at"]}, row):
            if before["derived_with"] != row["derived_with"]:
                to_write.append({**row, "scored_at": before["scored_at"]})
            continue
        to_write.append(row)
        changed.append(row)
        if enters_told_category(None if before is None else before["category"], row["category"]):
            entered.append(outbox.entered(row["domain"], row["category"], row["scored_at"]))
        change = change_between(before, row)
        if change is not None:
            history.append(
                {
                    "domain": row["domain"],
                    "changed_at": row["scored_at"],
                    "cause": str(change.cause),
                    "segment_before": before and before["segment"],
                    "segment_after": row["segment"],
                    "score_before": before and before["score"],
                    "score_after": row["score"],
                    "detail": change.detail,
                }
            )
    upsert(connection, company_scores, to_write)
    list_order.renew(connection, [row["domain"] for row in changed])
    if history:
        connection.execute(score_changes.insert(), history)
    if tell:
        outbox.add_entered(connection, entered)
    keys = tuple(row["domain"] for row in changed)
    new = tuple(domain for domain in keys if domain not in stored)
    written = Written(len(new), len(keys) - len(new), len(rows) - len(keys), keys, new)
    return ScoresWritten(written, Counter(row["cause"] for row in history))
