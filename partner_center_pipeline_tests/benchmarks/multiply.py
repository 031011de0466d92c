"""Makes a large warehouse of a small one: each referral, lead and company many times over, by the database itself.

What is multiplied is what the chain stored, so that bodies are as large, and as different, as real ones. Not here: what
is measured with it (`reads`).
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, text

from partner_center_pipeline.warehouse import list_order
from partner_center_pipeline.warehouse.schema import (
    columns_of,
    companies,
    company_scores,
    domain_signals,
    leads,
    raw_referrals,
    score_changes,
    signal_changes,
)

_SERIES: Final = {
    "sqlite": "WITH RECURSIVE copies (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM copies WHERE k < :times - 1) ",
    "postgresql": "WITH copies AS (SELECT k FROM generate_series(1, :times - 1) AS k) ",
}
_ID: Final = {
    "sqlite": "printf('%08x', k) || substr({0}, 9)",
    "postgresql": "lpad(to_hex(k), 8, '0') || substr({0}, 9)",
}
_TABLES: Final = (
    raw_referrals, leads, companies, domain_signals, company_scores, score_changes, signal_changes,
)  # fmt: skip
_NUMBERED: Final = frozenset({"score_changes", "signal_changes"})
_BLOCKS: Final = ("company_name_block", "name_block")
_SAME_BLOCK: Final = 50
"""Each so many-th copy of a company has its name in the block of the first one."""


def multiply(connection: Connection, times: int) -> None:
    """Let the warehouse hold `times` as many referrals, leads and companies, with signals, scores and histories."""
    dialect = connection.dialect.name
    if times > 1:
        for table in _TABLES:
            made = _made(table, dialect)
            connection.execute(
                text(
                    f"INSERT INTO {table.name} ({', '.join(made)}) {_SERIES[dialect]}"
                    f"SELECT {', '.join(made.values())} FROM copies CROSS JOIN {table.name}"
                ),
                {"times": times},
            )
    list_order.renew_all(connection)


def _made(table: Table, dialect: str) -> Mapping[str, str]:
    """Return the SQL of each column of copy k."""
    made = {name: name for name in columns_of(table) if not (name == "id" and table.name in _NUMBERED)}
    changed = {
        "referral_id": _ID[dialect].format("referral_id"),
        **{name: f"'k' || k || '-' || {name}" for name in ("domain", "domain_unicode", "domain_ascii_key")},
        **{name: f"{name} || ' ' || k" for name in ("company_name", "company_name_key", "name_key")},
        "expires_ticks": "expires_ticks + CAST(k AS bigint) * 123456789",
        # Names that are compared with each other: as many more as a common first word has, and new ones.
        **{name: f"CASE WHEN k % {_SAME_BLOCK} = 0 THEN {name} ELSE {name} || k END" for name in _BLOCKS},
    }
    return made | {name: value for name, value in changed.items() if name in made}
