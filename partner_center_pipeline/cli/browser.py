"""Opening an address in the browser of the desktop, or in the one that the variable BROWSER names."""

import webbrowser
from typing import Final

_TEXT_BROWSERS: Final = ("www-browser", "links", "elinks", "lynx", "w3m")
"""What Python offers where there is no desktop. Such a browser runs in the terminal, which the command needs."""


def open_in_browser(address: str) -> bool:
    """Open an address, and return whether that was done: False without a desktop, and where the browser fails."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if getattr(browser, "name", None) in _TEXT_BROWSERS:
        return False
    # A program of the desktop is not waited for, and one that has handed the address over may have ended already.
    return browser.open(address) or isinstance(browser, webbrowser.BackgroundBrowser)
