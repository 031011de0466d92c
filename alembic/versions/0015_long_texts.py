"""No index on texts of any length, which PostgreSQL refuses; no query used these two

Revision: 0015
Follows: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_leads_engagement_id", "leads")
    op.drop_index("ix_companies_name_key", "companies")


def downgrade() -> None:
    op.create_index("ix_companies_name_key", "companies", ["name_key"])
    op.create_index("ix_leads_engagement_id", "leads", ["engagement_id"])
