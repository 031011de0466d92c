"""Bar charts as SVG inside a page: readable by a screen reader, each with a table of the same figures behind it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 420
_ROW: Final = 26
_LABEL: Final = 185
"""Of a chart with lying bars, in the units of the SVG: its width, a bar's row, and the place for its name."""
_HEIGHT: Final = 176
_BASE: Final = 150
"""Of a chart with standing bars: its height, and where the bars stand."""
_NAME_MOST: Final = 25
"""Letters of a name beside a bar; the table has all of it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name and a short one, its value, that value as printed, and the CSS class of its colour."""

    name: str
    value: int
    shown: str
    look: str = "bar"
    short: str = ""


@dataclass(frozen=True, slots=True)
class ChartTexts:
    """The words of a chart: its title, a note below it, the heads of its table, and what to say without a bar."""

    title: str
    note: str
    table: str
    name: str
    count: str
    empty: str


def chart(key: str, bars: Sequence[Bar], texts: ChartTexts, *, standing: bool = False) -> Iterator[str]:
    """Yield the HTML of a chart. `key` is unique in the page; `standing` bars are for what follows in time."""
    title = escape(texts.title)
    yield f'<figure class="chart" id="chart-{key}"><figcaption>{title}</figcaption>'
    if not any(bar.value for bar in bars):
        yield f'<p class="note">{escape(texts.empty)}</p>'
    else:
        said = ", ".join(f"{bar.name}: {bar.shown}" for bar in bars)
        height = _HEIGHT if standing else len(bars) * _ROW + 4
        yield (
            f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="t-{key} d-{key}">'
            f'<title id="t-{key}">{title}</title><desc id="d-{key}">{escape(said)}</desc>'
        )
        yield from _standing(bars) if standing else _lying(bars)
        yield "</svg>"
    if texts.note:
        yield f'<p class="note">{escape(texts.note)}</p>'
    yield (
        f"<details><summary>{escape(texts.table)}</summary><table><thead><tr>"
        f'<th scope="col">{escape(texts.name)}</th><th scope="col" class="n">{escape(texts.count)}</th>'
        "</tr></thead><tbody>"
    )
    for bar in bars:
        yield f'<tr><th scope="row">{escape(bar.name)}</th><td class="n">{escape(bar.shown)}</td></tr>'
    yield "</tbody></table></details></figure>\n"


def _lying(bars: Sequence[Bar]) -> Iterator[str]:
    most = max(bar.value for bar in bars)
    room = _WIDTH - _LABEL - 60
    for at, bar in enumerate(bars):
        top = at * _ROW + 4
        length = max(bar.value / most * room, 2 if bar.value else 0)
        name = bar.name if len(bar.name) <= _NAME_MOST else f"{bar.name[: _NAME_MOST - 1]}…"
        yield (
            f'<text x="{_LABEL - 8}" y="{top + 14}" class="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{top}" width="{length:.1f}" height="18" rx="3" class="{bar.look}"/>'
            f'<text x="{_LABEL + length + 6:.1f}" y="{top + 14}" class="v">{escape(bar.shown)}</text>'
        )


def _standing(bars: Sequence[Bar]) -> Iterator[str]:
    most = max(bar.value for bar in bars)
    step = _WIDTH / len(bars)
    yield f'<line x1="0" y1="{_BASE}" x2="{_WIDTH}" y2="{_BASE}" class="axis"/>'
    for at, bar in enumerate(bars):
        height = max(bar.value / most * (_BASE - 26), 2 if bar.value else 0)
        middle = at * step + step / 2
        yield (
            f'<rect x="{middle - step * 0.36:.1f}" y="{_BASE - height:.1f}" width="{step * 0.72:.1f}" '
            f'height="{height:.1f}" rx="3" class="{bar.look}"/>'
            f'<text x="{middle:.1f}" y="{_BASE - height - 6:.1f}" class="mid v">{escape(bar.shown)}</text>'
            f'<text x="{middle:.1f}" y="{_BASE + 18}" class="mid small">{escape(bar.short or bar.name)}</text>'
        )
