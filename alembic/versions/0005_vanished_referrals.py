"""Leads that vanished, both kinds of comparison, the connected account, how late versions came

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TICKS = "updatedDateTime in 100 ns since 1970; of a date in the future, when it was met"
OLD_TICKS = "updatedDateTime in 100 ns since 1970"
TABLE = "comparisons of the warehouse with Partner Center"
OLD_TABLE = "full comparisons of the warehouse with Partner Center"
VANISHED = sa.text("vanished_at IS NOT NULL")

COUNTS = {
    "future": "new versions with a date in the future",
    "held": "leads that were looked for",
    "vanished": "those that Partner Center shows no more",
    "marked": "those marked as vanished: all or none",
    "returned": "marked leads that are shown again",
}

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
    FROM leads WHERE leads.domain IS NOT NULL{shown}
) AS l ON l.domain = c.domain AND l.place = 1
WHERE c.referrals > 0
"""
DUE = {
    "sqlite": "datetime(c.next_expiry_ticks / 10000000, 'unixepoch')",
    "postgresql": "to_timestamp(c.next_expiry_ticks / 10000000)",
}


SHOWN = " AND leads.vanished_at IS NULL"


def upgrade() -> None:
    op.execute("DROP VIEW leads_ready")
    op.add_column(
        "leads",
        sa.Column(
            "vanished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when a full comparison found that Partner Center shows it no more",
        ),
    )
    op.create_index(
        "ix_leads_vanished", "leads", ["referral_id"], unique=False, sqlite_where=VANISHED, postgresql_where=VANISHED
    )
    op.add_column(
        "sync_attempts",
        sa.Column(
            "latest_late_seconds",
            sa.Float(),
            nullable=True,
            comment="how far before the window the latest of its late versions lay",
        ),
    )
    kind = sa.Column(
        "kind", sa.Text(), nullable=False, server_default="full", comment="full, or recent: the last day only"
    )
    op.add_column("reconciliations", kind)
    for name, comment in COUNTS.items():
        op.add_column(
            "reconciliations", sa.Column(name, sa.Integer(), nullable=False, server_default="0", comment=comment)
        )
    op.create_table(
        "connected_account",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("base_url", sa.Text(), nullable=False, comment="the API's address; of this machine without its port"),
        sa.Column("tenant_id", sa.Text(), nullable=False, comment="HUNTER_PARTNER_CENTER_TENANT_ID"),
        sa.Column("account", sa.Text(), nullable=False, comment="sha256 of the ids of the account that signed in"),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it was first used or accepted",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connected_account")),
        comment="whose referrals this warehouse holds; another account is refused until a person accepts it",
    )
    _comment(TICKS, TABLE)
    _make_view(SHOWN)


def downgrade() -> None:
    op.execute("DROP VIEW leads_ready")
    op.drop_table("connected_account")
    for name in ("kind", *COUNTS):
        op.drop_column("reconciliations", name)
    op.drop_column("sync_attempts", "latest_late_seconds")
    op.drop_index("ix_leads_vanished", table_name="leads")
    op.drop_column("leads", "vanished_at")
    _comment(OLD_TICKS, OLD_TABLE)
    _make_view("")


def _comment(ticks: str, table: str) -> None:
    if op.get_context().dialect.name == "postgresql":  # SQLite keeps no comments
        op.execute(f"COMMENT ON COLUMN raw_referrals.updated_ticks IS '{ticks}'")
        op.execute(f"COMMENT ON TABLE reconciliations IS '{table}'")


def _make_view(shown: str) -> None:
    op.execute(LEADS_READY.format(due=DUE[op.get_context().dialect.name], shown=shown))
