"""The lists for people, Excel and Power BI, as views: what they hold, and their SQL for both databases.

`leads_ready` has a row per company, `leads_without_company` one per open lead that no company holds, `due_first` one
per open lead with a deadline to come. What a person set aside ranks last in each. `company_card` adds evidence and
history to `leads_ready`; `sync_health` says how the copy of Partner Center stands. Deadlines are compared with the
database's clock, so a list is true whenever it is read.

A change of a view needs a migration; a test compares the two. Not here: how a score is made (`scoring`), what the views
read of the rules (`published`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Boolean, Column, Float, Integer, MetaData, Table, Text

from partner_center_pipeline.warehouse.schema import JsonValue, Money, UtcDateTime


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
    other       the company that a match suggests
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
    other: str = "m.other"


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
    """Select of each company's leads the few columns that rank; `place` numbers them."""
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    aside = is_set_aside(q, "leads")
    return f"""
    SELECT leads.referral_id, leads.domain, {aside} AS is_set_aside,
        coalesce({live}, FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        row_number() OVER (
            PARTITION BY leads.domain
            ORDER BY {_speaking_first(q)}
        ) AS place
    FROM leads
    {q.mark.format("leads")}
    WHERE leads.vanished_at IS NULL AND leads.domain IS NOT NULL"""  # noqa: S608  constants


def _speaking_first(q: Dialect) -> str:
    """Return the order of a company's leads, of which the first speaks for it.

    The open ones come first, of those the ones that nobody set aside; of those the one with the next deadline, else the
    one with the last deadline that passed, else the newest.
    """
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    aside = is_set_aside(q, "leads")
    return f"""leads.is_open DESC, {aside}, CASE WHEN {live} THEN leads.expires_ticks END ASC NULLS LAST,
                CASE WHEN leads.is_open THEN leads.expires_ticks END DESC NULLS LAST,
                leads.updated_ticks DESC, leads.version DESC, leads.referral_id"""


def is_set_aside(q: Dialect, lead: str) -> str:
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
def _matches_of_companies(domains: str | None) -> str:
    """Select the matches of companies; `domains` selects whose, where they are few."""
    kind = of_subject = "kind <> 'lead'"
    if domains is not None:
        kind, of_subject = f"{kind} AND domain IN ({domains})", f"kind = 'company' AND subject IN ({domains})"
    return f"""
    SELECT p.domain, p.other, p.similarity, p.group_id,
        row_number() OVER (PARTITION BY p.domain ORDER BY p.similarity DESC, p.other) AS place,
        count(*) OVER (PARTITION BY p.domain) AS others
    FROM (
        SELECT domain, subject AS other, similarity, group_id FROM suggested_matches WHERE {kind}
        UNION ALL
        SELECT subject AS domain, domain AS other, similarity, group_id FROM suggested_matches WHERE {of_subject}
    ) AS p"""  # noqa: S608  constants


def _matches_of_leads(subjects: str | None) -> str:
    """Select the matches of leads; `subjects` selects whose, where they are few."""
    which = "kind <> 'company'" if subjects is None else f"kind = 'lead' AND subject IN ({subjects})"
    return f"""
    SELECT subject, domain AS other, similarity, group_id,
        row_number() OVER (PARTITION BY subject ORDER BY similarity DESC, domain) AS place,
        count(*) OVER (PARTITION BY subject) AS others
    FROM suggested_matches WHERE {which}"""  # noqa: S608  constants


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
    {is_set_aside(q, "l")} AS is_set_aside"""


def _texts(q: Dialect, deal: str) -> str:
    """Return the joins with the mark, with what is published of the rules, and with the company that is suggested."""
    return f"""
{q.mark.format("l")}
LEFT JOIN currency_rates AS r ON r.currency = {deal}.currency
LEFT JOIN rule_texts AS qualified_text ON qualified_text.code = l.qualified_code
LEFT JOIN rule_texts AS due_text ON due_text.code = l.due_code
LEFT JOIN rule_texts AS label_text ON label_text.code = s.label
LEFT JOIN rule_texts AS act_text ON act_text.code = s.act
LEFT JOIN companies AS o ON o.domain = {q.other}"""


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
CREATE VIEW leads_ready AS{_companies_listed(q, _ranked(q))}
"""


