"""Rows leave the quarantine visibly, attempts tell what would be refused again, pauses tell when they began

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUARANTINE = (
    ("earliest_ticks", sa.BigInteger(), "the earliest that its updatedDateTime can be, if that is known"),
    ("latest_ticks", sa.BigInteger(), "the latest that its updatedDateTime can be, if that is known"),
    ("resolution", sa.Text(), "why it is no longer open: clean, replayed or discarded; empty while it is"),
    ("resolved_at", sa.DateTime(timezone=True), "when it stopped being open"),
    ("resolved_by", sa.Text(), "who discarded it"),
    ("resolved_because", sa.Text(), "the reason that was given for discarding it"),
)


def upgrade() -> None:
    for name, kind, comment in QUARANTINE:
        op.add_column("quarantined_referrals", sa.Column(name, kind, nullable=True, comment=comment))
    op.create_index(
        op.f("ix_quarantined_referrals_resolved_at"), "quarantined_referrals", ["resolved_at"], unique=False
    )
    op.add_column(
        "sync_attempts",
        sa.Column(
            "refused",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="failed with what would be refused again; not for a wait, the network or the sign-in",
        ),
    )
    op.add_column(
        "breakers",
        sa.Column(
            "opened_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when that was decided; a moment to come is a clock's fault",
        ),
    )


def downgrade() -> None:
    op.drop_column("breakers", "opened_at")
    op.drop_column("sync_attempts", "refused")
    # Earlier versions know open rows only.
    op.execute("DELETE FROM quarantined_referrals WHERE resolved_at IS NOT NULL OR reason = 'unreadable'")
    op.drop_index(op.f("ix_quarantined_referrals_resolved_at"), table_name="quarantined_referrals")
    for name, _, _ in reversed(QUARANTINE):
        op.drop_column("quarantined_referrals", name)
