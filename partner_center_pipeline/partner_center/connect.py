"""Builds a sign-in, or a client of the Referrals API, from the settings.

Not here: any rule; each is in the module that applies it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.partner_center.sign_in import SignIn
from partner_center_pipeline.partner_center.token_store import (
    SealedPlace,
    SharedTokenStore,
    SignInStore,
    TokenStore,
    account_in,
)
from partner_center_pipeline.settings import Settings, TokenPlace

_SIGN_IN_WAIT: Final = 15.0
"""Seconds that an answer of the sign-in service may take for a client, which tries it again to its own deadline."""


def sign_in_store(settings: Settings, place: SealedPlace | None = None) -> SignInStore:
    """Return the store in which these settings keep the sign-in.

    `place` is the warehouse's, needed for HUNTER_PARTNER_CENTER_TOKEN_STORE=database. Raises ValueError when it is
    missing then: a sign-in on this machine would be another one.
    """
    if settings.partner_center_token_store is TokenPlace.FILE:
        return TokenStore(settings.partner_center_token_cache_path, settings.partner_center_token_key)
    if place is None:
        raise ValueError("the sign-in is kept in the database, and no place in it was given")
    return SharedTokenStore(place, settings.partner_center_token_key)


def signed_in_account(settings: Settings, place: SealedPlace | None = None) -> str | None:
    """Return a hash of the ids of the account that is signed in, None where nobody is. Nothing is sent.

    `place`: see `sign_in_store`. Raises what `SignInStore.read` raises.
    """
    stored = sign_in_store(settings, place).read()
    return None if stored is None else account_in(stored)


@contextmanager
def connect_sign_in(
    settings: Settings, place: SealedPlace | None = None, wait: float | None = None
) -> Iterator[SignIn]:
    """Yield the sign-in of these settings, over its own HTTP client, closed at the end.

    `place`: as `sign_in_store`. `wait`: seconds that one request may wait between tries, all pauses together.
    """
    store = sign_in_store(settings, place)
    with build_http(settings) as http:
        yield SignIn(settings, http, store, wait=wait)


@contextmanager
def connect(
    settings: Settings,
    *,
    deadline: float,
    capability: Capability | None = None,
    place: SealedPlace | None = None,
    account: str | None = None,
    answered: Callable[[], None] | None = None,
    asking: Callable[[], None] = lambda: None,
) -> Iterator[ReferralsClient]:
    """Yield a client of the Referrals API that begins no retry and no pause after `deadline` seconds from now.

    `capability` is what the API was found to accept before; afterwards the client's own is the one to store. `place`:
    see `sign_in_store`. `account`: see `SignIn`. `answered` and `asking`: see `ReferralsClient`.
    """
    store = sign_in_store(settings, place)
    with build_http(settings) as http:
        yield ReferralsClient(
            http,
            SignIn(settings, http, store, account=account, wait=_SIGN_IN_WAIT, retries=False).token,
            settings.partner_center_base_url,
            settings.partner_center_page_size,
            deadline_seconds=deadline,
            capability=capability,
            answered=answered,
            asking=asking,
        )