def _ranked(q: Dialect) -> str:
    """Select of each company its referral and its rank."""
    return f"""
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
    WHERE c.referrals > 0"""  # noqa: S608  constants


def _companies_listed(q: Dialect, places: str, domains: str | None = None) -> str:
    """Select the rows of companies; `places` selects domain, referral_id and rank; `domains` whose, where few."""
    return f"""
SELECT
    p.rank,{_shared(q, company=True, deal="c")},
    c.referrals, c.engagements, s.signals_at, s.scored_at
FROM ({places}
) AS p
JOIN companies AS c ON c.domain = p.domain
LEFT JOIN company_scores AS s ON s.domain = c.domain
LEFT JOIN domain_signals AS d ON d.domain = c.domain
LEFT JOIN ({_leads(q, "leads.domain IS NOT NULL")}
) AS l ON l.referral_id = p.referral_id
LEFT JOIN ({_matches_of_companies(domains)}
) AS m ON m.domain = c.domain AND m.place = 1{_texts(q, "c")}"""  # noqa: S608  constants


def _leads_without_company(q: Dialect) -> str:
    subjects = None
    return f"""
CREATE VIEW leads_without_company AS
SELECT
    row_number() OVER (
        ORDER BY {is_set_aside(q, "l")}, s.category ASC NULLS LAST, s.score DESC NULLS LAST,
            {_URGENCY},
            l.deal_value * r.rate DESC NULLS LAST, l.referral_id
    ) AS rank,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"leads.is_open AND NOT {_OF_COMPANY}")}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_matches_of_leads(subjects)}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts(q, "l")}
"""  # noqa: S608  constants


def _due_first(q: Dialect) -> str:
    return f"""
CREATE VIEW due_first AS{_due_listed(q)}
"""


def _due_listed(q: Dialect, until: str | None = None) -> str:
    """Select the leads that are due; with `until` those up to an instant in ticks, which are few."""
    due = f"leads.is_open AND leads.expires_ticks > {q.now}"
    domains = subjects = None
    if until is not None:
        due = f"{due} AND leads.expires_ticks <= {until}"
        domains = f"SELECT leads.domain FROM leads WHERE leads.vanished_at IS NULL AND {due}"  # noqa: S608  constants
        subjects = f"SELECT leads.referral_id FROM leads WHERE leads.vanished_at IS NULL AND {due}"  # noqa: S608
    return f"""
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
LEFT JOIN ({_matches_of_companies(domains)}
) AS m ON m.domain = c.domain AND m.place = 1{_texts(q, "l")}
UNION ALL
SELECT 'no_company' AS kind, l.due_ticks,{_shared(q, company=False, deal="l")}
FROM ({_leads(q, f"{due} AND NOT {_OF_COMPANY}")}
) AS l
LEFT JOIN {_SCORE_OF_LEAD}
LEFT JOIN ({_matches_of_leads(subjects)}
) AS m ON m.subject = l.referral_id AND m.place = 1{_texts(q, "l")}
) AS u"""  # noqa: S608  constants


def of_few(dialect: str) -> Dialect:
    """Return how a database says it where few rows are read: the mark and the suggested company are looked up.

    PostgreSQL looks the company up only in the order of its key's index, which is not that of suggested_matches.
    """
    other = 'm.other COLLATE "default"' if dialect == "postgresql" else "m.other"
    return replace(DIALECTS[dialect], mark=DIALECTS["sqlite"].mark, other=other)


def due_until_sql(dialect: str, until: str) -> str:
    """Return the SQL for the rows of `due_first` with a deadline up to `until` (SQL for ticks), from an index.

    `rank` is the list's, but for leads that are set aside.
    """
    return _due_listed(of_few(dialect), until)


def companies_of_places_sql(dialect: str) -> str:
    """Return the SQL for the rows of `leads_ready` of `:places`: JSON, each a list of domain, referral and rank."""
    given = (
        "SELECT value->>0 AS domain, value->>1 AS referral_id, CAST(value->>2 AS integer) AS rank "
        "FROM json_array_elements(CAST(:places AS json))"
        if dialect == "postgresql"
        else "SELECT json_extract(value, '$[0]') AS domain, json_extract(value, '$[1]') AS referral_id, "
        "json_extract(value, '$[2]') AS rank FROM json_each(:places)"
    )
    return f"""
WITH given AS ({given}){_companies_listed(of_few(dialect), "SELECT * FROM given", "SELECT domain FROM given")}
ORDER BY p.rank"""  # noqa: S608  constants


