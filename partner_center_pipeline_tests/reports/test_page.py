"""The page, as text. How it behaves in a browser is in test_browser."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline.reports.model import REFERRALS_PAGE, Card, Event, Figures
from partner_center_pipeline.reports.page import TOP, write_page
from partner_center_pipeline_tests.reports.made_up import (
    HOSTILE,
    NOW,
    about,
    hostile_changes,
    hostile_leads,
    lead,
    listings,
    words,
)

REFERRAL = {
    "referral_id": "r-1",
    "category": "co-sell",
    "status": "New",
    "substatus": None,
    "qualification": "SalesQualified",
    "deal_value": None,
    "currency": None,
    "expires_ticks": None,
}


def cards(domains: Sequence[str]) -> Mapping[str, Card]:
    """A card with a referral and a history for each company."""
    return {domain: Card((REFERRAL,), (Event(NOW, f"History of {domain}"),)) for domain in domains}


def written(path: Path, language: str = "en", leads: Any = None, changes: Any = None, **said: Any) -> str:
    """Write the page and read it."""
    figures = Figures(leads_per_week={date(2026, 11, 23): 4, date(2026, 11, 30): 2}, answers={"day_1": 3, "open": 1})
    lists = listings([lead()] if leads is None else leads, changes)
    write_page(path, lists, about(language, **said), words(language), figures, cards)
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element with its attributes, and which are left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def data_of(page: str) -> dict[str, Any]:
    """The data that the script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_page_names_nothing_that_a_browser_would_load(language: str, tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", language)
    elements = Elements(page)
    assert elements.open == []
    for tag, attributes in elements.found:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "a":
            assert str(attributes["href"]).startswith("#") or attributes["href"] == REFERRALS_PAGE
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_each_chart_has_a_title_a_description_and_a_table_of_its_figures(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html")
    figures = re.findall(r'<figure class="chart" id="chart-(\w+)">(.*?)</figure>', page, re.DOTALL)
    assert [key for key, _ in figures] == ["segments", "categories", "providers", "weeks", "answers"]
    for _, figure in figures:
        assert re.search(r'<svg [^>]*role="img" aria-labelledby="t-\w+ d-\w+"><title id=.*?</title><desc id=', figure)
        shown = re.findall(r'class="(?:mid )?v">([\d,]+)<', figure)
        assert re.findall(r'<td class="n">([\d,]+)<', figure) == shown
    assert '<th scope="row">2026-11-23</th><td class="n">4</td>' in page


def test_the_page_is_in_the_chosen_language_with_its_dates(tmp_path: Path) -> None:
    turkish, english = written(tmp_path / "tr.html", "tr"), written(tmp_path / "en.html")
    assert '<html lang="tr">' in turkish
    assert "08.12.2026 21:00" in turkish
    assert "Önce bunlar" in turkish
    assert "Segmente göre şirketler" in turkish
    assert "Due first" not in turkish
    assert "2026-12-08 21:00" in english
    assert "Önce bunlar" not in english


def test_the_page_shows_the_first_rows_and_says_so(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", leads=[lead(number) for number in range(1, TOP + 201)])
    assert page.count("This page holds the first 1,000 of 1,200 rows.") == 3
    assert f'data-key="d:xn--ztrk{TOP}.com.tr"' in page
    assert f'data-key="d:xn--ztrk{TOP + 1}.com.tr"' not in page
    assert "<dt>companies</dt><dd>1,200</dd>" in page


@pytest.mark.parametrize("with_contacts", [False, True])
def test_contacts_are_in_the_page_only_when_asked_and_it_says_so(with_contacts: bool, tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", with_contacts=with_contacts)
    assert ("Ayşe Yılmaz" in page) is with_contacts
    assert ("ayse@" in page) is with_contacts
    assert f'<meta name="with_contacts" content="{str(with_contacts).lower()}">' in page
    assert ("HOLDS contacts" in page) is with_contacts


def test_a_card_has_reasons_with_evidence_referrals_and_history(tmp_path: Path) -> None:
    data = data_of(written(tmp_path / "a.html"))
    card = data["cards"]["d:xn--ztrk1.com.tr"]
    assert card["name"] == "Öztürk Çelik 1"
    assert ["provider_local", 10, "mx.öztürk.com.tr"] in card["reasons"]
    assert data["reasons"]["no_spf"] == "No SPF record"
    assert card["referrals"][0][:2] == ["r-1", "Co-sell"]
    assert card["history"] == [["2026-12-01 09:30", "History of xn--ztrk1.com.tr"]]
    assert ["Score", "75"] in card["facts"]


def test_values_in_other_currencies_are_not_sorted_as_numbers(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", leads=[lead(1), lead(2, deal_value_reported=99, reported_currency="USD")])
    assert re.findall(r'data-head="Deal value" data-v="([^"]*)"', page)[:2] == ["", "99"]


def test_a_hostile_page_is_whole_and_runs_nothing_of_others(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", leads=hostile_leads(), changes=hostile_changes(), with_contacts=True)
    elements = Elements(page)
    assert elements.open == []
    assert [tag for tag, _ in elements.found if tag in ("script", "img")] == ["script", "script"]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert "\u202e" not in page
    data = data_of(page)
    names = {card["name"] for card in data["cards"].values()}
    assert HOSTILE["html"] in names
    assert max(map(len, names)) <= 2_001


def test_empty_lists_make_a_page(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", leads=[], changes=[])
    assert Elements(page).open == []
    assert page.count("<tbody>\n</tbody>") == 4
