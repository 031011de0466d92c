"""The reading guide: what a report holds and how to read it. The same for the workbook and the page."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from partner_center_pipeline.reports.model import About, ListName
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.scoring import Segment


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the guide: its title, and lines of a name (or none) and a sentence."""

    title: str
    lines: tuple[tuple[str, str], ...]


def guide(about: About, words: Words, written: Mapping[ListName, int], limits: Iterable[str] = ()) -> Iterator[Section]:
    """Yield the parts of the guide; `written` counts each list's rows, `limits` are sentences of the format's own."""
    made = words.text("guide.made", at=words.instant(about.made_at))
    rows = words.chosen(about.choice)
    yield Section(
        words.text("guide.notes"),
        tuple(
            ("", sentence)
            for sentence in (
                made, words.contacts(about), rows, words.text("guide.order"), words.text("guide.without_company"),
                words.text("guide.since", since=words.instant(about.since)), words.text("guide.score"),
                words.text("guide.money"), words.text("guide.set_aside"), words.text("guide.fill_in"),
                words.text("guide.links"), *limits,
            )
        ),
    )  # fmt: skip
    since = words.instant(about.since)
    yield Section(
        words.text("guide.lists"),
        tuple(
            (
                words.text(f"list.{name}"),
                f"{words.text(f'about.{name}', since=since)} ({words.text('guide.rows', rows=words.number(count))})",
            )
            for name, count in written.items()
        ),
    )
    yield Section(
        words.text("guide.segments"),
        tuple((words.known("segment", one), words.text(f"segment_about.{one}")) for one in Segment),
    )
    yield Section(
        words.text("guide.categories"),
        tuple((rule.category, words.category(rule)) for rule in words.rules.categories if rule.category),
    )
