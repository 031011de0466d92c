"""The page that `partner-center inspect` prints in a terminal: sections and layout.

Text from outside is a `rich.text.Text`, never markup, with terminal control characters escaped. Long lines are folded,
never cut. Not here: reading rows (`warehouse.card`), the words (`texts`), the JSON document (`inspect_domain`).
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.mail import Lookup, MailSignals
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
from partner_center_pipeline.scoring.model import ReasonCode
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.card import Card
from partner_center_pipeline.windows import KEY_FORMAT, datetime_of

_SHOWN_OF_RECORD: Final = 160
"""Characters of a record that are shown beside the points; it stands in full under its look-up."""

_OF_SPF: Final = frozenset(
    {
        ReasonCode.SPF_PRESENT,
        ReasonCode.NO_SPF,
        ReasonCode.SPF_MULTIPLE_RECORDS,
        ReasonCode.SPF_MANY_INCLUDES,
        ReasonCode.SPF_PERMERROR,
        ReasonCode.SPF_ALLOWS_ALL,
    }
)
_OF_DMARC: Final = frozenset(
    {
        ReasonCode.DMARC_REJECT,
        ReasonCode.DMARC_QUARANTINE,
        ReasonCode.DMARC_NONE,
        ReasonCode.DMARC_TESTING,
    }
)

Explain = Callable[[str], str]
"""The text of a reason's code, or of a category's label or act, in the chosen language."""

_LOOK_UPS: Final = (
    MX, MX_HOSTS, TXT, SPF_NESTED, DMARC, DMARC_ABOVE, dkim_lookup(""), AUTODISCOVER, ENTERPRISE_REGISTRATION,
    LYNCDISCOVER, NS, TENANT,
)  # fmt: skip
"""The look-ups in the order in which they are shown; `dkim_lookup("")` is the position of all selectors."""

_ID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""A referral's id."""
_PADDING: Final = 2
"""Columns between two columns of a table."""

_VALUES: Final[Mapping[str, str]] = {"provider": "provider", "tenant_source": "tenant_source"}
"""By the name of an input: the table with the words for its values."""


def page(
    card: Card, signals: MailSignals | None, explain: Explain, say: Texts, now: datetime, width: int
) -> RenderableType:
    """Return the page. `signals` is the card's row of signals, decoded; `now` is in UTC; `width` is in columns."""
    blocks = list(_Page(card, signals, explain, say, now).blocks())
    for block in blocks:
        if isinstance(block, Table):
            _keep_ids_whole(block, width)
    return Group(*blocks)


