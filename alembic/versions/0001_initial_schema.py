"""Initial schema: referrals, windows, leads, companies, mail signals and scores

Revision: 0001
Follows:
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MONEY = sa.Numeric(18, 2).with_variant(sa.Float(), "sqlite")


def upgrade() -> None:

    op.create_table(
        "companies",
        sa.Column("domain", sa.Text(), nullable=False, comment="registrable domain, punycode"),
        sa.Column("domain_unicode", sa.Text(), nullable=False),
        sa.Column("domain_ascii_key", sa.Text(), nullable=False, comment="alternate key, Turkish letters folded"),
        sa.Column("name", sa.Text(), nullable=True, comment="of the newest referral that has one"),
        sa.Column("name_key", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("referrals", sa.Integer(), nullable=False),
        sa.Column("open_referrals", sa.Integer(), nullable=False),
        sa.Column(
            "engagements",
            sa.Integer(),
            nullable=False,
            comment="deals; the two sides of a co-sell count once",
        ),
        sa.Column("open_cosell", sa.Boolean(), nullable=False, comment="a co-sell referral that is not closed"),
        sa.Column("cosell_referral", sa.Text(), nullable=True, comment="the newest such referral"),
        sa.Column(
            "next_expiry_ticks",
            sa.BigInteger(),
            nullable=True,
            comment="the next response deadline of an open referral",
        ),
        sa.Column("deal_value", MONEY, nullable=True, comment="the largest deal among the open referrals"),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("tenant", sa.Text(), nullable=True, comment="Microsoft tenant: id or name"),
        sa.Column("tenant_source", sa.Text(), nullable=True),
        sa.Column("referral_ids", JSON_VALUE, nullable=False, comment="newest first"),
        sa.Column("updated_ticks", sa.BigInteger(), nullable=False, comment="of the newest referral"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_companies")),
        comment="one company per registrable domain",
    )
    with op.batch_alter_table("companies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_companies_domain_ascii_key"), ["domain_ascii_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_companies_name_key"), ["name_key"], unique=False)

    op.create_table(
        "demo_world",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "anchor",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the moment up to which the past was made",
        ),
        sa.Column("recent_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("referrals", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demo_world")),
        comment="marks a warehouse that holds the demo's referrals, and which past they come from",
    )
    op.create_table(
        "leads",
        sa.Column("referral_id", ORDERED, nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="partnercenter"),
        sa.Column("version", ORDERED, nullable=False, comment="the version of raw_referrals it was made from"),
        sa.Column("updated_ticks", sa.BigInteger(), nullable=False),
        sa.Column("updated_text", sa.Text(), nullable=False),
        sa.Column("engagement_id", sa.Text(), nullable=True, comment="the deal; both sides' referrals share it"),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("category_rule", sa.Text(), nullable=False, comment="the rule that gave the category"),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("qualification", sa.Text(), nullable=True),
        sa.Column("direction", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("substatus", sa.Text(), nullable=True),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("company_name", sa.Text(), nullable=True, comment="repaired"),
        sa.Column("company_name_original", sa.Text(), nullable=True, comment="as received"),
        sa.Column("company_name_key", sa.Text(), nullable=True, comment="for comparison only"),
        sa.Column("domain", sa.Text(), nullable=True, comment="registrable domain, punycode"),
        sa.Column("host", sa.Text(), nullable=True, comment="with its sub-domain"),
        sa.Column("domain_source", sa.Text(), nullable=True, comment="the field that gave it"),
        sa.Column("domain_reason", sa.Text(), nullable=True, comment="why there is none"),
        sa.Column("former_domains", JSON_VALUE, nullable=False, comment="domains earlier versions of this lead had"),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("tenant_source", sa.Text(), nullable=True),
        sa.Column("contact_name", sa.Text(), nullable=True),
        sa.Column("contact_email", sa.Text(), nullable=True),
        sa.Column("contact_phone", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("company_size", sa.Text(), nullable=True),
        sa.Column("created_text", sa.Text(), nullable=True),
        sa.Column("expires_text", sa.Text(), nullable=True),
        sa.Column("expires_ticks", sa.BigInteger(), nullable=True),
        sa.Column("closed_text", sa.Text(), nullable=True),
        sa.Column("deal_value", MONEY, nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("products", JSON_VALUE, nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("referral_id", name=op.f("pk_leads")),
        comment="one lead per referral, newest version wins",
    )
    with op.batch_alter_table("leads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_domain"), ["domain"], unique=False)
        batch_op.create_index(batch_op.f("ix_leads_engagement_id"), ["engagement_id"], unique=False)

    op.create_table(
        "quarantined_referrals",
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="sha256 of the canonical payload"),
        sa.Column("referral_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="where in the payload"),
        sa.Column(
            "payload_text",
            sa.Text(),
            nullable=False,
            comment="JSON, escaped so that any database can hold it",
        ),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="how many scans met it"),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_quarantined_referrals")),
        comment="payloads that break the contract, with the reason",
    )
    op.create_table(
        "raw_referrals",
        sa.Column("referral_id", ORDERED, nullable=False),
        sa.Column(
            "version",
            ORDERED,
            nullable=False,
            comment="the eTag, or a hash of the payload where there is none",
        ),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("updated_ticks", sa.BigInteger(), nullable=False, comment="updatedDateTime in 100 ns since 1970"),
        sa.Column("updated_text", sa.Text(), nullable=False, comment="updatedDateTime as the API printed it"),
        sa.Column("window_start", sa.BigInteger(), nullable=False, comment="the window that fetched it, in ticks"),
        sa.Column("late", sa.Boolean(), nullable=False, comment="met in the overlap before its window"),
        sa.Column("content_hash", sa.Text(), nullable=False, comment="sha256 of the canonical payload"),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("referral_id", "version", name=op.f("pk_raw_referrals")),
        comment="every version of every referral, as received, append-only",
    )
    with op.batch_alter_table("raw_referrals", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_raw_referrals_window_start_referral_id"),
            ["window_start", "referral_id"],
            unique=False,
        )

    op.create_table(
        "sync_attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster's run"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("fetched", sa.Integer(), nullable=False, comment="rows the API sent, the overlap's included"),
        sa.Column("new_versions", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False, comment="rows already known by (id, eTag)"),
        sa.Column("late", sa.Integer(), nullable=False, comment="new versions met in the overlap before the window"),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("distinct_ids", sa.Integer(), nullable=False, comment="referrals the window holds once closed"),
        sa.Column("seconds_waited", sa.Float(), nullable=False, comment="for Retry-After and between retries"),
        sa.Column("clock_skew", sa.Float(), nullable=True, comment="server's clock minus ours, in seconds"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_attempts")),
        comment="each try at a window, with its figures",
    )
    with op.batch_alter_table("sync_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sync_attempts_run_id"), ["run_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_sync_attempts_window_start_window_end"),
            ["window_start", "window_end"],
            unique=False,
        )

    op.create_table(
        "sync_windows",
        sa.Column("window_start", sa.BigInteger(), nullable=False, comment="ticks; names the partition"),
        sa.Column("window_end", sa.BigInteger(), nullable=False, comment="ticks, exclusive"),
        sa.Column("covers_from", sa.BigInteger(), nullable=False, comment="where the interval it answers for begins"),
        sa.Column("position", sa.BigInteger(), nullable=True, comment="how far an open scan got, in ticks"),
        sa.Column(
            "raw_referrals_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when raw_referrals had all of it",
        ),
        sa.Column(
            "normalized_leads_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when normalized_leads had all of it",
        ),
        sa.Column("companies_at", sa.DateTime(timezone=True), nullable=True, comment="when companies had all of it"),
        sa.Column(
            "domain_signals_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when domain_signals had all of it",
        ),
        sa.Column(
            "scored_segments_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when scored_segments had all of it",
        ),
        sa.PrimaryKeyConstraint("window_start", "window_end", name=op.f("pk_sync_windows")),
        comment="what interval of ticks is covered, and how far each asset got with it",
    )
    with op.batch_alter_table("sync_windows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sync_windows_window_end"), ["window_end"], unique=False)

    op.create_table(
        "company_scores",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=True, comment="readiness plus the co-sell bonus; ranks"),
        sa.Column("readiness", sa.Integer(), nullable=True),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("segment_reason", sa.Text(), nullable=False),
        sa.Column("reasons", JSON_VALUE, nullable=False, comment="code, points, evidence, in order"),
        sa.Column("commercial_segment", sa.Text(), nullable=True),
        sa.Column("technical_heat", sa.Text(), nullable=True),
        sa.Column("commercial_heat", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("act", sa.Text(), nullable=True),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("inputs", JSON_VALUE, nullable=False, comment="what the score was made from"),
        sa.Column("referral_ids", JSON_VALUE, nullable=False, comment="the referrals that mattered"),
        sa.Column(
            "signals_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when DNS gave the facts it stands on",
        ),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_company_scores_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_company_scores")),
        comment="score, segment and reasons of each company",
    )
    with op.batch_alter_table("company_scores", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_company_scores_segment"), ["segment"], unique=False)

    op.create_table(
        "domain_signals",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_name", sa.Text(), nullable=True),
        sa.Column("gateway", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Integer(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False, comment="MX, SPF and _dmarc are facts"),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("tenant_source", sa.Text(), nullable=True),
        sa.Column("signals", JSON_VALUE, nullable=False, comment="all that DNS said, with evidence"),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("facts_at", sa.DateTime(timezone=True), nullable=True, comment="when DNS last gave facts"),
        sa.Column("next_scan_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="scans without facts since the last good one"),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_domain_signals_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_domain_signals")),
        comment="what DNS said about a company's domain, when, and how sure",
    )
    with op.batch_alter_table("domain_signals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_domain_signals_next_scan_at"), ["next_scan_at"], unique=False)

    op.create_table(
        "score_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False, comment="first, rules, signals, referral or settings"),
        sa.Column("segment_before", sa.Text(), nullable=True),
        sa.Column("segment_after", sa.Text(), nullable=False),
        sa.Column("score_before", sa.Integer(), nullable=True),
        sa.Column("score_after", sa.Integer(), nullable=True),
        sa.Column("detail", JSON_VALUE, nullable=False, comment="the inputs that changed, before and after"),
        sa.ForeignKeyConstraint(
            ["domain"], ["companies.domain"], name=op.f("fk_score_changes_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score_changes")),
        comment="why a score or segment changed",
    )
    with op.batch_alter_table("score_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_score_changes_domain_changed_at"), ["domain", "changed_at"], unique=False)


def downgrade() -> None:

    with op.batch_alter_table("score_changes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_score_changes_domain_changed_at"))

    op.drop_table("score_changes")
    with op.batch_alter_table("domain_signals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_domain_signals_next_scan_at"))

    op.drop_table("domain_signals")
    with op.batch_alter_table("company_scores", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_company_scores_segment"))

    op.drop_table("company_scores")
    with op.batch_alter_table("sync_windows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sync_windows_window_end"))

    op.drop_table("sync_windows")
    with op.batch_alter_table("sync_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sync_attempts_window_start_window_end"))
        batch_op.drop_index(batch_op.f("ix_sync_attempts_run_id"))

    op.drop_table("sync_attempts")
    with op.batch_alter_table("raw_referrals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_raw_referrals_window_start_referral_id"))

    op.drop_table("raw_referrals")
    op.drop_table("quarantined_referrals")
    with op.batch_alter_table("leads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_engagement_id"))
        batch_op.drop_index(batch_op.f("ix_leads_domain"))

    op.drop_table("leads")
    op.drop_table("demo_world")
    with op.batch_alter_table("companies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_companies_name_key"))
        batch_op.drop_index(batch_op.f("ix_companies_domain_ascii_key"))

    op.drop_table("companies")
