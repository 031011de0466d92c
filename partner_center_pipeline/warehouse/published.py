"""What the lists need of the scoring rules, as tables: the scores of leads without a company, rates, and texts.

A view knows no rules file. These few rows follow from the rules and the settings alone, and are written whenever scores
are made. Not here: the rules (`scoring`), the views (`views`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, select

from partner_center_pipeline.scoring import Rules, ScorePolicy, score_lead
from partner_center_pipeline.scoring.row import score_columns
from partner_center_pipeline.vocabulary import TenantSource
from partner_center_pipeline.warehouse import list_order
from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.schema import currency_rates, lead_scores, row_dict, rule_texts
from partner_center_pipeline.warehouse.views import REFERRAL_PLACE, TENANT_PLACE


def publish(connection: Connection, rules: Rules, policy: ScorePolicy) -> None:
    """Make the tables say what these rules and settings say. Rows that are right already are not written."""
    _replace(connection, lead_scores, _lead_scores(rules, policy))
    if _replace(connection, currency_rates, _rates(rules)):
        list_order.renew_all(connection)
    else:
        list_order.renew_what_is_over(connection)
    _replace(connection, rule_texts, _texts(rules))


def _lead_scores(rules: Rules, policy: ScorePolicy) -> list[dict[str, Any]]:
    """Return the score of each kind of lead. Its own tenant and referral are evidence, which the views fill in."""
    return [
        {
            "has_tenant": has_tenant,
            "is_cosell": is_cosell,
            **score_columns(
                score_lead(
                    tenant=TENANT_PLACE if has_tenant else None,
                    tenant_source=TenantSource.PAYLOAD if has_tenant else None,  # any of a referral counts alike
                    cosell_referral=REFERRAL_PLACE if is_cosell else None,
                    rules=rules,
                    policy=policy,
                ),
                rules,
            ),
        }
        for has_tenant in (False, True)
        for is_cosell in (False, True)
    ]


def _rates(rules: Rules) -> list[dict[str, Any]]:
    money = rules.money
    if money is None:
        return []
    return [
        {
            "currency": currency,
            "rate": rate,
            "reporting_currency": money.reporting_currency,
            "rates_date": money.rates_date.isoformat(),
        }
        for currency, rate in rules.rates.items()
    ]


def _texts(rules: Rules) -> list[dict[str, Any]]:
    return [{"code": code, "en": text.en, "tr": text.tr} for code, text in rules.texts().items()]


def _replace(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Make a table hold these rows; return whether it held others."""
    keys = [column.name for column in table.primary_key]
    stored = {_key(row, keys): row for row in map(row_dict, connection.execute(select(table)))}
    wanted = {_key(row, keys): row for row in rows}
    for key in stored.keys() - wanted.keys():
        connection.execute(
            delete(table).where(and_(*(table.c[name] == value for name, value in zip(keys, key, strict=True))))
        )
    upsert(connection, table, [row for key, row in wanted.items() if stored.get(key) != row])
    return stored != wanted


def _key(row: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in keys)
