"""Sending one message to a webhook, of Teams Workflows or another, and what its answer means. Addresses are secrets.

Not here: what is sent (`cards`), when it is sent again (`delivery`).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import SecretStr

from partner_center_pipeline.partner_center import PartnerCenterError
from partner_center_pipeline.partner_center.http import Service, answered_within, build_http, send_mapping_errors
from partner_center_pipeline.partner_center.odata import http_date, retry_after
from partner_center_pipeline.settings import Settings, SettingsError

VARIABLE: Final = "HUNTER_TEAMS_WEBHOOK_URL"
OPERATORS_TEAMS: Final = "HUNTER_OPERATORS_TEAMS_WEBHOOK_URL"
OPERATORS_WEBHOOK: Final = "HUNTER_OPERATORS_WEBHOOK_URL"

ANSWER_SECONDS: Final = 15.0
"""Seconds that an answer may take, however steadily it comes. Connecting has 5 of them, and TLS 5."""

_TIMEOUT: Final = httpx.Timeout(ANSWER_SECONDS, connect=5.0)

_SAID: Final[Mapping[int, str]] = {
    401: "refuses the address: its signature is wrong or no longer valid. Copy the address anew from the workflow",
    403: "refuses the address: its signature is wrong or no longer valid. Copy the address anew from the workflow",
    404: "knows no workflow at this address: it was deleted, or the address is not whole. Copy it anew",
    410: "says that the workflow is gone. Make a new one, and copy its address",
    413: "says that the message is too large",
    429: "has had too many messages",
}
_SAID_BY_ANOTHER: Final[Mapping[int, str]] = {
    **dict.fromkeys((401, 403), f"refuses the address. Check {OPERATORS_WEBHOOK}"),
    **dict.fromkeys((404, 410), f"knows nothing at this address. Check {OPERATORS_WEBHOOK}"),
    413: _SAID[413],
    429: _SAID[429],
}


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a message was not taken, in words without the address, and the seconds that the receiver asks to wait."""

    reason: str
    retry_after: float | None = None


class Webhook:
    """The webhook that a setting names: the sales team's, or one of the operators'."""

    def __init__(self, settings: Settings, variable: str = VARIABLE) -> None:
        """Open a client. Raises SettingsError without an address, and for a CA bundle that cannot be used."""
        address = _addresses(settings)[variable]
        if address is None:
            raise SettingsError(variable, "is not set, so nothing is sent there (docs/alerts.md)")
        self._url: Final = address.get_secret_value()
        self._variable: Final = variable
        self.host: Final = self.host_of(settings, variable)
        self._http: Final = build_http(settings)
        # httpx writes the whole address of each request to its log, and this one is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    @staticmethod
    def host_of(settings: Settings, variable: str = VARIABLE) -> str:
        """Return the receiver's host, the only part of the address that people may see; "" without an address."""
        address = _addresses(settings)[variable]
        return "" if address is None else urlsplit(address.get_secret_value()).hostname or ""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, body: Mapping[str, Any], message_id: str, now: datetime) -> Failed | None:
        """Send a message once and return None when the receiver took it, else why it did not.

        Redirects are not followed. `now` is UTC, for a receiver that asks to wait until a time of day.
        """
        request = self._http.build_request(
            "POST",
            self._url,
            content=orjson.dumps(body),
            headers={"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": message_id},
            timeout=_TIMEOUT,
        )
        try:
            with answered_within(ANSWER_SECONDS):
                answer = send_mapping_errors(self._http, request, Service(self.host, self._variable))
        except PartnerCenterError as error:
            return Failed(str(error))
        if answer.is_success:
            return None
        status = answer.status_code
        asked = retry_after(answer.headers.get("retry-after"), http_date(answer.headers.get("date")) or now)
        if answer.is_redirect:
            said = f"points to another address, which is not followed. Check {self._variable}"
        else:
            known = _SAID_BY_ANOTHER if self._variable == OPERATORS_WEBHOOK else _SAID
            other = "is in trouble" if status >= 500 else f"does not take it. Check {self._variable}"
            said = known.get(status, other)
        wait = "" if asked is None else f" It asks to wait {asked:.0f} s."
        return Failed(f"{self.host} {said} (HTTP {status}).{wait}", asked)


def _addresses(settings: Settings) -> Mapping[str, SecretStr | None]:
    return {
        VARIABLE: settings.teams_webhook_url,
        OPERATORS_TEAMS: settings.operators_teams_webhook_url,
        OPERATORS_WEBHOOK: settings.operators_webhook_url,
    }