def _companies_with_leads(dialect: str, domains: str | None) -> str:
    """Return the tables of `order_sql`: companies (c) with their leads and score (s).

    Few companies are looked up one by one on PostgreSQL: until a first load is over it has no statistics of the tables,
    and would read all of them for each chunk.
    """
    if dialect == "postgresql" and domains is not None:
        return f"""({domains}) AS g
    CROSS JOIN LATERAL (SELECT * FROM companies AS i WHERE i.domain = g.domain OFFSET 0) AS c
    LEFT JOIN LATERAL (
        SELECT * FROM leads AS i WHERE i.domain = c.domain AND i.vanished_at IS NULL OFFSET 0
    ) AS leads ON TRUE
    LEFT JOIN LATERAL (SELECT * FROM company_scores AS i WHERE i.domain = c.domain OFFSET 0) AS s ON TRUE"""  # noqa: S608
    chosen = "companies" if domains is None else f"(SELECT * FROM companies WHERE domain IN ({domains}))"  # noqa: S608
    return f"""{chosen} AS c
    LEFT JOIN leads ON leads.domain = c.domain AND leads.vanished_at IS NULL
    LEFT JOIN company_scores AS s ON s.domain = c.domain"""


def order_sql(dialect: str, domains: str | None) -> str:
    """Return the SQL for the rows of `list_order` as they are now; `domains` selects which (as `domain`), None all.

    It says by what `leads_ready` ranks a company. Each part is made so that ascending is the order.
    """
    q = of_few(dialect)
    live = f"leads.is_open AND leads.expires_ticks > {q.now}"
    snoozed = f"leads.is_open AND k.choice = 'snoozed' AND k.until_ticks > {q.now}"
    return f"""
SELECT l.domain, l.referral_id,
    CASE WHEN l.is_set_aside THEN 1 ELSE 0 END AS set_aside,
    coalesce(l.category, '{NO_CATEGORY}') AS category,
    coalesce(-l.score, 1) AS score_order,
    CASE WHEN l.is_due_live THEN 0 WHEN l.due_ticks IS NULL THEN 1 ELSE 2 END AS urgency,
    CASE WHEN l.is_due_live THEN l.due_ticks ELSE 0 END AS due_ticks,
    coalesce(CAST(-l.value AS double precision), 1e300) AS value_order,
    CASE WHEN l.live_until < l.snoozed_until THEN l.live_until ELSE l.snoozed_until END AS valid_until_ticks
FROM (
    SELECT c.domain, leads.referral_id, s.category, s.score, c.deal_value * r.rate AS value,
        {is_set_aside(q, "leads")} AS is_set_aside,
        coalesce({live}, FALSE) AS is_due_live,
        CASE WHEN leads.is_open THEN leads.expires_ticks END AS due_ticks,
        coalesce(min(CASE WHEN {live} THEN leads.expires_ticks END) OVER (PARTITION BY c.domain), {FOREVER})
            AS live_until,
        coalesce(min(CASE WHEN {snoozed} THEN k.until_ticks END) OVER (PARTITION BY c.domain), {FOREVER})
            AS snoozed_until,
        row_number() OVER (PARTITION BY c.domain ORDER BY {_speaking_first(q)}) AS place
    FROM {_companies_with_leads(dialect, domains)}
    {q.mark.format("leads")}
    LEFT JOIN currency_rates AS r ON r.currency = c.currency
    WHERE c.referrals > 0
) AS l
WHERE l.place = 1"""  # noqa: S608  constants


FOREVER: Final = 9223372036854775807
"""Ticks that no clock reaches: the largest 64-bit integer."""

NO_CATEGORY: Final = "Z"
"""Ranks behind each category."""


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


