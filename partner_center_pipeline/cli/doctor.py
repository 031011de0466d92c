"""`partner-center doctor`: what is configured, what works, and the next step. Prints no secret and no personal name."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import click
from rich.table import Table

from partner_center_pipeline.alerts import operators
from partner_center_pipeline.alerts.teams import Webhook
from partner_center_pipeline.cli.base import console, emit, print_table, report_errors
from partner_center_pipeline.cli.health_check import (
    NoAnswerError,
    dagster_items,
    disk_items,
    private_file_items,
    utc_now,
    warehouse_items,
    within,
)
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.health import Grade
from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    connect,
    connect_sign_in,
    signed_in_account,
)
from partner_center_pipeline.partner_center.probe import probe
from partner_center_pipeline.partner_center.probed import Probed, Verdict
from partner_center_pipeline.settings import HOME_VARIABLE, Settings, SettingsError, home
from partner_center_pipeline.warehouse import accounts, demo, outbox
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.tokens import shared_sign_in

_SIGN_IN: Final = "sign-in"
_FLAG: Final = "flag"
_SECONDS: Final = 9.0
"""Seconds in which database, sign-in and API must have answered, all together: then the command ends within 15."""
_WAREHOUSE_SECONDS: Final = 3.0
"""Seconds of these that the database may take."""
_MICROSOFT_SECONDS: Final = 4.0
"""Seconds that are left to sign-in and API in any case."""
_SHOWN: Final = ("sync", "breaker", "quarantine", "daemon", "schedules and sensors", "pools", "disk")
"""Subjects of `status` that are shown where they are well, too."""
_SIGN_IN_WAIT: Final = 2.0
"""Seconds of pauses between tries of the sign-in."""
_PROBE_DEADLINE: Final = 120.0
"""Seconds for all requests of the probe."""
_ENABLE: Final = "set HUNTER_PARTNER_CENTER_ENABLED=true in .env, then run `partner-center sync`"
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

    It makes no file and no folder, and ends within 15 seconds when nothing answers (without --probe). Whether the sync
    keeps up is judged as by `partner-center status`, which answers faster and is made for a monitor.

    Exit code 1 when something is wrong. What --probe finds to differ from the documentation is not wrong by itself:
    each line says what the pipeline does about it. The last line says which argument for completeness holds; where none
    does, that is wrong.
    """
    findings: list[Finding] = []
    probed: list[Probed] = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    if probing and any(finding.subject == _SIGN_IN and finding.state != "wrong" for finding in findings):
        findings.append(_check("probe", lambda: _probe(Settings.load(), probed)))
        if not as_json:
            _print(findings[-1])
    wrong = [finding for finding in findings if finding.state == "wrong"]
    is_off = any(finding.subject == _FLAG and finding.state != "ok" for finding in findings)
    next_step = wrong[0].text if wrong else _ENABLE if is_off else None
    if as_json:
        emit(
            {
                "ok": not wrong,
                "next_step": next_step,
                "findings": [{"subject": f.subject, "state": f.state, "text": f.text} for f in findings],
                **({"probe": [asdict(answer) for answer in probed]} if probing else {}),
            }
        )
    else:
        if probed:
            _print_probed(probed)
        if next_step is not None:
            console.print("\nNext step: ", end="", style="bold")
            console.print(next_step, markup=False)
    if wrong:
        raise SystemExit(1)


def _print(finding: Finding) -> None:
    marks = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "wrong": "[red]wrong[/]"}
    console.print(f"{marks[finding.state]}  [bold]{finding.subject}[/]  ", end="")
    console.print(finding.text, markup=False)


def _print_probed(probed: list[Probed]) -> None:
    table = Table("question", "documentation", "found", "the pipeline", box=None, title_justify="left")
    for answer in probed:
        verdict = f"[{_COLOURS[answer.verdict]}]{answer.verdict}[/]"
        table.add_row(answer.subject, verdict, answer.found, answer.consequence)
    console.print()
    print_table(table)


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
    ends = time.monotonic() + _SECONDS
    if not home().is_dir():
        yield Finding("home", "wrong", f"there is no folder {home()}; correct {HOME_VARIABLE}, or make the folder")
        return
    try:
        settings = Settings.load()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield from _configured(settings)
    whom = f"{Warehouse.of(settings).shown} (HUNTER_DATABASE_URL)"
    warehouse = _check_within(_WAREHOUSE_SECONDS, whom, "warehouse", lambda: _warehouse(settings))
    yield warehouse
    if warehouse.state != "wrong":
        yield from _data(settings)
        yield from _health(settings)
        yield from _alerts(settings)
        ends = max(ends, time.monotonic() + _MICROSOFT_SECONDS)
    if not settings.partner_center_client_id or not settings.partner_center_tenant_id:
        return
    whom = f"{urlsplit(settings.partner_center_authority).hostname} (HUNTER_PARTNER_CENTER_AUTHORITY)"
    sign_in = _check_within(ends - time.monotonic(), whom, _SIGN_IN, lambda: _sign_in(settings))
    yield sign_in
    if sign_in.state != "wrong":
        if warehouse.state != "wrong":
            yield _check("account", lambda: _account(settings))
        whom = f"{urlsplit(settings.partner_center_base_url).hostname} (HUNTER_PARTNER_CENTER_BASE_URL)"
        yield _check_within(ends - time.monotonic(), whom, "Referrals API", lambda: _api(settings, ends))


