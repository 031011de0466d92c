"""Writing a report as a page: one HTML file that works offline and asks nobody for anything.

It shows the first rows of each list (TOP) and says so. A content security policy lets only its own style and script
take effect, whatever a name holds. Not here: style (`page.css`) and behaviour (`page.js`), which are put into the page.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.reports.charts import Bar, ChartTexts, chart
from partner_center_pipeline.reports.columns import Column, Kind, Listing, columns_of
from partner_center_pipeline.reports.guide import guide
from partner_center_pipeline.reports.model import (
    REFERRALS_PAGE,
    SOON_HOURS,
    About,
    Card,
    ChangeRow,
    Figures,
    LeadRow,
    ListName,
)
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.windows import datetime_of

TOP: Final = 1_000
"""Rows of each list that the page holds. With 1,000 the page of 100,000 companies has about 7 MB; a browser shows it
at once, and a search takes no time that one notices."""

_PROVIDERS_MOST: Final = 8
"""Bars of the chart of providers; the others are one bar."""
_LATE_HOURS: Final = 24
_REASONS_IN_LIST: Final = 3
_TEXT_MOST: Final = 2_000
"""Characters of a name or an evidence that the page shows; the workbook has all of it."""

_COLUMNS: Final = {
    ListName.DUE_FIRST: (
        "hours_left", "response_due", "company_name", "decision", "segment", "category", "act", "score", "why", "value",
    ),
    ListName.LEADS: (
        "rank", "company_name", "decision", "segment", "category", "act", "score", "response_due", "why", "provider",
        "value",
    ),
    ListName.WITHOUT_COMPANY: (
        "rank", "company_name", "decision", "response_due", "domain_reason", "suggested_name", "source", "value",
        "country",
    ),
    ListName.NEW_AND_MOVED: (
        "change", "changed_at", "company_name", "segment_before", "segment_after", "score_before", "score_after",
        "cause",
    ),
}  # fmt: skip
"""The columns of each list in the page, fewer than in the workbook; the cards have the rest."""

_FACTS: Final = (
    "domain", "decision", "decision_until", "decided_by", "decided_at", "segment", "category", "act", "score",
    "readiness", "response_due", "note", "provider", "gateway", "deal_value", "deal_value_reported", "open_referrals",
    "open_cosell", "source", "qualification", "status", "country", "city", "tenant", "domain_reason", "suggested_name",
    "suggested_domain", "suggested_count", "suggested_group", "contact_name", "contact_email", "contact_phone",
    "created_at", "updated_at", "referral_id",
)  # fmt: skip
"""What a card tells, in this order, as far as it is known."""

CardsOf = Callable[[Sequence[str]], Mapping[str, Card]]
"""Reads the cards of companies, by domain."""


def write_page(
    path: Path, listings: Sequence[Listing], about: About, words: Words, figures: Figures, cards_of: CardsOf
) -> None:
    """Write the page. `figures` counts all rows of the lists; the rows after the first TOP are not kept."""
    tops: dict[ListName, list[LeadRow | ChangeRow]] = {}
    written: Counter[ListName] = Counter()
    for listing in listings:
        top = tops.setdefault(listing.name, [])
        for row in listing.rows:
            figures.count(listing.name, row)
            written[listing.name] += 1
            if len(top) < TOP:
                top.append(row)
    domains = dict.fromkeys(row.domain for rows in tops.values() for row in rows if row.domain)
    maker = _Cards(about, words, cards_of(list(domains)))
    for name in (ListName.LEADS, ListName.DUE_FIRST, ListName.WITHOUT_COMPANY, ListName.NEW_AND_MOVED):
        for row in tops.get(name, ()):
            maker.add(row)
    counts = {name: written[name] for name in tops}
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_head(about, words, counts))
        file.writelines(_summary(words, figures))
        file.writelines(_charts(words, figures, about))
        file.write('<div id="lists">')
        for name, rows in tops.items():
            file.writelines(_list(name, rows, counts[name], about, words))
        file.write("</div>")
        file.writelines(_guide(about, words, counts))
        file.writelines(_foot(maker, words))


# The page around the lists --------------------------------------------------------------------------------------------


@cache
def _part(name: str) -> tuple[str, str]:
    """Return the style or script of the page, and its hash as a content security policy names it."""
    text = "\n" + files(__package__).joinpath(name).read_text(encoding="utf-8")
    return text, "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(about: About, words: Words, counts: Mapping[ListName, int]) -> Iterator[str]:
    (style, style_hash), (_, script_hash) = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; style-src '{style_hash}'; script-src '{script_hash}'; base-uri 'none'; form-action 'none'"
    )
    title = escape(words.text("title.report"))
    made = words.instant(about.made_at)
    yield (
        f'<!doctype html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="robots" content="noindex">\n'
        f'<meta name="with_contacts" content="{str(about.with_contacts).lower()}">\n'
        f'<meta name="made_at_utc" content="{about.made_at.isoformat(timespec="seconds")}">\n'
        f"<title>{title} – {made}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#lists">{escape(words.text("page.skip"))}</a>\n'
        f'<header><h1>{title}</h1><p class="sub">{escape(words.text("title.subtitle"))}. '
        f"{escape(words.text('title.made', at=made))}. {escape(words.chosen(about.choice))}</p>"
        f'<p class="{"personal" if about.with_contacts else "sub"}">{escape(words.contacts(about))}</p></header>\n'
        "<nav><ul>"
    )
    for name, count in counts.items():
        yield f'<li><a href="#{name}">{escape(words.text(f"list.{name}"))}</a> <b>{words.number(count)}</b></li>'
    yield f'<li><a href="#guide">{escape(words.text("list.guide"))}</a></li></ul></nav>\n<main>\n'


def _summary(words: Words, figures: Figures) -> Iterator[str]:
    shown = (
        ("due", figures.due, ""),
        ("due_within_72h", figures.due_within_72h, "hot"),
        ("companies", figures.companies, ""),
        ("open_companies", figures.open_companies, ""),
        ("without_company", figures.without_company, ""),
        ("new", figures.changes["new"], ""),
        ("moved_up", figures.changes["moved_up"], ""),
        ("moved_down", figures.changes["moved_down"], ""),
    )
    yield '<section id="summary"><dl class="figures">'
    for name, value, look in shown:
        hot = f' class="{look}"' if look and value else ""
        yield f"<div{hot}><dt>{escape(words.text(f'summary.{name}'))}</dt><dd>{words.number(value)}</dd></div>"
    yield "</dl></section>\n"


def _charts(words: Words, figures: Figures, about: About) -> Iterator[str]:
    everything = "" if about.choice.is_all else words.text("chart.all_referrals")

    def bar(name: str, value: int, look: str = "bar") -> Bar:
        return Bar(clean(name)[:_TEXT_MOST], value, words.number(value), look)

    def texts(key: str, note: str = "", name: str = "heading.value") -> ChartTexts:
        parts = (f"chart.{key}", "chart.table", name, "heading.count", "chart.empty")
        title, table, head, count, empty = (words.text(part) for part in parts)
        return ChartTexts(title, note, table, head, count, empty)

    none = words.text("word.none")
    segments = [*map(str, Segment), *sorted(figures.segments.keys() - set(Segment))]
    categories = [*map(str, Category), *sorted(figures.categories.keys() - set(Category))]
    ordered = sorted(figures.providers.items(), key=lambda pair: (-pair[1], pair[0]))
    providers = [
        bar(words.known("provider", name) or words.text("word.unknown"), count)
        for name, count in ordered[:_PROVIDERS_MOST]
    ]
    if rest := sum(count for _, count in ordered[_PROVIDERS_MOST:]):
        providers.append(bar(words.text("chart.other"), rest))
    yield '<section id="charts"><div class="charts">\n'
    yield from chart(
        "segments",
        [
            bar(words.known("segment", name) or none, figures.segments[name], name if name in set(Segment) else "bar")
            for name in segments
        ],
        texts("segments"),
    )
    yield from chart(
        "categories",
        [bar(words.category_name(name) or none, figures.categories[name]) for name in categories],
        texts("categories"),
    )
    yield from chart("providers", providers, texts("providers"))
    weeks = [
        Bar(words.day(monday), count, words.number(count), short=words.short_day(monday))
        for monday, count in figures.leads_per_week.items()
    ]
    yield from chart("weeks", weeks, texts("weeks", everything, "heading.week"), standing=True)
    answers = [
        bar(words.text(f"answer.{name}"), count, "waiting" if name == "open" else "bar")
        for name, count in figures.answers.items()
    ]
    yield from chart("answers", answers, texts("answers", everything))
    yield "</div></section>\n"


def _guide(about: About, words: Words, counts: Mapping[ListName, int]) -> Iterator[str]:
    yield f'<section id="guide" class="guide"><h2>{escape(words.text("list.guide"))}</h2>'
    for part in guide(about, words, counts):
        yield f"<h3>{escape(part.title)}</h3>"
        if any(name for name, _ in part.lines):
            lines = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in part.lines)
            yield f"<dl>{''.join(lines)}</dl>"
        else:
            yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for _, text in part.lines)}</ul>"
    link = escape(words.text("word.open"))
    yield f'<p><a href="{REFERRALS_PAGE}" target="_blank" rel="noreferrer noopener">{link}</a></p></section>\n'


def _foot(cards: "_Cards", words: Words) -> Iterator[str]:
    said = {
        name: words.text(f"page.{name}", shown="{shown}", all="{all}")
        for name in ("shown", "no_match", "no_rows", "evidence", "referrals", "history", "no_history", "points")
    }
    heads = ("referral_id", "source", "status", "qualification", "deal_value", "response_due")
    data = {
        "words": {
            **said,
            "open": words.text("word.open"),
            "why": words.text("heading.why"),
            "when": words.text("heading.changed_at"),
            "change": words.text("heading.change"),
        },
        "heads": [words.text(f"heading.{name}") for name in heads],
        "link": REFERRALS_PAGE,
        "reasons": cards.reasons,
    }
    close = escape(words.text("page.close"))
    yield (
        '</main>\n<dialog aria-labelledby="card-name"><div class="top"><h2 id="card-name"></h2>'
        f'<button type="button" class="close">{close}</button></div><div class="body"></div></dialog>\n'
    )
    yield '<script type="application/json" id="data">'
    yield _json(data)[:-1] + ',"cards":{'
    for at, (key, card) in enumerate(cards.made.items()):
        yield ("," if at else "") + f"{_json(key)}:{_json(card)}\n"
    yield f"}}}}</script>\n<script>{_part('page.js')[0]}</script>\n</body>\n</html>\n"


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# A list ---------------------------------------------------------------------------------------------------------------


def _list(name: ListName, rows: Sequence[LeadRow | ChangeRow], count: int, about: About, words: Words) -> Iterator[str]:
    places = {column.key: column for column in columns_of(name, about)}
    heads = [(key, "heading.deal_value" if key == "value" else f"heading.{key}") for key in _COLUMNS[name]]
    since = words.instant(about.since)
    title = escape(words.text(f"list.{name}"))
    search = escape(words.text("page.search"))
    yield (
        f'<section id="{name}" class="list" aria-labelledby="h-{name}"><h2 id="h-{name}">{title}</h2>'
        f'<p class="about">{escape(words.text(f"about.{name}", since=since))}</p>'
    )
    if count > len(rows):
        shown = words.text("page.top", shown=words.number(len(rows)), all=words.number(count))
        yield f'<p class="about"><strong>{escape(shown)}</strong></p>'
    yield (
        f'<div class="tools"><input type="search" aria-label="{search}" placeholder="{search}" autocomplete="off">'
        '<output aria-live="polite"></output></div><div class="scroll"><table><thead><tr>'
    )
    for key, heading in heads:
        number = " data-n" if key in _NUMBERS else ""
        look = ' class="n"' if key in _NUMBERS and key not in _DATES else ""
        yield (
            f'<th scope="col"{number}{look}><button type="button" title="{escape(words.text("page.sort"))}">'
            f"{escape(words.text(heading))}</button></th>"
        )
    yield "</tr></thead><tbody>\n"
    for row in rows:
        yield "<tr>"
        for key, heading in heads:
            cell = _cell(key, places, row, words)
            if not cell.html:
                yield '<td data-v=""></td>' if key in _NUMBERS else "<td></td>"
                continue
            value = "" if cell.sorts_as is None else f' data-v="{escape(cell.sorts_as)}"'
            yield f'<td class="{cell.look}" data-head="{escape(words.text(heading))}"{value}>{cell.html}</td>'
        yield "</tr>\n"
    more = escape(words.text("page.more"))
    yield f'</tbody></table></div><button type="button" class="more" hidden>{more}</button></section>\n'


_DATES: Final = frozenset({"response_due", "changed_at"})
_NUMBERS: Final = _DATES | {"rank", "hours_left", "score", "score_before", "score_after", "value"}
"""Columns that are sorted by number."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of a list: its HTML, its CSS classes, and what it is sorted by where that is not its text."""

    html: str
    look: str = "text"
    sorts_as: str | None = None


