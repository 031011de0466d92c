"""Suggested matches, history of mail signals, explanations of scores, sales list

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)

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
    for table, column in (("companies", "name_block"), ("leads", "company_name_block")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(
                sa.Column(column, sa.Text(), comment="names that are compared with each other share it")
            )
            batch_op.create_index(batch_op.f(f"ix_{table}_{column}"), [column], unique=False)
    with op.batch_alter_table("company_scores", schema=None) as batch_op:
        batch_op.add_column(sa.Column("explanation_en", sa.Text(), comment="the reasons in English"))
        batch_op.add_column(sa.Column("explanation_tr", sa.Text(), comment="the reasons in Turkish"))

    op.create_table(
        "suggested_matches",
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="what may belong to the company: a company, or a lead without domain",
        ),
        sa.Column("subject", ORDERED, nullable=False, comment="its domain, or the referral's id"),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="ascii_key, same_name or similar_name"),
        sa.Column("similarity", sa.Integer(), nullable=False, comment="0 to 100"),
        sa.Column("suggested_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_suggested_matches_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kind", "subject", "domain", name=op.f("pk_suggested_matches")),
        comment="companies that may be one, and leads that may be a company's, for a person to decide",
    )
    op.create_index(op.f("ix_suggested_matches_domain"), "suggested_matches", ["domain"], unique=False)

    op.create_table(
        "signal_changes",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("provider_before", sa.Text(), nullable=True),
        sa.Column("provider_after", sa.Text(), nullable=False),
        sa.Column("gateway_before", sa.Text(), nullable=True),
        sa.Column("gateway_after", sa.Text(), nullable=True),
        sa.Column(
            "detail",
            JSON_VALUE,
            nullable=False,
            comment="what differs, before and after; empty for the first answer",
        ),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_signal_changes_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signal_changes")),
        comment="how a company's mail set-up changed",
    )
    op.create_index(
        op.f("ix_signal_changes_domain_changed_at"), "signal_changes", ["domain", "changed_at"], unique=False
    )

    op.execute(LEADS_READY.format(due=DUE[op.get_context().dialect.name]))


def downgrade() -> None:
    op.execute("DROP VIEW leads_ready")
    op.drop_table("signal_changes")
    op.drop_table("suggested_matches")
    with op.batch_alter_table("company_scores", schema=None) as batch_op:
        batch_op.drop_column("explanation_tr")
        batch_op.drop_column("explanation_en")
    for table, column in (("leads", "company_name_block"), ("companies", "name_block")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(batch_op.f(f"ix_{table}_{column}"))
            batch_op.drop_column(column)
