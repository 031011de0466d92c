"""The words that people who sell read, in their language: codes, headings, sentences, dates, amounts, countries.

The texts are in texts.toml; the file is read once. To get one:

    say = Texts("tr")
    say("card.rank", rank=3, all=98)            # a text by table and key; its {names} are given
    say.word("segment", "Migration")            # the word for a code: "Geçiş"; an unknown code stands for itself
    say.day(moment), say.instant(moment)        # "08.12.2026", "08.12.2026 14:30 UTC"
    say.amount(Decimal("12500"), "TRY")         # "12.500,00 TRY"
    say.country("DE")                           # "Almanya"

A page or a report adds a table of its own to texts.toml. Each text has both languages, or the file is refused. Names of
countries and the marks in numbers are those of the CLDR (babel). Not here: the texts of reasons, and the categories'
labels and acts, which an operator may change (`scoring.Rules.texts`).
"""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from partner_center_pipeline.vocabulary import Language

FILE: Final = Path(__file__).with_name("texts.toml")


class _Text(BaseModel):
    """One text in each Language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    en: str = Field(min_length=1)
    tr: str = Field(min_length=1)


_DATES: Final = {Language.EN: "%Y-%m-%d", Language.TR: "%d.%m.%Y"}


class Texts:
    """The texts in one language (`Language`, or "en" and "tr"). Raises ValueError for any other."""

    def __init__(self, language: str) -> None:
        self.language: Final = Language(language)

    def __call__(self, name: str, **values: object) -> str:
        """Return the text with this name, `table.key`, its {names} filled in. Raises KeyError for an unknown name."""
        table, _, key = name.partition(".")
        return self._in_language(_texts()[table][key]).format(**values)

    def word(self, table: str, code: str) -> str:
        """Return the word for a code, or the code where there is none (a newer version or Microsoft may have sent it).

        Raises KeyError for an unknown table.
        """
        text = _texts()[table].get(code)
        return code if text is None else self._in_language(text)

    def day(self, moment: datetime) -> str:
        """Return the date of an instant, in UTC."""
        return moment.astimezone(UTC).strftime(_DATES[self.language])

    def instant(self, moment: datetime) -> str:
        """Return date and time of an instant, in UTC."""
        return f"{self.day(moment)} {moment.astimezone(UTC):%H:%M} UTC"

    def distance(self, span: timedelta) -> str:
        """Return `5 min ago` or `in 3 h`: minutes below one hour, hours below two days, then days."""
        minutes = int(abs(span.total_seconds()) // 60)
        if minutes == 0:
            return self("span.now")
        if minutes < 60:
            amount = self("span.minutes", count=minutes)
        elif minutes < 2 * 24 * 60:
            amount = self("span.hours", count=minutes // 60)
        else:
            amount = self("span.days", count=minutes // (24 * 60))
        return self("span.past" if span < timedelta(0) else "span.future", span=amount)

    def amount(self, value: Decimal, currency: str | None) -> str:
        """Return an amount with two decimals and its currency's code."""
        from babel.numbers import format_decimal  # takes too long for --help

        number = format_decimal(value, "#,##0.00", locale=self.language.value)
        return f"{number} {currency}" if currency else number

    def country(self, code: str) -> str:
        """Return a country's name by its code, or the code where it is none."""
        from babel import Locale  # takes too long for --help

        return str(Locale(self.language.value).territories.get(code, code)) if len(code) == 2 else code

    def _in_language(self, text: _Text) -> str:
        return text.tr if self.language is Language.TR else text.en


@cache
def _texts() -> Mapping[str, Mapping[str, _Text]]:
    read = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, dict[str, _Text]]).validate_python(read)


def tables() -> Mapping[str, frozenset[str]]:
    """Return the keys of each table of texts."""
    return {name: frozenset(table) for name, table in _texts().items()}
