"""What is still to be derived, what rows were derived with, versions by content

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A version was the eTag, or a hash where there was none.
VERSIONS = (
    """
UPDATE leads SET version = (
    SELECT substr(raw.content_hash, 1, 32) FROM raw_referrals AS raw
    WHERE raw.referral_id = leads.referral_id AND raw.version = leads.version
)
WHERE EXISTS (
    SELECT 1 FROM raw_referrals AS raw WHERE raw.referral_id = leads.referral_id AND raw.version = leads.version
)
""",
    "UPDATE raw_referrals SET version = substr(content_hash, 1, 32)",
)
OLD_VERSIONS = (
    """
DELETE FROM raw_referrals WHERE etag IS NOT NULL AND EXISTS (
    SELECT 1 FROM raw_referrals AS newer
    WHERE newer.referral_id = raw_referrals.referral_id AND newer.etag = raw_referrals.etag
    AND (newer.fetched_at, newer.version) > (raw_referrals.fetched_at, raw_referrals.version)
)
""",
    """
UPDATE leads SET version = coalesce((
    SELECT coalesce(raw.etag, 'sha256:' || raw.content_hash) FROM raw_referrals AS raw
    WHERE raw.referral_id = leads.referral_id AND raw.version = leads.version
), version)
""",
    "UPDATE raw_referrals SET version = coalesce(etag, 'sha256:' || content_hash)",
)
COMMENTS = (
    ("raw_referrals", "version", "the first 32 characters of content_hash"),
    ("sync_attempts", "unchanged", "rows already known by id and content"),
)
OLD_COMMENTS = (
    ("raw_referrals", "version", "the eTag, or a hash of the payload where there is none"),
    ("sync_attempts", "unchanged", "rows already known by (id, eTag)"),
)
DERIVED = ("leads", "companies", "company_scores")

# What earlier versions may have left undone: referrals with a newer version than their lead, and, where a window's
# chain has not ended, all companies.
LEADS = """
INSERT INTO pending_work (task, item, queued_at)
SELECT DISTINCT 'leads', raw.referral_id, CURRENT_TIMESTAMP FROM raw_referrals AS raw
WHERE NOT EXISTS (
    SELECT 1 FROM leads WHERE leads.referral_id = raw.referral_id AND leads.updated_ticks >= raw.updated_ticks
)
"""
COMPANIES = """
INSERT INTO pending_work (task, item, queued_at)
SELECT DISTINCT 'companies', leads.domain, CURRENT_TIMESTAMP FROM leads
WHERE leads.domain IS NOT NULL
AND EXISTS (SELECT 1 FROM sync_windows WHERE raw_referrals_at IS NOT NULL AND scored_segments_at IS NULL)
"""

# As warehouse/views.py had it at this revision.
LEADS_READY = """
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
    FROM leads WHERE leads.domain IS NOT NULL
) AS l ON l.domain = c.domain AND l.place = 1
WHERE c.referrals > 0
"""
DUE = {
    "sqlite": "datetime(c.next_expiry_ticks / 10000000, 'unixepoch')",
    "postgresql": "to_timestamp(c.next_expiry_ticks / 10000000)",
}


def upgrade() -> None:
    op.create_table(
        "pending_work",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False, comment="row number; the order of the work"),
        sa.Column(
            "task",
            sa.Text(),
            nullable=False,
            comment="leads, companies, company_matches, lead_matches, signals, scores",
        ),
        sa.Column("item", sa.Text(), nullable=False, comment="the referral's id or the company's domain"),
        sa.Column(
            "queued_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when the row that it follows from was stored",
        ),
        sa.Column(
            "error", sa.Text(), nullable=True, comment="the kind of error that the last try at this item ended with"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pending_work")),
        comment="what the assets after raw_referrals have still to derive",
    )
    op.create_index(op.f("ix_pending_work_task_id"), "pending_work", ["task", "id"], unique=False)
    for table in DERIVED:
        op.add_column(
            table,
            sa.Column(
                "derived_with",
                sa.Text(),
                nullable=False,
                server_default="",
                comment="digest of the rules, settings and code that made the row",
            ),
        )
    for statement in VERSIONS:
        op.execute(statement)
    _comment(COMMENTS)
    # PostgreSQL keeps the columns that `leads.*` stood for when the view was made.
    op.execute("DROP VIEW leads_ready")
    _make_view()
    op.execute(LEADS)
    op.execute(COMPANIES)


def downgrade() -> None:
    op.execute("DROP VIEW leads_ready")
    for table in DERIVED:
        op.drop_column(table, "derived_with")
    op.drop_table("pending_work")
    for statement in OLD_VERSIONS:
        op.execute(statement)
    _comment(OLD_COMMENTS)
    _make_view()


def _comment(comments: tuple[tuple[str, str, str], ...]) -> None:
    if op.get_context().dialect.name == "postgresql":  # SQLite keeps no comments
        for table, column, comment in comments:
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")


def _make_view() -> None:
    op.execute(LEADS_READY.format(due=DUE[op.get_context().dialect.name]))
