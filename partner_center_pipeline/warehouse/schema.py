"""The warehouse's tables: columns, keys, indexes and column types. docs/tables.md is generated from the comments here.

A change needs a migration in `alembic/versions/`; a test compares the two. PostgreSQL stores a column's `comment`, so a
new one would be a change. A description that is not stored is in `info["comment"]` (`comment_of` reads both).
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
    false,
    text,
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
"""Alembic's table. Dagster's storage uses the default name, and it may be in the same database."""

UNFINISHED_MOVE: Final = "partner_center_unfinished_move"
"""The table that a PostgreSQL database has as long as a SQLite warehouse is being moved into it (`moving`)."""

CENT: Final = Decimal("0.01")
"""The precision of amounts."""


class UtcDateTime(TypeDecorator[datetime]):
    """A datetime with time zone UTC. SQLite has no time zones and stores it without one."""

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


class Rate(TypeDecorator[Decimal]):
    """An exchange rate: NUMERIC on PostgreSQL, REAL on SQLite, which has no decimals."""

    impl = Numeric(24, 10)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Float() if dialect.name == "sqlite" else Numeric(24, 10))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return float(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002  SQLAlchemy's name
        return None if value is None else Decimal(str(value))


JsonValue: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""JSON text on SQLite, JSONB on PostgreSQL (which reorders keys and refuses NUL and lone surrogates)."""

