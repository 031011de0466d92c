"""The page that `partner-center inspect` prints in a terminal: sections, texts, layout.

Text from outside is a `rich.text.Text`, never markup, with terminal control characters escaped. Long lines are folded,
never cut. Not here: reading rows (`warehouse.card`), the JSON document (`inspect_domain`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.mail import Lookup, MailSignals
from partner_center_pipeline.mail.retention import PROVIDER_KEPT
from partner_center_pipeline.mail.signals import (
    AUTODISCOVER,
    DMARC,
    DMARC_ABOVE,
    ENTERPRISE_REGISTRATION,
    LYNCDISCOVER,
    MX,
    MX_HOSTS,
    NS,
    SPF_NESTED,
    TENANT,
    TXT,
    dkim_lookup,
    selector_of,
)
from partner_center_pipeline.scoring.history import Cause
from partner_center_pipeline.vocabulary import Asset, TenantSource
from partner_center_pipeline.warehouse.card import Card, Waiting
from partner_center_pipeline.windows import KEY_FORMAT, datetime_of

Explain = Callable[[str], str]
"""The text of a reason's code in the chosen language."""

NOTES: Final[Mapping[str, str]] = {
    "mx_tie": "mail hosts of different owners share the first place",
    "mx_mixed_providers": "a mail host further back belongs to somebody else",
    "mailbox_hint": "one hint at a mailbox provider behind an unknown mail host: not enough to name it",
    "mailbox_conflict": "hints at different mailbox providers weigh the same: none is named",
    "spf_multiple_records": "more than one SPF record, which is an error: counts as none",
    "dmarc_multiple_records": "more than one DMARC record: counts as none",
    "dmarc_policy_missing": "the DMARC record has no policy (p): read as none",
    "dmarc_policy_invalid": "the DMARC record's policy (p) is none that exists: read as none",
    "dkim_revoked": "a DKIM selector holds revoked keys only",
    "ms_txt": "a MS= record: somebody once verified the domain with Microsoft, perhaps only for a trial",
    PROVIDER_KEPT: "the provider is an older look-up's: the last one missed an answer that could name it",
}
"""Texts of the notes of `mail.classification` and `mail.retention`."""

TENANT_SOURCES: Final[Mapping[str, str]] = {
    TenantSource.PAYLOAD: "from a field of a referral",
    TenantSource.EMAIL_DOMAIN: "from a contact's address at onmicrosoft.com",
    TenantSource.DKIM_TARGET: "from the target of a DKIM selector",
    TenantSource.OIDC_METADATA: "from Microsoft's public metadata",
}

CAUSES: Final[Mapping[str, str]] = {
    Cause.FIRST: "first score",
    Cause.RULES: "the rules changed",
    Cause.SIGNALS: "the mail set-up changed",
    Cause.REFERRAL: "a referral changed",
    Cause.SETTINGS: "a setting changed",
}

NO_MAIL: Final[Mapping[str, str]] = {
    "nxdomain": "the domain does not exist",
    "nodata": "there is no MX record",
    "null_mx": "a null MX: it takes no mail (RFC 7505)",
    "localhost": "the MX is localhost",
    "parking": "the MX is a parking service's",
}
MATCHES: Final[Mapping[str, str]] = {
    "ascii_key": "the same domain in ASCII letters",
    "same_name": "the same name",
    "similar_name": "a similar name",
}
_ASKED: Final[Mapping[str, str]] = {
    MX: "MX",
    MX_HOSTS: "CNAME of the mail hosts",
    TXT: "TXT",
    SPF_NESTED: "TXT of what SPF includes",
    DMARC: "TXT _dmarc",
    DMARC_ABOVE: "TXT _dmarc of the domains above",
    dkim_lookup(""): "",  # the position of all selectors
    AUTODISCOVER: "CNAME autodiscover",
    ENTERPRISE_REGISTRATION: "CNAME enterpriseregistration",
    LYNCDISCOVER: "CNAME lyncdiscover",
    NS: "NS",
    TENANT: "HTTPS openid-configuration at Microsoft",
}
"""What each look-up asks for, in the order in which look-ups are shown."""

_ABSENT: Final = "absent"


def page(card: Card, signals: MailSignals | None, explain: Explain, now: datetime) -> RenderableType:
    """Return the page. `signals` is the card's row of signals, decoded; `now` is in UTC."""
    return Group(*_blocks(card, signals, explain, now))