def _cell(key: str, places: Mapping[str, Column], row: LeadRow | ChangeRow, words: Words) -> _Cell:
    if key == "company_name":
        return _company(row, words)
    if isinstance(row, LeadRow):
        if key == "value":
            return _value(row, words)
        if key == "why":
            return _Cell(f'<div class="clamp">{_safe(_why(row, words))}</div>', "why")
        if key == "decision":
            return _decision(row, words)
        if key == "category":
            label = f"<small>{_safe(words.label(row))}</small>" if words.label(row) else ""
            return _Cell(f"<b>{_safe(_text(row.category))}</b> {label}" if row.category else "")
        if key == "hours_left" and row.hours_left is not None:
            urgent = "late" if row.hours_left <= _LATE_HOURS else "soon" if row.hours_left <= SOON_HOURS else ""
            return _Cell(words.number(row.hours_left, 1), f"n {urgent}", f"{row.hours_left}")
        if key == "response_due" and row.response_due is not None:
            note = f"<small>{_safe(words.note(row))}</small>" if row.due_note else ""
            return _Cell(words.instant(row.response_due) + note, "date", _seconds(row.response_due))
    column = places[key]
    value = column.value(row, words)
    if value is None or value == "":
        return _Cell("")
    if isinstance(value, datetime):
        return _Cell(words.instant(value), "date", _seconds(value))
    if isinstance(value, str):
        if column.kind is Kind.SEGMENT:
            return _Cell(_badge(getattr(row, key), value))
        return _Cell(f'<div class="clamp">{_safe(value)}</div>')
    return _Cell(str(value), "n", str(value))


