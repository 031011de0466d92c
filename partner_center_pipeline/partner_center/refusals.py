"""The error, with the next step for a person, for each refusal of Microsoft's sign-in service.

The program branches on the OAuth `error`; AADSTS numbers only choose the hint (partner_center_api.md, sections 1.5 and
1.6). Not here: signing in (`sign_in`), what the Referrals API refuses (`client`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from partner_center_pipeline.partner_center.errors import PartnerCenterError, SignInRequired, Unreachable
from partner_center_pipeline.partner_center.token_store import Flow

REFRESH_TOKEN_DAYS: Final = 90
"""Days from its last renewal until a refresh token expires (section 1.4)."""

_BLOCKED_HINTS: Final = {
    Flow.DEVICE_CODE: "A Conditional Access policy blocks this sign-in, most likely Microsoft's own \"Block device "
    "code flow\", which also ends the renewal of sign-ins made earlier. Run `partner-center login --browser` on a "
    "machine with a browser; or, in the Entra admin centre, exclude the pipeline's account from the policy "
    "(Protection, Conditional Access) and run `partner-center login`.",
    Flow.BROWSER: "A Conditional Access policy blocks this sign-in. The Entra admin centre says which (Monitoring, "
    "Sign-in logs). Sign in from a device and place that it allows, or exclude the pipeline's account from it, then "
    "run `partner-center login --browser`.",
}  # fmt: skip

# {login} is the command that signs in by the flow that was refused.
_MFA: Final = "Microsoft asks for multi-factor authentication. Run `{login}` and pass the MFA prompt."
_ENROL: Final = (
    "The account has no second factor yet. Register one at https://aka.ms/mfasetup as the pipeline's account, then run "
    "`{login}`."
)
_APP: Final = (
    "There is no such app in this tenant. Compare HUNTER_PARTNER_CENTER_CLIENT_ID and HUNTER_PARTNER_CENTER_TENANT_ID "
    "with the Entra admin centre, App registrations, then run `{login}`."
)
_TENANT: Final = (
    "There is no such tenant, or it must be named. Set HUNTER_PARTNER_CENTER_TENANT_ID to the directory (tenant) id in "
    "the Entra admin centre, Overview, then run `{login}`."
)
_CONSENT: Final = (
    "Nobody has consented to what the app asks for. In the Entra admin centre, App registrations, API permissions, "
    "grant admin consent for user_impersonation of Microsoft Dev Center, then run `{login}`."
)
_PERMISSION: Final = (
    "The app may not use the Partner Center API yet. Give it the delegated permission user_impersonation of Microsoft "
    "Dev Center, grant admin consent, then run `{login}`."
)
_HINTS: Final = {
    **dict.fromkeys((50076, 50078, 50158), _MFA),
    **dict.fromkeys((50072, 50079), _ENROL),
    700016: _APP,
    **dict.fromkeys((90002, 50194, 9001023), _TENANT),
    **dict.fromkeys((65001, 90094), _CONSENT),
    **dict.fromkeys((650052, 650057, 500011), _PERMISSION),
    7000218: "Public client flows are off. In the app registration, Authentication, set \"Allow public client flows\" "
    "to Yes, then run `{login}`.",
    50173: "The sign-in was revoked. Run `{login}`.",
    700082: f"The sign-in was unused for {REFRESH_TOKEN_DAYS} days and expired. Run `{{login}}`.",
    70008: "The sign-in expired. Run `{login}`.",
    70043: "A sign-in frequency policy ended the sign-in. Exclude the pipeline's account from it, or it will do so "
    "again; run `{login}`.",
    50057: "The account is disabled. Enable it, or run `{login}` with another one.",
    50055: "The account's password has expired. Change it, then run `{login}`.",
    50053: "The account is locked. Unlock it, then run `{login}`.",
    50105: "The account is not assigned to the app. Assign it in Enterprise applications, then run `{login}`.",
    65004: "The sign-in was declined. Run `{login}` and accept what the app asks for.",
}  # fmt: skip
"""What to do, by AADSTS number (section 1.5, the table of numbers)."""

_BLOCKED_NUMBERS: Final = frozenset((53000, 53001, 53003, 530032, 530033, 530035, 530036))
"""AADSTS numbers of Conditional Access (section 1.5); 530036 refuses to renew a protocol-tracked sign-in."""

_OAUTH_HINTS: Final = {
    "invalid_grant": "Microsoft does not accept the stored sign-in any more: it was revoked, it expired, or a policy "
    "ended it. Run `{login}`.",
    "interaction_required": "Microsoft wants to see a person again before it renews the sign-in. Run `{login}`.",
    "authorization_pending": "Nobody entered the code in time. Run `{login}`.",
    "slow_down": "Nobody entered the code in time. Run `{login}`.",
    "expired_token": "The code expired before anybody finished signing in with it. Run `{login}`; if the browser says "
    "that a policy blocks the sign-in, run `partner-center login --browser`.",
    "authorization_declined": "The sign-in was declined. Run `{login}`.",
    "access_denied": "The sign-in was declined. Run `{login}`.",
    "bad_verification_code": "Microsoft does not know the code any more. Run `{login}`.",
}
"""What to do, by OAuth error, where no number says more (sections 1.4 and 1.5)."""

_TRANSIENT: Final = ("temporarily_unavailable", "server_error")
"""OAuth errors after which a later try can succeed (RFC 6749, section 4.1.2.1)."""

_NUMBER: Final = re.compile(r"AADSTS(\d+)")


def refusal(answer: Mapping[str, Any], flow: Flow) -> PartnerCenterError:
    """Return the error for an OAuth error response; `flow` is how the person signs in, or signed in.

    Its `code` is the AADSTS number where there is one, otherwise the OAuth error. Microsoft's own description is left
    out, because it may name the account.
    """
    error = str(answer.get("error", "unknown"))
    if error in _TRANSIENT:
        return Unreachable(f"Microsoft's sign-in service is in trouble ({error}). Try again later.", code=error)
    numbers = _numbers(answer)
    if _BLOCKED_NUMBERS.intersection(numbers):
        hint = _BLOCKED_HINTS[flow]
    else:
        default = _OAUTH_HINTS.get(error, "Microsoft does not accept the sign-in. Run `{login}`.")
        hint = next((_HINTS[number] for number in numbers if number in _HINTS), default)
    aadsts = f"AADSTS{numbers[0]}" if numbers else None
    codes = ", ".join(part for part in (error, aadsts) if part)
    return SignInRequired(f"{hint.format(login=flow.command)} ({codes})", code=aadsts or error)


def _numbers(answer: Mapping[str, Any]) -> list[int]:
    """Return the AADSTS numbers. A browser's answer has no `error_codes`; then the number is in the description."""
    listed = [number for number in answer.get("error_codes") or () if isinstance(number, int)]
    return listed or [int(number) for number in _NUMBER.findall(str(answer.get("error_description", "")))[:1]]
