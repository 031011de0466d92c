"""`partner-center quarantine`: rows that break the contract, for a person to look at and to take in."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

import click

from partner_center_pipeline.cli.base import console, emit, for_people, stop
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import quarantine as kept
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.referrals import Version

_SHOWN: Final = 12
"""Characters of a fingerprint that a list shows; any beginning that only one row has names it."""

_CONTROL: Final = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""What JSON leaves as it is, and no terminal should get: DEL, C1 controls, and half a surrogate pair."""


@click.group()
def quarantine() -> None:
    """Rows that break the payload contract: list them, show one, take them in.

    Such a row is one row's problem, never its page's: it is kept aside with the reason, and its window goes on.
    """


@quarantine.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@for_people
def list_(as_json: bool) -> None:
    """List what is kept aside, and why: the newest first, without any payload."""
    with _warehouse() as warehouse, warehouse.read() as connection:
        found = kept.load(connection)
    if as_json:
        emit([row.shown() for row in found])
        return
    if not found:
        console.print("The quarantine is empty: every row of Partner Center was taken in.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "row", "referral", "reason", "path", "window", "first seen (UTC)", "last seen (UTC)", "scans", box=None
    )
    for row in found:
        table.add_row(
            row.fingerprint[:_SHOWN],
            Text(row.referral_id or ""),  # as text: an id is not markup
            row.reason,
            row.path,
            row.shown()["window"],
            f"{row.first_seen:%Y-%m-%d %H:%M}",
            f"{row.last_seen:%Y-%m-%d %H:%M}",
            str(row.attempts),
        )
    console.print(table)


@quarantine.command()
@click.argument("fingerprint")
@click.option("--json", "as_json", is_flag=True, help="Print the row as JSON, its payload as text in ASCII.")
@for_people
def show(fingerprint: str, as_json: bool) -> None:
    """Show one row with its payload.

    FINGERPRINT is what `list` shows, or any beginning of it that only one row has. The payload is all that Microsoft
    sent of the referral: it may hold personal data (names, e-mail addresses, phones).
    """
    with _warehouse() as warehouse:
        row = _one(warehouse, fingerprint)
        with warehouse.read() as connection:
            text = kept.payload_text(connection, row.fingerprint)
    if as_json:
        emit({**row.shown(), "payload_text": text})
        return
    for name, value in row.shown().items():
        console.print(f"{name:<12} {'' if value is None else value}", markup=False)
    console.print()
    console.print(_readable(text), markup=False)


@quarantine.command()
@click.argument("fingerprints", nargs=-1, metavar="[FINGERPRINT]...")
@click.option("--all", "everything", is_flag=True, help="Every row of the quarantine.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@for_people
def replay(fingerprints: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Read rows anew with today's contract, and take in those that pass.

    Such a row leaves the quarantine and is stored under the window that fetched it; `partner-center sync`, or the
    sensor, then makes a lead of it. A newer version of the same referral stays the newest. The others stay, with
    today's reason. Name rows as for `show`, or take --all.
    """
    if everything == bool(fingerprints):
        raise click.UsageError("name the rows to replay, or take --all")
    from partner_center_pipeline.partner_center.drift import DriftWatch
    from partner_center_pipeline.warehouse.bulk import chunks

    done, watch = kept.Replayed(), DriftWatch()
    with _warehouse() as warehouse:
        if everything:
            with warehouse.read() as connection:
                names = [row.fingerprint for row in kept.load(connection)]
        else:
            names = list(dict.fromkeys(_one(warehouse, prefix).fingerprint for prefix in fingerprints))
        for some in chunks(names):
            with warehouse.write() as connection:
                done.add(kept.replay(connection, some, _reread, watch.news, datetime.now(UTC)))
    if as_json:
        emit(asdict(done))
        return
    console.print(
        f"{done.loaded} taken in, {done.known_already} known already, {done.still_refused} refused still"
        + (
            f"; {done.windows_reopened} windows are open again: `partner-center sync` makes leads of the rows."
            if done.windows_reopened
            else "."
        )
    )


@contextmanager
def _warehouse() -> Iterator[Warehouse]:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    try:
        yield warehouse
    finally:
        warehouse.close()


def _one(warehouse: Warehouse, prefix: str) -> kept.Kept:
    with warehouse.read() as connection:
        found = kept.named(connection, prefix)
    if len(found) != 1:
        problem = f"{len(found)} rows' fingerprints begin" if found else "no row's fingerprint begins"
        stop(f"{problem} with {prefix!r}; `partner-center quarantine list` shows them")
    return found[0]


def _reread(payload_text: str, reason: str) -> Version | kept.Refused:
    from partner_center_pipeline.partner_center import Breach
    from partner_center_pipeline.partner_center.reread import reread

    found = reread(payload_text, reason)
    return kept.Refused(str(found)) if isinstance(found, Breach) else found


def _readable(text: str) -> str:
    """JSON in lines, with letters as letters and what no terminal should get as escapes."""
    try:
        lines = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (RecursionError, ValueError):  # too deep to lay out; ASCII as it is
        return text
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", lines)
