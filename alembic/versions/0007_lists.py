"""Lists for leads without a company and for deadlines, a company's card, the state of the sync, rates and texts

Revision: 0007
Follows: 0006
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
RATE = sa.Numeric(24, 10).with_variant(sa.Float(), "sqlite")

LEAD_SCORES = (
    ("score", sa.Integer(), "readiness plus the co-sell bonus; ranks"),
    ("readiness", sa.Integer(), "0 to 100; decides segment and category"),
    ("segment", sa.Text(), "Existing, or Pending without a tenant"),
    ("segment_reason", sa.Text(), "code that says why this segment"),
    ("reasons", JSON_VALUE, "code, points, evidence, in order"),
    ("explanation_en", sa.Text(), "the reasons in English"),
    ("explanation_tr", sa.Text(), "the reasons in Turkish"),
    ("commercial_segment", sa.Text(), "commercial view of the segment"),
    ("technical_heat", sa.Text(), "Hot, Warm or Cold"),
    ("commercial_heat", sa.Text(), "high, medium or low"),
    ("category", sa.Text(), "P1 to P6; P1 is the most urgent"),
    ("label", sa.Text(), "the category's name"),
    ("act", sa.Text(), "what to do and when"),
    ("rules_version", sa.Text(), "version of the scoring rules"),
)

COMMENTS = {
    "next_expiry_ticks": (
        "the next response deadline of an open referral",
        "the earliest response deadline of an open referral, passed or not",
    ),
    "deal_value": (
        "the largest deal among the open referrals",
        "the largest deal among the open referrals, by the rules' rates",
    ),
}
"""By column of companies: the comment before and after."""

INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]((?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d{1,7}))?(?:[Zz]|[+-]00:00)", re.ASCII
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK = 10_000
"""Leads that are read and written at a time."""

# The deadline was the last reason of a score; it is the lists' now, because a score knows no clock.
DUE_EN = "; Answer the open referral by its response deadline ("
DUE_TR = "; Açık yönlendirmeyi son yanıt tarihine kadar yanıtlayın ("

WITHOUT_DUE = {
    "sqlite": """
UPDATE company_scores SET
    reasons = CASE
        WHEN json_extract(reasons, '$[#-1].code') = 'response_due' THEN json_remove(reasons, '$[#-1]') ELSE reasons
    END,
    explanation_en = substr(explanation_en, 1, instr(explanation_en || '{en}', '{en}') - 1),
    explanation_tr = substr(explanation_tr, 1, instr(explanation_tr || '{tr}', '{tr}') - 1),
    inputs = json_remove(inputs, '$.response_due')
""",
    "postgresql": """
UPDATE company_scores SET
    reasons = CASE WHEN reasons -> -1 ->> 'code' = 'response_due' THEN reasons - -1 ELSE reasons END,
    explanation_en = split_part(explanation_en, '{en}', 1),
    explanation_tr = split_part(explanation_tr, '{tr}', 1),
    inputs = inputs - 'response_due'
""",
}

# As warehouse/views.py had it before this revision.
OLD_LEADS_READY = """
CREATE VIEW leads_ready AS
SELECT
    row_number() OVER (
        ORDER BY s.category ASC NULLS LAST, s.score DESC NULLS LAST, c.next_expiry_ticks ASC NULLS LAST,
            c.deal_value DESC NULLS LAST, c.domain
    ) AS rank,
    c.domain, c.domain_unicode, c.name AS company_name, c.country, c.city,
    s.category, s.label, s.act, s.segment, s.segment_reason, s.commercial_segment, s.technical_heat, s.commercial_heat,
    s.score, s.readiness, s.reasons, s.explanation_en, s.explanation_tr,
    d.provider, d.provider_name, d.gateway, d.confidence,
    c.open_referrals, c.referrals, c.engagements, c.open_cosell,
    {due} AS response_due, c.deal_value, c.currency,
    coalesce(c.tenant, d.tenant) AS tenant,
    CASE WHEN c.tenant IS NULL THEN d.tenant_source ELSE c.tenant_source END AS tenant_source,
    l.referral_id, l.engagement_id, l.category AS referral_category, l.status, l.substatus,
    l.contact_name, l.contact_email, l.contact_phone,
    s.signals_at, s.scored_at, s.rules_version
