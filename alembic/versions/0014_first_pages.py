"""By what the sales list ranks each company, and indexes for the first pages of the lists and for status

Revision: 0014
Follows: 0013
"""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PLACE = ["set_aside", "category", "score_order", "urgency", "due_ticks", "value_order", "domain"]
MAY_BE_DUE = sa.text("is_open AND vanished_at IS NULL")

FILL = {
    "sqlite": """
INSERT INTO list_order (domain, referral_id, set_aside, category, score_order, urgency, due_ticks, value_order, valid_until_ticks)
SELECT c.domain, l.referral_id,
    CASE WHEN l.is_set_aside THEN 1 ELSE 0 END AS set_aside,
    coalesce(s.category, 'Z') AS category,
    coalesce(-s.score, 1) AS score_order,
    CASE WHEN l.is_due_live THEN 0 WHEN l.due_ticks IS NULL THEN 1 ELSE 2 END AS urgency,
    CASE WHEN l.is_due_live THEN l.due_ticks ELSE 0 END AS due_ticks,
    coalesce(CAST(-c.deal_value * r.rate AS double precision), 1e300) AS value_order,
    CASE WHEN coalesce(l.live_until, 9223372036854775807) < coalesce(l.snoozed_until, 9223372036854775807)
        THEN l.live_until ELSE coalesce(l.snoozed_until, 9223372036854775807) END AS valid_until_ticks
FROM companies AS c
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN (
    SELECT leads.referral_id, leads.domain, coalesce(leads.is_open AND (k.choice = 'not_interested' OR (k.choice = 'snoozed' AND k.until_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000))), FALSE) AS is_set_aside,
        coalesce(leads.is_open AND leads.expires_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000), FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        coalesce(min(CASE WHEN leads.is_open AND leads.expires_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000) THEN leads.expires_ticks END) OVER (PARTITION BY leads.domain), 9223372036854775807) AS live_until,
        coalesce(min(CASE WHEN leads.is_open AND k.choice = 'snoozed' AND k.until_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000) THEN k.until_ticks END) OVER (PARTITION BY leads.domain), 9223372036854775807) AS snoozed_until,
        row_number() OVER (
            PARTITION BY leads.domain
            ORDER BY leads.is_open DESC, coalesce(leads.is_open AND (k.choice = 'not_interested' OR (k.choice = 'snoozed' AND k.until_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000))), FALSE), CASE WHEN leads.is_open AND leads.expires_ticks > (CAST(strftime('%s', 'now') AS INTEGER) * 10000000) THEN leads.expires_ticks END ASC NULLS LAST,
                CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
                leads.updated_ticks DESC, leads.version DESC, leads.referral_id
        ) AS place
    FROM leads
    LEFT JOIN decisions AS k ON k.id = (SELECT max(n.id) FROM decisions AS n WHERE n.kind = 'mark' AND n.subject = leads.referral_id)
    WHERE leads.vanished_at IS NULL AND leads.domain IS NOT NULL AND leads.domain IN (SELECT c.domain FROM companies AS c)
) AS l ON l.domain = c.domain AND l.place = 1
LEFT JOIN currency_rates AS r ON r.currency = c.currency
WHERE c.referrals > 0
""",
    "postgresql": """
INSERT INTO list_order (domain, referral_id, set_aside, category, score_order, urgency, due_ticks, value_order, valid_until_ticks)
SELECT c.domain, l.referral_id,
    CASE WHEN l.is_set_aside THEN 1 ELSE 0 END AS set_aside,
    coalesce(s.category, 'Z') AS category,
    coalesce(-s.score, 1) AS score_order,
    CASE WHEN l.is_due_live THEN 0 WHEN l.due_ticks IS NULL THEN 1 ELSE 2 END AS urgency,
    CASE WHEN l.is_due_live THEN l.due_ticks ELSE 0 END AS due_ticks,
    coalesce(CAST(-c.deal_value * r.rate AS double precision), 1e300) AS value_order,
    CASE WHEN coalesce(l.live_until, 9223372036854775807) < coalesce(l.snoozed_until, 9223372036854775807)
        THEN l.live_until ELSE coalesce(l.snoozed_until, 9223372036854775807) END AS valid_until_ticks
FROM companies AS c
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN (
    SELECT leads.referral_id, leads.domain, coalesce(leads.is_open AND (k.choice = 'not_interested' OR (k.choice = 'snoozed' AND k.until_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint))), FALSE) AS is_set_aside,
        coalesce(leads.is_open AND leads.expires_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint), FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        coalesce(min(CASE WHEN leads.is_open AND leads.expires_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint) THEN leads.expires_ticks END) OVER (PARTITION BY leads.domain), 9223372036854775807) AS live_until,
        coalesce(min(CASE WHEN leads.is_open AND k.choice = 'snoozed' AND k.until_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint) THEN k.until_ticks END) OVER (PARTITION BY leads.domain), 9223372036854775807) AS snoozed_until,
        row_number() OVER (
            PARTITION BY leads.domain
            ORDER BY leads.is_open DESC, coalesce(leads.is_open AND (k.choice = 'not_interested' OR (k.choice = 'snoozed' AND k.until_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint))), FALSE), CASE WHEN leads.is_open AND leads.expires_ticks > CAST(extract(epoch FROM now()) * 10000000 AS bigint) THEN leads.expires_ticks END ASC NULLS LAST,
                CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
                leads.updated_ticks DESC, leads.version DESC, leads.referral_id
        ) AS place
    FROM leads
    LEFT JOIN decisions AS k ON k.id = (SELECT max(n.id) FROM decisions AS n WHERE n.kind = 'mark' AND n.subject = leads.referral_id)
    WHERE leads.vanished_at IS NULL AND leads.domain IS NOT NULL AND leads.domain IN (SELECT c.domain FROM companies AS c)
) AS l ON l.domain = c.domain AND l.place = 1
LEFT JOIN currency_rates AS r ON r.currency = c.currency
WHERE c.referrals > 0
""",
}


