"""The sales list as a view for people, Excel and Power BI: `leads_ready`, one row per company.

A change of the view needs a migration; a test compares the two. Not here: how a score is made (`scoring`).
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Boolean, Column, Connection, Integer, MetaData, Table, Text, select

from partner_center_pipeline.warehouse.schema import JsonValue, Money, UtcDateTime, row_dict

LEADS_READY_SQL: Final = """
CREATE VIEW leads_ready AS
SELECT
    row_number() OVER (
        ORDER BY s.category ASC NULLS LAST, s.score DESC NULLS LAST, c.next_expiry_ticks ASC NULLS LAST,
            c.deal_value DESC NULLS LAST, c.domain
    ) AS rank,
    c.domain, c.domain_unicode, c.name AS company_name, c.country, c.city,
    s.category, s.label, s.act, s.segment, s.segment_reason, s.commercial_segment, s.technical_heat, s.commercial_heat,
    s.score, s.readiness, s.reasons, s.explanation_en, s.explanation_tr,
    d.provider, d.provider_name, d.gateway, d.confidence,
    c.open_referrals, c.referrals, c.engagements, c.open_cosell,
    {due} AS response_due, c.deal_value, c.currency,
    coalesce(c.tenant, d.tenant) AS tenant,
    CASE WHEN c.tenant IS NULL THEN d.tenant_source ELSE c.tenant_source END AS tenant_source,
    l.referral_id, l.engagement_id, l.category AS referral_category, l.status, l.substatus,
    l.contact_name, l.contact_email, l.contact_phone,
    s.signals_at, s.scored_at, s.rules_version
FROM companies AS c
JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN (
    SELECT leads.*, row_number() OVER (
        PARTITION BY leads.domain ORDER BY leads.is_open DESC, leads.updated_ticks DESC, leads.version DESC
    ) AS place
    FROM leads WHERE leads.domain IS NOT NULL AND leads.vanished_at IS NULL
) AS l ON l.domain = c.domain AND l.place = 1
WHERE c.referrals > 0
"""
"""The view. `rank` is the order of scoring.md, section 6: category, then score descending, then hours to the next
response deadline, then deal value descending. The referral and the contact are those of the newest open lead, or of the
newest lead where none is open; a lead that vanished is none of them. `{due}` is the SQL for the deadline as an instant
(DUE_SQL)."""

DUE_SQL: Final = {
    "sqlite": "datetime(c.next_expiry_ticks / 10000000, 'unixepoch')",
    "postgresql": "to_timestamp(c.next_expiry_ticks / 10000000)",
}
"""By dialect: the SQL that turns 100 ns ticks since 1970 into an instant, to the second."""

leads_ready: Final = Table(
    "leads_ready",
    MetaData(),  # not that of schema.py: Alembic would take the view for a table
    Column("rank", Integer, comment="place in the sales list, from 1"),
    *(Column(name, Text) for name in ("domain", "domain_unicode")),
    Column("company_name", Text, comment="of the newest referral that has one"),
    *(Column(name, Text) for name in ("country", "city")),
    *(Column(name, Text) for name in ("category", "label", "act", "segment", "segment_reason", "commercial_segment")),
    *(Column(name, Text) for name in ("technical_heat", "commercial_heat")),
    *(Column(name, Integer) for name in ("score", "readiness")),
    Column("reasons", JsonValue),
    *(Column(name, Text) for name in ("explanation_en", "explanation_tr", "provider", "provider_name", "gateway")),
    *(Column(name, Integer) for name in ("confidence", "open_referrals", "referrals", "engagements")),
    Column("open_cosell", Boolean),
    Column("response_due", UtcDateTime, comment="the next response deadline of an open referral"),
    Column("deal_value", Money),
    *(Column(name, Text) for name in ("currency", "tenant", "tenant_source", "referral_id", "engagement_id")),
    Column("referral_category", Text, comment="marketplace, solution-provider, co-sell or unknown"),
    *(Column(name, Text) for name in ("status", "substatus", "contact_name", "contact_email", "contact_phone")),
    Column("signals_at", UtcDateTime),
    Column("scored_at", UtcDateTime),
    Column("rules_version", Text),
    comment="the sales list: one row per scored company, with the referral and the contact of its newest open lead",
)
"""The view's columns. `response_due`, `signals_at` and `scored_at` are UTC."""


def best(connection: Connection, limit: int) -> list[Mapping[str, Any]]:
    """Return the first `limit` companies of the sales list that have an open referral, as rows of `leads_ready`."""
    rows = connection.execute(
        select(leads_ready).where(leads_ready.c.open_referrals > 0).order_by(leads_ready.c.rank).limit(limit)
    )
    return [row_dict(row) for row in rows]