def _blocks(card: Card, signals: MailSignals | None, explain: Explain, now: datetime) -> Iterator[RenderableType]:
    company = card.company
    names = [company["name"], company["domain_unicode"]]
    if company["domain_unicode"] != company["domain"]:
        names.append(company["domain"])
    yield _text("  ".join(filter(None, names)), "bold")
    sections = {
        "Company": _company(company, now),
        "Not through yet": _waiting(card.waiting) if card.waiting else None,
        "Score": _score(card, explain, now),
        "Reasons": _reasons(card.score, explain) if card.score else None,
        "Mail": _mail(card, signals, now),
        "Evidence, the strongest first": _evidence(signals) if signals and signals.evidence else None,
        "Asked and answered": _lookups(signals, now) if signals else None,
        "Referrals": _referrals(card, now),
        "Perhaps the same company": _matches(card) if card.matches else None,
        "Changes of the score": _score_changes(card) if card.score_changes else None,
        "Changes of the mail set-up": _signal_changes(card) if card.signal_changes else None,
    }
    for heading, section in sections.items():
        if section is not None:
            yield Text(f"\n{heading}", "bold cyan")
            yield section


# Sections -------------------------------------------------------------------------------------------------------------


def _company(company: Mapping[str, Any], now: datetime) -> Table:
    due = company["next_expiry_ticks"]
    cosell = company["cosell_referral"]
    return _facts(
        ("place", ", ".join(filter(None, (company["city"], company["country"])))),
        (
            "referrals",
            f"{company['open_referrals']} open of {company['referrals']}, in {_count(company['engagements'], 'deal')}"
            if company["referrals"]
            else "none names it any more",
        ),
        ("co-sell", f"open, referral {cosell}" if company["open_cosell"] else None),
        ("answer by", None if due is None else _when(datetime_of(due), now)),
        ("largest deal", _amount(company)),
        ("Microsoft tenant", _tenant(company["tenant"], company["tenant_source"])),
    )


def _waiting(waiting: tuple[Waiting, ...]) -> Table:
    return _facts(
        *((_window(item.window_start), f"the window waits for {item.asset}") for item in waiting),
        ("next step", "`partner-center sync`, or the schedule"),
    )


def _score(card: Card, explain: Explain, now: datetime) -> Table:
    score = card.score
    if score is None:
        return _facts(("none yet", _why_none(card, Asset.SCORED_SEGMENTS)))
    numbers = "none" if score["score"] is None else f"{score['score']}, from a readiness of {score['readiness']}"
    category = " ".join(filter(None, (score["category"], score["label"])))
    heats = [f"{kind} {score[f'{kind}_heat']}" for kind in ("technical", "commercial") if score[f"{kind}_heat"]]
    return _facts(
        ("rank", f"{card.rank} of {card.ranked} in the sales list" if card.rank else "not in the sales list"),
        ("category", ": ".join(filter(None, (category, score["act"])))),
        ("segment", f"{score['segment']}: {explain(score['segment_reason'])}"),
        ("commercial segment", score["commercial_segment"]),
        ("heat", ", ".join(heats)),
        ("score", numbers),
        ("scored", f"{_when(score['scored_at'], now)}, under rules version {score['rules_version']}"),
        ("signals from", score["signals_at"] and _when(score["signals_at"], now)),
    )


def _reasons(score: Mapping[str, Any], explain: Explain) -> Table:
    table = _grid("right", "left", "left")
    for reason in score["reasons"]:
        points = f"{reason['points']:+}" if reason["points"] else ""
        table.add_row(_text(points), _text(explain(reason["code"])), _text(reason["evidence"] or ""))
    return table


def _why_none(card: Card, asset: Asset) -> list[str]:
    """Return why the asset has no row yet, and the next step."""
    chain = list(Asset)
    waiting = [item for item in card.waiting if chain.index(item.asset) <= chain.index(asset)]
    if waiting:
        last = _window(waiting[-1].window_start)
        return [f"window {last} has not come through {asset}", "next step: `partner-center sync`, or the schedule"]
    starts = [row["window_start"] for row in card.referrals if row["window_start"] is not None]
    if not starts:
        return ["no window that is kept brought a referral of it"]
    first = datetime_of(max(starts))
    times = f"--from {first:%Y-%m-%dT%H:%MZ} --to {first + timedelta(minutes=1):%Y-%m-%dT%H:%MZ}"
    return ["every window that brought a referral of it is through", f"next step: `partner-center sync {times}`"]