_Ordered: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is also sorted: by code points, as in Python and SQLite, whatever the locale of PostgreSQL is."""

_RowNumber: Final = BigInteger().with_variant(Integer, "sqlite")
"""A row number. SQLite assigns numbers itself only where the key is INTEGER."""


def _derived_with() -> Column[str]:
    """Return the column `derived_with` of a table with rows that are made from other rows."""
    comment = "digest of the rules, settings and code that made the row"
    return Column("derived_with", Text, nullable=False, server_default="", comment=comment)


def _company_domain(*, primary_key: bool = False) -> Column[str]:
    """Return the column `domain` of a table with rows about a company, which are deleted with the company."""
    company = ForeignKey("companies.domain", ondelete="CASCADE")
    info = {"comment": "the company's domain"}
    return Column("domain", Text, company, primary_key=primary_key, nullable=False, info=info)


class Resolution(StrEnum):
    """Why a row of the quarantine is no longer open."""

    CLEAN = "clean"
    """A scan received the referral again, and could take it in; or a row that could not be read is no longer there."""
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class OutboxState(StrEnum):
    """What became of an event that people are to be told (alerts.md, "What becomes of an event")."""

    WAITING = "waiting"
    SENT = "sent"
    OUTDATED = "outdated"
    """No longer so when its turn came, so nobody was told."""
    GIVEN_UP = "given_up"


class AttemptState(StrEnum):
    """The state of an attempt at a window (windows.md, "The ledger")."""

    RUNNING = "running"
    COMPLETE = "complete"
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    DISABLED = "disabled"


raw_referrals: Final = Table(
    "raw_referrals",
    metadata,
    Column("referral_id", _Ordered, nullable=False, info={"comment": "the referral's id"}),
    Column("version", _Ordered, nullable=False, comment="the first 32 characters of content_hash"),
    Column("etag", Text, info={"comment": "the payload's eTag, if it has one"}),
    Column(
        "updated_ticks",
        BigInteger,
        nullable=False,
        comment="updatedDateTime in 100 ns since 1970; of a date in the future, when it was met",
    ),
    Column("updated_text", Text, nullable=False, comment="updatedDateTime as the API printed it"),
    Column("window_start", BigInteger, nullable=False, comment="the window that fetched it, in ticks"),
    Column("late", Boolean, nullable=False, comment="met in the overlap before its window"),
    Column("content_hash", Text, nullable=False, comment="sha256 of the canonical payload"),
    Column("payload", JsonValue, nullable=False, info={"comment": "the referral as received"}),
    Column("fetched_at", UtcDateTime, nullable=False, info={"comment": "when it was stored"}),
    Column(
        "erased_at",
        UtcDateTime,
        comment="when a person's fields were emptied; version and content_hash are keyed digests of what was received",
    ),
    PrimaryKeyConstraint("referral_id", "version"),
    Index(None, "window_start", "referral_id"),
    comment="every version of every referral, as received, append-only",
)

quarantined_referrals: Final = Table(
    "quarantined_referrals",
    metadata,
    Column("fingerprint", Text, primary_key=True, comment="sha256 of the canonical payload"),
    Column("referral_id", Text, info={"comment": "the referral's id, if it is usable"}),
    Column("reason", Text, nullable=False, info={"comment": "how the row breaks the contract, e.g. bad_updated"}),
    Column("path", Text, nullable=False, comment="where in the payload"),
    Column("payload_text", Text, nullable=False, comment="JSON, escaped so that any database can hold it"),
    Column("window_start", BigInteger, nullable=False, info={"comment": "the window it is kept under, in ticks"}),
    Column("first_seen", UtcDateTime, nullable=False, info={"comment": "when a scan first received it"}),
    Column("last_seen", UtcDateTime, nullable=False, info={"comment": "when a scan last received it"}),
    Column("attempts", Integer, nullable=False, comment="how many scans met it"),
    Column("earliest_ticks", BigInteger, comment="the earliest that its updatedDateTime can be, if that is known"),
    Column("latest_ticks", BigInteger, comment="the latest that its updatedDateTime can be, if that is known"),
    Column("resolution", Text, comment="why it is no longer open: clean, replayed or discarded; empty while it is"),
    Column("resolved_at", UtcDateTime, comment="when it stopped being open"),
    Column("resolved_by", Text, comment="who discarded it"),
    Column("resolved_because", Text, comment="the reason that was given for discarding it"),
    Column(
        "erased_at",
        UtcDateTime,
        comment="when a person's fields were emptied; the fingerprint is a keyed digest of the received one's",
    ),
    Index(None, "resolved_at"),
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
    Column("id", _RowNumber, primary_key=True, autoincrement=True, info={"comment": "row number"}),
    Column("window_start", BigInteger, nullable=False, info={"comment": "ticks; the window's start"}),
    Column("window_end", BigInteger, nullable=False, info={"comment": "ticks; the window's end, exclusive"}),
    Column("state", Text, nullable=False, info={"comment": "running, complete, empty, incomplete, failed or disabled"}),
    Column("run_id", Text, nullable=False, comment="Dagster's run"),
    Column("started_at", UtcDateTime, nullable=False, info={"comment": "when the attempt began"}),
    Column("finished_at", UtcDateTime, info={"comment": "when the attempt ended; empty while it runs"}),
    Column("pages", Integer, nullable=False, info={"comment": "pages received"}),
    Column("fetched", Integer, nullable=False, comment="rows the API sent, the overlap's included"),
    Column("new_versions", Integer, nullable=False, info={"comment": "versions that were not stored yet"}),
    Column("unchanged", Integer, nullable=False, comment="rows already known by id and content"),
    Column("late", Integer, nullable=False, comment="new versions met in the overlap before the window"),
    Column("quarantined", Integer, nullable=False, info={"comment": "rows that break the contract"}),
    Column("distinct_ids", Integer, nullable=False, comment="referrals the window holds once closed"),
    Column("seconds_waited", Float, nullable=False, comment="for Retry-After and between retries"),
    Column("clock_skew", Float, comment="server's clock minus ours, in seconds"),
    Column("latest_late_seconds", Float, comment="how far before the window the latest of its late versions lay"),
    Column("error", Text, info={"comment": "why the attempt failed"}),
    Column(
        "refused",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="failed with what would be refused again; not for a wait, the network or the sign-in",
    ),
    Index(None, "window_start", "window_end"),
    Index(None, "run_id"),
    comment="each try at a window, with its figures",
)

sync_days: Final = Table(
    "sync_days",
    metadata,
    Column("day", Text, primary_key=True, comment="the day (UTC) that the attempts began on, as 2026-11-28"),
    Column("state", Text, primary_key=True, comment="how they ended, as in sync_attempts"),
    Column("attempts", Integer, nullable=False, comment="how many attempts"),
    Column("pages", BigInteger, nullable=False, comment="pages received"),
    Column("fetched", BigInteger, nullable=False, comment="rows the API sent, the overlap's included"),
    Column("new_versions", BigInteger, nullable=False, comment="versions that were not stored yet"),
    Column("unchanged", BigInteger, nullable=False, comment="rows already known by id and content"),
    Column("late", BigInteger, nullable=False, comment="new versions met in the overlap before a window"),
    Column("quarantined", BigInteger, nullable=False, comment="rows that break the contract"),
    Column("seconds_waited", Float, nullable=False, comment="for Retry-After and between retries"),
    Column("latest_late_seconds", Float, comment="the largest one of the attempts of the day"),
    comment="what attempts did that are kept one by one no longer",
)

pending_work: Final = Table(
    "pending_work",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, comment="row number; the order of the work"),
    Column("task", Text, nullable=False, comment="leads, companies, company_matches, lead_matches, signals, scores"),
    Column("item", Text, nullable=False, comment="the referral's id or the company's domain"),
    Column("queued_at", UtcDateTime, nullable=False, comment="when the row that it follows from was stored"),
    Column("error", Text, comment="the kind of error that the last try at this item ended with"),
    Index(None, "task", "id"),
    comment="what the assets after raw_referrals have still to derive",
)

_VANISHED: Final = text("vanished_at IS NOT NULL")
"""The rows of a small index, in which each page of a scan looks for leads that are shown again."""

_MAY_BE_DUE: Final = text("is_open AND vanished_at IS NULL")
"""The rows of the index from which the next deadlines are read."""

leads: Final = Table(
    "leads",
    metadata,
    Column("referral_id", _Ordered, primary_key=True, info={"comment": "the referral's id"}),
    Column("source", Text, nullable=False, comment="partnercenter"),
    Column("version", _Ordered, nullable=False, comment="the version of raw_referrals it was made from"),
    Column("updated_ticks", BigInteger, nullable=False, info={"comment": "updatedDateTime in 100 ns since 1970"}),
    Column("updated_text", Text, nullable=False, info={"comment": "updatedDateTime as the API printed it"}),
    Column("engagement_id", Text, comment="the deal; both sides' referrals share it"),
    Column("organization_id", Text, info={"comment": "organizationId: who owns the referral"}),
    Column("name", Text, info={"comment": "the deal's name, a free text"}),
    Column("category", Text, nullable=False, info={"comment": "marketplace, solution-provider, co-sell or unknown"}),
    Column("category_rule", Text, nullable=False, comment="the rule that gave the category"),
    Column("type", Text, info={"comment": "as in the API: Independent or Shared"}),
    Column("qualification", Text, info={"comment": "as in the API, e.g. SalesQualified"}),
    Column("direction", Text, info={"comment": "as in the API: Incoming or Outgoing"}),
    Column("status", Text, info={"comment": "as in the API, e.g. New"}),
    Column("substatus", Text, info={"comment": "as in the API, e.g. Received"}),
    Column("is_open", Boolean, nullable=False, info={"comment": "whether the status is not Closed"}),
    Column("company_name", Text, comment="repaired"),
    Column("company_name_original", Text, comment="as received"),
    Column("company_name_key", Text, comment="for comparison only"),
    Column("company_name_block", Text, comment="names that are compared with each other share it"),
    Column("domain", Text, comment="registrable domain, punycode"),
    Column("host", Text, comment="with its sub-domain"),
    Column("domain_source", Text, comment="the field that gave it"),
    Column("domain_reason", Text, comment="why there is none"),
    Column("former_domains", JsonValue, nullable=False, comment="domains earlier versions of this lead had"),
    Column("tenant", Text, info={"comment": "Microsoft tenant: id or name"}),
    Column("tenant_source", Text, info={"comment": "where the tenant was read: payload or email_domain"}),
    Column("contact_name", Text, info={"comment": "name of the customer's contact; personal data"}),
    Column("contact_email", Text, info={"comment": "the contact's e-mail address; personal data"}),
    Column("contact_phone", Text, info={"comment": "the contact's telephone number; personal data"}),
    Column("country", Text, info={"comment": "country code of the customer's address"}),
    Column("city", Text, info={"comment": "city of the customer's address"}),
    Column("company_size", Text, info={"comment": "the customer's size as in the API"}),
    Column("created_text", Text, info={"comment": "createdDateTime as the API printed it"}),
    Column("expires_text", Text, info={"comment": "expirationDateTime, the response deadline, as the API printed it"}),
    Column("expires_ticks", BigInteger, info={"comment": "expirationDateTime in 100 ns since 1970"}),
    Column("closed_text", Text, info={"comment": "closedDateTime as the API printed it"}),
    Column("deal_value", Money, info={"comment": "the deal's value in its currency"}),
    Column("currency", Text, info={"comment": "ISO 4217 code of the deal's value"}),
    Column("products", JsonValue, nullable=False, info={"comment": "the API's product codes"}),
    Column(
        "notes",
        Text,
        info={"comment": "the deal's notes, free text that may hold personal data; in [brackets] a note of the rules"},
    ),
    _derived_with(),
    Column("vanished_at", UtcDateTime, comment="when a full comparison found that Partner Center shows it no more"),
    Column("created_ticks", BigInteger, comment="createdDateTime in 100 ns since 1970"),
    Index(None, "domain"),
    Index(None, "company_name_block"),
    Index("ix_leads_vanished", "referral_id", sqlite_where=_VANISHED, postgresql_where=_VANISHED),
    Index("ix_leads_due", "expires_ticks", sqlite_where=_MAY_BE_DUE, postgresql_where=_MAY_BE_DUE),
    comment="one lead per referral, newest version wins",
)

_UNNAMED: Final = text("referrals = 0")
"""The rows of a small index: companies that no referral names any more."""

companies: Final = Table(
    "companies",
    metadata,
    Column("domain", Text, primary_key=True, comment="registrable domain, punycode"),
    Column("domain_unicode", Text, nullable=False, info={"comment": "the domain in Unicode"}),
    Column("domain_ascii_key", Text, nullable=False, comment="alternate key, Turkish letters folded"),
    Column("name", Text, comment="of the newest referral that has one"),
    Column("name_key", Text, info={"comment": "the name for comparison only"}),
    Column("name_block", Text, comment="names that are compared with each other share it"),
    Column("country", Text, info={"comment": "of the newest referral that has one"}),
    Column("city", Text, info={"comment": "of the newest referral that has one"}),
    Column("referrals", Integer, nullable=False, info={"comment": "how many referrals name the company"}),
    Column("open_referrals", Integer, nullable=False, info={"comment": "how many of them are not closed"}),
    Column("engagements", Integer, nullable=False, comment="deals; the two sides of a co-sell count once"),
    Column("open_cosell", Boolean, nullable=False, comment="a co-sell referral that is not closed"),
    Column("cosell_referral", Text, comment="the newest such referral"),
    Column(
        "next_expiry_ticks", BigInteger, comment="the earliest response deadline of an open referral, passed or not"
    ),
    Column("deal_value", Money, comment="the largest deal among the open referrals, by the rules' rates"),
    Column("currency", Text, info={"comment": "ISO 4217 code of deal_value"}),
    Column("tenant", Text, comment="Microsoft tenant: id or name"),
    Column("tenant_source", Text, info={"comment": "where the tenant was read: payload or email_domain"}),
    Column("referral_ids", JsonValue, nullable=False, comment="newest first"),
    Column("updated_ticks", BigInteger, nullable=False, comment="of the newest referral"),
    _derived_with(),
    Index("ix_companies_unnamed", "domain", sqlite_where=_UNNAMED, postgresql_where=_UNNAMED),
    Index(None, "domain_ascii_key"),
    Index(None, "name_block"),
    comment="one company per registrable domain",
)

suggested_matches: Final = Table(
    "suggested_matches",
    metadata,
    Column("kind", Text, nullable=False, comment="what may belong to the company: a company, or a lead without domain"),
    Column("subject", _Ordered, nullable=False, comment="its domain, or the referral's id"),
    _company_domain(),
    Column("reason", Text, nullable=False, comment="ascii_key, same_name or similar_name"),
    Column("similarity", Integer, nullable=False, comment="0 to 100"),
    Column("suggested_at", UtcDateTime, nullable=False, info={"comment": "when it was first suggested"}),
    Column(
        "group_id",
        Text,
        nullable=False,
        server_default="",
        comment="the same for all pairs of the same two names, which a person decides about at once",
    ),
    PrimaryKeyConstraint("kind", "subject", "domain"),
    Index(None, "domain"),
    comment="companies that may be one, and leads that may be a company's, for a person to decide",
)

decisions: Final = Table(
    "decisions",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, comment="row number; the newest one counts"),
    Column("kind", Text, nullable=False, comment="domain, mark, lead_match or company_match"),
    Column("subject", Text, nullable=False, comment="a referral's id; of a company_match a company's domain"),
    Column(
        "choice",
        Text,
        nullable=False,
        comment="set, refused, cleared; contacted, not_interested, snoozed, reopened; accepted, rejected, undone",
    ),
    Column("domain", Text, comment="the domain that was set; of a match the company that the subject counts as"),
    Column("until_ticks", BigInteger, comment="until when a lead is snoozed, in 100 ns since 1970"),
    Column("group_id", Text, comment="the group of suggested_matches that it decided about"),
    Column("decided_at", UtcDateTime, nullable=False, comment="when it was decided"),
    Column("decided_by", Text, nullable=False, comment="who decided: the name given, or the user of the system"),
    Column("note", Text, comment="why; free text that may hold personal data"),
    Index(None, "kind", "subject"),
    comment="what people decided, append-only; nothing that is synced or derived changes or deletes a row",
)

domain_signals: Final = Table(
    "domain_signals",
    metadata,
    _company_domain(primary_key=True),
    Column("provider", Text, nullable=False, info={"comment": "who hosts the mailboxes, e.g. M365, Google or Local"}),
    Column("provider_name", Text, info={"comment": "the provider's name for people"}),
    Column("gateway", Text, info={"comment": "the mail filter that the MX names, if any"}),
    Column("confidence", Integer, nullable=False, info={"comment": "0 to 100; how sure the provider is"}),
    Column("is_complete", Boolean, nullable=False, comment="MX, SPF and _dmarc are facts"),
    Column("tenant", Text, info={"comment": "Microsoft tenant that DNS or a look-up names: name or id"}),
    Column("tenant_source", Text, info={"comment": "where the tenant was read: dkim_target or oidc_metadata"}),
    Column("signals", JsonValue, nullable=False, comment="all that DNS said, with evidence"),
    Column("scanned_at", UtcDateTime, nullable=False, info={"comment": "when the last scan ended"}),
    Column("facts_at", UtcDateTime, comment="when DNS last gave facts"),
    Column("next_scan_at", UtcDateTime, nullable=False, info={"comment": "when the next scan is due"}),
    Column("failures", Integer, nullable=False, comment="scans without facts since the last good one"),
    Index(None, "next_scan_at"),
    # Holds all that the checks and pictures count, so that they do not read the wide rows.
    Index(None, "provider", "facts_at"),
    Index("ix_domain_signals_last_scans", "scanned_at", "failures", "provider", "facts_at"),
    comment="what DNS said about a company's domain, when, and how sure",
)

signal_changes: Final = Table(
    "signal_changes",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, info={"comment": "row number"}),
    _company_domain(),
    Column("changed_at", UtcDateTime, nullable=False, info={"comment": "when the scan that found it ended"}),
    Column("provider_before", Text, info={"comment": "provider before; empty for the first answer"}),
    Column("provider_after", Text, nullable=False, info={"comment": "provider after"}),
    Column("gateway_before", Text, info={"comment": "mail filter before, if any"}),
    Column("gateway_after", Text, info={"comment": "mail filter after, if any"}),
    Column("detail", JsonValue, nullable=False, comment="what differs, before and after; empty for the first answer"),
    Index(None, "domain", "changed_at"),
    comment="how a company's mail set-up changed",
)

company_scores: Final = Table(
    "company_scores",
    metadata,
    _company_domain(primary_key=True),
    Column("score", Integer, comment="readiness plus the co-sell bonus; ranks"),
    Column("readiness", Integer, info={"comment": "0 to 100; decides segment and category"}),
    Column("segment", Text, nullable=False, info={"comment": "Existing, Migration, Cold, Skip or Pending"}),
    Column("segment_reason", Text, nullable=False, info={"comment": "code that says why this segment"}),
    Column("reasons", JsonValue, nullable=False, comment="code, points, evidence, in order"),
    Column("explanation_en", Text, comment="the reasons in English"),
    Column("explanation_tr", Text, comment="the reasons in Turkish"),
    Column("commercial_segment", Text, info={"comment": "commercial view of the segment, e.g. GREENFIELD"}),
    Column("technical_heat", Text, info={"comment": "Hot, Warm or Cold"}),
    Column("commercial_heat", Text, info={"comment": "high, medium or low"}),
    Column("category", Text, info={"comment": "P1 to P6; P1 is the most urgent"}),
    Column("label", Text, info={"comment": "the category's name"}),
    Column("act", Text, info={"comment": "what to do and when"}),
    Column("rules_version", Text, nullable=False, info={"comment": "version of the scoring rules"}),
    Column("inputs", JsonValue, nullable=False, comment="what the score was made from"),
    Column("referral_ids", JsonValue, nullable=False, comment="the referrals that mattered"),
    Column("signals_at", UtcDateTime, comment="when DNS gave the facts it stands on"),
    Column("scored_at", UtcDateTime, nullable=False, info={"comment": "when the score was made"}),
    _derived_with(),
    Index(None, "segment", "category"),
    Index(None, "rules_version"),
    comment="score, segment and reasons of each company",
)

_SCORE_COLUMNS: Final = (
    ("score", Integer, "readiness plus the co-sell bonus; ranks"),
    ("readiness", Integer, "0 to 100; decides segment and category"),
    ("segment", Text, "Existing, or Pending without a tenant"),
    ("segment_reason", Text, "code that says why this segment"),
    ("reasons", JsonValue, "code, points, evidence, in order"),
    ("explanation_en", Text, "the reasons in English"),
    ("explanation_tr", Text, "the reasons in Turkish"),
    ("commercial_segment", Text, "commercial view of the segment"),
    ("technical_heat", Text, "Hot, Warm or Cold"),
    ("commercial_heat", Text, "high, medium or low"),
    ("category", Text, "P1 to P6; P1 is the most urgent"),
    ("label", Text, "the category's name"),
    ("act", Text, "what to do and when"),
    ("rules_version", Text, "version of the scoring rules"),
)

lead_scores: Final = Table(
    "lead_scores",
    metadata,
    Column("has_tenant", Boolean, primary_key=True, comment="whether the referral names a Microsoft tenant"),
    Column("is_cosell", Boolean, primary_key=True, comment="whether it is a co-sell referral"),
    *(Column(name, kind, comment=comment) for name, kind, comment in _SCORE_COLUMNS),
    comment="the score of an open lead without a company, which depends on two facts only; from the rules and settings",
)

currency_rates: Final = Table(
    "currency_rates",
    metadata,
    Column("currency", Text, primary_key=True, comment="ISO 4217 code"),
    Column("rate", Rate, nullable=False, comment="what one unit is worth in the reporting currency"),
    Column("reporting_currency", Text, nullable=False, comment="ISO 4217 code"),
    Column("rates_date", Text, nullable=False, comment="the day of the rates, as YYYY-MM-DD"),
    comment="the rates of the rules file, by which deal values in different currencies are compared",
)

rule_texts: Final = Table(
    "rule_texts",
    metadata,
    Column("code", Text, primary_key=True, comment="a reason's code, or a category's label or act in English"),
    Column("en", Text, nullable=False, comment="in English"),
    Column("tr", Text, nullable=False, comment="in Turkish"),
    comment="the texts of the rules file, in both languages",
)

list_order: Final = Table(
    "list_order",
    metadata,
    _company_domain(primary_key=True),
    Column("referral_id", Text, comment="the referral that speaks for the company"),
    Column("set_aside", Integer, nullable=False, comment="1 where a person set that referral aside"),
    Column("category", Text, nullable=False, comment="P1 to P6; Z without one"),
    Column("score_order", Integer, nullable=False, comment="the score, negative; 1 without one"),
    Column("urgency", Integer, nullable=False, comment="0: a deadline to come; 1: none; 2: one that passed"),
    Column("due_ticks", BigInteger, nullable=False, comment="the deadline to come, in 100 ns since 1970; else 0"),
    Column("value_order", Float, nullable=False, comment="the deal in the reporting currency, negative; 1e300: none"),
    Column(
        "valid_until_ticks",
        BigInteger,
        nullable=False,
        comment="when the clock changes the row next: a deadline passes, or a snoozed lead comes back",
    ),
    Index(
        "ix_list_order_place",
        *("set_aside", "category", "score_order", "urgency", "due_ticks", "value_order", "domain"),
    ),
    Index(None, "valid_until_ticks"),
    comment="by what leads_ready ranks each company, so that its first page is read from an index; all ascending",
)

score_changes: Final = Table(
    "score_changes",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, info={"comment": "row number"}),
    _company_domain(),
    Column("changed_at", UtcDateTime, nullable=False, info={"comment": "when the new score was made"}),
    Column("cause", Text, nullable=False, comment="first, rules, signals, referral or settings"),
    Column("segment_before", Text, info={"comment": "segment before; empty for the first score"}),
    Column("segment_after", Text, nullable=False, info={"comment": "segment after"}),
    Column("score_before", Integer, info={"comment": "score before"}),
    Column("score_after", Integer, info={"comment": "score after"}),
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
    Column("first_seen", UtcDateTime, nullable=False, info={"comment": "when it was first seen"}),
    PrimaryKeyConstraint("kind", "path", "value"),
    comment="fields and values that no document of Microsoft names, once each",
)

api_capabilities: Final = Table(
    "api_capabilities",
    metadata,
    Column("base_url", Text, primary_key=True, info={"comment": "address of the API"}),
    Column("date_literal", Text, comment="bare or quoted; how a date is written in a filter"),
    Column("updated_filter", Boolean, nullable=False, comment="whether a filter on updatedDateTime is taken"),
    Column("found_at", UtcDateTime, nullable=False, info={"comment": "when it was found"}),
    comment="what the Referrals API was found to take, and when",
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True, info={"comment": "name of the lease"}),
    Column("holder", Text, nullable=False, comment="Dagster's run"),
    Column("acquired_at", UtcDateTime, nullable=False, info={"comment": "when the holder took it"}),
    Column("expires_at", UtcDateTime, nullable=False, comment="kept ahead while the holder lives"),
    comment="who may fetch now: one run, on any machine",
)

run_heartbeats: Final = Table(
    "run_heartbeats",
    metadata,
    Column("run_id", Text, primary_key=True, info={"comment": "Dagster's run"}),
    Column("seen_at", UtcDateTime, nullable=False, info={"comment": "when its last heartbeat was written"}),
    comment="when a run under way last gave a sign of life",
)

breakers: Final = Table(
    "breakers",
    metadata,
    Column("name", Text, primary_key=True, info={"comment": "name of the breaker"}),
    Column("failures", Integer, nullable=False, comment="failed runs in a row"),
    Column("reason", Text, comment="what the last one failed with"),
    Column("open_until", UtcDateTime, comment="until when runs are skipped"),
    Column("opened_at", UtcDateTime, comment="when that was decided; a moment to come is a clock's fault"),
    comment="whether Partner Center is left alone for a while, and why",
)

token_caches: Final = Table(
    "token_caches",
    metadata,
    Column("name", Text, primary_key=True, info={"comment": "name of the sign-in"}),
    Column("sealed", LargeBinary, nullable=False, comment="encrypted with HUNTER_PARTNER_CENTER_TOKEN_KEY"),
    Column("updated_at", UtcDateTime, nullable=False, info={"comment": "when it was last written"}),
    comment="the sign-in that several machines share",
)

reconciliations: Final = Table(
    "reconciliations",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, info={"comment": "row number"}),
    Column("run_id", Text, nullable=False, info={"comment": "Dagster's run"}),
    Column("started_at", UtcDateTime, nullable=False, info={"comment": "when it began"}),
    Column("finished_at", UtcDateTime, info={"comment": "when it ended; empty while it runs"}),
    Column("until", BigInteger, nullable=False, comment="ticks; every referral updated before is compared"),
    Column("pages", Integer, nullable=False, info={"comment": "pages compared"}),
    Column("fetched", Integer, nullable=False, info={"comment": "rows the API sent"}),
    Column("missing", Integer, nullable=False, comment="versions the warehouse did not have, now loaded"),
    Column("missed", Integer, nullable=False, comment="those of windows that claimed to be complete"),
    Column("quarantined", Integer, nullable=False, info={"comment": "rows that break the contract"}),
    Column("windows", JsonValue, nullable=False, comment="missing versions by window"),
    Column("error", Text, info={"comment": "why it failed"}),
    Column("kind", Text, nullable=False, server_default="full", comment="full, or recent: the last day only"),
    Column("future", Integer, nullable=False, server_default="0", comment="new versions with a date in the future"),
    Column("held", Integer, nullable=False, server_default="0", comment="leads that were looked for"),
    Column("vanished", Integer, nullable=False, server_default="0", comment="those that Partner Center shows no more"),
    Column("marked", Integer, nullable=False, server_default="0", comment="those marked as vanished: all or none"),
    Column("returned", Integer, nullable=False, server_default="0", comment="marked leads that are shown again"),
    comment="comparisons of the warehouse with Partner Center",
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True, comment="UUIDv5 of kind, subject and what caused the event"),
    Column(
        "kind", Text, nullable=False, comment="category (a company entered it), deadline (of a good lead) or condition"
    ),
    Column("subject", _Ordered, nullable=False, comment="the company's domain, the referral's id, or what is not well"),
    Column(
        "detail",
        Text,
        nullable=False,
        comment="the category that was entered, the deadline, or how a condition changed",
    ),
    Column("happened_at", UtcDateTime, nullable=False, comment="when the event was noted"),
    Column("state", Text, nullable=False, comment="waiting, sent, outdated or given_up"),
    Column("message_id", Text, comment="the message that tells it, from before it is first sent; the same in repeats"),
    Column("attempts", Integer, nullable=False, comment="how often the message was sent, or that was tried"),
    Column("next_try_at", UtcDateTime, nullable=False, comment="before then nothing is sent"),
    Column("reason", Text, comment="why the last try failed, or why nobody was told"),
    Column("ended_at", UtcDateTime, comment="when it was sent, found outdated or given up; empty while it waits"),
    Column(
        "channel",
        Text,
        nullable=False,
        server_default="sales",
        comment="sales, or one of the operators': see alerts.md",
    ),
    Column("grade", Text, comment="a condition's: warning or wrong"),
    Column("text", Text, comment="what is said of a condition"),
    Column("since", UtcDateTime, comment="since when a condition is known"),
    Index(None, "kind", "subject"),
    Index(None, "state"),
    comment="events that people are to be told, each until it was told",
)

alert_conditions: Final = Table(
    "alert_conditions",
    metadata,
    Column("subject", Text, primary_key=True, comment="what is not well, as partner-center status calls it"),
    Column("grade", Text, nullable=False, comment="warning or wrong, as it was told last"),
    Column("size", BigInteger, nullable=False, comment="how much of it there was then; 0 where that is no number"),
    Column("text", Text, nullable=False, comment="what was said of it last"),
    Column("since", UtcDateTime, nullable=False, comment="when it was first found"),
    Column("told_at", UtcDateTime, nullable=False, comment="when that was noted to be told"),
    comment="what is not well and operators are told of, until it is well again",
)

connected_account: Final = Table(
    "connected_account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("base_url", Text, nullable=False, comment="the API's address; of this machine without its port"),
    Column("tenant_id", Text, nullable=False, comment="HUNTER_PARTNER_CENTER_TENANT_ID"),
    Column("account", Text, nullable=False, comment="sha256 of the ids of the account that signed in"),
    Column("recorded_at", UtcDateTime, nullable=False, comment="when it was first used or accepted"),
    comment="whose referrals this warehouse holds; another account is refused until a person accepts it",
)

erasure_key: Final = Table(
    "erasure_key",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("digest", Text, nullable=False, comment="a digest by which the key is known again; not the key"),
    comment="which key the digests of tombstones and of erased versions were made with; a row once there are any",
)

tombstones: Final = Table(
    "tombstones",
    metadata,
    Column("person", Text, nullable=False, comment="the same for all rows of a person: a keyed digest"),
    Column("digest", Text, nullable=False, comment="keyed digest of an address, a number or a name"),
    Column(
        "kind",
        Text,
        nullable=False,
        comment="email, phone, name; referral, and referral_... for what counts in one",
    ),
    Column("words", Integer, comment="how many words a name has"),
    PrimaryKeyConstraint("person", "digest"),
    comment="who was erased, as keyed digests: what is stored is asked for them, so that nobody comes back",
)

erasures: Final = Table(
    "erasures",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True, comment="row number"),
    Column("erased_at", UtcDateTime, nullable=False, comment="when"),
    Column("erased_by", Text, nullable=False, comment="by whom: the name given, or the user of the system"),
    Column("person", Text, nullable=False, comment="the person, as in tombstones"),
    Column("rows_emptied", JsonValue, nullable=False, comment="how many rows of each table something was taken out of"),
    comment="the acts of erasing a person, without the person; kept for three years",
)

demo_world: Final = Table(
    "demo_world",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, info={"comment": "always 1"}),
    Column("seed", BigInteger, nullable=False, info={"comment": "seed of the generated referrals"}),
    Column("anchor", UtcDateTime, nullable=False, comment="the moment up to which the past was made"),
    Column("recent_from", UtcDateTime, nullable=False, info={"comment": "start of the most recent changes"}),
    Column("referrals", Integer, nullable=False, info={"comment": "how many referrals there are at the anchor"}),
    comment="marks a warehouse that holds the demo's referrals, and which past they come from",
)


def comment_of(column: Column[Any]) -> str:
    """Return what a column holds: its comment in the database or, without one, its description in `info`."""
    return column.comment or str(column.info.get("comment", ""))


def columns_of(table: Table) -> tuple[str, ...]:
    """Return the names of a table's columns, in order."""
    return tuple(column.name for column in table.columns)


def row_dict(row: Row[Any]) -> dict[str, Any]:
    """Return a result row as a plain dict, by column name."""
    return row._asdict()


TABLE_OF: Final = {
    Asset.RAW_REFERRALS: raw_referrals,
    Asset.NORMALIZED_LEADS: leads,
    Asset.COMPANIES: companies,
    Asset.DOMAIN_SIGNALS: domain_signals,
    Asset.SCORED_SEGMENTS: company_scores,
}
"""The table that holds an asset's rows."""
