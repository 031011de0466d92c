"""Decisions of people, and suggested matches in groups

Revision: 0008
Follows: 0007
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from alembic import context, op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

VIEWS = ("leads_ready", "leads_without_company", "due_first", "company_card", "sync_health")
CHUNK = 10_000
"""Suggestions that are written at a time."""

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.add_column(
        "suggested_matches",
        sa.Column(
            "group_id",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="the same for all pairs of the same two names, which a person decides about at once",
        ),
    )
    op.create_table(
        "decisions",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False, comment="row number; the newest one counts"),
        sa.Column("kind", sa.Text(), nullable=False, comment="domain, mark, lead_match or company_match"),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="a referral's id; of a company_match a company's domain"
        ),
        sa.Column(
            "choice",
            sa.Text(),
            nullable=False,
            comment="set, refused, cleared; contacted, not_interested, snoozed, reopened; accepted, rejected, undone",
        ),
        sa.Column(
            "domain",
            sa.Text(),
            nullable=True,
            comment="the domain that was set; of a match the company that the subject counts as",
        ),
        sa.Column(
            "until_ticks", sa.BigInteger(), nullable=True, comment="until when a lead is snoozed, in 100 ns since 1970"
        ),
        sa.Column("group_id", sa.Text(), nullable=True, comment="the group of suggested_matches that it decided about"),
        sa.Column("decided_at", INSTANT, nullable=False, comment="when it was decided"),
        sa.Column(
            "decided_by",
            sa.Text(),
            nullable=False,
            comment="who decided: the name given, or the user of the system",
        ),
        sa.Column("note", sa.Text(), nullable=True, comment="why; free text that may hold personal data"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        comment="what people decided, append-only; nothing that is synced or derived changes or deletes a row",
    )
    op.create_index(op.f("ix_decisions_kind_subject"), "decisions", ["kind", "subject"], unique=False)
    if not context.is_offline_mode():
        _group_suggestions()
    for statement in view_sql(op.get_context().dialect.name).values():
        op.execute(statement)


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.drop_table("decisions")
    op.drop_column("suggested_matches", "group_id")
    before = context.script.get_revision("0007").module  # its views; a migration that was released never changes
    for statement in before.view_sql(op.get_context().dialect.name).values():
        op.execute(statement)


def _group_suggestions() -> None:
    """Give the stored suggestions the groups that the code gives new ones (leads/suggestions.py, group_of)."""
    connection = op.get_bind()
    matches = sa.table("suggested_matches", *map(sa.column, ("kind", "subject", "domain", "reason", "group_id")))
    companies = sa.table("companies", *map(sa.column, ("domain", "name_key")))
    leads = sa.table("leads", *map(sa.column, ("referral_id", "company_name_key")))
    of_company, of_subject = companies.alias("of_company"), companies.alias("of_subject")
    name = sa.case(
        (matches.c.kind == "company", sa.func.coalesce(of_subject.c.name_key, matches.c.subject)),
        else_=sa.func.coalesce(leads.c.company_name_key, matches.c.subject),
    )
    rows = connection.execute(
        sa.select(
            matches.c.kind,
            matches.c.subject,
            matches.c.domain,
            matches.c.reason,
            name.label("one"),
            sa.func.coalesce(of_company.c.name_key, matches.c.domain).label("other"),
        )
        .select_from(matches)
        .outerjoin(of_company, of_company.c.domain == matches.c.domain)
        .outerjoin(of_subject, sa.and_(matches.c.kind == "company", of_subject.c.domain == matches.c.subject))
        .outerjoin(leads, sa.and_(matches.c.kind == "lead", leads.c.referral_id == matches.c.subject))
    ).all()
    change = (
        sa.update(matches)
        .where(
            matches.c.kind == sa.bindparam("of_kind"),
            matches.c.subject == sa.bindparam("of_subject"),
            matches.c.domain == sa.bindparam("of_domain"),
        )
        .values(group_id=sa.bindparam("group"))
    )
    for start in range(0, len(rows), CHUNK):
        given = [
            {
                "of_kind": row.kind,
                "of_subject": row.subject,
                "of_domain": row.domain,
                "group": _group(row.reason, row.one, row.other),
            }
            for row in rows[start : start + CHUNK]
        ]
        connection.execute(change, given)


def _group(reason: str, *sides: str) -> str:
    return sha256("\n".join((reason, *sorted(sides))).encode()).hexdigest()[:8]


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
    mark        the join of a lead {0} with its newest mark, k; the other's way is many times as slow
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
    mark: str


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
        mark="LEFT JOIN decisions AS k ON k.id = "
        "(SELECT max(n.id) FROM decisions AS n WHERE n.kind = 'mark' AND n.subject = {0}.referral_id)",
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
        mark="LEFT JOIN (SELECT d.* FROM (SELECT n.*, row_number() OVER (PARTITION BY n.subject ORDER BY n.id DESC) "
        "AS place FROM decisions AS n WHERE n.kind = 'mark') AS d WHERE d.place = 1) AS k "
        "ON k.subject = {0}.referral_id",
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


def _leads(q: Dialect, where: str) -> str:
    """Select the leads that are still shown, with what depends on the clock; `due_ticks` is an open one's deadline.

    It reads one table only, so that SQLite looks a lead up by its id instead of making a copy of all.
    """
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    return f"""
    SELECT
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
    FROM leads WHERE leads.vanished_at IS NULL AND {where}"""  # noqa: S608  constants


def _placed(q: Dialect) -> str:
    """Select of each company's leads the few columns that rank; `place` numbers them.

    The open ones come first, of those the ones that nobody set aside; of those the one with the next deadline, else the
    one with the last deadline that passed, else the newest.
    """
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    aside = _is_set_aside(q, "leads")
    return f"""
    SELECT leads.referral_id, leads.domain, {aside} AS is_set_aside,
        coalesce({live}, FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        row_number() OVER (
            PARTITION BY leads.domain
            ORDER BY leads.is_open DESC, {aside}, CASE WHEN {live} THEN leads.expires_ticks END ASC NULLS LAST,
                CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
                leads.updated_ticks DESC, leads.version DESC, leads.referral_id
        ) AS place
    FROM leads
    {q.mark.format("leads")}
    WHERE leads.vanished_at IS NULL AND leads.domain IS NOT NULL"""  # noqa: S608  constants


def _is_set_aside(q: Dialect, lead: str) -> str:
    """Return whether a person put an open lead aside for now, by its newest mark (k)."""
    return (
        f"coalesce({lead}.is_open AND (k.choice = 'not_interested' "
        f"OR (k.choice = 'snoozed' AND k.until_ticks > {q.now})), FALSE)"
    )


SHARED: Final = (
    "referral_id", "engagement_id", "company_name", "domain", "domain_unicode", "country", "city", "category", "label",
    "label_tr", "act", "act_tr", "segment", "segment_reason", "commercial_segment", "technical_heat", "commercial_heat",
    "score", "readiness", "reasons", "explanation_en", "explanation_tr", "provider", "provider_name", "gateway",
    "confidence", "open_referrals", "open_cosell", "referral_category", "qualification", "status", "substatus",
    "updated_at", "created_at", "response_due", "is_due_live", "due_note", "deal_value", "currency",
    "deal_value_reported", "reported_currency", "rate_note", "contact_name", "contact_email", "contact_phone", "tenant",
    "tenant_source", "suggested_domain", "suggested_name", "suggested_similarity", "domain_reason", "rules_version",
    "suggested_group", "suggested_count", "decision", "decision_until", "decided_at", "decided_by", "is_set_aside",
)  # fmt: skip
"""The columns that the three lists share, but for `rank`."""

# A kind is asked for by what it is not: SQLite expects few rows of one kind, and would read them all for each company.
_MATCHES_OF_COMPANIES: Final = """
    SELECT p.domain, p.other, p.similarity, p.group_id,
        row_number() OVER (PARTITION BY p.domain ORDER BY p.similarity DESC, p.other) AS place,
        count(*) OVER (PARTITION BY p.domain) AS others
    FROM (
        SELECT domain, subject AS other, similarity, group_id FROM suggested_matches WHERE kind <> 'lead'
        UNION ALL
        SELECT subject AS domain, domain AS other, similarity, group_id FROM suggested_matches WHERE kind <> 'lead'
    ) AS p"""
_MATCHES_OF_LEADS: Final = """
    SELECT subject, domain AS other, similarity, group_id,
        row_number() OVER (PARTITION BY subject ORDER BY similarity DESC, domain) AS place,
        count(*) OVER (PARTITION BY subject) AS others
    FROM suggested_matches WHERE kind <> 'company'"""

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
    s.rules_version,
    m.group_id AS suggested_group, CAST(m.others AS integer) AS suggested_count,
    k.choice AS decision, {q.instant.format("k.until_ticks")} AS decision_until, k.decided_at, k.decided_by,
    {_is_set_aside(q, "l")} AS is_set_aside"""


def _texts(q: Dialect, deal: str) -> str:
    """Return the joins with the mark, with what is published of the rules, and with the company that is suggested."""
    return f"""
{q.mark.format("l")}
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
    """Rank narrow rows, then look up the rest: sorting whole rows took twice as long."""
    return f"""
CREATE VIEW leads_ready AS
SELECT
    p.rank,{_shared(q, company=True, deal="c")},
    c.referrals, c.engagements, s.signals_at, s.scored_at
FROM (
    SELECT c.domain, l.referral_id, row_number() OVER (
        ORDER BY coalesce(l.is_set_aside, FALSE), s.category ASC NULLS LAST, s.score DESC NULLS LAST,
            {_URGENCY},
            c.deal_value * r.rate DESC NULLS LAST, c.domain
    ) AS rank
    FROM companies AS c
    LEFT JOIN company_scores AS s ON s.domain = c.domain
    LEFT JOIN ({_placed(q)}
    ) AS l ON l.domain = c.domain AND l.place = 1
    LEFT JOIN currency_rates AS r ON r.currency = c.currency
    WHERE c.referrals > 0
) AS p
JOIN companies AS c ON c.domain = p.domain
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN ({_leads(q, "leads.domain IS NOT NULL")}
) AS l ON l.referral_id = p.referral_id
LEFT JOIN ({_MATCHES_OF_COMPANIES}
) AS m ON m.domain = c.domain AND m.place = 1{_texts(q, "c")}
"""  # noqa: S608  constants


def _leads_without_company(q: Dialect) -> str:
    return f"""
CREATE VIEW leads_without_company AS
SELECT
    row_number() OVER (
        ORDER BY {_is_set_aside(q, "l")}, s.category ASC NULLS LAST, s.score DESC NULLS LAST,
            {_URGENCY},
            l.deal_value * r.rate DESC NULLS LAST, l.referral_id
    ) AS rank,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"leads.is_open AND NOT {_OF_COMPANY}")}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_MATCHES_OF_LEADS}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts(q, "l")}
