"""The words of a report in one language: its own (`texts.toml`), for codes (`texts`), and of a score (`scoring`)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from importlib.resources import files
from typing import Final

from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.reports.model import About, Choice, LeadRow
from partner_center_pipeline.scoring import Rules
from partner_center_pipeline.scoring.rules import CategoryRow
from partner_center_pipeline.texts import Texts, tables
from partner_center_pipeline.vocabulary import Language

_SHORT_DAY: Final = {Language.EN: "%m-%d", Language.TR: "%d.%m"}


@cache
def own_texts() -> Mapping[str, Mapping[str, str]]:
    """Return the texts of `texts.toml` by `section.name`, each by language."""
    parsed = tomllib.loads(files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
    return {f"{section}.{name}": text for section, texts in parsed.items() for name, text in texts.items()}


@cache
def _texts(language: Language) -> Texts:
    return Texts(language)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a language, and how it writes numbers and dates."""

    rules: Rules
    language: Language

    def text(self, key: str, **values: object) -> str:
        """Return a text of the report's own; `values` fill its braces. Raises KeyError for an unknown key."""
        return own_texts()[key][self.language].format_map({name: str(value) for name, value in values.items()})

    @property
    def say(self) -> Texts:
        """The words for codes, in this language."""
        return _texts(self.language)

    def known(self, table: str, code: str | None) -> str:
        """Return the word for a code, the code itself if it has none; nothing for no code."""
        return self.say.word(table, code) if code else ""

    def sentence(self, table: str, code: str | None) -> str:
        """Return the word for a code with a capital letter, as in a cell of its own."""
        word = self.known(table, code)
        first = "İ" if self.language is Language.TR and word.startswith("i") else word[:1].upper()
        return first + word[1:]

    def yes_no(self, value: bool | None) -> str:
        """Return yes or no, nothing for what is not known."""
        return "" if value is None else self.text("word.yes" if value else "word.no")

    def reason(self, code: str) -> str:
        """Return the text of a reason, the code itself if it has none."""
        try:
            return self.rules.text(code, self.language)
        except ValueError:
            return clean(code)

    def label(self, row: LeadRow) -> str:
        """Return what the category of a row means."""
        return self._of(row.label, row.label_tr)

    def act(self, row: LeadRow) -> str:
        """Return what to do and when."""
        return self._of(row.act, row.act_tr)

    def category_name(self, category: str) -> str:
        """Return a category with its label, as the rules name it."""
        rule = next((one for one in self.rules.categories if one.category == category), None)
        return clean(category) if rule is None else f"{category} {self._of(rule.label, rule.label_tr)}"

    def category(self, rule: CategoryRow) -> str:
        """Return what a category means, and what to do and when."""
        parts = (self._of(rule.label, rule.label_tr), self._of(rule.act, rule.act_tr))
        return " – ".join(part for part in parts if part)

    def _of(self, english: str | None, turkish: str | None) -> str:
        return (turkish if self.language is Language.TR else None) or english or ""

    def why(self, row: LeadRow) -> str:
        """Return the reasons of a row's score in words."""
        return self._of(row.explanation_en, row.explanation_tr)

    def domain_reason(self, row: LeadRow) -> str:
        """Return why no domain was found for a lead."""
        return self.sentence("domain_reason", row.domain_reason)

    def provider(self, row: LeadRow) -> str:
        """Return who hosts a company's mailboxes."""
        return row.provider_name or self.known("provider", row.provider)

    def status(self, status: str | None, substatus: str | None) -> str:
        """Return a referral's status and what it is in detail."""
        parts = (self.known("status", status), self.known("substatus", substatus))
        return " / ".join(part for part in parts if part)

    def note(self, row: LeadRow) -> str:
        """Return what to know about a row's deadline and value."""
        parts = []
        if row.due_note in tables()["due_note"] and row.response_due is not None:
            parts.append(self.say(f"due_note.{row.due_note}", when=self.instant(row.response_due)))
        if row.rate_note:
            parts.append(self.known("rate_note", row.rate_note))
        return "; ".join(parts)

    def instant(self, at: datetime) -> str:
        """Return an instant (UTC) as people of this language write it."""
        return f"{self.say.day(at)} {at:%H:%M}"

    def day(self, day: date) -> str:
        """Return a day as people of this language write it."""
        return self.say.day(datetime.combine(day, time(), UTC))

    def short_day(self, day: date) -> str:
        """Return a day without its year."""
        return day.strftime(_SHORT_DAY[self.language])

    def number(self, value: float, decimals: int = 0) -> str:
        """Return a number with the separators of this language."""
        text = f"{value:,.{decimals}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language is Language.TR else text

    def chosen(self, choice: Choice) -> str:
        """Return which rows a report shows, as a sentence."""
        if choice.is_all:
            return self.text("guide.chosen_all")
        parts = [
            self.text(f"chosen.{name}", what=", ".join(sorted(self._choice(name, value) for value in values)))
            for name, values in (
                ("segment", choice.segments), ("category", choice.categories), ("source", choice.sources),
            )
            if values
        ]  # fmt: skip
        if choice.due_within is not None:
            hours = f"{choice.due_within.total_seconds() / 3600:g}"
            parts.append(self.text("chosen.due_within", what=hours))
        return self.text("guide.chosen", what=", ".join(parts))

    def _choice(self, name: str, value: str) -> str:
        table = {"segment": "segment", "source": "referral_category"}.get(name)
        return value if table is None else self.known(table, value)

    def contacts(self, about: About) -> str:
        """Return whether the file holds contacts, as a sentence."""
        return self.text("guide.contacts_yes" if about.with_contacts else "guide.contacts_no")
