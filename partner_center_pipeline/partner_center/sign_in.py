"""Signing in to Microsoft: device code once, silent renewal ever after, what to tell a person when it ends.

Here belongs all that uses MSAL. What does not belong here: how the result is kept (`token_store`), how
connections are made (`http`).

Rules: partner_center_api.md, sections 1.3 to 1.6 and 8. The program branches on the OAuth `error`; AADSTS
numbers only choose the hint (section 1.5).
"""

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
from partner_center_pipeline.partner_center.errors import PartnerCenterError, SignInRequired, Unreachable
from partner_center_pipeline.partner_center.http import MsalHttp
from partner_center_pipeline.partner_center.token_store import StoredSignIn, TokenStore
from partner_center_pipeline.settings import Settings, SettingsError

REFRESH_TOKEN_DAYS: Final = 90
"""Days after its last renewal that a refresh token dies (section 1.4)."""

RENEW_AHEAD: Final = timedelta(minutes=5)
"""An access token with less left than this counts as expired, as it does in MSAL."""

_CANCELLED: Final = "cancelled"

_BLOCKED: Final = (
    "A Conditional Access policy blocks this sign-in, most likely Microsoft's own \"Block device code "
    "flow\". In the Entra admin centre, exclude the pipeline's account from it (Protection, Conditional "
    "Access), then run `partner-center login`."
)
_MFA: Final = "Microsoft asks for multi-factor authentication. Run `partner-center login` and pass the MFA prompt."
_APP: Final = (
    "The app registration does not fit. Compare HUNTER_PARTNER_CENTER_CLIENT_ID and "
    "HUNTER_PARTNER_CENTER_TENANT_ID with the Entra admin centre, App registrations, then run "
    "`partner-center login`."
)
_PERMISSION: Final = (
    "The app may not use the Partner Center API yet. Give it the delegated permission user_impersonation "
    "of Microsoft Dev Center, grant admin consent, then run `partner-center login`."
)
_HINTS: Final = {
    **dict.fromkeys((53000, 53001, 53003, 530032, 530033, 530035), _BLOCKED),
    **dict.fromkeys((50076, 50078, 50079, 50158), _MFA),
    **dict.fromkeys((700016, 90002, 50194, 9001023), _APP),
    **dict.fromkeys((65001, 650052, 650057, 500011, 90094), _PERMISSION),
    7000218: "Public client flows are off. In the app registration, Authentication, set \"Allow public "
    "client flows\" to Yes, then run `partner-center login`.",
    50173: "The sign-in was revoked. Run `partner-center login`.",
    700082: f"The sign-in was unused for {REFRESH_TOKEN_DAYS} days and expired. Run `partner-center login`.",
    70008: "The sign-in expired. Run `partner-center login`.",
    70043: "A sign-in frequency policy ended the sign-in. Run `partner-center login`.",
    50057: "The account is disabled. Enable it, or run `partner-center login` with another one.",
    50055: "The account's password has expired. Change it, then run `partner-center login`.",
    50053: "The account is locked. Unlock it, then run `partner-center login`.",
    50105: "The account is not assigned to the app. Assign it in Enterprise applications, then run "
    "`partner-center login`.",
}  # fmt: skip
"""AADSTS number: what to do (section 1.5, the table of numbers)."""

_FLOW_ENDINGS: Final = {
    _CANCELLED: "The sign-in was cancelled.",
    "authorization_pending": "Nobody entered the code in time.",
    "slow_down": "Nobody entered the code in time.",
    "expired_token": "The code expired before anybody entered it.",
    "authorization_declined": "The sign-in was declined.",
    "access_denied": "The sign-in was declined.",
    "bad_verification_code": "Microsoft does not know the code any more.",
}
"""OAuth errors that end a device flow (section 1.5)."""

_PASSING: Final = ("temporarily_unavailable", "server_error")
"""OAuth errors that pass by themselves (RFC 6749, section 4.1.2.1)."""


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
    """How the stored sign-in stands, without asking Microsoft. Times are UTC; None where nobody is signed in.

    `signed_in_at` is when a person last signed in, `renewed_at` when the refresh token last changed,
    `age_days` the days since then: at `REFRESH_TOKEN_DAYS` it dies. `token_expires_at` is the access token's
    own end.
    """

    signed_in: bool
    signed_in_at: datetime | None = None
    renewed_at: datetime | None = None
    age_days: float | None = None
    token_expires_at: datetime | None = None


