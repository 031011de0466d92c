"""What a person does in the pages of the Dagster UI: opens one, launches windows, reads a run, a tick or a check.

Everything is found by its role or its words, so that another layout of Dagster's breaks little. Each wait ends, and its
error names what was waited for.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, Page, expect

from partner_center_pipeline_tests.ui.running import LOCATION

TIME_ZONE: Final = "Europe/Istanbul"
"""Where the person's browser is: three hours ahead of UTC, all year."""

PAGE_SECONDS: Final = 60
"""How long a page may take to show something that is there already."""
RUN_SECONDS: Final = 120
"""How long a run may wait and work. The queue looks every second, Dagster's daemon for backfills every 30 s."""

_YELLOW: Final = re.compile("yellow")
_SENSOR: Final = "partner_center_flag_sensor"


def printed_link(printed: str, port: int) -> str | None:
    """Return the address of the UI that the command printed, with all that belongs to it; None before that."""
    return max(re.findall(rf"http://[\w.\[\]]+:{port}[^\s\x1b]*", printed), key=len, default=None)


@dataclass(frozen=True)
class Person:
    """Somebody in front of a page of the UI. `pictures` is the folder for what they saw."""

    page: Page
    url: str
    pictures: Path

    def follows(self, link: str) -> bool | None:
        """Open the printed link; None as long as nothing answers there."""
        try:
            self.page.goto(link, timeout=RUN_SECONDS * 1000)
        except PlaywrightError as error:
            if "ERR_CONNECTION_REFUSED" in str(error):
                return None
            raise
        self.sees(self.page.get_by_role("link", name="Catalog"), "the navigation of the UI")
        return True

    def open(self, path: str) -> None:
        """Open a page of the UI."""
        self.page.goto(f"{self.url}{path}")

    def open_asset(self, name: str, view: str = "overview", **query: str) -> None:
        """Open a tab of an asset's page."""
        self.open(f"/assets/{name}?view={view}" + "".join(f"&{key}={value}" for key, value in query.items()))
        self.sees(self.page.get_by_role("button", name="Materialize").first, f"the page of {name}")

    def open_job(self) -> None:
        """Open the page of the job that runs the whole chain."""
        self.open(f"/locations/{LOCATION}/jobs/partner_center_sync")

    def sees(self, what: Locator, named: str, seconds: float = PAGE_SECONDS) -> None:
        """Wait until something is on the page."""
        expect(what, f"waited {seconds:.0f} s in vain for: {named}").to_be_visible(timeout=seconds * 1000)

    def launch(self, windows: str) -> str:
        """Press Materialize on the present page for a window or a range of them; the beginning of the new id."""
        self.page.get_by_role("button", name="Materialize").first.click(timeout=PAGE_SECONDS * 1000)
        dialog = self.page.get_by_role("dialog")
        chosen = dialog.get_by_role("textbox").first
        chosen.fill(windows)
        chosen.press("Enter")
        dialog.get_by_role("button", name=re.compile("^Launch")).click()
        launched = self.page.get_by_text(re.compile(r"^(Launched run|Created backfill) \w+")).last
        self.sees(launched, f"the message that {windows} was launched")
        return launched.inner_text().split()[2]

    def opens_run(self, run: str, end: str) -> None:
        """Open a run from the list of runs, and wait until it has ended as `end` says."""
        self.open("/runs")
        self.page.get_by_role("link", name=run).first.click(timeout=PAGE_SECONDS * 1000)
        self.sees(self.page.get_by_text(re.compile("^(Success|Failure)$")).first, f"the end of run {run}", RUN_SECONDS)
        self.sees(self.page.get_by_text(end, exact=True).first, f"run {run} to end as {end}")

    def opens_sensor(self) -> None:
        """Open the page of the sensor, with its ticks."""
        self.open(f"/locations/{LOCATION}/sensors/{_SENSOR}")

    def check(self, name: str) -> Locator:
        """Return the line of a check in the tab Checks of an asset."""
        titled = self.page.get_by_title(name, exact=True)
        return self.page.locator("[class*=checkRow]").filter(has=titled)

    def yellow(self, within: Locator) -> Locator:
        """Return the yellow signs in a part of the page."""
        return within.locator("[role=img][style*=yellow]")

    def keeps(self, name: str) -> None:
        """Keep a picture of what is on the page now."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")  # at their end
