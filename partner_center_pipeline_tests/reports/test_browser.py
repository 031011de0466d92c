"""The page in a real browser: the machine's Chromium, without a network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from partner_center_pipeline_tests.chromium import chromium
from partner_center_pipeline_tests.reports.made_up import HOSTILE, hostile_changes, hostile_leads, lead
from partner_center_pipeline_tests.reports.test_page import written

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]  # which starts once

NAMES = ["Çam Ltd", "Cam Ltd", "ışık İnşaat", "Öz Tekstil", "İstanbul Çelik", "Zeytin"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


class Opened:
    """A page in the browser, with all that it asked for and said."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.requests: list[str] = []
        self.messages: list[str] = []
        page.on("request", self._record)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.goto(file.as_uri())

    def _record(self, request: Request) -> None:
        self.requests.append(request.url)

    def names(self, section: str = "leads") -> list[str]:
        """The names that a list shows, in order."""
        return self.page.locator(f"#{section} tbody tr:visible button.card").all_inner_texts()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """A function that writes a page with `written` and opens it in a window of this width."""
    contexts = []

    def opened(width: int = 1366, **said: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 844}, offline=True)
        contexts.append(context)
        written(tmp_path / "page.html", **said)
        return Opened(context.new_page(), tmp_path / "page.html")

    yield opened
    for context in contexts:
        context.close()


def some_leads() -> list[Any]:
    scores = [10, 90, 30, 100, 9, None]
    return [lead(at, company_name=name, score=scores[at - 1]) for at, name in enumerate(NAMES, 1)]


def test_the_page_asks_nobody_for_anything(open_page: Any, tmp_path: Path) -> None:
    opened = open_page(leads=some_leads())
    opened.page.locator("#leads button.card").first.click()
    assert opened.requests == [(tmp_path / "page.html").as_uri()]
    assert opened.messages == []


def test_a_click_on_a_heading_sorts_numbers_by_value_and_names_in_turkish(open_page: Any) -> None:
    opened = open_page(leads=some_leads(), language="tr")
    score, company = (opened.page.locator("#leads thead button", has_text=text) for text in ("Puan", "Şirket"))
    score.click()
    assert opened.names() == ["İstanbul Çelik", "Çam Ltd", "ışık İnşaat", "Cam Ltd", "Öz Tekstil", "Zeytin"]
    score.click()
    assert opened.names() == ["Öz Tekstil", "Cam Ltd", "ışık İnşaat", "Çam Ltd", "İstanbul Çelik", "Zeytin"]
    expect(opened.page.locator("#leads th[aria-sort=descending]")).to_have_text("Puan")
    company.click()
    assert opened.names() == ["Cam Ltd", "Çam Ltd", "ışık İnşaat", "İstanbul Çelik", "Öz Tekstil", "Zeytin"]


def test_a_search_finds_words_without_their_turkish_letters(open_page: Any) -> None:
    opened = open_page(leads=some_leads())
    search = opened.page.locator("#leads input[type=search]")
    for wanted, found in (
        ("istanbul", ["İstanbul Çelik"]),
        ("CELIK ist", ["İstanbul Çelik"]),
        ("isik", ["ışık İnşaat"]),
    ):
        search.fill(wanted)
        assert opened.names() == found
    search.fill("nobody has this name")
    expect(opened.page.locator("#leads output")).to_have_text("No row matches.")
    search.fill("")
    assert opened.names() == NAMES


def test_a_long_list_shows_more_on_demand(open_page: Any) -> None:
    opened = open_page(leads=[lead(at) for at in range(1, 131)])
    assert len(opened.names()) == 50
    expect(opened.page.locator("#leads output")).to_have_text("50 of 130 rows")
    opened.page.locator("#leads button.more").click()
    assert len(opened.names()) == 130
    expect(opened.page.locator("#leads button.more")).to_be_hidden()


@pytest.mark.parametrize("key", ["click", "Enter"])
def test_a_card_opens_with_evidence_and_history_and_closes_again(key: str, open_page: Any) -> None:
    opened = open_page(leads=some_leads())
    button = opened.page.locator("#leads button.card", has_text="Öz Tekstil")
    if key == "click":
        button.click()
    else:
        button.press(key)
    dialog = opened.page.locator("dialog")
    expect(dialog.locator("h2")).to_have_text("Öz Tekstil")
    expect(dialog).to_contain_text("mx.öztürk.com.tr")
    expect(dialog).to_contain_text("No SPF record")
    expect(dialog).to_contain_text("History of")
    opened.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_on_a_telephone_nothing_is_wider_than_the_screen(open_page: Any) -> None:
    for leads in (some_leads(), hostile_leads()):
        opened = open_page(width=390, leads=leads)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
        assert opened.names("due_first")


def test_hostile_names_are_shown_as_text_and_run_nothing(open_page: Any, tmp_path: Path) -> None:
    opened = open_page(leads=hostile_leads(), changes=hostile_changes(), with_contacts=True)
    assert opened.requests == [(tmp_path / "page.html").as_uri()]
    assert opened.page.title() != "taken"
    buttons = opened.page.locator("#leads button.card")
    assert buttons.count() == len(HOSTILE)
    for at in range(len(HOSTILE)):
        buttons.nth(at).click()
        expect(opened.page.locator("dialog h2")).not_to_be_empty()
        opened.page.keyboard.press("Escape")
    buttons.nth(list(HOSTILE).index("html")).click()
    expect(opened.page.locator("dialog h2")).to_have_text(HOSTILE["html"])
    assert opened.page.title() != "taken"
    assert opened.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark_and_print_is_light(scheme: Any, open_page: Any) -> None:
    opened = open_page(leads=some_leads())
    opened.page.emulate_media(color_scheme=scheme)
    script = """selector => { const style = getComputedStyle(document.querySelector(selector));
        return [style.color, getComputedStyle(document.querySelector('.scroll')).backgroundColor]; }"""
    for selector in ("#leads td.company small", "#leads .badge", "#leads td.why", "#leads td.date"):
        ink, paper = opened.page.evaluate(script, selector)
        assert contrast(ink, paper) >= 4.5, selector
    opened.page.emulate_media(media="print", color_scheme=scheme)
    assert opened.page.evaluate(script, "#leads td.company")[1] == "rgb(255, 255, 255)"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)
