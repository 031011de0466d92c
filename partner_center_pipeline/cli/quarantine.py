"""`partner-center quarantine`: list, show, replay and discard the rows that break the payload contract."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.cli.base import console, emit, os_user, print_table, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.referral import ReferralVersion
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import quarantine as stored_rows
from partner_center_pipeline.warehouse.database import Warehouse, open_warehouse

_PREFIX_LENGTH: Final = 12
"""Characters of a fingerprint that the list shows. Any prefix that only one row has identifies the row."""

_CONTROL: Final = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""Characters that JSON does not escape but a terminal must not receive: DEL, C1 controls, lone surrogates."""


@click.group()
def quarantine() -> None:
    """Rows that could not be taken in: list them, show one, take them in, or discard them.

    Such a row is one row's problem, never its page's: it is kept aside with the reason, and its window goes on. It
    leaves the quarantine by itself when its referral comes clean.
    """


@quarantine.command("list")
@click.option("--resolved", is_flag=True, help="Instead, those that left it: how, when, and why.")
@json_option("Print the list as JSON.")
@report_errors
def list_(resolved: bool, as_json: bool) -> None:
    """List what is kept aside, and why: the newest first, without any payload."""
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        rows = stored_rows.load(connection, resolved=resolved)
    if as_json:
        emit([row.shown() for row in rows])
        return
    if not rows:
        console.print(
            "No row has left the quarantine."
            if resolved
            else "The quarantine is empty: every row of Partner Center was taken in."
        )
        return
    print_table(_resolved_table(rows) if resolved else _open_table(rows))


@quarantine.command()
@click.argument("fingerprint")
@json_option("Print the row as JSON, its payload as text in ASCII.")
@report_errors
def show(fingerprint: str, as_json: bool) -> None:
    """Show one row with its payload.

    FINGERPRINT is what `list` shows, or any beginning of it that only one row has. The payload is all that Microsoft
    sent of the referral: it may hold personal data (names, e-mail addresses, phones).
    """
    with open_warehouse(Settings.load()) as warehouse:
        row = _one(warehouse, fingerprint)
        with warehouse.read() as connection:
            (payload,) = stored_rows.payloads(connection, [row.fingerprint])
    if as_json:
        emit({**row.shown(), "payload_text": payload.text})
        return
    for name, value in row.shown().items():
        console.print(f"{name:<12} {'' if value is None else value}", markup=False)
    console.print()
    console.print(_readable(payload.text), markup=False)


@quarantine.command()
@click.argument("fingerprints", nargs=-1, metavar="[FINGERPRINT]...")
@click.option("--all", "everything", is_flag=True, help="Every open row of the quarantine.")
@json_option("Print the counts as JSON.")
@report_errors
def replay(fingerprints: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Read rows anew with today's contract, and take in those that pass.

    Such a row leaves the quarantine and is stored under the window that fetched it; `partner-center sync`, or the
    sensor, then makes a lead of it. A newer version of the same referral stays the newest. The others stay, with
    today's reason. Name rows as for `show`, or take --all.
    """
    if everything == bool(fingerprints):
        raise click.UsageError("name the rows to replay, or take --all")
    from partner_center_pipeline.partner_center.contract import reread
    from partner_center_pipeline.partner_center.schema_drift import DriftWatch
    from partner_center_pipeline.warehouse.bulk import chunks

    total, watch = stored_rows.Replayed(), DriftWatch()
    with open_warehouse(Settings.load()) as warehouse:
        if everything:
            with warehouse.read() as connection:
                names = [row.fingerprint for row in stored_rows.load(connection)]
        else:
            names = list(dict.fromkeys(_one(warehouse, prefix).fingerprint for prefix in fingerprints))
        for chunk in chunks(names):
            with warehouse.write() as connection:
                kept = stored_rows.payloads(connection, chunk)
                results = {row.fingerprint: reread(row.text, row.reason) for row in kept}
                versions = [result for result in results.values() if isinstance(result, ReferralVersion)]
                drift = watch.new_drift([(version.referral_id, version.payload) for version in versions])
                total.add(stored_rows.replay(connection, results, drift, datetime.now(UTC)))
    if as_json:
        emit(asdict(total))
        return
    console.print(
        f"{total.loaded} taken in, {total.known_already} known already, {total.still_refused} refused still"
        + ("; `partner-center sync` makes leads of them." if total.loaded else ".")
    )


@quarantine.command()
@click.argument("fingerprints", nargs=-1, required=True, metavar="FINGERPRINT...")
@click.option("--reason", required=True, metavar="TEXT", help="Why no lead is needed of them. It is kept and shown.")
@report_errors
def discard(fingerprints: tuple[str, ...], reason: str) -> None:
    """Take rows out of the quarantine without a lead, for a reason.

    Who did it, when and why is kept: `list --resolved` shows it. A scan that receives the same content again does not
    bring it back. Name rows as for `show`. `replay` of a discarded row takes it in after all.
    """
    because = reason.strip()
    if not because:
        raise click.UsageError("--reason is empty: say why no lead is needed of these rows")
    with open_warehouse(Settings.load()) as warehouse:
        names = list(dict.fromkeys(_one(warehouse, prefix).fingerprint for prefix in fingerprints))
        with warehouse.write() as connection:
            stored_rows.discard(connection, names, os_user(), because, datetime.now(UTC))
    console.print(f"{len(names)} discarded. `partner-center quarantine list --resolved` shows them.")


def _open_table(rows: Sequence[stored_rows.Kept]) -> Table:
    table = Table(
        "row", "referral", "reason", "path", "window", "first seen (UTC)", "last seen (UTC)", "scans", box=None
    )
    for row in rows:
        table.add_row(
            row.fingerprint[:_PREFIX_LENGTH],
            Text(row.referral_id or ""),  # as text: an id is not markup
            row.reason,
            row.path,
            row.shown()["window"],
            f"{row.first_seen:%Y-%m-%d %H:%M}",
            f"{row.last_seen:%Y-%m-%d %H:%M}",
            str(row.attempts),
        )
    return table


def _resolved_table(rows: Sequence[stored_rows.Kept]) -> Table:
    table = Table("row", "referral", "reason", "left as", "when (UTC)", "by", "because", box=None)
    for row in rows:
        table.add_row(
            row.fingerprint[:_PREFIX_LENGTH],
            Text(row.referral_id or ""),
            row.reason,
            row.resolution,
            f"{row.resolved_at:%Y-%m-%d %H:%M}",
            Text(row.resolved_by or ""),
            Text(row.resolved_because or ""),
        )
    return table


def _one(warehouse: Warehouse, prefix: str) -> stored_rows.Kept:
    with warehouse.read() as connection:
        rows = stored_rows.named(connection, prefix)
    if len(rows) != 1:
        problem = f"{len(rows)} rows' fingerprints begin" if rows else "no row's fingerprint begins"
        stop(f"{problem} with {prefix!r}; `partner-center quarantine list` shows them")
    return rows[0]


def _readable(text: str) -> str:
    """Return indented JSON: letters as they are, control characters escaped."""
    try:
        lines = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (RecursionError, ValueError):  # nested too deeply: return the ASCII text
        return text
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", lines)
