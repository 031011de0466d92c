"""What old attempts did, by day

Revision: 0013
Follows: 0012
"""

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sync_days",
        sa.Column("day", sa.Text(), nullable=False, comment="the day (UTC) that the attempts began on, as 2026-11-28"),
        sa.Column("state", sa.Text(), nullable=False, comment="how they ended, as in sync_attempts"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="how many attempts"),
        sa.Column("pages", sa.BigInteger(), nullable=False, comment="pages received"),
        sa.Column("fetched", sa.BigInteger(), nullable=False, comment="rows the API sent, the overlap's included"),
        sa.Column("new_versions", sa.BigInteger(), nullable=False, comment="versions that were not stored yet"),
        sa.Column("unchanged", sa.BigInteger(), nullable=False, comment="rows already known by id and content"),
        sa.Column("late", sa.BigInteger(), nullable=False, comment="new versions met in the overlap before a window"),
        sa.Column("quarantined", sa.BigInteger(), nullable=False, comment="rows that break the contract"),
        sa.Column("seconds_waited", sa.Float(), nullable=False, comment="for Retry-After and between retries"),
        sa.Column(
            "latest_late_seconds", sa.Float(), nullable=True, comment="the largest one of the attempts of the day"
        ),
        sa.PrimaryKeyConstraint("day", "state", name=op.f("pk_sync_days")),
        comment="what attempts did that are kept one by one no longer",
    )


def downgrade() -> None:
    op.drop_table("sync_days")