def upgrade() -> None:
    op.create_table(
        "list_order",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("referral_id", sa.Text(), nullable=True, comment="the referral that speaks for the company"),
        sa.Column("set_aside", sa.Integer(), nullable=False, comment="1 where a person set that referral aside"),
        sa.Column("category", sa.Text(), nullable=False, comment="P1 to P6; Z without one"),
        sa.Column("score_order", sa.Integer(), nullable=False, comment="the score, negative; 1 without one"),
        sa.Column(
            "urgency", sa.Integer(), nullable=False, comment="0: a deadline to come; 1: none; 2: one that passed"
        ),
        sa.Column(
            "due_ticks",
            sa.BigInteger(),
            nullable=False,
            comment="the deadline to come, in 100 ns since 1970; else 0",
        ),
        sa.Column(
            "value_order",
            sa.Float(),
            nullable=False,
            comment="the deal in the reporting currency, negative; 1e300: none",
        ),
        sa.Column(
            "valid_until_ticks",
            sa.BigInteger(),
            nullable=False,
            comment="when the clock changes the row next: a deadline passes, or a snoozed lead comes back",
        ),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_list_order_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_list_order")),
        comment="by what leads_ready ranks each company, so that its first page is read from an index; all ascending",
    )
    op.execute(sa.text(FILL[op.get_bind().dialect.name]))
    op.create_index("ix_list_order_place", "list_order", PLACE, unique=False)
    op.create_index(op.f("ix_list_order_valid_until_ticks"), "list_order", ["valid_until_ticks"], unique=False)
    op.create_index(
        "ix_leads_due",
        "leads",
        ["expires_ticks"],
        unique=False,
        sqlite_where=MAY_BE_DUE,
        postgresql_where=MAY_BE_DUE,
    )
    op.create_index(op.f("ix_company_scores_rules_version"), "company_scores", ["rules_version"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_company_scores_rules_version"), table_name="company_scores")
    op.drop_index("ix_leads_due", table_name="leads")
    op.drop_table("list_order")
