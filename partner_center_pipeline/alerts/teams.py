"""Sending one message to the Teams Workflows webhook, and what its answer means. The address is a secret.

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

from partner_center_pipeline.partner_center import PartnerCenterError
from partner_center_pipeline.partner_center.http import Service, answered_within, build_http, send_mapping_errors
from partner_center_pipeline.partner_center.odata import http_date, retry_after
from partner_center_pipeline.settings import Settings, SettingsError

VARIABLE: Final = "HUNTER_TEAMS_WEBHOOK_URL"

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


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a message was not taken, in words without the address, and the seconds that the receiver asks to wait."""

    reason: str
    retry_after: float | None = None


class Webhook:
    """The webhook that HUNTER_TEAMS_WEBHOOK_URL names."""

    def __init__(self, settings: Settings) -> None:
        """Open a client. Raises SettingsError without an address, and for a CA bundle that cannot be used."""
        if settings.teams_webhook_url is None:
            raise SettingsError(VARIABLE, "is not set, so nothing is sent to Teams (docs/alerts.md)")
        self._url: Final = settings.teams_webhook_url.get_secret_value()
        self.host: Final = self.host_of(settings)
        self._http: Final = build_http(settings)
        # httpx writes the whole address of each request to its log, and this one is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    @staticmethod
    def host_of(settings: Settings) -> str:
        """Return the receiver's host, the only part of the address that people may see; "" without an address."""
        address = settings.teams_webhook_url
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
                answer = send_mapping_errors(self._http, request, Service(self.host, VARIABLE))
        except PartnerCenterError as error:
            return Failed(str(error))
        if answer.is_success:
            return None
        status = answer.status_code
        asked = retry_after(answer.headers.get("retry-after"), http_date(answer.headers.get("date")) or now)
        if answer.is_redirect:
            said = f"points to another address, which is not followed. Check {VARIABLE}"
        else:
            said = _SAID.get(status, "is in trouble" if status >= 500 else f"does not take it. Check {VARIABLE}")
        wait = "" if asked is None else f" It asks to wait {asked:.0f} s."
        return Failed(f"{self.host} {said} (HTTP {status}).{wait}", asked)
