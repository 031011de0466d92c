"""Asks Microsoft's public OpenID metadata for the tenant of a domain (mail_signals.md, "Tenant look-up").

Not here: the switch HUNTER_TENANT_DISCOVERY_ENABLED (`defs.resources`), what a tenant is worth (`scoring`).
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import httpx

from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.resolver import TokenBucket
from partner_center_pipeline.mail.signals import TENANT, Lookup, MailSignals, Outcome
from partner_center_pipeline.vocabulary import TenantSource

REQUESTS_PER_SECOND: Final = 2.0
"""The highest rate of requests, for all domains together."""

_ISSUER: Final = re.compile(r"https://[^/]+/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/", re.IGNORECASE)


class TenantDiscovery:
    """Asks for the tenant ids of domains, with one request for each, at most REQUESTS_PER_SECOND."""

    def __init__(
        self,
        client: httpx.Client,
        authority: str,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        """Ask `authority` (https://login.microsoftonline.com). `clock` gives the time in UTC, `sleep` takes seconds."""
        self._client = client
        self._authority = authority.rstrip("/")
        self._clock = clock
        self._sleep = sleep
        self._bucket = TokenBucket(REQUESTS_PER_SECOND)

    def look_up(self, domain: str) -> Lookup:
        """Return Microsoft's answer: `found` with the tenant id in `records`, or `nxdomain` if no tenant has `domain`.

        Anything else is no fact: `timeout` for no answer, `refused` for status 429, `malformed` for an answer that
        cannot be read, `servfail` for any other. Never raises for these.
        """
        if (delay := self._bucket.reserve(self._clock().timestamp())) > 0:
            self._sleep(delay)
        outcome, records = self._ask(domain)
        if not outcome.is_fact:
            return Lookup(outcome, missed=outcome)
        return Lookup(outcome, records, answered_at=self._clock())

    def _ask(self, domain: str) -> tuple[Outcome, tuple[str, ...]]:
        try:
            response = self._client.get(f"{self._authority}/{domain}/v2.0/.well-known/openid-configuration")
        except httpx.HTTPError:
            return Outcome.TIMEOUT, ()
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return Outcome.REFUSED, ()
        if response.status_code not in (httpx.codes.OK, httpx.codes.BAD_REQUEST):
            return Outcome.SERVFAIL, ()
        try:
            body = response.json()
        except ValueError:
            return Outcome.MALFORMED, ()
        if not isinstance(body, dict):
            return Outcome.MALFORMED, ()
        if response.status_code == httpx.codes.BAD_REQUEST:
            return (Outcome.NXDOMAIN if body.get("error") == "invalid_tenant" else Outcome.SERVFAIL), ()
        issuer = _ISSUER.match(str(body.get("issuer")))
        return (Outcome.FOUND, (issuer[1].lower(),)) if issuer else (Outcome.MALFORMED, ())


def is_due(known: MailSignals | None, now: datetime, ttl_hours: int) -> bool:
    """Say whether to ask for a domain's tenant: never asked, or the last fact is at least `ttl_hours` old."""
    found = known.lookups.get(TENANT) if known else None
    if found is None or found.answered_at is None:
        return True
    return now - found.answered_at >= timedelta(hours=ttl_hours)


def with_tenant(signals: MailSignals, found: Lookup) -> MailSignals:
    """Return `signals` with the answer of a tenant look-up.

    A tenant named by a DKIM target has priority over the answer. Without a tenant in the answer, the known one stays.
    The answer also confirms other hints at Microsoft (mail_signals.md, "Behind a gateway").
    """
    known = (signals.tenant, signals.tenant_source) if signals.tenant and signals.tenant_source else None
    tenant = (found.records[0], TenantSource.OIDC_METADATA) if found.records else None
    kept = known if known and (known[1] is TenantSource.DKIM_TARGET or tenant is None) else tenant
    return conclude(signals.domain, {**signals.lookups, TENANT: found}, signals.scanned_at, tenant=kept)