FROM companies AS c
JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN (
    SELECT leads.*, row_number() OVER (
        PARTITION BY leads.domain ORDER BY leads.is_open DESC, leads.updated_ticks DESC, leads.version DESC
    ) AS place
    FROM leads WHERE leads.domain IS NOT NULL AND leads.vanished_at IS NULL
) AS l ON l.domain = c.domain AND l.place = 1
WHERE c.referrals > 0
"""
OLD_DUE = {
    "sqlite": "datetime(c.next_expiry_ticks / 10000000, 'unixepoch')",
    "postgresql": "to_timestamp(c.next_expiry_ticks / 10000000)",
}

VIEWS = ("leads_ready", "leads_without_company", "due_first", "company_card", "sync_health")


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    op.execute("DROP VIEW leads_ready")
    op.add_column(
        "leads",
        sa.Column("created_ticks", sa.BigInteger(), nullable=True, comment="createdDateTime in 100 ns since 1970"),
    )
    op.create_table(
        "lead_scores",
        sa.Column("has_tenant", sa.Boolean(), nullable=False, comment="whether the referral names a Microsoft tenant"),
        sa.Column("is_cosell", sa.Boolean(), nullable=False, comment="whether it is a co-sell referral"),
        *(sa.Column(name, kind, nullable=True, comment=comment) for name, kind, comment in LEAD_SCORES),
        sa.PrimaryKeyConstraint("has_tenant", "is_cosell", name=op.f("pk_lead_scores")),
        comment="the score of an open lead without a company, which depends on two facts only; from the rules and "
        "settings",
    )
    op.create_table(
        "currency_rates",
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO 4217 code"),
        sa.Column("rate", RATE, nullable=False, comment="what one unit is worth in the reporting currency"),
        sa.Column("reporting_currency", sa.Text(), nullable=False, comment="ISO 4217 code"),
        sa.Column("rates_date", sa.Text(), nullable=False, comment="the day of the rates, as YYYY-MM-DD"),
        sa.PrimaryKeyConstraint("currency", name=op.f("pk_currency_rates")),
        comment="the rates of the rules file, by which deal values in different currencies are compared",
    )
    op.create_table(
        "rule_texts",
        sa.Column(
            "code", sa.Text(), nullable=False, comment="a reason's code, or a category's label or act in English"
        ),
        sa.Column("en", sa.Text(), nullable=False, comment="in English"),
        sa.Column("tr", sa.Text(), nullable=False, comment="in Turkish"),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_rule_texts")),
        comment="the texts of the rules file, in both languages",
    )
    if not op.get_context().as_sql:
        _fill_created_ticks()
    op.execute(WITHOUT_DUE[dialect].replace("{en}", DUE_EN).replace("{tr}", DUE_TR))
    _comment(1)
    for statement in view_sql(dialect).values():
        op.execute(statement)


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    for name in ("rule_texts", "currency_rates", "lead_scores"):
        op.drop_table(name)
    op.drop_column("leads", "created_ticks")
    _comment(0)
    op.execute(OLD_LEADS_READY.format(due=OLD_DUE[op.get_context().dialect.name]))


def _comment(side: int) -> None:
    if op.get_context().dialect.name == "postgresql":  # SQLite keeps no comments
        for column, comments in COMMENTS.items():
            op.execute(f"COMMENT ON COLUMN companies.{column} IS '{comments[side].replace(chr(39), chr(39) * 2)}'")


def _fill_created_ticks() -> None:
    """Read the stored texts, as the code reads those of new leads: what is no instant has no ticks."""
    connection = op.get_bind()
    leads = sa.table("leads", *(sa.column(name) for name in ("referral_id", "created_text", "created_ticks")))
    after = ""
    while True:
        page = (
            sa.select(leads.c.referral_id, leads.c.created_text)
            .where(leads.c.referral_id > after)
            .order_by(leads.c.referral_id)
            .limit(CHUNK)
        )
        rows = connection.execute(page).all()
        if not rows:
            return
        found = [
            {"id": row.referral_id, "ticks": ticks}
            for row in rows
            if (ticks := _ticks(row.created_text or "")) is not None
        ]
        if found:
            change = sa.update(leads).where(leads.c.referral_id == sa.bindparam("id"))
            connection.execute(change.values(created_ticks=sa.bindparam("ticks")), found)
        after = rows[-1].referral_id


def _ticks(text: str) -> int | None:
    instant = INSTANT.fullmatch(text)
    if instant is None:
        return None
    day, time, fraction = instant.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{time}+00:00") - EPOCH
    except ValueError:
        return None
    return (whole.days * 86_400 + whole.seconds) * 10_000_000 + int((fraction or "").ljust(7, "0"))


# The views, as warehouse/views.py has them at this revision.


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database says what the views need. `{0}` and so on stand for expressions.

    now         the current instant in ticks
    instant     ticks as an instant
    iso         ticks as text, `2026-12-08T12:00:00Z`
    in_english  ticks as text for an English sentence; `in_turkish`: for a Turkish one
    no_reasons  an empty list of reasons
    appended    a list of reasons {0} with the reason {1} and its evidence {2}
    filled      the reasons {0} with {2} in the place of the evidence {1}
    object, list, nested, flag: what makes a JSON object, a JSON list, and JSON of a JSON column and of a boolean
    iso_time    a stored instant as text, like `iso`
    """

    now: str
    instant: str
    iso: str
    in_english: str
    in_turkish: str
    no_reasons: str
    appended: str
    filled: str
    object: str
    list: str
    nested: str
    flag: str
    iso_time: str


