"""Makes `.env.example`, docs/settings.md and docs/tables.md from the settings and the warehouse's schema.

And the columns in docs/powerbi.md, whose other parts are written by hand.

Not here: docs/faults.md, which takes minutes, as each fault is brought about (`faults.document`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, wrap
from typing import Any, Final

from sqlalchemy import Column, Table

from partner_center_pipeline.settings import (
    PROJECT_ROOT,
    DocumentedSetting,
    documented_settings,
    secret_file_variables,
)
from partner_center_pipeline.warehouse.schema import comment_of, metadata
from partner_center_pipeline.warehouse.views import VIEWS

COMMAND: Final = "python -m partner_center_pipeline_tests.documents"
WIDTH: Final = 118
POWERBI_PAGE: Final = PROJECT_ROOT / "docs/powerbi.md"

GROUPS: Final[Mapping[str, str]] = {
    "HUNTER_PARTNER_CENTER_ENABLED": "Partner Center",
    "HUNTER_PARTNER_CENTER_COSELL_BONUS": "Scoring",
    "HUNTER_REPORT_LANGUAGE": "Report and alerts",
    "HUNTER_OPERATORS_TEAMS_WEBHOOK_URL": "Operators",
    "HUNTER_DATABASE_URL": "Warehouse and windows",
    "HUNTER_DNS_RESOLVERS": "Mail signals",
}
"""The heading of a group of settings, by the setting that begins it."""

_ENV_HEAD: Final = f"""\
# Settings of the pipeline. Copy to .env and change what you need; every name that exists is here, with its default.
# What is in .env wins over the environment, as it does in Dagster, and an edit counts at the next tick, without a
# restart (except where it says so). Relative paths start at the home folder (HUNTER_HOME).
# A secret may stand in a file of its own: HUNTER_UI_PASSWORD_FILE=/run/secrets/ui_password, for example. A proxy is set
# here, too: HTTPS_PROXY=http://proxy.example.com:8080 and NO_PROXY=.example.com,10.0.0.5
# Written by `{COMMAND}` from settings.py.
"""

_SECRET_FILES: Final = "\n".join(f"  `{name}`," for name in secret_file_variables()).rstrip(",") + "."

_SETTINGS_HEAD: Final = f"""\
# Settings

Every setting is a `HUNTER_*` variable. [.env.example](../.env.example) lists all with their defaults; copy it to `.env`
and change what you need. This page is written by `{COMMAND}` from `settings.py`.

* Values come from, first wins: `.env` in the home folder, then the environment. An edit of `.env` counts at the next
  tick, without a restart, except where the table says so.
* The home folder is what `HUNTER_HOME` names. Without it: the checkout that the program runs from, or
  `~/.local/share/partner-center` where it was installed from a wheel. Relative paths start there. `partner-center init`
  makes one.
* `HUNTER_EXTRA_ENV_FILE` names a file that is read ahead of `.env`; `partner-center demo` uses it.
* **A secret may stand in a file of its own**, as with credentials of systemd and secrets of Docker:
{_SECRET_FILES}
  Such a file has the secret as its one line. A secret and its file at once are refused.
* **A proxy** is named by `HTTPS_PROXY` (`HTTP_PROXY`, `ALL_PROXY`), what is asked without it by `NO_PROXY`: in `.env`
  or in the environment; `.env` wins. They count for Microsoft, Teams, webhooks and the ping, in commands and in
  Dagster's processes alike. DNS, PostgreSQL and mail do not go through a proxy, nor does this machine itself. After a
  line is taken out, start the service anew. A proxy that opens TLS needs `HUNTER_PARTNER_CENTER_CA_BUNDLE`.
* A value that cannot be used stops a command at the start and names the variable, the problem and a value that works.
  So does a `HUNTER_` name that means nothing.
* Three settings shape the windows and are fixed while a code location is loaded: `HUNTER_SYNC_START`,
  `HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS` and `HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS`. Coverage is kept by
  interval, so another width or start never makes history look missing. Dagster's UI stays fast up to about 80,000
  windows (a year and a half at ten minutes); then move `HUNTER_SYNC_START` forward: what is synced stays synced.
