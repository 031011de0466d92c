"""Lease, heartbeats, circuit breaker, drift, reconciliation, API capabilities, shared sign-in

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_capabilities",
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column(
            "date_literal", sa.Text(), nullable=True, comment="bare or quoted; how a date is written in a filter"
        ),
        sa.Column(
            "updated_filter", sa.Boolean(), nullable=False, comment="whether a filter on updatedDateTime is taken"
        ),
        sa.Column("found_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("base_url", name=op.f("pk_api_capabilities")),
        comment="what the Referrals API was found to take, and when",
    )
    op.create_table(
        "breakers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="failed runs in a row"),
        sa.Column("reason", sa.Text(), nullable=True, comment="what the last one failed with"),
        sa.Column("open_until", INSTANT, nullable=True, comment="until when runs are skipped"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_breakers")),
        comment="whether Partner Center is left alone for a while, and why",
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False, comment="Dagster's run"),
        sa.Column("acquired_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False, comment="kept ahead while the holder lives"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        comment="who may fetch now: one run, on any machine",
    )
    op.create_table(
        "payload_drift",
        sa.Column("kind", sa.Text(), nullable=False, comment="field or value"),
        sa.Column("path", ORDERED, nullable=False, comment="where in the payload; [] stands for any item of a list"),
        sa.Column("value", ORDERED, nullable=False, comment="the value of an enumeration; empty for a field"),
        sa.Column("referral_id", sa.Text(), nullable=False, comment="the first referral that showed it"),
        sa.Column("first_seen", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "path", "value", name=op.f("pk_payload_drift")),
        comment="fields and values that no document of Microsoft names, once each",
    )
    op.create_table(
        "reconciliations",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=False, comment="ticks; every referral updated before is compared"),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("fetched", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False, comment="versions the warehouse did not have, now loaded"),
        sa.Column("missed", sa.Integer(), nullable=False, comment="those of windows that claimed to be complete"),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("windows", JSON_VALUE, nullable=False, comment="missing versions by window"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
        comment="full comparisons of the warehouse with Partner Center",
    )
    op.create_table(
        "run_heartbeats",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_heartbeats")),
        comment="when a run under way last gave a sign of life",
    )
    op.create_table(
        "token_caches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False, comment="encrypted with HUNTER_PARTNER_CENTER_TOKEN_KEY"),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_token_caches")),
        comment="the sign-in that several machines share",
    )


def downgrade() -> None:
    op.drop_table("token_caches")
    op.drop_table("run_heartbeats")
    op.drop_table("reconciliations")
    op.drop_table("payload_drift")
    op.drop_table("leases")
    op.drop_table("breakers")
    op.drop_table("api_capabilities")
