"""The call that says that windows are still completed, to a monitor on another machine: its silence is the alarm."""

import logging
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

import httpx

from partner_center_pipeline.alerts.delivery import OF_THE_DEMO, is_the_demos
from partner_center_pipeline.partner_center import PartnerCenterError
from partner_center_pipeline.partner_center.http import Service, answered_within, build_http, send_mapping_errors
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError

VARIABLE: Final = "HUNTER_PING_URL"

PING_SECONDS: Final = 10.0
"""Seconds that the monitor may take; a run waits so long at most."""

_log = logging.getLogger(__name__)


def ping(db: Warehouse, settings: Settings) -> None:
    """Tell the monitor that the whole chain has done a window, where one is set up. Never fails.

    What the monitor does not take is a line of warning, which names its host and no more of the address.
    """
    if settings.ping_url is not None and (
        reason := _reason_not_taken(db, settings, settings.ping_url.get_secret_value())
    ):
        _log.warning("ping: %s", reason)


def _reason_not_taken(db: Warehouse, settings: Settings, address: str) -> str | None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes the whole address, which is a secret
    host = urlsplit(address).hostname or ""
    try:
        with db.read() as connection:
            if is_the_demos(connection, host):
                return OF_THE_DEMO
        with closing(build_http(settings)) as http, answered_within(PING_SECONDS):
            request = http.build_request("GET", address, timeout=httpx.Timeout(PING_SECONDS, connect=5.0))
            answer = send_mapping_errors(http, request, Service(host, VARIABLE))
    except (PartnerCenterError, SettingsError, WarehouseError) as error:
        return str(error)
    return None if answer.is_success else f"{host} does not take it (HTTP {answer.status_code}). Check {VARIABLE}"
