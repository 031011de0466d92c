"""What operators are told of, and to whom an event is told

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

COMMENTS = (
    (
        "kind",
        sa.Text(),
        "category (a company entered it) or deadline (of a good lead)",
        "category (a company entered it), deadline (of a good lead) or condition",
    ),
    (
        "subject",
        sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
        "the company's domain, or the referral's id",
        "the company's domain, the referral's id, or what is not well",
    ),
    (
        "detail",
        sa.Text(),
        "the category that was entered, or the deadline",
        "the category that was entered, the deadline, or how a condition changed",
    ),
)


def upgrade() -> None:
    op.create_table(
        "alert_conditions",
        sa.Column("subject", sa.Text(), nullable=False, comment="what is not well, as partner-center status calls it"),
        sa.Column("grade", sa.Text(), nullable=False, comment="warning or wrong, as it was told last"),
        sa.Column(
            "size",
            sa.BigInteger(),
            nullable=False,
            comment="how much of it there was then; 0 where that is no number",
        ),
        sa.Column("text", sa.Text(), nullable=False, comment="what was said of it last"),
        sa.Column("since", TIME, nullable=False, comment="when it was first found"),
        sa.Column("told_at", TIME, nullable=False, comment="when that was noted to be told"),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_alert_conditions")),
        comment="what is not well and operators are told of, until it is well again",
    )
    op.add_column(
        "outbox",
        sa.Column(
            "channel",
            sa.Text(),
            nullable=False,
            server_default="sales",
            comment="sales, or one of the operators': see alerts.md",
        ),
    )
    op.add_column("outbox", sa.Column("grade", sa.Text(), nullable=True, comment="a condition's: warning or wrong"))
    op.add_column("outbox", sa.Column("text", sa.Text(), nullable=True, comment="what is said of a condition"))
    op.add_column("outbox", sa.Column("since", TIME, nullable=True, comment="since when a condition is known"))
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        for name, kind, before, now in COMMENTS:
            op.alter_column(
                "outbox", name, existing_type=kind, existing_nullable=False, existing_comment=before, comment=now
            )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name, kind, before, now in COMMENTS:
            op.alter_column(
                "outbox", name, existing_type=kind, existing_nullable=False, existing_comment=now, comment=before
            )
    # Earlier versions send every event to the sales team.
    op.execute("DELETE FROM outbox WHERE channel <> 'sales'")
    for name in ("since", "text", "grade", "channel"):
        op.drop_column("outbox", name)
    op.drop_table("alert_conditions")
