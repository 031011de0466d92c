"""Puts the parts together for those who only want to use them: a sign-in, or a client that has one.

What does not belong here: anything that another module of this package could decide.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.partner_center.sign_in import SignIn
from partner_center_pipeline.partner_center.token_store import (
    SealedPlace,
    SharedTokenStore,
    SignInStore,
    TokenStore,
)
from partner_center_pipeline.settings import Settings, TokenPlace


def sign_in_store(settings: Settings, place: SealedPlace | None = None) -> SignInStore:
    """Where these settings keep the sign-in. `place` is the warehouse's, needed for HUNTER_..._TOKEN_STORE=database.

    Raises ValueError when it is missing then: a sign-in on this machine would be another one.
    """
    if settings.partner_center_token_store is TokenPlace.FILE:
        return TokenStore(settings.partner_center_token_cache_path, settings.partner_center_token_key)
    if place is None:
        raise ValueError("the sign-in is kept in the database, and no place in it was given")
    return SharedTokenStore(place, settings.partner_center_token_key)


@contextmanager
def connect_sign_in(settings: Settings, place: SealedPlace | None = None) -> Iterator[SignIn]:
    """The sign-in that these settings describe, over an HTTP client of its own that is closed at the end.

    `place` as `sign_in_store` wants it.
    """
    store = sign_in_store(settings, place)
    with build_http(settings) as http:
        yield SignIn(settings, http, store)


@contextmanager
def connect(
    settings: Settings,
    *,
    deadline: float,
    capability: Capability | None = None,
    place: SealedPlace | None = None,
) -> Iterator[ReferralsClient]:
    """A client of the Referrals API that begins no further try and no pause after `deadline` seconds from now.

    `capability` is what the API was found to take before; the client's own holds what to remember afterwards.
    `place` as `sign_in_store` wants it.
    """
    store = sign_in_store(settings, place)
    with build_http(settings) as http:
        yield ReferralsClient(
            http,
            SignIn(settings, http, store).token,
            settings.partner_center_base_url,
            settings.partner_center_page_size,
            deadline_seconds=deadline,
            capability=capability,
        )
