"""What is still to be derived, and what rows were derived with

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
    _make_view()


def _make_view() -> None:
    op.execute(LEADS_READY.format(due=DUE[op.get_context().dialect.name]))