def _configured(settings: Settings) -> Iterator[Finding]:
    if settings.partner_center_enabled:
        yield Finding(_FLAG, "ok", "Partner Center integration is enabled")
    else:
        yield Finding(_FLAG, "note", "disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env when all else is ok")
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


def _check_within(seconds: float, whom: str, subject: str, check: Callable[[], tuple[str, str]]) -> Finding:
    """Return what a check finds, or after `seconds` that `whom` gave no answer."""
    try:
        return within(max(seconds, 1.0), whom, lambda: _check(subject, check))
    except NoAnswerError as error:
        return Finding(subject, "wrong", str(error))


def _data(settings: Settings) -> Iterator[Finding]:
    """Yield that the warehouse holds the demo's data. That is wrong where a real tenant's would go in."""
    warehouse = Warehouse.of(settings)
    try:
        if not warehouse.is_current():
            return
        with warehouse.read() as connection:
            world = demo.load(connection)
            if world is None:
                return
            if settings.partner_center_client_id and settings.partner_center_tenant_id:
                demo.refuse_mixing(connection, settings.partner_center_base_url)
    except WarehouseError as error:
        yield Finding("data", "wrong", str(error))
        return
    yield Finding("data", "note", f"the demo's {world.referrals} invented referrals, no tenant's")


def _warehouse(settings: Settings) -> tuple[str, str]:
    warehouse = Warehouse.of(settings)
    if warehouse.is_current():
        return "ok", f"{warehouse.shown}, schema up to date"
    if warehouse.is_sqlite:
        return "note", f"{warehouse.shown}: no tables yet; the first command that needs them makes them"
    return (
        "wrong",
        f"{warehouse.shown}: the schema is not the one this version needs; run `partner-center migrate`",
    )


def _health(settings: Settings) -> Iterator[Finding]:
    """Yield how well the pipeline does, by the rules of `partner-center status`; what is well only where it matters."""
    now = utc_now()
    asked = (*warehouse_items(settings, _WAREHOUSE_SECONDS, now), *dagster_items(settings, now))
    for item in (*asked, *disk_items(settings), *private_file_items(settings)):
        if item.subject in _SHOWN or (item.grade is not Grade.OK and item.subject != "schema"):
            yield Finding(item.subject, "note" if item.grade is Grade.WARNING else str(item.grade), item.text)


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Yield who is told, what waits and what was given up; nothing while the warehouse cannot be read."""
    if settings.teams_webhook_url is None:
        yield Finding("alerts", "ok", "off: HUNTER_TEAMS_WEBHOOK_URL is not set")
    else:
        yield from _told(settings, "alerts", f"cards go to {Webhook.host_of(settings)}", [outbox.SALES], "send")
    if channels := operators.channels_of(settings):
        hosts = ", ".join(operators.hosts_of(settings))
        yield from _told(settings, "operators", f"what stops the sync is told to {hosts}", channels, "check")
    else:
        yield Finding("operators", "ok", "nobody is told what stops the sync (docs/alerts.md, Operators)")


def _told(settings: Settings, subject: str, said: str, channels: list[str], command: str) -> Iterator[Finding]:
    try:
        warehouse = Warehouse.of(settings)
        if not warehouse.is_current():
            return
        with warehouse.read() as connection:
            found = outbox.summary(connection, channels, datetime.now(UTC))
    except WarehouseError:
        return
    if found.given_up:
        said += f"; {found.given_up} were given up in the last 7 days"
    if found.waiting:
        said += f"; {found.waiting} wait to be sent"
    if found.reason is not None:
        said += f". {found.reason} Then run `partner-center alerts {command} --now`"
    yield Finding(subject, "note" if found.given_up or found.reason else "ok", said)


def _sign_in(settings: Settings) -> tuple[str, str]:
    with shared_sign_in(settings) as place, connect_sign_in(settings, place, wait=_SIGN_IN_WAIT) as sign_in:
        before = sign_in.status()
        if not before.signed_in:
            return "wrong", "nobody is signed in; run `partner-center login`"
        sign_in.token(renew=True)  # a stored token is good for an hour after the sign-in was ended
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


def _api(settings: Settings, ends: float) -> tuple[str, str]:
    """Ask for one referral; `ends` is when the last try may begin, in seconds of `time.monotonic()`."""
    deadline = max(ends - time.monotonic() - 1.0, 0.0)
    with shared_sign_in(settings) as place, connect(settings, deadline=deadline, place=place) as client:
        page = client.get_page(PageQuery(1, descending=True))
    seen = "and shows referrals" if page.items else "but shows no referral: is the role Referral Admin, entire company?"
    clock = f"its clock is {page.skew_seconds:+.0f} s from this machine's"
    return ("ok" if page.items else "note"), f"answers {seen}; {clock}"