* Dagster's own storage is configured apart, in the home folder's `dagster.yaml` ([dagster.md](dagster.md), "Starting
  and stopping").
"""

_TABLES_HEAD: Final = f"""\
# Tables

The warehouse's tables and their columns. This page is written by `{COMMAND}` from `warehouse/schema.py`.

* A *tick* is 100 nanoseconds since 1970 (UTC). Times are UTC. JSON is text on SQLite and JSONB on PostgreSQL.
* `leads` and the views with a contact hold personal data (name, e-mail, telephone): give access as KVKK and GDPR ask.
  Logs, run metadata and error messages hold none.
* For Excel and Power BI: the views at the end of this page. Each open lead is either in a company of `leads_ready` or
  in `leads_without_company`; `due_first` has those whose response deadline is still to come. A sales list of companies
  takes the rows with `open_referrals > 0`. A lead that Partner Center shows no more is in none of them.
  [powerbi.md](powerbi.md) says how to connect, with a login that reads the views only.
* Deadlines are compared with the database's clock when a view is read. `company_card` and `sync_health` are for
  drill-through and for the person who looks after the sync.
"""


_POWERBI_TYPES: Final[Mapping[str, str]] = {
    "text": "text",
    "integer": "whole number",
    "float": "decimal number",
    "money": "decimal number",
    "boolean": "true or false",
    "time": "date and time",
    "json": "text (JSON)",
}


def pages() -> dict[Path, str]:
    """Return the content of each generated page, by its path."""
    return {
        PROJECT_ROOT / ".env.example": env_example(),
        PROJECT_ROOT / "docs/settings.md": settings_page(),
        PROJECT_ROOT / "docs/tables.md": tables_page(),
        POWERBI_PAGE: powerbi_page(POWERBI_PAGE.read_text(encoding="utf-8")),
    }


def env_example() -> str:
    """Return `.env.example`: each setting commented out, under its description."""
    blocks = [_ENV_HEAD]
    for setting in documented_settings():
        if setting.names[0] in GROUPS:
            blocks.append(f"# --- {GROUPS[setting.names[0]]} ---\n")
        comment = fill(_described(setting), WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        blocks.append(f"{comment}\n#{setting.names[0]}={setting.default}\n")
    return "\n".join(blocks)


def _described(setting: DocumentedSetting) -> str:
    parts = [setting.description]
    if setting.example not in (None, setting.default):
        parts.append(f"Example: {setting.example}")
    if setting.names[1:]:
        parts.append(f"Old name: {', '.join(setting.names[1:])}.")
    return " ".join(parts)


def settings_page() -> str:
    """Return docs/settings.md: a table of settings for each group."""
    lines = [_SETTINGS_HEAD]
    for setting in documented_settings():
        if setting.names[0] in GROUPS:
            lines.append(f"\n## {GROUPS[setting.names[0]]}\n\n| setting | default | what it is |\n|---|---|---|\n")
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(f"| `{setting.names[0]}` | {default} | {_cell(_described(setting))} |\n")
    return "".join(lines)


def tables_page() -> str:
    """Return docs/tables.md: each table with what it holds, its key and its columns; then the views."""
    return _TABLES_HEAD + "".join(map(_table_section, [*metadata.tables.values(), *VIEWS]))


def powerbi_page(page: str) -> str:
    """Return docs/powerbi.md with the columns of the views between its two marks, each column once."""
    head, mark, rest = page.partition(f"<!-- The rest of this section is written by `{COMMAND}`. -->\n")
    _, end, tail = rest.partition("<!-- end -->\n")
    if not mark or not end:
        raise ValueError("docs/powerbi.md has lost the marks between which the columns are written")
    groups: dict[tuple[str, ...], list[Column[Any]]] = {}
    columns = {column.name: column for view in VIEWS for column in view.columns}
    for column in columns.values():
        groups.setdefault(tuple(view.name for view in VIEWS if column.name in view.columns), []).append(column)
    tables = [
        f"\nIn {_listed([f'`{name}`' for name in views])}:\n\n| column | in Power BI | what it is |\n|---|---|---|\n"
        + "".join(f"| `{each.name}` | {_powerbi_type(each.type)} | {_cell(comment_of(each))} |\n" for each in group)
        for views, group in groups.items()
    ]
    return head + mark + "".join(tables) + "\n" + end + tail


def _powerbi_type(column_type: object) -> str:
    return _POWERBI_TYPES[_type(column_type)]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _table_section(table: Table) -> str:
    comment = "\n".join(wrap(f"{_sentence(table.comment or '')}", 120, break_on_hyphens=False))
    rows = [
        f"| `{column.name}` | {_type(column.type)}{'' if column.nullable else ', not null'} | "
        f"{_cell(comment_of(column))} |\n"
        for column in table.columns
    ]
    key = ", ".join(f"`{column.name}`" for column in table.primary_key)
    return (
        f"\n## {table.name}\n\n{comment}\n"
        + (f"\nKey: {key}\n" if key else "")
        + "\n| column | type | what it is |\n|---|---|---|\n"
        + "".join(rows)
    )


def _type(column_type: object) -> str:
    return type(column_type).__name__.replace("UtcDateTime", "time").replace("LargeBinary", "bytes").lower()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