def _company(row: LeadRow | ChangeRow, words: Words) -> _Cell:
    name = _text(row.company_name or row.domain_unicode or row.domain) or words.text("word.unnamed")
    domain = _text(row.domain_unicode or row.domain)
    small = f'<small class="clamp">{_safe(domain)}</small>' if domain and domain != name else ""
    button = f'<button type="button" class="card clamp" data-key="{escape(_key(row))}">{_safe(name)}</button>{small}'
    return _Cell(button, "company", name)


def _decision(row: LeadRow, words: Words) -> _Cell:
    """Return the mark, and the day until which the lead is snoozed, or on which it was marked."""
    if row.decision is None:
        return _Cell("")
    day = row.decision_until or row.decided_at
    small = "" if day is None else f"<br><small>{'→ ' if row.decision_until else ''}{words.say.day(day)}</small>"
    return _Cell(f"{_safe(words.known('decision', row.decision))}{small}")


def _value(row: LeadRow, words: Words) -> _Cell:
    if row.deal_value is None:
        return _Cell("")
    shown = f"{words.number(float(row.deal_value), 0)} {_safe(_text(row.currency))}"
    if row.deal_value_reported is not None and row.reported_currency != row.currency:
        reported = words.number(float(row.deal_value_reported), 0)
        shown += f"<br><small>≈ {reported} {_safe(_text(row.reported_currency))}</small>"
    # Values in different currencies are compared in one currency, or not at all.
    return _Cell(shown, "n", "" if row.deal_value_reported is None else str(row.deal_value_reported))


