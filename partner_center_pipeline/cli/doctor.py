"""`partner-center doctor`: what is configured, what works, and the next step. Prints no secret and no personal name."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import click
from rich.table import Table

from partner_center_pipeline.alerts.teams import Webhook
from partner_center_pipeline.cli.base import console, emit, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    connect,
    connect_sign_in,
    signed_in_account,
)
from partner_center_pipeline.partner_center.probe import probe
from partner_center_pipeline.partner_center.probed import Probed, Verdict
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import accounts, breaker, outbox, quarantine
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.tokens import shared_sign_in

_SIGN_IN: Final = "sign-in"
_DEADLINE: Final = 20.0
_PROBE_DEADLINE: Final = 120.0
"""Seconds for all requests of one check."""
_COLOURS: Final = {
    Verdict.DOCUMENTED: "green",
    Verdict.DIFFERS: "yellow",
    Verdict.REFUSED: "red",
    Verdict.FAILS: "red",
    Verdict.OPEN: "dim",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `state` is `ok`, `note` (works, but look at it) or `wrong`."""

    subject: str
    state: str
    text: str


@click.command()
@json_option("Print the findings as JSON.")
@click.option(
    "--probe", "probing", is_flag=True, help="Also ask the live API what it supports; at most 25 small requests."
)
@report_errors
def doctor(as_json: bool, probing: bool) -> None:
    """Say what is configured, whether the sign-in renews, whether the API answers, and what to do next.

    Exit code 1 when something is wrong. What --probe finds to differ from the documentation is not wrong by itself:
    each line says what the pipeline does about it. The last line says which argument for completeness holds; where none
    does, that is wrong.
    """
    findings = list(_findings())
    probed: list[Probed] = []
    if probing and any(finding.subject == _SIGN_IN and finding.state != "wrong" for finding in findings):
        findings.append(_check("probe", lambda: _probe(Settings.load(), probed)))
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if as_json:
        emit(
            {
                "ok": not wrong,
                "findings": [{"subject": f.subject, "state": f.state, "text": f.text} for f in findings],
                **({"probe": [asdict(answer) for answer in probed]} if probing else {}),
            }
        )
    else:
        _print(findings, probed)
        if wrong:
            console.print("\nNext step: ", end="", style="bold")
            console.print(wrong[0].text, markup=False)
    if wrong:
        raise SystemExit(1)


def _print(findings: list[Finding], probed: list[Probed]) -> None:
    marks = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "wrong": "[red]wrong[/]"}
    for finding in findings:
        console.print(f"{marks[finding.state]}  [bold]{finding.subject}[/]  ", end="")
        console.print(finding.text, markup=False)
    if probed:
        table = Table("question", "documentation", "found", "the pipeline", box=None, title_justify="left")
        for answer in probed:
            verdict = f"[{_COLOURS[answer.verdict]}]{answer.verdict}[/]"
            table.add_row(answer.subject, verdict, answer.found, answer.consequence)
        console.print()
        console.print(table, soft_wrap=False)


def _probe(settings: Settings, probed: list[Probed]) -> tuple[str, str]:
    """Fill `probed` and return the state and the text of the finding."""
    with shared_sign_in(settings) as place, connect(settings, deadline=_PROBE_DEADLINE, place=place) as client:
        probed.extend(probe(client))
    argument = probed[-1]
    if argument.verdict is Verdict.FAILS:
        return "wrong", f"{argument.found}: {argument.consequence}"
    by_verdict = Counter(answer.verdict for answer in probed)
    counts = ", ".join(f"{by_verdict[verdict]} {verdict}" for verdict in Verdict if by_verdict[verdict])
    is_noted = any(by_verdict[verdict] for verdict in (Verdict.DIFFERS, Verdict.REFUSED, Verdict.FAILS))
    return ("note" if is_noted else "ok"), f"{argument.found}; {counts}"


def _findings() -> Iterator[Finding]:
    try:
        settings = Settings.load()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield from _configured(settings)
    yield _check("warehouse", lambda: _warehouse(settings))
    yield from _quarantine(settings)
    yield from _alerts(settings)
    if not settings.partner_center_client_id or not settings.partner_center_tenant_id:
        return
    sign_in = _check(_SIGN_IN, lambda: _sign_in(settings))
    yield sign_in
    if sign_in.state != "wrong":
        yield _check("account", lambda: _account(settings))
        yield _check("Referrals API", lambda: _api(settings))