DIALECTS: Final[Mapping[str, Dialect]] = {
    "sqlite": Dialect(
        now="(CAST(strftime('%s', 'now') AS INTEGER) * 10000000)",
        instant="datetime({0} / 10000000, 'unixepoch')",
        iso="strftime('%Y-%m-%dT%H:%M:%SZ', {0} / 10000000, 'unixepoch')",
        in_english="strftime('%Y-%m-%d %H:%M UTC', {0} / 10000000, 'unixepoch')",
        in_turkish="strftime('%d.%m.%Y %H:%M UTC', {0} / 10000000, 'unixepoch')",
        no_reasons="'[]'",
        appended="json_insert({0}, '$[#]', json_object('code', {1}, 'points', 0, 'evidence', {2}))",
        filled="""replace({0}, '"{1}"', json_quote({2}))""",
        object="json_object",
        list="json_group_array",
        nested="json({0})",
        flag="json(CASE WHEN {0} THEN 'true' ELSE 'false' END)",
        iso_time="strftime('%Y-%m-%dT%H:%M:%SZ', {0})",
    ),
    "postgresql": Dialect(
        now="CAST(extract(epoch FROM now()) * 10000000 AS bigint)",
        instant="to_timestamp({0} / 10000000)",
        iso="""to_char(to_timestamp({0} / 10000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
        in_english="""to_char(to_timestamp({0} / 10000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')""",
        in_turkish="""to_char(to_timestamp({0} / 10000000) AT TIME ZONE 'UTC', 'DD.MM.YYYY HH24:MI "UTC"')""",
        no_reasons="CAST('[]' AS jsonb)",
        appended="({0} || jsonb_build_array(jsonb_build_object('code', {1}, 'points', 0, 'evidence', {2})))",
        filled="""CAST(replace(CAST({0} AS text), '"{1}"', CAST(to_json({2}) AS text)) AS jsonb)""",
        object="jsonb_build_object",
        list="jsonb_agg",
        nested="{0}",
        flag="{0}",
        iso_time="""to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
    ),
}

TENANT_PLACE: Final = "{tenant}"
REFERRAL_PLACE: Final = "{referral}"
"""What stands in the reasons of `lead_scores` for the lead's own tenant and referral (`published`)."""


def view_sql(dialect: str) -> dict[str, str]:
    """Return the statement that makes each view, in the order in which they are made; each uses only earlier ones."""
    q = DIALECTS[dialect]
    return {
        "leads_ready": _leads_ready(q),
        "leads_without_company": _leads_without_company(q),
        "due_first": _due_first(q),
        "company_card": _company_card(q),
        "sync_health": _sync_health(q),
    }


def _leads(q: Dialect, where: str, place: bool) -> str:
    """Select the leads that are still shown, with what depends on the clock.

    `due_ticks` is the deadline of an open lead. `place` numbers the leads of a company: the open ones first; of those
    the one with the next deadline, else the one with the last deadline that passed, else the newest.
    """
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    numbered = f"""
        row_number() OVER (
            PARTITION BY leads.domain
            ORDER BY leads.is_open DESC, CASE WHEN {live} THEN leads.expires_ticks END ASC NULLS LAST,
                CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
                leads.updated_ticks DESC, leads.version DESC, leads.referral_id
        ) AS place,"""
    return f"""
    SELECT{numbered if place else ""}
        leads.*,
        coalesce({live}, FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        CASE WHEN leads.is_open AND leads.expires_ticks IS NOT NULL THEN
            CASE WHEN {live} THEN 'response_due' ELSE 'response_was_due' END
        END AS due_code,
        CASE WHEN leads.is_open THEN
            CASE lower(leads.qualification)
                WHEN 'salesqualified' THEN 'sales_qualified' WHEN 'marketingqualified' THEN 'marketing_qualified'
            END
        END AS qualified_code
    FROM leads WHERE leads.vanished_at IS NULL AND {where}"""


SHARED: Final = (
    "referral_id", "engagement_id", "company_name", "domain", "domain_unicode", "country", "city", "category", "label",
    "label_tr", "act", "act_tr", "segment", "segment_reason", "commercial_segment", "technical_heat", "commercial_heat",
    "score", "readiness", "reasons", "explanation_en", "explanation_tr", "provider", "provider_name", "gateway",
    "confidence", "open_referrals", "open_cosell", "referral_category", "qualification", "status", "substatus",
    "updated_at", "created_at", "response_due", "is_due_live", "due_note", "deal_value", "currency",
    "deal_value_reported", "reported_currency", "rate_note", "contact_name", "contact_email", "contact_phone", "tenant",
    "tenant_source", "suggested_domain", "suggested_name", "suggested_similarity", "domain_reason", "rules_version",
)  # fmt: skip
"""The columns that the three lists share, but for `rank`."""

_MATCHES_OF_COMPANIES: Final = """
    SELECT p.domain, p.other, p.similarity,
        row_number() OVER (PARTITION BY p.domain ORDER BY p.similarity DESC, p.other) AS place
    FROM (
        SELECT domain, subject AS other, similarity FROM suggested_matches WHERE kind = 'company'
        UNION ALL
        SELECT subject AS domain, domain AS other, similarity FROM suggested_matches WHERE kind = 'company'
    ) AS p"""
_MATCHES_OF_LEADS: Final = """
    SELECT subject, domain AS other, similarity,
        row_number() OVER (PARTITION BY subject ORDER BY similarity DESC, domain) AS place
    FROM suggested_matches WHERE kind = 'lead'"""

_OF_COMPANY: Final = (
    "EXISTS (SELECT 1 FROM companies WHERE companies.domain = leads.domain AND companies.referrals > 0)"
)
"""Whether a company of the list holds the lead."""


def _explained(language: str, scored: str, date: str) -> str:
    """Return the SQL for an explanation: the score's, then the qualification, then the deadline."""
    return f"""nullif(substr(coalesce('; ' || {scored}, '')
        || coalesce('; ' || qualified_text.{language}, '')
        || coalesce('; ' || due_text.{language} || ' (' || {date.format("l.due_ticks")} || ')', ''), 3), '')
        AS explanation_{language}"""


def _shared(q: Dialect, *, company: bool, deal: str) -> str:
    """Return the columns that the three lists share, but for the rank. `deal` is the table of the deal: c or l."""
    reasons = f"coalesce(s.reasons, {q.no_reasons})"
    explanations = {"en": "s.explanation_en", "tr": "s.explanation_tr"}
    if not company:
        for place, value in ((TENANT_PLACE, "coalesce(l.tenant, '')"), (REFERRAL_PLACE, "l.referral_id")):
            # Doubled by replace, not format: the place's braces are literal.
            reasons = q.filled.replace("{0}", reasons).replace("{1}", place).replace("{2}", value)
            explanations = {name: f"replace({text}, '{place}', {value})" for name, text in explanations.items()}
    for code, evidence in (("l.qualified_code", "CAST(NULL AS text)"), ("l.due_code", q.iso.format("l.due_ticks"))):
        longer = q.appended.replace("{0}", reasons).replace("{1}", code).replace("{2}", evidence)
        reasons = f"CASE WHEN {code} IS NULL THEN {reasons} ELSE {longer} END"
    none, no_number = "CAST(NULL AS text)", "CAST(NULL AS integer)"
    of_lead = {
        "domain": none, "domain_unicode": none, "company_name": "l.company_name", "country": "l.country",
        "city": "l.city", "provider": none, "provider_name": none, "gateway": none,
        "open_referrals": "1", "open_cosell": "l.category = 'co-sell'", "tenant": "l.tenant",
        "tenant_source": "l.tenant_source",
        "domain_reason": "CASE WHEN l.domain IS NULL THEN l.domain_reason ELSE 'company_not_made' END",
        "confidence": no_number,
    }  # fmt: skip
    of_company = {
        "domain": "c.domain", "domain_unicode": "c.domain_unicode", "company_name": "c.name", "country": "c.country",
        "city": "c.city", "provider": "d.provider", "provider_name": "d.provider_name", "gateway": "d.gateway",
        "open_referrals": "c.open_referrals", "open_cosell": "c.open_cosell",
        "tenant": "coalesce(c.tenant, d.tenant)",
        "tenant_source": "CASE WHEN c.tenant IS NULL THEN d.tenant_source ELSE c.tenant_source END",
        "domain_reason": none, "confidence": "d.confidence",
    }  # fmt: skip
    of = of_company if company else of_lead
    named = {name: f"{value} AS {name}" for name, value in of.items()}
    return f"""
    l.referral_id, l.engagement_id, {named["company_name"]}, {named["domain"]}, {named["domain_unicode"]},
    {named["country"]}, {named["city"]},
    s.category, s.label, label_text.tr AS label_tr, s.act, act_text.tr AS act_tr,
    coalesce(s.segment, 'Pending') AS segment,
    coalesce(s.segment_reason, {"'signals_pending'" if company else "'no_domain'"}) AS segment_reason,
    s.commercial_segment, s.technical_heat, s.commercial_heat, s.score, s.readiness,
    {reasons} AS reasons,
    {_explained("en", explanations["en"], q.in_english)},
    {_explained("tr", explanations["tr"], q.in_turkish)},
    {named["provider"]}, {named["provider_name"]}, {named["gateway"]}, {named["confidence"]},
    {named["open_referrals"]}, {named["open_cosell"]},
    l.category AS referral_category, l.qualification, l.status, l.substatus,
    {q.instant.format("l.updated_ticks")} AS updated_at, {q.instant.format("l.created_ticks")} AS created_at,
    {q.instant.format("l.due_ticks")} AS response_due,
    coalesce(l.is_due_live, FALSE) AS is_due_live,
    CASE
        WHEN l.due_code = 'response_was_due' THEN 'was_due'
        WHEN l.is_due_live AND s.category IS NOT NULL AND s.act IS NULL THEN 'due_despite_category'
    END AS due_note,
    {deal}.deal_value, {deal}.currency,
    round({deal}.deal_value * r.rate, 2) AS deal_value_reported,
    CASE WHEN {deal}.deal_value IS NOT NULL THEN r.reporting_currency END AS reported_currency,
    CASE WHEN {deal}.deal_value <> 0 AND r.rate IS NULL THEN 'unknown_currency' END AS rate_note,
    l.contact_name, l.contact_email, l.contact_phone,
    {named["tenant"]}, {named["tenant_source"]},
    m.other AS suggested_domain, o.name AS suggested_name, m.similarity AS suggested_similarity,
    {named["domain_reason"]},
    s.rules_version"""


def _texts(deal: str) -> str:
    """Return the joins with what is published of the rules, and with the company that is suggested."""
    return f"""
LEFT JOIN currency_rates AS r ON r.currency = {deal}.currency
LEFT JOIN rule_texts AS qualified_text ON qualified_text.code = l.qualified_code
LEFT JOIN rule_texts AS due_text ON due_text.code = l.due_code
LEFT JOIN rule_texts AS label_text ON label_text.code = s.label
LEFT JOIN rule_texts AS act_text ON act_text.code = s.act
LEFT JOIN companies AS o ON o.domain = m.other"""


_SCORE_OF_LEAD: Final = (
    "lead_scores AS s ON s.has_tenant = (l.tenant IS NOT NULL) AND s.is_cosell = (l.category = 'co-sell')"
)


_URGENCY: Final = (
    "CASE WHEN l.is_due_live THEN 0 WHEN l.due_ticks IS NULL THEN 1 ELSE 2 END, "
    "CASE WHEN l.is_due_live THEN l.due_ticks END"
)
"""The order of deadlines: those to come, the soonest first; then none; then those that passed."""


def _leads_ready(q: Dialect) -> str:
    return f"""
CREATE VIEW leads_ready AS
SELECT
    row_number() OVER (
        ORDER BY s.category ASC NULLS LAST, s.score DESC NULLS LAST,
            {_URGENCY},
            c.deal_value * r.rate DESC NULLS LAST, c.domain
    ) AS rank,{_shared(q, company=True, deal="c")},
    c.referrals, c.engagements, s.signals_at, s.scored_at
FROM companies AS c
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN ({_leads(q, "leads.domain IS NOT NULL", place=True)}
) AS l ON l.domain = c.domain AND l.place = 1
LEFT JOIN ({_MATCHES_OF_COMPANIES}
) AS m ON m.domain = c.domain AND m.place = 1{_texts("c")}
WHERE c.referrals > 0
"""  # noqa: S608  constants


def _leads_without_company(q: Dialect) -> str:
    return f"""
CREATE VIEW leads_without_company AS
SELECT
    row_number() OVER (
        ORDER BY s.category ASC NULLS LAST, s.score DESC NULLS LAST,
            {_URGENCY},
            l.deal_value * r.rate DESC NULLS LAST, l.referral_id
    ) AS rank,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"leads.is_open AND NOT {_OF_COMPANY}", place=False)}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_MATCHES_OF_LEADS}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts("l")}
"""  # noqa: S608  constants


def _due_first(q: Dialect) -> str:
    due = f"leads.is_open AND leads.expires_ticks > {q.now}"
    return f"""
CREATE VIEW due_first AS
SELECT
    row_number() OVER (
        ORDER BY u.due_ticks, u.category ASC NULLS LAST, u.score DESC NULLS LAST, u.referral_id
    ) AS rank,
    u.kind, {", ".join(f"u.{name}" for name in SHARED)},
    CAST(round((u.due_ticks - {q.now}) / 3600000000 / 10.0, 1) AS double precision) AS hours_left
FROM (
SELECT 'company' AS kind, l.due_ticks,{_shared(q, company=True, deal="l")}
FROM ({_leads(q, f"{due} AND {_OF_COMPANY}", place=False)}
) AS l
JOIN companies AS c ON c.domain = l.domain
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN ({_MATCHES_OF_COMPANIES}
) AS m ON m.domain = c.domain AND m.place = 1{_texts("l")}
UNION ALL
SELECT 'no_company' AS kind, l.due_ticks,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"{due} AND NOT {_OF_COMPANY}", place=False)}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_MATCHES_OF_LEADS}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts("l")}
) AS u
"""  # noqa: S608  constants


def _json_list(q: Dialect, fields: Mapping[str, str], source: str) -> str:
    """Return the SQL for a JSON list of objects with these fields; `source` is an ordered selection."""
    pairs = ", ".join(f"'{name}', {value}" for name, value in fields.items())
    return f"(SELECT coalesce({q.list}({q.object}({pairs})), {q.no_reasons}) FROM ({source}) AS x)"  # noqa: S608


def _company_card(q: Dialect) -> str:
    stored, changed = q.nested.format("x.detail"), q.iso_time.format("x.changed_at")
    referrals = _json_list(
        q,
        {
            **{
                name: f"x.{name}"
                for name in (
                    "referral_id", "engagement_id", "category", "type", "qualification", "direction", "status",
                    "substatus", "deal_value", "currency",
                )
            },
            "is_open": q.flag.format("x.is_open"),
            "response_due": q.iso.format("x.expires_ticks"),
            "created": q.iso.format("x.created_ticks"),
            "updated": q.iso.format("x.updated_ticks"),
        },
        "SELECT * FROM leads WHERE leads.domain = c.domain AND leads.vanished_at IS NULL "
        "ORDER BY leads.updated_ticks DESC, leads.referral_id",
    )  # fmt: skip
    matches = _json_list(
        q,
        {name: f"x.{name}" for name in ("kind", "subject", "domain", "reason", "similarity")},
        "SELECT * FROM suggested_matches AS m "
        "WHERE m.domain = c.domain OR (m.kind = 'company' AND m.subject = c.domain) "
        "ORDER BY m.similarity DESC, m.kind, m.subject, m.domain",
    )
    score_history = _json_list(
        q,
        {
            "changed_at": changed,
            **{
                name: f"x.{name}"
                for name in ("cause", "segment_before", "segment_after", "score_before", "score_after")
            },
            "detail": stored,
        },
        "SELECT * FROM score_changes AS h WHERE h.domain = c.domain ORDER BY h.changed_at DESC, h.id DESC",
    )
    signal_history = _json_list(
        q,
        {
            "changed_at": changed,
            **{name: f"x.{name}" for name in ("provider_before", "provider_after", "gateway_before", "gateway_after")},
            "detail": stored,
        },
        "SELECT * FROM signal_changes AS h WHERE h.domain = c.domain ORDER BY h.changed_at DESC, h.id DESC",
    )
    return f"""
CREATE VIEW company_card AS
SELECT v.*, c.domain_ascii_key, c.cosell_referral, c.referral_ids,
    d.signals, d.scanned_at, d.facts_at, d.next_scan_at, d.failures,
    {referrals} AS referral_list,
    {matches} AS match_list,
    {score_history} AS score_history,
    {signal_history} AS signal_history
FROM leads_ready AS v
JOIN companies AS c ON c.domain = v.domain
LEFT JOIN domain_signals AS d ON d.domain = v.domain
"""  # noqa: S608  constants


def _sync_health(q: Dialect) -> str:
    return f"""
CREATE VIEW sync_health AS
SELECT
    {q.instant.format("w.newest_end")} AS newest_complete_end,
    CAST(round(({q.now} - w.newest_end) / 60000000 / 10.0, 1) AS double precision) AS minutes_behind,
    CAST(coalesce(g.windows_missing, 0) AS integer) AS windows_missing,
    a.state AS newest_attempt_state, a.started_at AS newest_attempt_at, a.error AS newest_attempt_error,
    (SELECT count(*) FROM quarantined_referrals WHERE resolved_at IS NULL) AS quarantined_open,
    (SELECT count(*) FROM pending_work) AS pending_rows,
    (SELECT min(queued_at) FROM pending_work) AS oldest_pending,
    k.finished_at AS last_comparison_at, k.kind AS last_comparison_kind, k.missed AS last_comparison_missed,
    k.vanished AS last_comparison_vanished, k.error AS last_comparison_error
FROM (SELECT max(window_end) AS newest_end FROM sync_windows WHERE raw_referrals_at IS NOT NULL) AS w
LEFT JOIN (
    SELECT sum((y.covers_from - y.covered_until) / (y.window_end - y.window_start)) AS windows_missing FROM (
        SELECT window_start, window_end, covers_from,
            max(window_end) OVER (
                ORDER BY covers_from, window_end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS covered_until
        FROM sync_windows WHERE raw_referrals_at IS NOT NULL
    ) AS y WHERE y.covers_from > y.covered_until
) AS g ON TRUE
LEFT JOIN (SELECT * FROM sync_attempts ORDER BY id DESC LIMIT 1) AS a ON TRUE
LEFT JOIN (SELECT * FROM reconciliations WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1) AS k ON TRUE
"""  # noqa: S608  constants
