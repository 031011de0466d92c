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
UNNAMED = sa.text("referrals = 0")
MAY_BE_DUE = sa.text("is_open AND vanished_at IS NULL")

NOW = {
    "sqlite": "(CAST(strftime('%s', 'now') AS INTEGER) * 10000000)",
    "postgresql": "CAST(extract(epoch FROM now()) * 10000000 AS bigint)",
}
LIVE = "leads.is_open AND leads.expires_ticks > {now}"
SNOOZED = "leads.is_open AND k.choice = 'snoozed' AND k.until_ticks > {now}"
ASIDE = (
    "coalesce(leads.is_open AND (k.choice = 'not_interested' "
    "OR (k.choice = 'snoozed' AND k.until_ticks > {now})), FALSE)"
)
FILL = """
INSERT INTO list_order (
    domain, referral_id, set_aside, category, score_order, urgency, due_ticks, value_order, valid_until_ticks
)
SELECT l.domain, l.referral_id,
    CASE WHEN l.is_set_aside THEN 1 ELSE 0 END AS set_aside,
    coalesce(l.category, 'Z') AS category,
    coalesce(-l.score, 1) AS score_order,
    CASE WHEN l.is_due_live THEN 0 WHEN l.due_ticks IS NULL THEN 1 ELSE 2 END AS urgency,
    CASE WHEN l.is_due_live THEN l.due_ticks ELSE 0 END AS due_ticks,
    coalesce(CAST(-l.value AS double precision), 1e300) AS value_order,
    CASE WHEN l.live_until < l.snoozed_until THEN l.live_until ELSE l.snoozed_until END AS valid_until_ticks
FROM (
    SELECT c.domain, leads.referral_id, s.category, s.score, c.deal_value * r.rate AS value,
        {aside} AS is_set_aside,
        coalesce({live}, FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        coalesce(min(CASE WHEN {live} THEN leads.expires_ticks END) OVER (PARTITION BY c.domain), 9223372036854775807)
            AS live_until,
        coalesce(min(CASE WHEN {snoozed} THEN k.until_ticks END) OVER (PARTITION BY c.domain), 9223372036854775807)
            AS snoozed_until,
        row_number() OVER (PARTITION BY c.domain ORDER BY leads.is_open DESC, {aside},
            CASE WHEN {live} THEN leads.expires_ticks END ASC NULLS LAST,
            CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
            leads.updated_ticks DESC, leads.version DESC, leads.referral_id) AS place
    FROM companies AS c
    LEFT JOIN leads ON leads.domain = c.domain AND leads.vanished_at IS NULL
    LEFT JOIN decisions AS k ON k.id = (
        SELECT max(n.id) FROM decisions AS n WHERE n.kind = 'mark' AND n.subject = leads.referral_id
    )
    LEFT JOIN company_scores AS s ON s.domain = c.domain
    LEFT JOIN currency_rates AS r ON r.currency = c.currency
    WHERE c.referrals > 0
) AS l
WHERE l.place = 1
"""


def fill(dialect: str) -> str:
    """Return the SQL that makes the rows from what is stored."""
    now = NOW[dialect]
    parts = {name: part.format(now=now) for name, part in (("live", LIVE), ("snoozed", SNOOZED), ("aside", ASIDE))}
    return FILL.format(**parts)


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
    op.execute(sa.text(fill(op.get_bind().dialect.name)))
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
    op.create_index(
        "ix_companies_unnamed", "companies", ["domain"], unique=False, sqlite_where=UNNAMED, postgresql_where=UNNAMED
    )
    op.create_index(
        op.f("ix_domain_signals_provider_facts_at"), "domain_signals", ["provider", "facts_at"], unique=False
    )
    op.drop_index(op.f("ix_company_scores_segment"), table_name="company_scores")
    op.create_index(op.f("ix_company_scores_segment_category"), "company_scores", ["segment", "category"], unique=False)
    op.create_index(op.f("ix_company_scores_rules_version"), "company_scores", ["rules_version"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_company_scores_rules_version"), table_name="company_scores")
    op.drop_index(op.f("ix_company_scores_segment_category"), table_name="company_scores")
    op.create_index(op.f("ix_company_scores_segment"), "company_scores", ["segment"], unique=False)
    op.drop_index(op.f("ix_domain_signals_provider_facts_at"), table_name="domain_signals")
    op.drop_index("ix_companies_unnamed", table_name="companies")
    op.drop_index("ix_leads_due", table_name="leads")
    op.drop_table("list_order")
