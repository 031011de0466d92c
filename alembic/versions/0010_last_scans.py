"""An index by which the last scans of DNS are counted

Revision: 0010
Follows: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME = "ix_domain_signals_last_scans"


def upgrade() -> None:
    op.create_index(NAME, "domain_signals", ["scanned_at", "failures", "provider", "facts_at"], unique=False)


def downgrade() -> None:
    op.drop_index(NAME, table_name="domain_signals")