@dataclass(frozen=True, slots=True)
class _Page:
    card: Card
    signals: MailSignals | None
    explain: Explain
    say: Texts
    now: datetime

    def blocks(self) -> Iterator[RenderableType]:
        card, signals = self.card, self.signals
        company = card.company
        names = [company["name"], company["domain_unicode"]]
        if company["domain_unicode"] != company["domain"]:
            names.append(company["domain"])
        yield _text("  ".join(filter(None, names)), "bold")
        sections = {
            "company": self.company(),
            "not_through": self.waiting() if card.waiting else None,
            "score": self.score(),
            "reasons": self.reasons(),
            "mail": self.mail(),
            "evidence": self.evidence(signals) if signals and signals.evidence else None,
            "asked_and_answered": self.lookups(signals) if signals else None,
            "referrals": self.referrals(),
            "matches": self.matches() if card.matches else None,
            "decisions": self.decisions() if card.decisions else None,
            "score_changes": self.score_changes() if card.score_changes else None,
            "signal_changes": self.signal_changes() if card.signal_changes else None,
        }
        for heading, section in sections.items():
            if section is not None:
                yield Text(f"\n{self.say(f'card.{heading}')}", "bold cyan")
                yield section

    # Sections ---------------------------------------------------------------------------------------------------------

    def company(self) -> Table:
        say, company = self.say, self.card.company
        cosell, country = company["cosell_referral"], company["country"]
        deals = company["engagements"]
        counted = say("card.deal") if deals == 1 else say("card.deals", count=deals)
        count = say("card.referral_count", open=company["open_referrals"], all=company["referrals"], deals=counted)
        return self.facts(
            ("place_line", ", ".join(filter(None, (company["city"], country and say.country(country))))),
            ("referrals_line", count if company["referrals"] else say("card.no_referrals")),
            ("cosell_line", say("card.cosell_open", referral=cosell) if company["open_cosell"] else None),
            ("due_line", self.due()),
            ("decision_line", self.decision()),
            ("deal_line", self.largest_deal()),
            ("tenant_line", self.tenant(company["tenant"], company["tenant_source"])),
        )

    def due(self) -> list[str]:
        """Return the deadline, whose it is, and what is to be known about it."""
        listed = self.card.listed
        if listed is None or listed["response_due"] is None:
            return []
        when = self.when(listed["response_due"])
        lines = [
            self.say(
                "card.due_of",
                when=when if listed["is_due_live"] else self.say("card.was_due", when=when),
                referral=listed["referral_id"],
            )
        ]
        if listed["due_note"] == "due_despite_category":
            lines.append(self.say("due_note.due_despite_category"))
        return lines

    def decision(self) -> list[str]:
        """Return the mark of the referral that the list shows, until when it holds, and who made it when."""
        listed = self.card.listed
        if listed is None or listed["decision"] is None:
            return []
        until = listed["decision_until"]
        word = self.say.word("decision", listed["decision"])
        marked = word if until is None else f"{word} → {self.say.day(until)}"
        lines = [f"{marked}, {listed['decided_by']}, {self.when(listed['decided_at'])}"]
        if listed["is_set_aside"]:
            lines.append(self.say("card.set_aside"))
        return lines

    def largest_deal(self) -> list[str]:
        """Return the largest deal in its currency, and what it is worth in the reporting currency."""
        amount, listed = self.amount(self.card.company), self.card.listed
        if amount is None:
            return []
        if listed is None or listed["reported_currency"] in (None, self.card.company["currency"]):
            return [
                amount,
                *([self.say.word("rate_note", listed["rate_note"])] if listed and listed["rate_note"] else []),
            ]
        worth = self.say.amount(listed["deal_value_reported"], listed["reported_currency"])
        return [self.say("card.deal_worth", amount=amount, worth=worth)]

    def waiting(self) -> Table:
        table = _grid("left", "left")
        for item in self.card.waiting:
            asset = self.say("card.window_waits", asset=item.asset)
            table.add_row(Text(_window(item.window_start), "dim"), _text(asset))
        table.add_row(Text(self.say("card.next_step_line"), "dim"), _text(self.say("card.sync_or_schedule")))
        return table

    def score(self) -> Table:
        say, score, listed = self.say, self.card.score, self.card.listed
        if score is None:
            return self.facts(("none_yet_line", self.why_none(Asset.SCORED_SEGMENTS)))
        numbers = say("card.no_score")
        if score["score"] is not None:
            numbers = say("card.score_of", score=score["score"], readiness=score["readiness"])
        label, act = (self.explain(score[name]) if score[name] else None for name in ("label", "act"))
        category = " ".join(filter(None, (score["category"], label)))
        heats = [
            say(f"card.{kind}_heat", heat=say.word(f"{kind}_heat", score[f"{kind}_heat"]))
            for kind in ("technical", "commercial")
            if score[f"{kind}_heat"]
        ]
        commercial = score["commercial_segment"]
        rank = say("card.rank", rank=listed["rank"], all=self.card.ranked) if listed else say("card.not_ranked")
        scored = say("card.scored", when=self.when(score["scored_at"]), version=score["rules_version"])
        return self.facts(
            ("rank_line", rank),
            ("category_line", ": ".join(filter(None, (category, act)))),
            ("segment_line", f"{say.word('segment', score['segment'])}: {self.explain(score['segment_reason'])}"),
            ("commercial_segment_line", commercial and say.word("commercial_segment", commercial)),
            ("heat_line", ", ".join(heats)),
            ("score_line", numbers),
            ("scored_line", scored),
            ("signals_line", score["signals_at"] and self.when(score["signals_at"])),
        )

    def reasons(self) -> Table | None:
        """Return the reasons as the list has them, with qualification and deadline."""
        rows = (self.card.listed or self.card.score or {}).get("reasons")
        if not rows:
            return None
        table = _grid("right", "left", "left")
        for reason in rows:
            points = f"{reason['points']:+}" if reason["points"] else ""
            table.add_row(_text(points), _text(self.explain(reason["code"])), _text(self.evidence_of(reason)))
            if points and (record := self.record_behind(reason["code"])):
                table.add_row("", "", _text(textwrap.shorten(record, _SHOWN_OF_RECORD, placeholder=" ...")))
        return table

    def evidence_of(self, reason: Mapping[str, Any]) -> str:
        """Return what was seen; of a deadline, the instant as people of the language write it."""
        evidence: str = reason["evidence"] or ""
        if reason["code"] in (ReasonCode.RESPONSE_DUE, ReasonCode.RESPONSE_WAS_DUE):
            return self.say.instant(datetime.fromisoformat(evidence))
        return evidence

    def record_behind(self, code: str) -> str | None:
        """Return the record that earned a reason's points or cost them: what was published, or where nothing was."""
        signals = self.signals
        if signals is None:
            return None
        if code in _OF_SPF:
            return signals.spf.record or self.missing("TXT", signals.domain, signals.lookups.get(TXT))
        if code in _OF_DMARC:
            return signals.dmarc.record if signals.dmarc else None
        if code in (ReasonCode.NO_DKIM, ReasonCode.NO_DKIM_FORGERY_RISK, ReasonCode.HOSTING_UNPROTECTED):
            asked = ", ".join(selector for name in signals.lookups if (selector := selector_of(name)) is not None)
            return f"TXT {{{asked}}}._domainkey"
        if code == ReasonCode.DKIM_PRESENT and signals.dkim_selectors:
            return next(iter(signals.lookups[dkim_lookup(signals.dkim_selectors[0])].records), None)
        return None

    def missing(self, kind: str, name: str, lookup: Lookup | None) -> str | None:
        """Return the question that no record answers, and what it was answered."""
        if lookup is None:
            return None
        answer = f"{len(lookup.records)}, v=spf1: -" if lookup.records else self.say.word("outcome", lookup.outcome)
        return f"{kind} {name}: {answer}"

    def why_none(self, asset: Asset) -> list[str]:
        """Return why the asset has no row yet, and the next step."""
        say, chain = self.say, list(Asset)
        waiting = [item for item in self.card.waiting if chain.index(item.asset) <= chain.index(asset)]
        if waiting:
            last = _window(waiting[-1].window_start)
            step = say("card.next_step", step=say("card.sync_or_schedule"))
            return [say("card.window_not_through", window=last, asset=asset), step]
        starts = [row["window_start"] for row in self.card.referrals if row["window_start"] is not None]
        if not starts:
            return [say("card.no_window_kept")]
        first = datetime_of(max(starts))
        times = f"--from {first:%Y-%m-%dT%H:%MZ} --to {first + timedelta(minutes=1):%Y-%m-%dT%H:%MZ}"
        return [say("card.all_through"), say("card.next_step", step=f"`partner-center sync {times}`")]

    def mail(self) -> Table:
        say, row, signals = self.say, self.card.signals, self.signals
        if row is None or signals is None:
            return self.facts(("not_asked_line", self.why_none(Asset.DOMAIN_SIGNALS)))
        again: str | list[str] = self.when(row["next_scan_at"])
        if row["next_scan_at"] <= self.now:
            step = say("card.next_step", step="`partner-center rescan`")
            again = [say("card.due_since", when=again), step]
        failures, name = row["failures"], signals.provider_name
        provider = say.word("provider", signals.provider)
        if name not in (None, signals.provider, provider):
            provider = f"{provider}, {say.word('provider', name or '')}"
        return self.facts(
            ("provider_line", provider),
            ("gateway_line", signals.gateway),
            ("confidence_line", say("card.of_100", number=signals.confidence)),
            ("tenant_line", self.tenant(signals.tenant, signals.tenant_source)),
            ("no_mail_line", signals.no_mx_reason and say.word("no_mail", signals.no_mx_reason)),
            ("SPF", self.spf(signals)),
            ("DKIM", self.dkim(signals)),
            ("DMARC", self.dmarc(signals)),
            ("verifications_line", signals.verifications),
            ("notes_line", [say.word("note", note) for note in signals.notes]),
            ("asked_line", self.when(row["scanned_at"])),
            ("facts_line", self.when(row["facts_at"]) if row["facts_at"] else say("card.facts_unknown")),
            ("again_line", again),
            ("failures_line", say("card.failures", count=failures) if failures else None),
        )

    def evidence(self, signals: MailSignals) -> Table:
        table = _grid("left", "left", "left")
        for evidence in signals.evidence:
            kind, points_to = self.say.word("evidence", evidence.kind), self.say.word("provider", evidence.points_to)
            table.add_row(_text(kind), _text(evidence.detail), _text(points_to))
        return table

    def tenant(self, tenant: str | None, source: str | None) -> str | None:
        return tenant and f"{tenant}, {self.say.word('tenant_source', source or '')}"

    def spf(self, signals: MailSignals) -> str:
        spf = signals.spf
        if spf.multiple:
            return self.say("card.spf_multiple")
        return spf.record or self.nothing(signals.lookups.get(TXT))

    def dkim(self, signals: MailSignals) -> list[str]:
        targets = [f"{selector} -> {target}" for selector, target in signals.dkim_targets]
        if signals.dkim_present:
            return [self.say("card.dkim_key", selectors=", ".join(signals.dkim_selectors)), *targets]
        return [self.say("card.dkim_none" if signals.dkim_present is False else "card.dkim_unknown"), *targets]

    def dmarc(self, signals: MailSignals) -> list[str]:
        dmarc = signals.dmarc
        if dmarc is None:
            return [self.nothing(signals.lookups.get(DMARC))]
        if dmarc.found_at == signals.domain:
            return [dmarc.record, self.say("card.dmarc_policy", policy=dmarc.policy)]
        return [dmarc.record, self.say("card.dmarc_above", policy=dmarc.policy, domain=dmarc.found_at)]

    def nothing(self, lookup: Lookup | None) -> str:
        return self.say("card.no_record" if lookup is not None and lookup.is_fact else "card.no_answer")

    def lookups(self, signals: MailSignals) -> Table:
        say, table = self.say, _grid("left", "left", "left", "left")
        for name, lookup in sorted(signals.lookups.items(), key=lambda item: _position(item[0])):
            selector = selector_of(name)
            asked = f"TXT {selector}._domainkey" if selector is not None else say.word("look_up", name)
            outcome = [say.word("outcome", lookup.outcome)]
            if lookup.missed and lookup.is_fact:
                outcome.append(say("card.last_try", outcome=say.word("outcome", lookup.missed)))
            age = say.distance(lookup.answered_at - self.now) if lookup.answered_at else say("card.never_answered")
            answer = [*(f"-> {target}" for target in lookup.targets), *lookup.records]
            table.add_row(_text(asked), _lines(outcome), _text(age), _lines(answer))
        return table

    def referrals(self) -> Table:
        if not self.card.referrals:
            return self.facts(("none", self.say("card.named_before")))
        table = _grid("left", "left")
        for row in self.card.referrals:
            table.add_row(_text(row["referral_id"]), _lines(self.referral(row)))
        return table

    def referral(self, row: Mapping[str, Any]) -> Iterator[str]:
        say = self.say
        words = [say.word(name, row[name]) for name in ("status", "substatus") if row[name]]
        category, rule = say.word("referral_category", row["category"]), say.word("category_rule", row["category_rule"])
        qualification = row["qualification"] and say.word("qualification", row["qualification"])
        state = say("card.open" if row["is_open"] else "card.closed")
        status = "/".join(words) or say("card.no_status")
        yield ", ".join(filter(None, (f"{category} ({rule})", status, qualification, state)))
        deal = [self.amount(row), self.deadline(row)]
        if any(deal):
            yield ", ".join(filter(None, deal))
        host = "" if row["host"] in (None, self.card.company["domain"]) else f" ({row['host']})"
        yield f"{say('card.domain_from', source=row['domain_source'])}{host}"
        if row["vanished_at"] is not None:
            yield say("card.vanished", when=self.when(row["vanished_at"]))
        start = row["window_start"]
        updated = [
            say("card.updated", when=self.when(datetime_of(row["updated_ticks"]))),
            None if start is None else say("card.in_window", window=_window(start)),
            say("card.late") if row["late"] else None,
        ]
        yield ", ".join(filter(None, updated))

    def deadline(self, row: Mapping[str, Any]) -> str | None:
        """Return a referral's deadline, to come or passed; as the API printed it where that is no instant."""
        if row["expires_ticks"] is None:
            return row["expires_text"] and self.say("card.answer_by", when=row["expires_text"])
        due = datetime_of(row["expires_ticks"])
        return self.say("card.answer_by" if due > self.now else "card.was_due", when=self.say.instant(due))

    def matches(self) -> Table:
        table = _grid("left", "left", "left")
        for row in self.card.matches:
            who = f"{self.say.word('kind', row['kind'])} {row['subject']}"
            reason = self.say.word("match_reason", row["reason"])
            likeness = self.say("card.similarity", reason=reason, similarity=row["similarity"])
            table.add_row(_text(who), _text(row["name"] or ""), _text(likeness))
        return table

    def decisions(self) -> Table:
        table = _grid("left", "left", "left")
        for row in self.card.decisions:
            until = row["until_ticks"]
            what = (
                self.say.word("decision", row["choice"]),
                row["domain"],
                None if until is None else f"→ {self.say.day(datetime_of(until))}",
            )
            told = f"{row['decided_by']}: {' '.join(filter(None, what))}"
            table.add_row(_text(self.say.instant(row["decided_at"])), _text(row["subject"]), _text(told))
        return table

    # History ----------------------------------------------------------------------------------------------------------

    def score_changes(self) -> Table:
        table = _grid("left", "left", "left")
        for row in self.card.score_changes:
            before, after = (self.scored(row[f"segment_{side}"], row[f"score_{side}"]) for side in ("before", "after"))
            table.add_row(
                _text(self.say.instant(row["changed_at"])),
                _text(self.say.word("cause", row["cause"])),
                _lines([after if row["segment_before"] is None else f"{before} -> {after}", *self.detail(row)]),
            )
        return table

    def scored(self, segment: str | None, score: int | None) -> str:
        word = self.say.word("segment", segment or "")
        return self.say("card.without_score", segment=word) if score is None else f"{word} {score}"

    def signal_changes(self) -> Table:
        table = _grid("left", "left")
        for row in self.card.signal_changes:
            first = row["provider_before"] is None
            before, after = (
                self.set_up(row[f"provider_{side}"], row[f"gateway_{side}"]) for side in ("before", "after")
            )
            step = after if before == after else f"{before} -> {after}"
            step = self.say("card.first_answer", answer=after) if first else step
            table.add_row(_text(self.say.instant(row["changed_at"])), _lines([step, *self.detail(row)]))
        return table

    def set_up(self, provider: str | None, gateway: str | None) -> str:
        word = self.say.word("provider", provider or "")
        return self.say("card.behind", provider=word, gateway=gateway) if gateway else word

    def detail(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Return what differs, one line each: `dmarc.policy: none -> reject`."""
        for name, sides in sorted(row["detail"].items()):
            yield from self.differences((name,), sides["before"], sides["after"])

    def differences(self, path: tuple[str, ...], before: Any, after: Any) -> Iterator[str]:
        if isinstance(before, Mapping) or isinstance(after, Mapping):
            old, new = before or {}, after or {}
            for part in sorted(old.keys() | new.keys()):
                if old.get(part) != new.get(part):
                    yield from self.differences((*path, part), old.get(part), new.get(part))
        else:
            name = ".".join(self.say.word("input", part) for part in path)
            yield f"{name}: {self.value(path, before)} -> {self.value(path, after)}"

    def value(self, path: tuple[str, ...], value: Any) -> str:
        if value is None or value == []:
            return self.say("card.absent")
        if isinstance(value, bool):
            return self.say("card.yes" if value else "card.no")
        if not isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return self.say.word(_VALUES[path[0]], value) if path[0] in _VALUES else value

    # Words ------------------------------------------------------------------------------------------------------------

    def facts(self, *facts: tuple[str, str | Sequence[str] | None]) -> Table:
        """Return lines of a name and a value; without a value a line is left out. A name is a key of [card], or SPF."""
        table = _grid("left", "left")
        for name, value in facts:
            if value:
                shown = name if name.isupper() else self.say(f"card.{name}")
                table.add_row(Text(shown, "dim"), _text(value) if isinstance(value, str) else _lines(value))
        return table

    def amount(self, row: Mapping[str, Any]) -> str | None:
        value = row["deal_value"]
        return None if value is None else self.say.amount(value, row["currency"])

    def when(self, moment: datetime) -> str:
        return f"{self.say.instant(moment)} ({self.say.distance(moment - self.now)})"


def _position(lookup: str) -> tuple[int, str]:
    kind = dkim_lookup("") if selector_of(lookup) is not None else lookup
    return _LOOK_UPS.index(kind) if kind in _LOOK_UPS else len(_LOOK_UPS), lookup


# Layout -----------------------------------------------------------------------------------------------------


def _grid(*columns: JustifyMethod) -> Table:
    table = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
    for justify in columns:
        table.add_column(justify=justify, overflow="fold")
    return table


def _keep_ids_whole(table: Table, width: int) -> None:
    """Fold the columns beside an id and not the id, which could not be copied then."""
    cells = [[cell.plain for cell in column.cells if isinstance(cell, Text)] for column in table.columns]
    ids = [max((len(found) for text in column for found in _ID.findall(text)), default=0) for column in cells]
    if not any(ids):
        return
    needed = {}
    for number, (column, length) in enumerate(zip(table.columns, ids, strict=True)):
        if length:
            column.min_width = length
        else:
            needed[number] = max((len(line) for text in cells[number] for line in text.split("\n")), default=0)
    left, others = width - sum(ids) - _PADDING * len(ids), len(needed)
    for number, length in sorted(needed.items(), key=lambda item: item[1]):
        share = max(min(length, left // others), 1)
        if share < length:
            table.columns[number].max_width = share
        left, others = left - share, others - 1


def _text(value: str, style: str = "") -> Text:
    """Return text from outside on one line, with control and formatting characters escaped."""
    escaped = (char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in value)
    return Text("".join(escaped), style)


def _lines(values: Iterable[str]) -> Text:
    return Text("\n").join(map(_text, values))


def _window(start: int) -> str:
    return datetime_of(start).strftime(KEY_FORMAT)
