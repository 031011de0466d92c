"""The sign-in to Microsoft through MSAL: a person signs in once, by device code or browser; renewal is silent.

Rules: partner_center_api.md, sections 1.3 to 1.6 and 8. Not here: how the result is stored (`token_store`), how
connections are made (`http`), what Microsoft's refusals mean (`refusals`).
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msal
from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS

from partner_center_pipeline.partner_center.clock import Clock, SystemClock
from partner_center_pipeline.partner_center.errors import SignInRequired
from partner_center_pipeline.partner_center.http import MsalHttp
from partner_center_pipeline.partner_center.loopback import Loopback
from partner_center_pipeline.partner_center.refusals import REFRESH_TOKEN_DAYS, refusal
from partner_center_pipeline.partner_center.token_store import Flow, SignInStore, StoredSignIn, account_in
from partner_center_pipeline.settings import Settings, SettingsError

WARN_AFTER_DAYS: Final = 75
"""Days without a renewal after which a person is warned (section 1.4)."""

BROWSER_SECONDS: Final = 300.0
"""Seconds that a person may take at the sign-in page in the browser."""

RENEW_AHEAD: Final = timedelta(minutes=5)
"""An access token that ends sooner than this counts as expired, as in MSAL."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A sign-in that waits for a person: enter `user_code` at `verification_uri` before `expires_at` (UTC).

    `message` is Microsoft's own sentence that says so.
    """

    user_code: str
    verification_uri: str
    message: str
    expires_at: datetime
    flow: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SignInStatus:
    """The state of the stored sign-in, as far as this machine knows. Times are UTC; None where nobody is signed in.

    `signed_in_at` is when a person last signed in, by `flow`; `renewed_at` is when the refresh token last changed, and
    `age_days` the time since then: it expires at `REFRESH_TOKEN_DAYS`.
    """

    signed_in: bool
    signed_in_at: datetime | None = None
    renewed_at: datetime | None = None
    age_days: float | None = None
    flow: Flow | None = None

    @property
    def days_left(self) -> float | None:
        """Days until the sign-in ends if it is not renewed; 0 when it has ended."""
        return None if self.age_days is None else max(0.0, REFRESH_TOKEN_DAYS - self.age_days)

    @property
    def warning(self) -> str | None:
        """The warning for a person from `WARN_AFTER_DAYS` on; None before."""
        if self.age_days is None or self.flow is None or self.age_days < WARN_AFTER_DAYS:
            return None
        return (
            f"The sign-in to Partner Center was last renewed {self.age_days:.0f} days ago; it ends after "
            f"{REFRESH_TOKEN_DAYS} days without renewal: run `{self.flow.command}`"
        )


class SignIn:
    """The sign-in of one process. Threads may share one object; processes share the sign-in through `store`.

    With `account` (see `account_in`), the tokens of another account are refused: somebody may sign in during a run.
    `wait`, `retries`: see `MsalHttp`.

    MSAL's application is made by the first call that needs it, because its constructor already asks the authority. A
    stored token that is good for a while needs none, so runs go on while the authority is away.
    """

    def __init__(
        self,
        settings: Settings,
        http: httpx.Client,
        store: SignInStore,
        clock: Clock | None = None,
        account: str | None = None,
        wait: float | None = None,
        *,
        retries: bool = True,
    ) -> None:
        self._account = account
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._http = MsalHttp(http, self._clock, wait, retries=retries)
        self._store = store
        self._lock = RLock()
        self._cache = msal.SerializableTokenCache()
        self._app: Any = None
        self._token: str | None = None
        self._use_until = datetime.min.replace(tzinfo=UTC)

    def begin(self) -> DeviceCode:
        """Ask Microsoft for a device code.

        Raises SettingsError when HUNTER_PARTNER_CENTER_CLIENT_ID or HUNTER_PARTNER_CENTER_TENANT_ID is missing,
        SignInRequired when Microsoft refuses (the message says why), Unreachable, Throttled.
        """
        with self._lock:
            flow = self._application().initiate_device_flow(scopes=[self._settings.partner_center_scope])
        if "user_code" not in flow:
            raise refusal(flow, Flow.DEVICE_CODE)
        return DeviceCode(
            user_code=flow["user_code"],
            verification_uri=flow["verification_uri"],
            message=flow.get("message", ""),
            expires_at=self._clock.utc() + timedelta(seconds=flow["expires_in"]),
            flow=flow,
        )

    def finish(self, code: DeviceCode, cancelled: Callable[[], bool] = lambda: False) -> SignInStatus:
        """Wait until the person has signed in, store the result, and return its status.

        This blocks until the code expires at the latest; `cancelled` is called about once a second. A sign-in that was
        stored before is replaced only when this one succeeds. Raises SignInRequired when it does not, Unreachable,
        Throttled.
        """

        def ends(flow: dict[str, Any]) -> bool:
            return cancelled() or datetime.now(UTC).timestamp() > flow["expires_at"]

        # A new cache: from now on only the account that signs in now may be used.
        cache = msal.SerializableTokenCache()
        result = self._application(cache).acquire_token_by_device_flow(code.flow, exit_condition=ends)
        if "access_token" not in result:
            if cancelled():
                raise SignInRequired("The sign-in was cancelled. Run `partner-center login`.", code="cancelled")
            raise refusal(result, Flow.DEVICE_CODE)
        return self._save(cache, Flow.DEVICE_CODE)

    def through_browser(self, show: Callable[[str], None], seconds: float = BROWSER_SECONDS) -> SignInStatus:
        """Sign in with authorization code and PKCE, for a tenant that blocks device code (section 1.6).

        `show` is called with the address that the person has to open in a browser of this machine; then this waits up
        to `seconds` for the browser to come back. A sign-in that was stored before is replaced only when this one
        succeeds. Raises SignInRequired when it does not, Unreachable, Throttled, SettingsError.
        """
        cache = msal.SerializableTokenCache()
        app = self._application(cache)
        state = secrets.token_urlsafe(32)
        with Loopback(state) as loopback:
            flow = app.initiate_auth_code_flow(
                [self._settings.partner_center_scope],
                redirect_uri=loopback.redirect_uri,
                state=state,
                response_mode="form_post",  # the code stays out of the browser's history
                prompt=msal.Prompt.SELECT_ACCOUNT,  # the browser may be signed in as somebody else
            )
            show(flow["auth_uri"])
            answer = loopback.answer(seconds)
        if answer is None:
            raise SignInRequired(
                f"The browser did not come back within {seconds:.0f} s. If it showed AADSTS50011, add the platform "
                '"Mobile and desktop applications" with http://localhost to the app registration, Authentication. Then '
                "run `partner-center login --browser`.",
                code="timeout",
            )
        result = app.acquire_token_by_auth_code_flow(flow, answer)
        if "access_token" not in result:
            raise refusal(result, Flow.BROWSER)
        return self._save(cache, Flow.BROWSER)

    def token(self, *, renew: bool = False) -> str:
        """Return an access token that is valid for at least `RENEW_AHEAD`, silently renewed where necessary.

        `renew`: the API refused the last token, so get another one. When several processes renew at the same time, one
        asks Microsoft and the others use what it stored. Raises SignInRequired when only a person can help,
        Unreachable, Throttled, TokenStoreError, SettingsError.
        """
        with self._lock:
            if not renew and self._token is not None and self._clock.utc() < self._use_until:
                return self._token
            if self._store.read() is None:
                raise SignInRequired("Nobody is signed in to Partner Center; run `partner-center login`.")
            with self._store.locked():
                return self._token_silently(renew)

    def status(self) -> SignInStatus:
        """Return the status of the stored sign-in; nothing is sent. Raises TokenStoreError, SettingsError."""
        stored = self._store.read()
        return SignInStatus(signed_in=False) if stored is None else self._status_of(stored)

    def _status_of(self, stored: StoredSignIn) -> SignInStatus:
        return SignInStatus(
            signed_in=True,
            signed_in_at=stored.signed_in_at,
            renewed_at=stored.renewed_at,
            age_days=(self._clock.utc() - stored.renewed_at) / timedelta(days=1),
            flow=stored.flow,
        )

    def _save(self, cache: Any, flow: Flow) -> SignInStatus:
        now = self._clock.utc()
        stored = StoredSignIn(msal_cache=cache.serialize(), signed_in_at=now, renewed_at=now, flow=flow)
        with self._lock, self._store.locked():
            self._store.write(stored)
            self._token = None
        return self._status_of(stored)

    def _token_silently(self, renew: bool) -> str:
        stored = self._store.read()  # again: another process may have renewed while this one waited for the lock
        if stored is not None and self._account is not None and account_in(stored) != self._account:
            raise SignInRequired(
                "Another account signed in while this run was under way, so it ends: accounts see different referrals. "
                "The next run says what to do; or sign in as before with `partner-center login`."
            )
        if stored is not None:
            self._cache.deserialize(stored.msal_cache)
            warning = self._status_of(stored).warning
            if warning is not None:
                _log.warning("%s", warning)
        result = None if renew or stored is None else self._stored_token()
        if result is None:
            app = self._application()
            account = next(iter(app.get_accounts()), None)
            scopes = [self._settings.partner_center_scope]
            result = app.acquire_token_silent_with_error(scopes, account)
            if renew and result and self._token in (None, result.get("access_token")):
                result = app.acquire_token_silent_with_error(scopes, account, force_refresh=True)
        if stored is None or not result:
            raise SignInRequired(
                "The stored sign-in does not belong to this tenant, app and scope; run `partner-center login`."
            )
        if "access_token" not in result:
            raise refusal(result, stored.flow)
        now = self._clock.utc()
        renewed = result.get("token_source") == "identity_provider"
        if renewed:
            minutes = int(result["expires_in"]) // 60
            _log.info("sign-in: renewed by Microsoft's sign-in service, valid for %d minutes", minutes)
        if self._cache.has_state_changed:
            self._store.write(
                stored.model_copy(
                    update={
                        "msal_cache": self._cache.serialize(),
                        "renewed_at": now if renewed else stored.renewed_at,
                    }
                )
            )
        token = str(result["access_token"])
        self._token = token
        self._use_until = now + timedelta(seconds=int(result["expires_in"])) - RENEW_AHEAD
        return token

    def _stored_token(self) -> dict[str, Any] | None:
        """Return the stored access token as MSAL's answer has it; None where MSAL has to be asked for one.

        MSAL would return the same one, but asks the authority for its addresses before it looks into its cache.
        """
        settings = self._settings
        found = self._cache.search(
            msal.TokenCache.CredentialType.ACCESS_TOKEN,
            target=[settings.partner_center_scope],
            query={
                "client_id": settings.partner_center_client_id,
                "environment": urlsplit(settings.partner_center_authority).hostname,
                "realm": settings.partner_center_tenant_id,
            },
        )
        token = next(iter(found), None)
        if token is None:
            return None
        now = datetime.now(UTC).timestamp()  # the clock that MSAL stamps its entries by
        seconds = int(token["expires_on"]) - int(now)
        if seconds < RENEW_AHEAD.total_seconds() or int(token.get("refresh_on", now + 1)) <= now:
            return None
        return {"access_token": token["secret"], "expires_in": seconds}

    def _application(self, cache: Any = None) -> Any:
        """Return a new MSAL application over `cache`, or without one the process's own."""
        if cache is None and self._app is not None:
            return self._app
        settings = self._settings
        for variable, value in (
            ("HUNTER_PARTNER_CENTER_CLIENT_ID", settings.partner_center_client_id),
            ("HUNTER_PARTNER_CENTER_TENANT_ID", settings.partner_center_tenant_id),
        ):
            if not value:
                raise SettingsError(variable, "is not set, and signing in to Partner Center needs it")
        host = urlsplit(settings.partner_center_authority).hostname
        try:
            app = msal.PublicClientApplication(
                settings.partner_center_client_id,
                authority=settings.authority_url,
                http_client=self._http,
                token_cache=self._cache if cache is None else cache,
                # MSAL must not ask Microsoft about a host that is not Microsoft's.
                instance_discovery=host in WELL_KNOWN_AUTHORITY_HOSTS,
            )
        except (ValueError, KeyError):
            raise SettingsError(
                "HUNTER_PARTNER_CENTER_TENANT_ID", f"{host} knows no such tenant, or is no sign-in service"
            ) from None
        if cache is None:
            self._app = app
        return app