def _why(row: LeadRow, words: Words) -> str:
    """Return the reasons that weigh most, the strongest first."""
    first = sorted(row.reasons, key=lambda reason: -abs(reason.points))[:_REASONS_IN_LIST]
    return "; ".join(
        f"{words.reason(one.code)} ({one.points:+})" if one.points else words.reason(one.code) for one in first
    )


def _badge(segment: str | None, word: str) -> str:
    look = f" {segment}" if segment in set(Segment) else ""
    return f'<span class="badge{look}">{_safe(word)}</span>'


def _text(text: str | None) -> str:
    cleaned = clean(text or "")
    return cleaned if len(cleaned) <= _TEXT_MOST else f"{cleaned[:_TEXT_MOST]}…"


def _safe(text: str) -> str:
    return escape(_text(text))


def _seconds(at: datetime) -> str:
    return f"{at.timestamp():.0f}"


def _key(row: LeadRow | ChangeRow) -> str:
    """Return the key of a row's card: of its company, or of its referral where there is none."""
    return _text(f"d:{row.domain}" if row.domain else f"r:{row.referral_id}")


# Cards ----------------------------------------------------------------------------------------------------------------


class _Cards:
    """The cards of the rows that the page holds, and the texts of the reasons in them."""

    def __init__(self, about: About, words: Words, known: Mapping[str, Card]) -> None:
        self._words = words
        self._known = known
        columns = [*columns_of(ListName.LEADS, about), *columns_of(ListName.WITHOUT_COMPANY, about)]
        places = {column.key: column for column in columns}
        self._facts = [places[key] for key in _FACTS if key in places]
        self.reasons: dict[str, str] = {}
        self.made: dict[str, dict[str, Any]] = {}

    def add(self, row: LeadRow | ChangeRow) -> None:
        """Make the card of a row, unless its company has one already."""
        key, words = _key(row), self._words
        if key in self.made:
            return
        card = self._known.get(row.domain or "", Card())
        reasons = row.reasons if isinstance(row, LeadRow) else ()
        for reason in reasons:
            self.reasons[_text(reason.code)] = words.reason(_text(reason.code))
        self.made[key] = {
            "name": _text(row.company_name or row.domain_unicode) or words.text("word.unnamed"),
            "facts": [*(self._told(row) if isinstance(row, LeadRow) else ())],
            "reasons": [[_text(one.code), one.points, _text(one.evidence)] for one in reasons],
            "referrals": [self._referral(referral) for referral in card.referrals],
            "history": [[words.instant(event.at), _text(event.text)] for event in card.history],
        }

    def _told(self, row: LeadRow) -> Iterable[list[str]]:
        words = self._words
        for column in self._facts:
            value = column.value(row, words)
            if value is None or value == "":
                continue
            heading = words.text(f"heading.{column.key}")
            if isinstance(value, datetime):
                yield [heading, words.say.day(value) if column.kind is Kind.DAY else words.instant(value)]
            elif isinstance(value, str):
                label = words.label(row) if column.key == "category" else ""
                yield [heading, _text(f"{value} {label}".strip())]
            elif column.kind is Kind.MONEY:
                unit = row.currency if column.key == "deal_value" else row.reported_currency
                yield [heading, f"{words.number(float(value), 2)} {_text(unit)}".strip()]
            else:
                yield [heading, str(value)]

    def _referral(self, row: Mapping[str, Any]) -> list[str]:
        words = self._words
        value = row["deal_value"]
        return [
            _text(row["referral_id"]),
            words.sentence("referral_category", row["category"]),
            _text(words.status(row["status"], row["substatus"])),
            _text(words.known("qualification", row["qualification"])),
            "" if value is None else f"{words.number(float(value), 2)} {_text(row['currency'])}".strip(),
            "" if row["expires_ticks"] is None else words.instant(datetime_of(row["expires_ticks"])),
        ]
