"""A browser for tests: opens the sign-in page, and posts the form that the page would post by itself."""

import ssl
from html.parser import HTMLParser
from pathlib import Path

import httpx


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        if tag == "input":
            self.fields[found["name"]] = found["value"]


def form_of(address: str, ca_bundle: Path) -> tuple[str, dict[str, str]]:
    """Where the sign-in page posts to, and what."""
    page = httpx.get(address, verify=ssl.create_default_context(cafile=ca_bundle), trust_env=False)
    page.raise_for_status()
    form = _Form()
    form.feed(page.text)
    return form.action, form.fields


def browse(address: str, ca_bundle: Path) -> str:
    """Sign in at `address`; the page that the person sees at the end."""
    action, fields = form_of(address, ca_bundle)
    return httpx.post(action, data=fields, trust_env=False).raise_for_status().text