def _mail(card: Card, signals: MailSignals | None, now: datetime) -> Table:
    row = card.signals
    if row is None or signals is None:
        return _facts(("not asked yet", _why_none(card, Asset.DOMAIN_SIGNALS)))
    again, is_due = _when(row["next_scan_at"], now), row["next_scan_at"] <= now
    failures, name = row["failures"], signals.provider_name
    return _facts(
        ("provider", signals.provider if name in (None, signals.provider) else f"{signals.provider}, {name}"),
        ("gateway", signals.gateway),
        ("confidence", f"{signals.confidence} of 100"),
        ("Microsoft tenant", _tenant(signals.tenant, signals.tenant_source)),
        ("no mail", signals.no_mx_reason and _in_words(NO_MAIL, signals.no_mx_reason)),
        ("SPF", _spf(signals)),
        ("DKIM", _dkim(signals)),
        ("DMARC", _dmarc(signals)),
        ("verifications", signals.verifications),
        ("notes", [_in_words(NOTES, note) for note in signals.notes]),
        ("asked", _when(row["scanned_at"], now)),
        ("facts from", _when(row["facts_at"], now) if row["facts_at"] else "MX, TXT and _dmarc are not all known"),
        ("asked again", [f"due since {again}", "next step: `partner-center rescan`"] if is_due else again),
        ("failures", f"{failures} in a row missed an answer that could change the score" if failures else None),
    )


def _evidence(signals: MailSignals) -> Table:
    table = _grid("left", "left", "left")
    for evidence in signals.evidence:
        table.add_row(_text(evidence.kind), _text(evidence.detail), _text(evidence.points_to))
    return table


def _tenant(tenant: str | None, source: str | None) -> str | None:
    return tenant and f"{tenant}, {_in_words(TENANT_SOURCES, source or '')}"


def _spf(signals: MailSignals) -> str:
    spf = signals.spf
    if spf.multiple:
        return "more than one record"
    return spf.record or _nothing(signals.lookups.get(TXT))


def _dkim(signals: MailSignals) -> list[str]:
    targets = [f"{selector} -> {target}" for selector, target in signals.dkim_targets]
    if signals.dkim_present:
        return [f"a key at {', '.join(signals.dkim_selectors)}", *targets]
    found = "no key at any selector asked" if signals.dkim_present is False else "not known: a selector did not answer"
    return [found, *targets]


def _dmarc(signals: MailSignals) -> list[str]:
    dmarc = signals.dmarc
    if dmarc is None:
        return [_nothing(signals.lookups.get(DMARC))]
    above = "" if dmarc.found_at == signals.domain else f", found at {dmarc.found_at}"
    return [dmarc.record, f"policy {dmarc.policy}{above}"]


def _nothing(lookup: Lookup | None) -> str:
    return "no record" if lookup is not None and lookup.is_fact else "not known: no answer yet"


def _lookups(signals: MailSignals, now: datetime) -> Table:
    table = _grid("left", "left", "left", "left")
    for name, lookup in sorted(signals.lookups.items(), key=lambda item: _position(item[0])):
        selector = selector_of(name)
        asked = f"TXT {selector}._domainkey" if selector is not None else _in_words(_ASKED, name)
        outcome = [lookup.outcome.value]
        if lookup.missed and lookup.is_fact:
            outcome.append(f"last try: {lookup.missed}")
        age = _distance(lookup.answered_at - now) if lookup.answered_at else "never answered"
        answer = [*(f"-> {target}" for target in lookup.targets), *lookup.records]
        table.add_row(_text(asked), _lines(outcome), _text(age), _lines(answer))
    return table


def _position(lookup: str) -> tuple[int, str]:
    order = list(_ASKED)
    kind = dkim_lookup("") if selector_of(lookup) is not None else lookup
    return order.index(kind) if kind in _ASKED else len(order), lookup


def _referrals(card: Card, now: datetime) -> Table:
    if not card.referrals:
        return _facts(("none", "an earlier version of a referral named the domain"))
    table = _grid("left", "left")
    for row in card.referrals:
        table.add_row(_text(row["referral_id"]), _lines(_referral(row, card.company["domain"], now)))
    return table