def _configured(settings: Settings) -> Iterator[Finding]:
    if settings.partner_center_enabled:
        yield Finding("flag", "ok", "Partner Center integration is enabled")
    else:
        yield Finding("flag", "note", "disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env when all else is ok")
    for name, value in (
        ("HUNTER_PARTNER_CENTER_CLIENT_ID", settings.partner_center_client_id),
        ("HUNTER_PARTNER_CENTER_TENANT_ID", settings.partner_center_tenant_id),
    ):
        if value:
            yield Finding(name, "ok", "set")
        else:
            yield Finding(name, "wrong", f"set {name} in .env (README, Connecting a real tenant)")
    yield Finding("API", "ok", settings.partner_center_base_url)
    yield Finding("authority", "ok", settings.authority_url)
    if settings.partner_center_client_secret is not None:
        yield Finding(
            "HUNTER_PARTNER_CENTER_CLIENT_SECRET",
            "note",
            "is set and ignored: device code sign-in is for public clients, which have no secret; remove it",
        )
    if settings.sync_start is None:
        yield Finding("HUNTER_SYNC_START", "note", "not set; `partner-center sync` writes today 00:00 UTC into .env")
    else:
        minutes = settings.partner_center_poll_interval_seconds // 60
        yield Finding("windows", "ok", f"{minutes} minutes wide from {settings.sync_start:%Y-%m-%dT%H:%M}Z on")
    resolvers = ", ".join(f"{host}:{port}" for host, port in settings.dns_resolvers) or "the system's resolvers"
    yield Finding("DNS", "ok", resolvers)


def _check(subject: str, check: Callable[[], tuple[str, str]]) -> Finding:
    try:
        return Finding(subject, *check())
    except (PartnerCenterError, WarehouseError, SettingsError) as error:
        return Finding(subject, "wrong", str(error))


def _warehouse(settings: Settings) -> tuple[str, str]:
    warehouse = Warehouse.of(settings)
    if warehouse.is_current():
        with warehouse.read() as connection:
            circuit = breaker.load(connection)
        if circuit.tripped:
            return "note", str(circuit)
        return "ok", f"{warehouse.shown}, schema up to date"
    if warehouse.is_sqlite:
        return "note", f"{warehouse.shown}: no tables yet; the first command that needs them makes them"
    return (
        "wrong",
        f"{warehouse.shown}: the schema is not the one this version needs; run `partner-center migrate`",
    )


def _quarantine(settings: Settings) -> Iterator[Finding]:
    """Yield what the quarantine holds, nothing as long as the warehouse cannot be read (`_warehouse` says why)."""
    try:
        warehouse = Warehouse.of(settings)
        if not warehouse.is_current():
            return
        with warehouse.read() as connection:
            held = quarantine.summary(quarantine.counts(connection))
    except WarehouseError:
        return
    yield Finding("quarantine", "note" if held else "ok", held or "empty: every row was taken in")


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Yield whether cards are sent, and what waits or was given up; nothing while the warehouse cannot be read."""
    if settings.teams_webhook_url is None:
        yield Finding("alerts", "ok", "off: HUNTER_TEAMS_WEBHOOK_URL is not set")
        return
    try:
        warehouse = Warehouse.of(settings)
        if not warehouse.is_current():
            return
        with warehouse.read() as connection:
            found = outbox.summary(connection, datetime.now(UTC))
    except WarehouseError:
        return
    said = f"cards go to {Webhook.host_of(settings)}"
    if found.given_up:
        said += f"; {found.given_up} were given up in the last 7 days"
    if found.waiting:
        said += f"; {found.waiting} wait to be sent"
    if found.reason is not None:
        said += f". {found.reason} Then run `partner-center alerts send --now`"
    yield Finding("alerts", "note" if found.given_up or found.reason else "ok", said)


def _sign_in(settings: Settings) -> tuple[str, str]:
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        before = sign_in.status()
        if not before.signed_in:
            return "wrong", "nobody is signed in; run `partner-center login`"
        sign_in.token()
        status = sign_in.status()
    if before.warning is not None:  # from before the call above, which may have renewed the token
        return "note", before.warning
    since = f"signed in on {status.signed_in_at:%Y-%m-%d}, last renewed {status.age_days or 0:.0f} days ago"
    return "ok", f"{since}; renews silently"


def _account(settings: Settings) -> tuple[str, str]:
    with shared_sign_in(settings) as place:
        account = signed_in_account(settings, place)
    warehouse = Warehouse.of(settings)
    if account is None or not warehouse.is_current():
        return "ok", "no referrals are stored yet"
    present = accounts.Connected.of(settings, account)
    with warehouse.read() as connection:
        accounts.refuse_another(connection, present)
        known = accounts.load(connection) is not None
    return "ok", "the one whose referrals the warehouse holds" if known else "the first answer records it"


def _api(settings: Settings) -> tuple[str, str]:
    with shared_sign_in(settings) as place, connect(settings, deadline=_DEADLINE, place=place) as client:
        page = client.get_page(PageQuery(1, descending=True))
    seen = "and shows referrals" if page.items else "but shows no referral: is the role Referral Admin, entire company?"
    clock = f"its clock is {page.skew_seconds:+.0f} s from this machine's"
    return ("ok" if page.items else "note"), f"answers {seen}; {clock}"