"""  # noqa: S608  constants


def _due_first(q: Dialect) -> str:
    due = f"leads.is_open AND leads.expires_ticks > {q.now}"
    return f"""
CREATE VIEW due_first AS
SELECT
    row_number() OVER (
        ORDER BY u.is_set_aside, u.due_ticks, u.category ASC NULLS LAST, u.score DESC NULLS LAST, u.referral_id
    ) AS rank,
    u.kind, {", ".join(f"u.{name}" for name in SHARED)},
    CAST(round((u.due_ticks - {q.now}) / 3600000000 / 10.0, 1) AS double precision) AS hours_left
FROM (
SELECT 'company' AS kind, l.due_ticks,{_shared(q, company=True, deal="l")}
FROM ({_leads(q, f"{due} AND {_OF_COMPANY}")}
) AS l
JOIN companies AS c ON c.domain = l.domain
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN ({_MATCHES_OF_COMPANIES}
) AS m ON m.domain = c.domain AND m.place = 1{_texts(q, "l")}
UNION ALL
SELECT 'no_company' AS kind, l.due_ticks,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"{due} AND NOT {_OF_COMPANY}")}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_MATCHES_OF_LEADS}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts(q, "l")}
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
        {name: f"x.{name}" for name in ("kind", "subject", "domain", "reason", "similarity", "group_id")},
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