def _shared_columns() -> list[Column[Any]]:
    """Return the columns that the three lists share."""
    return [
        Column("rank", Integer, comment="place in the list, from 1"),
        Column("referral_id", Text, comment="the referral of this row: whose deadline, status and contact it shows"),
        Column("engagement_id", Text, comment="the deal; both sides' referrals share it"),
        Column("company_name", Text, comment="the company's name, or the one that the referral gives"),
        Column("domain", Text, comment="the company's registrable domain, punycode; empty without a company"),
        Column("domain_unicode", Text, comment="the domain in Unicode"),
        Column("country", Text, comment="country code of the address"),
        Column("city", Text, comment="city of the address"),
        Column("category", Text, comment="P1 to P6; P1 is the most urgent; empty while nothing is known"),
        Column("label", Text, comment="the category's name"),
        Column("label_tr", Text, comment="the category's name in Turkish"),
        Column("act", Text, comment="what to do and when; empty where there is nothing to do"),
        Column("act_tr", Text, comment="what to do and when, in Turkish"),
        Column("segment", Text, comment="Existing, Migration, Cold, Skip or Pending"),
        Column("segment_reason", Text, comment="code that says why this segment"),
        Column("commercial_segment", Text, comment="commercial view of the segment, e.g. GREENFIELD"),
        Column("technical_heat", Text, comment="Hot, Warm or Cold"),
        Column("commercial_heat", Text, comment="high, medium or low"),
        Column("score", Integer, comment="readiness plus the co-sell bonus; ranks within a category"),
        Column("readiness", Integer, comment="0 to 100; decides segment and category"),
        Column("reasons", JsonValue, comment="code, points, evidence; qualification and deadline last, of 0 points"),
        Column("explanation_en", Text, comment="the reasons in English"),
        Column("explanation_tr", Text, comment="the reasons in Turkish"),
        Column("provider", Text, comment="who hosts the mailboxes, e.g. M365, Google or Local"),
        Column("provider_name", Text, comment="the provider's name for people"),
        Column("gateway", Text, comment="the mail filter that the MX names, if any"),
        Column("confidence", Integer, comment="0 to 100; how sure the provider is"),
        Column("open_referrals", Integer, comment="open referrals of the company; 1 without a company"),
        Column("open_cosell", Boolean, comment="whether a co-sell referral is open"),
        Column("referral_category", Text, comment="marketplace, solution-provider, co-sell or unknown"),
        Column("qualification", Text, comment="Microsoft's own, as in the API, e.g. SalesQualified"),
        Column("status", Text, comment="as in the API, e.g. New"),
        Column("substatus", Text, comment="as in the API, e.g. Received"),
        Column("updated_at", UtcDateTime, comment="when the referral was last updated"),
        Column("created_at", UtcDateTime, comment="when the referral was created"),
        Column("response_due", UtcDateTime, comment="the response deadline of this row's referral, while that is open"),
        Column("is_due_live", Boolean, comment="whether the deadline is still to come, by the database's clock"),
        Column(
            "due_note", Text, comment="was_due (passed); due_despite_category (to come, but the category has no act)"
        ),
        Column("deal_value", Money, comment="the deal's value in its currency, as in the API"),
        Column("currency", Text, comment="ISO 4217 code of deal_value, as in the API"),
        Column("deal_value_reported", Money, comment="the deal's value in the reporting currency, by the rules' rates"),
        Column("reported_currency", Text, comment="the reporting currency"),
        Column(
            "rate_note", Text, comment="unknown_currency where the rules have no rate, so the value ranks by nothing"
        ),
        Column("contact_name", Text, comment="name of the customer's contact; personal data"),
        Column("contact_email", Text, comment="the contact's e-mail address; personal data"),
        Column("contact_phone", Text, comment="the contact's telephone number; personal data"),
        Column("tenant", Text, comment="Microsoft tenant: id or name"),
        Column(
            "tenant_source",
            Text,
            comment="where the tenant was read: payload, email_domain, dkim_target, oidc_metadata",
        ),
        Column(
            "suggested_domain", Text, comment="the company that this may belong to, or be the same as; the likeliest"
        ),
        Column("suggested_name", Text, comment="name of the suggested company"),
        Column("suggested_similarity", Integer, comment="0 to 100: how alike the names or domains are"),
        Column("domain_reason", Text, comment="why the lead has no company; company_not_made: the next run makes it"),
        Column("rules_version", Text, comment="version of the scoring rules"),
        Column("suggested_group", Text, comment="the group of the likeliest match (`partner-center matches list`)"),
        Column("suggested_count", Integer, comment="how many companies or leads are suggested"),
        Column("decision", Text, comment="the referral's newest mark: contacted, not_interested, snoozed or reopened"),
        Column("decision_until", UtcDateTime, comment="until when it is snoozed"),
        Column("decided_at", UtcDateTime, comment="when it was marked"),
        Column("decided_by", Text, comment="who marked it"),
        Column(
            "is_set_aside",
            Boolean,
            comment="marked as not_interested, or snoozed until a time to come by the database's clock; it ranks last",
        ),
    ]


