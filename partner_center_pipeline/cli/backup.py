"""`partner-center backup`: the warehouse, the settings and the sign-in in a folder, while everything goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
from rich.filesize import decimal

from partner_center_pipeline.cli.backup_folder import (
    ERASURES,
    FORMAT,
    SETTINGS,
    TOKENS,
    DatabasePart,
    Manifest,
    NewBackup,
)
from partner_center_pipeline.cli.base import console, emit, notes, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar
from partner_center_pipeline.settings import (
    EXTRA_ENV_VARIABLE,
    HOME_VARIABLE,
    Settings,
    TokenPlace,
    env_files,
    home,
    set_in_the_environment,
)
from partner_center_pipeline.warehouse import dumps
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.erasure_key import ErasureKeeping


@click.command()
@click.option(
    "--to",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder that backups are kept in; it is made if needed. Better one on another disk.",
)
@json_option("Print where the backup is and what is in it as JSON.")
@report_errors
def backup(parent: Path, as_json: bool) -> None:
    """Save everything that another machine needs to go on from here.

    Makes a folder `partner-center-<time>` in DIR, with the warehouse, `.env` and the stored sign-in with its key, a
    manifest and SHA-256 checksums. It can run while a sync does: the warehouse is saved as it is at one moment. A
    folder of that name is a whole backup; one that breaks off leaves none.

    It holds personal data, and the key to your Partner Center account: keep it as you keep the machine. With PostgreSQL
    pg_dump has to be on PATH. Backups are not deleted by themselves. Dagster's history is not in it; which windows are
    done is. Try your backups: `partner-center restore --help`.

    \b
      partner-center backup --to /mnt/backups
    """
    from partner_center_pipeline.partner_center.token_store import TokenStore

    settings, now = Settings.load(), datetime.now(UTC)
    warehouse = Warehouse.of(settings)
    revision = warehouse.revision()
    if revision is None:
        raise WarehouseError(f"{warehouse.shown} has no tables yet, so there is nothing to save; run a sync first")
    dumps.refuse_missing_programs(warehouse, "pg_dump")
    new = NewBackup(parent.expanduser().absolute(), now)
    try:
        with progress_bar("saving the warehouse", 1) as report:
            file = dumps.file_name(warehouse)
            rows = dumps.dump(warehouse, new.folder / file, lambda done, total: report(done, total=total))
            report(1, "saving settings and sign-in", 1)
            env = home() / ".env"
            if env.exists():
                new.add(SETTINGS, env.read_bytes())
            sign_in: dict[str, bytes] = {}
            if settings.partner_center_token_store is TokenPlace.FILE:
                sign_in = TokenStore(settings.partner_center_token_cache_path).contents()
            for name, content in sign_in.items():
                new.add(f"{TOKENS}/{name}", content)
            for name, content in ErasureKeeping.of(settings).contents().items():
                new.add(f"{ERASURES}/{name}", content)
            report(1, "checksums", 1)
            manifest = Manifest(
                format=FORMAT,
                made_at=now,
                program=version("partner-center-pipeline"),
                database=DatabasePart(
                    kind="sqlite" if warehouse.is_sqlite else "postgresql",
                    file=file,
                    revision=revision,
                    schema_name=dumps.schema_of(warehouse),
                    rows=rows,
                ),
                has_settings=env.exists(),
                has_sign_in=bool(sign_in),
                not_included=list(_not_included(settings)),
            )
            size = new.finish(manifest)
    except BaseException:
        new.abandon()
        raise
    finally:
        warehouse.close()
    if as_json:
        emit({"backup": str(new.target), "bytes": size, **manifest.model_dump(mode="json")})
    else:
        console.print(f"[green]Done[/]: {new.target}, {decimal(size)}, {sum(rows.values()):,} rows", markup=True)
        console.print(f"Next: try it in a folder of its own: {HOME_VARIABLE}=/tmp/tried partner-center restore --from "
                      f"{new.target}", markup=False)  # fmt: skip
    for missing in manifest.not_included:
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(f"not in the backup: {missing}", markup=False)


def _not_included(settings: Settings) -> Iterator[str]:
    """Yield what the installation needs besides the backup: what its settings have from elsewhere, no value."""
    if names := set_in_the_environment():
        yield f"variables of the environment: {', '.join(names)}"
    for extra in env_files()[1:]:
        yield f"the file that {EXTRA_ENV_VARIABLE} names, {extra}"
    for name, path in (
        ("HUNTER_SCORING_RULES", settings.scoring_rules),
        ("HUNTER_PARTNER_CENTER_CA_BUNDLE", settings.partner_center_ca_bundle),
    ):
        if path is not None:
            yield f"the file that {name} names, {path}"
