"""Puts the parts together for those who only want to use them: a sign-in, or a client that has one.

What does not belong here: anything that another module of this package could decide.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.partner_center.sign_in import SignIn
from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.settings import Settings


@contextmanager
def connect_sign_in(settings: Settings) -> Iterator[SignIn]:
    """The sign-in that these settings describe, over an HTTP client of its own that is closed at the end."""
    with build_http(settings) as http:
        store = TokenStore(settings.partner_center_token_cache_path, settings.partner_center_token_key)
        yield SignIn(settings, http, store)


@contextmanager
def connect(settings: Settings, *, deadline: float) -> Iterator[ReferralsClient]:
    """A client of the Referrals API that begins no further try and no pause after `deadline` seconds from now."""
    with build_http(settings) as http:
        store = TokenStore(settings.partner_center_token_cache_path, settings.partner_center_token_key)
        yield ReferralsClient(
            http,
            SignIn(settings, http, store).token,
            settings.partner_center_base_url,
            settings.partner_center_page_size,
            deadline_seconds=deadline,
        )