class SignIn:
    """The sign-in of one process. One object may be shared by threads; processes share it through `store`.

    Nothing is sent before the first call that needs it (MSAL's constructor itself asks the authority).
    """

    def __init__(self, settings: Settings, http: httpx.Client, store: TokenStore, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._http = MsalHttp(http, self._clock)
        self._store = store
        self._lock = RLock()
        self._cache = msal.SerializableTokenCache()
        self._app: Any = None
        self._token: str | None = None
        self._good_until = datetime.min.replace(tzinfo=UTC)

    def begin(self) -> DeviceCode:
        """Ask Microsoft for a device code.

        Raises SettingsError when HUNTER_PARTNER_CENTER_CLIENT_ID or _TENANT_ID is missing, SignInRequired
        when Microsoft refuses (the message says why), Unreachable, Throttled.
        """
        with self._lock:
            flow = self._application().initiate_device_flow(scopes=[self._settings.partner_center_scope])
        if "user_code" not in flow:
            raise _refusal(flow)
        return DeviceCode(
            user_code=flow["user_code"],
            verification_uri=flow["verification_uri"],
            message=flow.get("message", ""),
            expires_at=self._clock.utc() + timedelta(seconds=flow["expires_in"]),
            flow=flow,
        )

    def finish(self, code: DeviceCode, cancelled: Callable[[], bool] = lambda: False) -> SignInStatus:
        """Wait until the person has signed in, keep the result, and say how it stands.

        Blocks for as long as the code lives; `cancelled` is asked about once a second. A sign-in that was
        stored before is replaced only when this one succeeds. Raises SignInRequired when it does not,
        Unreachable, Throttled.
        """

        def over(flow: dict[str, Any]) -> bool:
            return cancelled() or datetime.now(UTC).timestamp() > flow["expires_at"]

        # A fresh cache: whoever signs in now is the only account that may be used from now on.
        cache = msal.SerializableTokenCache()
        result = self._application(cache).acquire_token_by_device_flow(code.flow, exit_condition=over)
        if "access_token" not in result:
            raise _refusal({"error": _CANCELLED} if cancelled() else result)
        now = self._clock.utc()
        stored = StoredSignIn(msal_cache=cache.serialize(), signed_in_at=now, renewed_at=now)
        with self._lock, self._store.locked():
            self._store.write(stored)
            self._token = None
        return self.status()

    def token(self, *, renew: bool = False) -> str:
        """An access token that is good for `RENEW_AHEAD` at least, renewed silently when it has to be.

        `renew`: the last token was refused, so get another one. Of several processes that renew at once, one
        asks Microsoft and the others take what it stored. Raises SignInRequired when only a person can help,
        Unreachable, Throttled, TokenStoreError, SettingsError.
        """
        with self._lock:
            if not renew and self._token is not None and self._clock.utc() < self._good_until:
                return self._token
            if self._store.read() is None:
                raise SignInRequired("Nobody is signed in to Partner Center; run `partner-center login`.")
            with self._store.locked():
                return self._silently(renew)

    def status(self) -> SignInStatus:
        """How the stored sign-in stands. Asks nobody. Raises TokenStoreError, SettingsError."""
        stored = self._store.read()
        if stored is None:
            return SignInStatus(signed_in=False)
        cache = msal.SerializableTokenCache()
        cache.deserialize(stored.msal_cache)
        ends = [int(token["expires_on"]) for token in cache.search(cache.CredentialType.ACCESS_TOKEN, now=0)]
        return SignInStatus(
            signed_in=True,
            signed_in_at=stored.signed_in_at,
            renewed_at=stored.renewed_at,
            age_days=(self._clock.utc() - stored.renewed_at) / timedelta(days=1),
            token_expires_at=datetime.fromtimestamp(max(ends), UTC) if ends else None,
        )

    def _silently(self, renew: bool) -> str:
        app = self._application()
        stored = self._store.read()  # again: another process may have renewed while this one waited for the lock
        if stored is not None:
            self._cache.deserialize(stored.msal_cache)
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
            raise _refusal(result)
        now = self._clock.utc()
        if self._cache.has_state_changed:
            renewed = result.get("token_source") == "identity_provider"
            self._store.write(
                StoredSignIn(
                    msal_cache=self._cache.serialize(),
                    signed_in_at=stored.signed_in_at,
                    renewed_at=now if renewed else stored.renewed_at,
                )
            )
        token = str(result["access_token"])
        self._token = token
        self._good_until = now + timedelta(seconds=int(result["expires_in"])) - RENEW_AHEAD
        return token

    def _application(self, cache: Any = None) -> Any:
        """The MSAL application over `cache`, or the process's own one."""
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
                # A host that Microsoft does not know must not be looked up at Microsoft.
                instance_discovery=host in WELL_KNOWN_AUTHORITY_HOSTS,
            )
        except (ValueError, KeyError):
            raise SettingsError(
                "HUNTER_PARTNER_CENTER_TENANT_ID", f"{host} knows no such tenant, or is no sign-in service"
            ) from None
        if cache is None:
            self._app = app
        return app


def _refusal(result: dict[str, Any]) -> PartnerCenterError:
    """What Microsoft's refusal means for a person, without its own description, which may name the
    account."""
    error = str(result.get("error", "unknown"))
    if error in _PASSING:
        return Unreachable(f"Microsoft's sign-in service is in trouble ({error}). Try again later.", code=error)
    numbers = [number for number in result.get("error_codes") or () if isinstance(number, int)]
    aadsts = f"AADSTS{numbers[0]}" if numbers else None
    hint = next((_HINTS[number] for number in numbers if number in _HINTS), None)
    if hint is None:
        what = _FLOW_ENDINGS.get(error, "Microsoft does not accept the sign-in (any more).")
        hint = f"{what} Run `partner-center login`."
    named = ", ".join(part for part in (error, aadsts) if part)
    return SignInRequired(f"{hint} ({named})", code=aadsts or error)
