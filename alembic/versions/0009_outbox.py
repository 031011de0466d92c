"""Events that people are to be told

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False, comment="UUIDv5 of kind, subject and what caused the event"),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="category (a company entered it) or deadline (of a good lead)"
        ),
        sa.Column("subject", ORDERED, nullable=False, comment="the company's domain, or the referral's id"),
        sa.Column("detail", sa.Text(), nullable=False, comment="the category that was entered, or the deadline"),
        sa.Column("happened_at", TIME, nullable=False, comment="when the event was noted"),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, sent, outdated or given_up"),
        sa.Column(
            "message_id",
            sa.Text(),
            nullable=True,
            comment="the message that tells it, from before it is first sent; the same in repeats",
        ),
        sa.Column(
            "attempts", sa.Integer(), nullable=False, comment="how often the message was sent, or that was tried"
        ),
        sa.Column("next_try_at", TIME, nullable=False, comment="before then nothing is sent"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why the last try failed, or why nobody was told"),
        sa.Column(
            "ended_at",
            TIME,
            nullable=True,
            comment="when it was sent, found outdated or given up; empty while it waits",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        comment="events that people are to be told, each until it was told",
    )
    op.create_index(op.f("ix_outbox_kind_subject"), "outbox", ["kind", "subject"], unique=False)
    op.create_index(op.f("ix_outbox_state"), "outbox", ["state"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_outbox_state"), table_name="outbox")
    op.drop_index(op.f("ix_outbox_kind_subject"), table_name="outbox")
    op.drop_table("outbox")
