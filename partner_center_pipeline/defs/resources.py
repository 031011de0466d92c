"""The resources: plain objects for the assets, such as the open warehouse or a client of the Referrals API.

Each is opened for a step of a run and closed after it. Settings are read anew each time, so an edited `.env` counts.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from partner_center_pipeline.defs.dagster_private import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from partner_center_pipeline.defs.run_heartbeat import run_heartbeat
from partner_center_pipeline.defs.told_failure import show_stacks
from partner_center_pipeline.mail import MailSignals, TenantDiscovery, scan, with_tenant
from partner_center_pipeline.mail.tenant import is_due
from partner_center_pipeline.partner_center import (
    Capability,
    DateLiteral,
    ReferralsClient,
    build_http,
    connect,
    signed_in_account,
)
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.telling import about, heard_by
from partner_center_pipeline.warehouse import accounts, capabilities, dns_share
from partner_center_pipeline.warehouse.database import Warehouse, kept_open, open_warehouse
from partner_center_pipeline.warehouse.tokens import shared_sign_in
from partner_center_pipeline.windows import WindowGrid


def utc_now() -> datetime:
    """Return the time now, for everything in `defs`."""
    return datetime.now(UTC)


def _windows_of(run: dg.DagsterRun) -> str | None:
    """Return the key of a run's window, or of its first and last one; None for a run of none."""
    first, last = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    return f"{first} to {last}" if first and last else run.tags.get(PARTITION_NAME_TAG)


def _open_log_file() -> None:
    try:
        settings = Settings.load()
    except SettingsError:
        return  # the first step says what is wrong
    if settings.log_file is not None:
        from partner_center_pipeline.log_file import open_log_file

        open_log_file(settings.log_file, settings.log_format, settings.log_level)


GridParam = dg.ResourceParam[WindowGrid]
"""The type of a parameter `grid`: the windows that this code location was built for."""


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The warehouse that HUNTER_DATABASE_URL names.

    Dagster sets resources up once for all steps that a process runs, so a run's heartbeat begins here, and so does what
    it tells.
    """

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Send the run's heartbeats, and put what is told on its page; a schedule or a sensor has no run."""
        if context.run is None or context.instance is None:
            yield self
            return
        show_stacks()
        # While a step runs, Dagster takes what this logger gets into the run's log, under the step.
        with (
            run_heartbeat(context.run.run_id, context.instance, utc_now),
            heard_by(dg.get_dagster_logger().log),
            kept_open(),
            about(run=context.run.run_id, windows=_windows_of(context.run)),
        ):
            _open_log_file()
            yield self

    @contextmanager
    def open(self) -> Iterator[Warehouse]:
        """Open the warehouse; a SQLite file is migrated where needed."""
        with open_warehouse(Settings.load()) as warehouse:
            yield warehouse


class PartnerCenterResource(dg.ConfigurableResource[ReferralsClient]):
    """The Referrals API, with the sign-in that `partner-center login` made."""

    @contextmanager
    def open(
        self, settings: Settings, *, deadline: float, asking: Callable[[], None] = lambda: None
    ) -> Iterator[ReferralsClient]:
        """Open a client that starts no retry and no pause after `deadline` seconds from now.

        `asking` is called before each request, and what it raises ends the call.
        What the API was found to take is remembered in the warehouse, so that the next run need not find it out again.
        So is whose referrals it holds, from the first answer on; raises AnotherAccountError for another account.
        """
        base_url = settings.partner_center_base_url
        with open_warehouse(settings) as db, shared_sign_in(settings) as place:
            account = signed_in_account(settings, place)
            present = None if account is None else accounts.Connected.of(settings, account)
            with db.read() as connection:
                if present is not None:
                    accounts.refuse_another(connection, present)
                is_new = present is not None and accounts.load(connection) is None
                found = capabilities.load(connection, base_url)

            def record() -> None:
                if present is not None and is_new:
                    with db.write() as connection:
                        accounts.record(connection, present, utc_now())

            known = None if found is None else Capability(_literal(found.date_literal), found.found_at)
            with connect(
                settings,
                deadline=deadline,
                capability=known,
                place=place,
                account=account,
                answered=record,
                asking=asking,
            ) as client:
                yield client
                if client.capability is not None and client.capability != known:
                    with db.write() as connection:
                        capabilities.store(
                            connection, base_url, client.capability.date_literal, client.capability.found_at
                        )


def _literal(kept: str | None) -> DateLiteral | None:
    return None if kept is None else DateLiteral(kept)


Known = Mapping[str, MailSignals]
"""What was known of domains before they are asked again, by domain."""


class MailResource(dg.ConfigurableResource[Callable[[Sequence[str], Known], Iterator[MailSignals]]]):
    """DNS, and behind HUNTER_TENANT_DISCOVERY_ENABLED Microsoft's public tenant metadata."""

    @contextmanager
    def open(self, settings: Settings) -> Iterator[Callable[[Sequence[str], Known], Iterator[MailSignals]]]:
        """Open a function that scans domains, given what is known of them, and yields the signals of each."""

        with dns_share.shared(settings) as reserve:

            def dns(domains: Sequence[str], _known: Known) -> Iterator[MailSignals]:
                return scan(
                    domains,
                    resolvers=settings.dns_resolvers,
                    selectors=settings.dkim_selectors,
                    clock=utc_now,
                    mail_host_addresses=settings.mail_host_addresses_enabled,
                    reserve=reserve,
                )

            if not settings.tenant_discovery_enabled:
                yield dns
                return
            with build_http(settings) as http:
                discovery = TenantDiscovery(http, settings.partner_center_authority, clock=utc_now, sleep=time.sleep)

                def with_tenants(domains: Sequence[str], known: Known) -> Iterator[MailSignals]:
                    for found in dns(domains, known):
                        due = is_due(known.get(found.domain), found.scanned_at, settings.signals_ttl_hours)
                        yield with_tenant(found, discovery.look_up(found.domain)) if due else found

                yield with_tenants