def _of_companies() -> list[Column[Any]]:
    """Return the columns that `leads_ready` has besides."""
    return [
        Column("referrals", Integer, comment="how many referrals name the company"),
        Column("engagements", Integer, comment="deals; the two sides of a co-sell count once"),
        Column("signals_at", UtcDateTime, comment="when DNS gave the facts that the score stands on"),
        Column("scored_at", UtcDateTime, comment="when the score was made"),
    ]


_VIEWS: Final = MetaData()  # not that of schema.py: Alembic would take a view for a table

leads_ready: Final = Table(
    "leads_ready",
    _VIEWS,
    *_shared_columns(),
    *_of_companies(),
    comment="the sales list: one row per company that a referral names. The referral is the open one with the next "
    "deadline, else the one with the last deadline that passed, else the newest; one that is set aside only where all "
    "open ones are. The deal is the largest open one",
)

leads_without_company: Final = Table(
    "leads_without_company",
    _VIEWS,
    *_shared_columns(),
    comment="every open lead that no company holds. One with a Microsoft tenant is scored by that, others are Pending",
)

due_first: Final = Table(
    "due_first",
    _VIEWS,
    *_shared_columns(),
    Column("kind", Text, comment="company, or no_company"),
    Column("hours_left", Float, comment="hours to the deadline, by the database's clock"),
    comment="every open lead, with a company or without, whose response deadline is still to come, the soonest first; "
    "those that are set aside last",
)

company_card: Final = Table(
    "company_card",
    _VIEWS,
    *_shared_columns(),
    *_of_companies(),
    Column("domain_ascii_key", Text, comment="the domain with Turkish letters folded"),
    Column("cosell_referral", Text, comment="the newest open co-sell referral"),
    Column("referral_ids", JsonValue, comment="the company's referrals, newest first"),
    Column("signals", JsonValue, comment="all that DNS said, with evidence"),
    Column("scanned_at", UtcDateTime, comment="when the last scan ended"),
    Column("facts_at", UtcDateTime, comment="when DNS last gave facts"),
    Column("next_scan_at", UtcDateTime, comment="when the next scan is due"),
    Column("failures", Integer, comment="scans without facts since the last good one"),
    Column("referral_list", JsonValue, comment="the company's referrals, the newest first, without contacts"),
    Column("match_list", JsonValue, comment="suggested matches, the likeliest first"),
    Column("score_history", JsonValue, comment="how score and segment changed and why, the newest first"),
    Column("signal_history", JsonValue, comment="how the mail set-up changed, the newest first"),
    comment="one row per company: leads_ready, with the evidence and the history that `partner-center inspect` shows",
)

sync_health: Final = Table(
    "sync_health",
    _VIEWS,
    Column("newest_complete_end", UtcDateTime, comment="the end of the newest complete window"),
    Column("minutes_behind", Float, comment="minutes since then, by the database's clock"),
    Column("windows_missing", Integer, comment="windows that are not complete before the newest complete one"),
    Column("newest_attempt_state", Text, comment="running, complete, empty, incomplete, failed or disabled"),
    Column("newest_attempt_at", UtcDateTime, comment="when the newest attempt at a window began"),
    Column("newest_attempt_error", Text, comment="why it failed"),
    Column("quarantined_open", Integer, comment="rows that break the contract and are not resolved"),
    Column("pending_rows", Integer, comment="what the assets after raw_referrals have still to derive"),
    Column("oldest_pending", UtcDateTime, comment="since when the oldest of it waits"),
    Column("last_comparison_at", UtcDateTime, comment="when the last comparison with Partner Center ended"),
    Column("last_comparison_kind", Text, comment="full, or recent: the last day only"),
    Column("last_comparison_missed", Integer, comment="versions it found that the warehouse did not have"),
    Column("last_comparison_vanished", Integer, comment="leads that it found to be shown no more"),
    Column("last_comparison_error", Text, comment="why it failed"),
    comment="one row: how the copy of Partner Center stands",
)

VIEWS: Final = (leads_ready, leads_without_company, due_first, company_card, sync_health)
"""The views, in the order of `view_sql`."""
