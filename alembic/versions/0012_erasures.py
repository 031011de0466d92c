"""Persons who were erased, as keyed digests, and the rows that something was taken out of

Revision: 0012
Follows: 0011
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ERASED_AT = {
    "raw_referrals": "when a person's fields were emptied; version and content_hash are keyed digests of what was "
    "received",
    "quarantined_referrals": "when a person's fields were emptied; the fingerprint is a keyed digest of the received "
    "one's",
}


def upgrade() -> None:
    for table, comment in ERASED_AT.items():
        op.add_column(table, sa.Column("erased_at", TIME, nullable=True, comment=comment))
    op.create_table(
        "erasure_key",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("digest", sa.Text(), nullable=False, comment="a digest by which the key is known again; not the key"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_key")),
        comment="which key the digests of tombstones and of erased versions were made with; a row once there are any",
    )
    op.create_table(
        "tombstones",
        sa.Column("person", sa.Text(), nullable=False, comment="the same for all rows of a person: a keyed digest"),
        sa.Column("digest", sa.Text(), nullable=False, comment="keyed digest of an address, a number or a name"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="email, phone, name; referral, and referral_... for what counts in one",
        ),
        sa.Column("words", sa.Integer(), nullable=True, comment="how many words a name has"),
        sa.PrimaryKeyConstraint("person", "digest", name=op.f("pk_tombstones")),
        comment="who was erased, as keyed digests: what is stored is asked for them, so that nobody comes back",
    )
    op.create_table(
        "erasures",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False, comment="row number"),
        sa.Column("erased_at", TIME, nullable=False, comment="when"),
        sa.Column("erased_by", sa.Text(), nullable=False, comment="by whom: the name given, or the user of the system"),
        sa.Column("person", sa.Text(), nullable=False, comment="the person, as in tombstones"),
        sa.Column(
            "rows_emptied", JSON, nullable=False, comment="how many rows of each table something was taken out of"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        comment="the acts of erasing a person, without the person; kept for three years",
    )


def downgrade() -> None:
    for table in ("erasures", "tombstones", "erasure_key"):
        op.drop_table(table)
    for table in reversed(ERASED_AT):
        op.drop_column(table, "erased_at")
