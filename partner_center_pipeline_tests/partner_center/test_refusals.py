"""Each way in which Microsoft refuses a sign-in has its own words and its own next step."""

from typing import Any

import pytest

from partner_center_pipeline.partner_center.errors import SignInRequired, Unreachable
from partner_center_pipeline.partner_center.refusals import refusal
from partner_center_pipeline.partner_center.token_store import Flow


def entra_error(error: str, number: int | None = None) -> dict[str, Any]:
    """An error response in the form of partner_center_api.md, section 1.5, with a person in it as Entra has it."""
    shown = number or 0
    numbered = {} if number is None else {"error_codes": [number]}
    return {
        "error": error,
        "error_description": f"AADSTS{shown:05}: The user 'ad.soyad@ornekpartner.com.tr' was refused.\r\n"
        "Trace ID: 0000aaaa-11bb-cccc-dd22-eeeeee333333\r\nTimestamp: 2026-03-02 09:00:00Z",
        "timestamp": "2026-03-02 09:00:00Z",
        "suberror": "bad_token",
        **numbered,
    }


REFUSALS: dict[tuple[str, int | None], str] = {
    ("invalid_grant", 99999999): "does not accept the stored sign-in any more",
    ("interaction_required", 99999999): "wants to see a person again",
    ("invalid_grant", 53003): "Conditional Access policy blocks",
    ("interaction_required", 50076): "multi-factor authentication.*pass the MFA prompt",
    ("interaction_required", 50079): r"no second factor yet.*aka\.ms/mfasetup",
    ("invalid_grant", 50173): "revoked",
    ("invalid_grant", 700082): "unused for 90 days",
    ("invalid_grant", 70043): "sign-in frequency policy.*Exclude",
    ("invalid_grant", 65001): "consented.*grant admin consent",
    ("unauthorized_client", 700016): "no such app in this tenant.*CLIENT_ID.*TENANT_ID",
    ("invalid_request", 90002): "no such tenant.*TENANT_ID",
    ("invalid_client", 7000218): "Allow public client flows",
    ("expired_token", 70019): "code expired",
    ("authorization_declined", None): r"sign-in was declined\. Run",
    ("access_denied", 65004): "declined.*accept what the app asks for",
    ("bad_verification_code", 70018): "does not know the code",
    ("invalid_grant", 50057): "disabled",
    ("invalid_grant", 50055): "password has expired",
    ("invalid_grant", 50053): "locked",
    ("invalid_grant", 50105): "not assigned to the app",
    ("invalid_resource", 500011): "delegated permission user_impersonation",
    ("something_new", 99999999): r"does not accept the sign-in\. Run",
}


@pytest.mark.parametrize("flow", Flow)
@pytest.mark.parametrize(("error", "number"), list(REFUSALS))
def test_it_says_what_happened_and_ends_with_what_to_run(error: str, number: int | None, flow: Flow) -> None:
    with pytest.raises(SignInRequired, match=REFUSALS[error, number]) as refused:
        raise refusal({**entra_error(error, number)} if number else {"error": error}, flow)
    assert f"`{flow.command}`" in str(refused.value)
    assert refused.value.code == (f"AADSTS{number}" if number else error)
    assert not refused.value.transient


def test_no_two_of_them_read_alike_and_none_names_the_account() -> None:
    texts = [str(refusal(entra_error(*refused), Flow.DEVICE_CODE)).partition(" (")[0] for refused in REFUSALS]
    assert len(set(texts)) == len(texts)
    assert not any("@" in text or "ornekpartner" in text for text in texts)


@pytest.mark.parametrize("number", [53000, 53001, 53003, 530032, 530033, 530035, 530036])
def test_conditional_access_has_a_next_step_for_each_flow(number: int) -> None:
    device_code = str(refusal(entra_error("invalid_grant", number), Flow.DEVICE_CODE))
    assert "Block device code flow" in device_code
    assert "`partner-center login --browser`" in device_code
    assert "exclude the pipeline's account" in device_code
    browser = str(refusal(entra_error("invalid_grant", number), Flow.BROWSER))
    assert "device code" not in browser
    assert "Sign-in logs" in browser


def test_a_browser_brings_the_number_in_the_description_only() -> None:
    brought = {"error": "access_denied", "error_description": "AADSTS65004: User declined to consent."}
    refused = refusal(brought, Flow.BROWSER)
    assert refused.code == "AADSTS65004"
    assert "accept what the app asks for" in str(refused)


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_what_passes_by_itself_asks_for_no_sign_in(error: str) -> None:
    passing = refusal({"error": error, "error_codes": [90033]}, Flow.DEVICE_CODE)
    assert isinstance(passing, Unreachable)
    assert passing.transient
    assert "login" not in str(passing)