def _referral(row: Mapping[str, Any], domain: str, now: datetime) -> Iterator[str]:
    status = "/".join(filter(None, (row["status"], row["substatus"]))) or "no status"
    yield f"{row['category']} ({row['category_rule']}), {status}, {'open' if row['is_open'] else 'closed'}"
    deal = [_amount(row), row["expires_text"] and f"answer by {row['expires_text']}"]
    if any(deal):
        yield ", ".join(filter(None, deal))
    host = "" if row["host"] in (None, domain) else f" ({row['host']})"
    yield f"domain from {row['domain_source']}{host}"
    window = "" if row["window_start"] is None else f", in window {_window(row['window_start'])}"
    if row["vanished_at"] is not None:
        yield f"Partner Center shows it no more, found {_when(row['vanished_at'], now)}; it counts nowhere"
    yield f"updated {_when(datetime_of(row['updated_ticks']), now)}{window}{', late' if row['late'] else ''}"


def _matches(card: Card) -> Table:
    table = _grid("left", "left", "left")
    for row in card.matches:
        who = f"{row['kind']} {row['subject']}"
        table.add_row(_text(who), _text(row["name"] or ""), _text(_likeness(row)))
    return table


def _likeness(row: Mapping[str, Any]) -> str:
    return f"{_in_words(MATCHES, row['reason'])}, {row['similarity']} of 100"


def _score_changes(card: Card) -> Table:
    table = _grid("left", "left", "left")
    for row in card.score_changes:
        before, after = (_scored(row[f"segment_{side}"], row[f"score_{side}"]) for side in ("before", "after"))
        table.add_row(
            _text(_instant(row["changed_at"])),
            _text(_in_words(CAUSES, row["cause"])),
            _lines([after if row["segment_before"] is None else f"{before} -> {after}", *_detail(row)]),
        )
    return table


def _scored(segment: str | None, score: int | None) -> str:
    return f"{segment} {'without a score' if score is None else score}"


def _signal_changes(card: Card) -> Table:
    table = _grid("left", "left")
    for row in card.signal_changes:
        first = row["provider_before"] is None
        before, after = (_mail_set_up(row[f"provider_{side}"], row[f"gateway_{side}"]) for side in ("before", "after"))
        step = f"first answer: {after}" if first else after if before == after else f"{before} -> {after}"
        table.add_row(_text(_instant(row["changed_at"])), _lines([step, *_detail(row)]))
    return table


def _mail_set_up(provider: str | None, gateway: str | None) -> str:
    return f"{provider} behind {gateway}" if gateway else str(provider)


# History --------------------------------------------------------------------------------------------------------------


def _detail(row: Mapping[str, Any]) -> Iterator[str]:
    """Return what differs, one line each: `dmarc.policy: none -> reject`."""
    for name, sides in sorted(row["detail"].items()):
        yield from _differences(name, sides["before"], sides["after"])


def _differences(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        old, new = before or {}, after or {}
        for part in sorted(old.keys() | new.keys()):
            if old.get(part) != new.get(part):
                yield from _differences(f"{name}.{part}", old.get(part), new.get(part))
    else:
        yield f"{name}: {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    if value is None or value == []:
        return _ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# Layout and texts -----------------------------------------------------------------------------------------------------


def _grid(*columns: JustifyMethod) -> Table:
    table = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
    for justify in columns:
        table.add_column(justify=justify, overflow="fold")
    return table


def _facts(*facts: tuple[str, str | Sequence[str] | None]) -> Table:
    table = _grid("left", "left")
    for name, value in facts:
        if value:
            table.add_row(Text(name, "dim"), _text(value) if isinstance(value, str) else _lines(value))
    return table


def _text(value: str, style: str = "") -> Text:
    """Return text from outside on one line, with control and formatting characters escaped."""
    escaped = (char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in value)
    return Text("".join(escaped), style)


def _lines(values: Iterable[str]) -> Text:
    return Text("\n").join(map(_text, values))


def _in_words(words: Mapping[str, str], code: str) -> str:
    """Return the text for a code, or the code itself if it has none (a newer version may have stored it)."""
    return words.get(code, code)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _amount(row: Mapping[str, Any]) -> str | None:
    value = row["deal_value"]
    return None if value is None else " ".join(filter(None, (f"{value:,.2f}", row["currency"])))


def _window(start: int) -> str:
    return datetime_of(start).strftime(KEY_FORMAT)


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _when(moment: datetime, now: datetime) -> str:
    return f"{_instant(moment)} ({_distance(moment - now)})"


def _distance(span: timedelta) -> str:
    """Return `5 min ago` or `in 3 h`: minutes below one hour, hours below two days, then days."""
    minutes = int(abs(span.total_seconds()) // 60)
    if minutes == 0:
        return "now"
    amount = f"{minutes} min"
    if minutes >= 60:
        amount = f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} days"
    return f"{amount} ago" if span < timedelta(0) else f"in {amount}"
