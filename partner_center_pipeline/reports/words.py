"""The words of a report in one language: its own (`texts.toml`), and those of a score (`scoring`)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Final

from partner_center_pipeline.reports.cells import clean
from partner_center_pipeline.reports.model import About, Choice, LeadRow
from partner_center_pipeline.scoring import Language, Rules
from partner_center_pipeline.scoring.rules import CategoryRow

INSTANT: Final = {Language.EN: "%Y-%m-%d %H:%M", Language.TR: "%d.%m.%Y %H:%M"}
"""How an instant is printed."""
DAY: Final = {Language.EN: "%Y-%m-%d", Language.TR: "%d.%m.%Y"}
SHORT_DAY: Final = {Language.EN: "%m-%d", Language.TR: "%d.%m"}


@cache
def own_texts() -> Mapping[str, Mapping[str, str]]:
    """Return the texts of `texts.toml` by `section.name`, each by language."""
    parsed = tomllib.loads(files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
    return {f"{section}.{name}": text for section, texts in parsed.items() for name, text in texts.items()}


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a language, and how it writes numbers and dates."""

    rules: Rules
    language: Language

    def text(self, key: str, **values: object) -> str:
        """Return a text of the report's own; `values` fill its braces. Raises KeyError for an unknown key."""
        return own_texts()[key][self.language].format_map({name: str(value) for name, value in values.items()})

    def known(self, section: str, code: str | None, **values: object) -> str:
        """Return the text for a code; the code itself if it has none (a newer version may have stored it)."""
        if not code:
            return ""
        key = f"{section}.{code}"
        return self.text(key, **values) if key in own_texts() else clean(code)

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
        return (row.label_tr if self.language is Language.TR else None) or row.label or ""

    def act(self, row: LeadRow) -> str:
        """Return what to do and when."""
        return (row.act_tr if self.language is Language.TR else None) or row.act or ""

    def category_name(self, category: str) -> str:
        """Return a category with its label, as the rules name it."""
        rule = next((one for one in self.rules.categories if one.category == category), None)
        return clean(category) if rule is None else f"{category} {rule.label}"

    def category(self, rule: CategoryRow) -> str:
        """Return what a category means, and what to do and when."""
        return " – ".join(part for part in (rule.label, rule.act) if part)

    def why(self, row: LeadRow) -> str:
        """Return the reasons of a row's score in words."""
        return (row.explanation_tr if self.language is Language.TR else row.explanation_en) or ""

    def domain_reason(self, row: LeadRow) -> str:
        """Return why no domain was found for a lead."""
        return self.known("domain_reason", row.domain_reason)

    def note(self, row: LeadRow) -> str:
        """Return what to know about a row's deadline and value."""
        due = "" if row.response_due is None else self.instant(row.response_due)
        codes = (row.due_note, row.rate_note)
        return "; ".join(self.known("note", code, due=due) for code in codes if code)

    def instant(self, at: datetime) -> str:
        """Return an instant (UTC) as people of this language write it."""
        return at.strftime(INSTANT[self.language])

    def day(self, day: date) -> str:
        """Return a day as people of this language write it."""
        return day.strftime(DAY[self.language])

    def short_day(self, day: date) -> str:
        """Return a day without its year."""
        return day.strftime(SHORT_DAY[self.language])

    def number(self, value: float, decimals: int = 0) -> str:
        """Return a number with the separators of this language."""
        text = f"{value:,.{decimals}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language is Language.TR else text

    def chosen(self, choice: Choice) -> str:
        """Return which rows a report shows, as a sentence."""
        if choice.is_all:
            return self.text("guide.chosen_all")
        parts = [
            self.text(f"chosen.{name}", what=", ".join(sorted(self.known(name, value) for value in values)))
            for name, values in (
                ("segment", choice.segments), ("category", choice.categories), ("source", choice.sources),
            )
            if values
        ]  # fmt: skip
        if choice.due_within is not None:
            hours = f"{choice.due_within.total_seconds() / 3600:g}"
            parts.append(self.text("chosen.due_within", what=hours))
        return self.text("guide.chosen", what=", ".join(parts))

    def contacts(self, about: About) -> str:
        """Return whether the file holds contacts, as a sentence."""
        return self.text("guide.contacts_yes" if about.with_contacts else "guide.contacts_no")
