"""The warehouse's tables. What each is for is its comment; the README lists them.

Belongs here: tables, columns, keys, indexes, column types. Not here: queries and writes. A change needs a migration in
`alembic/versions/`; a test compares the two.
"""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Row,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from partner_center_pipeline.vocabulary import Asset

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

VERSION_TABLE: Final = "partner_center_schema_version"
"""Alembic's table. Not its default name: Dagster's own storage, which may share the database, uses that."""


CENT: Final = Decimal("0.01")
"""What an amount is kept to."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime in and out; SQLite, which knows no zones, holds it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the warehouse takes aware datetimes only")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """An amount with two decimals: NUMERIC on PostgreSQL, a rounded REAL on SQLite, which has no decimals."""

    impl = Numeric(18, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Float() if dialect.name == "sqlite" else Numeric(18, 2))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return float(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002  SQLAlchemy's name
        return None if value is None else Decimal(str(value)).quantize(CENT)


JsonValue: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""JSON text on SQLite, JSONB on PostgreSQL (which reorders keys and refuses NUL and lone surrogates)."""

_Ordered: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared for order, too: by code points, as Python and SQLite do, whatever PostgreSQL's language is."""

_RowNumber: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key is INTEGER."""


class AttemptState(StrEnum):
    """How an attempt at a window stands (windows.md, "What a window promises", 5)."""

    RUNNING = "running"
    COMPLETE = "complete"
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    DISABLED = "disabled"


raw_referrals: Final = Table(
    "raw_referrals",
    metadata,
    Column("referral_id", _Ordered, nullable=False),
    Column("version", _Ordered, nullable=False, comment="the eTag, or a hash of the payload where there is none"),
    Column("etag", Text),
    Column("updated_ticks", BigInteger, nullable=False, comment="updatedDateTime in 100 ns since 1970"),
    Column("updated_text", Text, nullable=False, comment="updatedDateTime as the API printed it"),
    Column("window_start", BigInteger, nullable=False, comment="the window that fetched it, in ticks"),
    Column("late", Boolean, nullable=False, comment="met in the overlap before its window"),
    Column("content_hash", Text, nullable=False, comment="sha256 of the canonical payload"),
    Column("payload", JsonValue, nullable=False),
    Column("fetched_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("referral_id", "version"),
    Index(None, "window_start", "referral_id"),
    comment="every version of every referral, as received, append-only",
)

quarantined_referrals: Final = Table(
    "quarantined_referrals",
    metadata,
    Column("fingerprint", Text, primary_key=True, comment="sha256 of the canonical payload"),
    Column("referral_id", Text),
    Column("reason", Text, nullable=False),
    Column("path", Text, nullable=False, comment="where in the payload"),
    Column("payload_text", Text, nullable=False, comment="JSON, escaped so that any database can hold it"),
    Column("window_start", BigInteger, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False, comment="how many scans met it"),
    comment="payloads that break the contract, with the reason",
)

sync_windows: Final = Table(
    "sync_windows",
    metadata,
    Column("window_start", BigInteger, nullable=False, comment="ticks; names the partition"),
    Column("window_end", BigInteger, nullable=False, comment="ticks, exclusive"),
    Column("covers_from", BigInteger, nullable=False, comment="where the interval it answers for begins"),
    Column("position", BigInteger, comment="how far an open scan got, in ticks"),
    *(Column(f"{asset}_at", UtcDateTime, comment=f"when {asset} had all of it") for asset in Asset),
    PrimaryKeyConstraint("window_start", "window_end"),
    Index(None, "window_end"),
    comment="what interval of ticks is covered, and how far each asset got with it",
)

sync_attempts: Final = Table(
    "sync_attempts",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    Column("window_start", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("run_id", Text, nullable=False, comment="Dagster's run"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("pages", Integer, nullable=False),
    Column("fetched", Integer, nullable=False, comment="rows the API sent, the overlap's included"),
    Column("new_versions", Integer, nullable=False),
    Column("unchanged", Integer, nullable=False, comment="rows already known by (id, eTag)"),
    Column("late", Integer, nullable=False, comment="new versions met in the overlap before the window"),
    Column("quarantined", Integer, nullable=False),
    Column("distinct_ids", Integer, nullable=False, comment="referrals the window holds once closed"),
    Column("seconds_waited", Float, nullable=False, comment="for Retry-After and between retries"),
    Column("clock_skew", Float, comment="server's clock minus ours, in seconds"),
    Column("error", Text),
    Index(None, "window_start", "window_end"),
    Index(None, "run_id"),
    comment="each try at a window, with its figures",
)

leads: Final = Table(
    "leads",
    metadata,
    Column("referral_id", _Ordered, primary_key=True),
    Column("source", Text, nullable=False, comment="partnercenter"),
    Column("version", _Ordered, nullable=False, comment="the version of raw_referrals it was made from"),
    Column("updated_ticks", BigInteger, nullable=False),
    Column("updated_text", Text, nullable=False),
    Column("engagement_id", Text, comment="the deal; both sides' referrals share it"),
    Column("organization_id", Text),
    Column("name", Text),
    Column("category", Text, nullable=False),
    Column("category_rule", Text, nullable=False, comment="the rule that gave the category"),
    Column("type", Text),
    Column("qualification", Text),
    Column("direction", Text),
    Column("status", Text),
    Column("substatus", Text),
    Column("is_open", Boolean, nullable=False),
    Column("company_name", Text, comment="repaired"),
    Column("company_name_original", Text, comment="as received"),
    Column("company_name_key", Text, comment="for comparison only"),
    Column("company_name_block", Text, comment="names that are compared with each other share it"),
    Column("domain", Text, comment="registrable domain, punycode"),
    Column("host", Text, comment="with its sub-domain"),
    Column("domain_source", Text, comment="the field that gave it"),
    Column("domain_reason", Text, comment="why there is none"),
    Column("former_domains", JsonValue, nullable=False, comment="domains earlier versions of this lead had"),
    Column("tenant", Text),
    Column("tenant_source", Text),
    Column("contact_name", Text),
    Column("contact_email", Text),
    Column("contact_phone", Text),
    Column("country", Text),
    Column("city", Text),
    Column("company_size", Text),
    Column("created_text", Text),
    Column("expires_text", Text),
    Column("expires_ticks", BigInteger),
    Column("closed_text", Text),
    Column("deal_value", Money),
    Column("currency", Text),
    Column("products", JsonValue, nullable=False),
    Column("notes", Text),
    Index(None, "domain"),
    Index(None, "engagement_id"),
    Index(None, "company_name_block"),
    comment="one lead per referral, newest version wins",
)

companies: Final = Table(
    "companies",
    metadata,
    Column("domain", Text, primary_key=True, comment="registrable domain, punycode"),
    Column("domain_unicode", Text, nullable=False),
    Column("domain_ascii_key", Text, nullable=False, comment="alternate key, Turkish letters folded"),
    Column("name", Text, comment="of the newest referral that has one"),
    Column("name_key", Text),
    Column("name_block", Text, comment="names that are compared with each other share it"),
    Column("country", Text),
    Column("city", Text),
    Column("referrals", Integer, nullable=False),
    Column("open_referrals", Integer, nullable=False),
    Column("engagements", Integer, nullable=False, comment="deals; the two sides of a co-sell count once"),
    Column("open_cosell", Boolean, nullable=False, comment="a co-sell referral that is not closed"),
    Column("cosell_referral", Text, comment="the newest such referral"),
    Column("next_expiry_ticks", BigInteger, comment="the next response deadline of an open referral"),
    Column("deal_value", Money, comment="the largest deal among the open referrals"),
    Column("currency", Text),
    Column("tenant", Text, comment="Microsoft tenant: id or name"),
    Column("tenant_source", Text),
    Column("referral_ids", JsonValue, nullable=False, comment="newest first"),
    Column("updated_ticks", BigInteger, nullable=False, comment="of the newest referral"),
    Index(None, "domain_ascii_key"),
    Index(None, "name_key"),
    Index(None, "name_block"),
    comment="one company per registrable domain",
)

suggested_matches: Final = Table(
    "suggested_matches",
    metadata,
    Column("kind", Text, nullable=False, comment="what may belong to the company: a company, or a lead without domain"),
    Column("subject", _Ordered, nullable=False, comment="its domain, or the referral's id"),
    Column("domain", Text, ForeignKey("companies.domain", ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False, comment="ascii_key, same_name or similar_name"),
    Column("similarity", Integer, nullable=False, comment="0 to 100"),
    Column("suggested_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("kind", "subject", "domain"),
    Index(None, "domain"),
    comment="companies that may be one, and leads that may be a company's, for a person to decide",
)

domain_signals: Final = Table(
    "domain_signals",
    metadata,
    Column("domain", Text, ForeignKey("companies.domain", ondelete="CASCADE"), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("provider_name", Text),
    Column("gateway", Text),
    Column("confidence", Integer, nullable=False),
    Column("is_complete", Boolean, nullable=False, comment="MX, SPF and _dmarc are facts"),
    Column("tenant", Text),
    Column("tenant_source", Text),
    Column("signals", JsonValue, nullable=False, comment="all that DNS said, with evidence"),
    Column("scanned_at", UtcDateTime, nullable=False),
    Column("facts_at", UtcDateTime, comment="when DNS last gave facts"),
    Column("next_scan_at", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False, comment="scans without facts since the last good one"),
    Index(None, "next_scan_at"),
    comment="what DNS said about a company's domain, when, and how sure",
)

signal_changes: Final = Table(
    "signal_changes",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    Column("domain", Text, ForeignKey("companies.domain", ondelete="CASCADE"), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("provider_before", Text),
    Column("provider_after", Text, nullable=False),
    Column("gateway_before", Text),
    Column("gateway_after", Text),
    Column("detail", JsonValue, nullable=False, comment="what differs, before and after; empty for the first answer"),
    Index(None, "domain", "changed_at"),
    comment="how a company's mail set-up changed",
)

company_scores: Final = Table(
    "company_scores",
    metadata,
    Column("domain", Text, ForeignKey("companies.domain", ondelete="CASCADE"), primary_key=True),
    Column("score", Integer, comment="readiness plus the co-sell bonus; ranks"),
    Column("readiness", Integer),
    Column("segment", Text, nullable=False),
    Column("segment_reason", Text, nullable=False),
    Column("reasons", JsonValue, nullable=False, comment="code, points, evidence, in order"),
    Column("explanation_en", Text, comment="the reasons in English"),
    Column("explanation_tr", Text, comment="the reasons in Turkish"),
    Column("commercial_segment", Text),
    Column("technical_heat", Text),
    Column("commercial_heat", Text),
    Column("category", Text),
    Column("label", Text),
    Column("act", Text),
    Column("rules_version", Text, nullable=False),
    Column("inputs", JsonValue, nullable=False, comment="what the score was made from"),
    Column("referral_ids", JsonValue, nullable=False, comment="the referrals that mattered"),
    Column("signals_at", UtcDateTime, comment="when DNS gave the facts it stands on"),
    Column("scored_at", UtcDateTime, nullable=False),
    Index(None, "segment"),
    comment="score, segment and reasons of each company",
)

score_changes: Final = Table(
    "score_changes",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    Column("domain", Text, ForeignKey("companies.domain", ondelete="CASCADE"), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("cause", Text, nullable=False, comment="first, rules, signals, referral or settings"),
    Column("segment_before", Text),
    Column("segment_after", Text, nullable=False),
    Column("score_before", Integer),
    Column("score_after", Integer),
    Column("detail", JsonValue, nullable=False, comment="the inputs that changed, before and after"),
    Index(None, "domain", "changed_at"),
    comment="why a score or segment changed",
)

payload_drift: Final = Table(
    "payload_drift",
    metadata,
    Column("kind", Text, nullable=False, comment="field or value"),
    Column("path", _Ordered, nullable=False, comment="where in the payload; [] stands for any item of a list"),
    Column("value", _Ordered, nullable=False, comment="the value of an enumeration; empty for a field"),
    Column("referral_id", Text, nullable=False, comment="the first referral that showed it"),
    Column("first_seen", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("kind", "path", "value"),
    comment="fields and values that no document of Microsoft names, once each",
)

api_capabilities: Final = Table(
    "api_capabilities",
    metadata,
    Column("base_url", Text, primary_key=True),
    Column("date_literal", Text, comment="bare or quoted; how a date is written in a filter"),
    Column("updated_filter", Boolean, nullable=False, comment="whether a filter on updatedDateTime is taken"),
    Column("found_at", UtcDateTime, nullable=False),
    comment="what the Referrals API was found to take, and when",
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False, comment="Dagster's run"),
    Column("acquired_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, comment="kept ahead while the holder lives"),
    comment="who may fetch now: one run, on any machine",
)

run_heartbeats: Final = Table(
    "run_heartbeats",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    comment="when a run under way last gave a sign of life",
)

breakers: Final = Table(
    "breakers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("failures", Integer, nullable=False, comment="failed runs in a row"),
    Column("reason", Text, comment="what the last one failed with"),
    Column("open_until", UtcDateTime, comment="until when runs are skipped"),
    comment="whether Partner Center is left alone for a while, and why",
)

token_caches: Final = Table(
    "token_caches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False, comment="encrypted with HUNTER_PARTNER_CENTER_TOKEN_KEY"),
    Column("updated_at", UtcDateTime, nullable=False),
    comment="the sign-in that several machines share",
)

reconciliations: Final = Table(
    "reconciliations",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    Column("run_id", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("until", BigInteger, nullable=False, comment="ticks; every referral updated before is compared"),
    Column("pages", Integer, nullable=False),
    Column("fetched", Integer, nullable=False),
    Column("missing", Integer, nullable=False, comment="versions the warehouse did not have, now loaded"),
    Column("missed", Integer, nullable=False, comment="those of windows that claimed to be complete"),
    Column("quarantined", Integer, nullable=False),
    Column("windows", JsonValue, nullable=False, comment="missing versions by window"),
    Column("error", Text),
    comment="full comparisons of the warehouse with Partner Center",
)

demo_world: Final = Table(
    "demo_world",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seed", BigInteger, nullable=False),
    Column("anchor", UtcDateTime, nullable=False, comment="the moment up to which the past was made"),
    Column("recent_from", UtcDateTime, nullable=False),
    Column("referrals", Integer, nullable=False),
    comment="marks a warehouse that holds the demo's referrals, and which past they come from",
)


def columns_of(table: Table) -> tuple[str, ...]:
    """The names of a table's columns, in order."""
    return tuple(column.name for column in table.columns)


def row_dict(row: Row[Any]) -> dict[str, Any]:
    """A result row as a plain dict, by column name."""
    return row._asdict()
