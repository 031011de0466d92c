"""Lets a stored access token come to its end: MSAL stamps it by the machine's clock, which no test moves."""

import json
from datetime import UTC, datetime

from partner_center_pipeline.partner_center.token_store import StoredSignIn, TokenStore


def let_token_end(store: TokenStore, when: str = "expires_on", seconds: int = 299) -> StoredSignIn:
    """Write the stored token so that `when` is in so many seconds from now. Return what was stored before."""
    stored = store.read()
    assert stored is not None
    cache = json.loads(stored.msal_cache)
    for token in cache["AccessToken"].values():
        token[when] = str(int(datetime.now(UTC).timestamp()) + seconds)
    with store.locked():
        store.write(stored.model_copy(update={"msal_cache": json.dumps(cache)}))
    return stored
