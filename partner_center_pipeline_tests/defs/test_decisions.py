"""What people decided outlives whatever is synced, derived, compared, replayed or migrated later, on both databases."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, select, update

from alembic import command
from partner_center_pipeline.cli import main
from partner_center_pipeline.warehouse import schema, views
from partner_center_pipeline.warehouse.schema import row_dict
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.warehouse.test_upgrades import REBUILD, with_a_later_migration
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

PLACES = {True: "Sinop", False: "Artvin"}
"""On SQLite and on PostgreSQL: both tests' referrals are in one local Microsoft."""


def customers(place: str) -> dict[str, tuple[str, str]]:
    """Names and addresses of the leads."""
    at = place.lower()
    return {
        "one": (f"{place} Ketencilik San. ve Tic. A.Ş.", f"bilgi@{at}-keten.com.tr"),
        "two": (f"{place.upper()} KETENCİLİK LTD. ŞTİ.", f"bilgi@{at}keten.com.tr"),
        "nameless": (f"{place} Ketencilik", f"{at}.keten@gmail.com"),
        "wrong": (f"Boyabat {place}", f"bilgi@{at}-muhasebe.com.tr"),
        "later": (f"Kereste {place}", f"{at}@gmail.com"),
    }


def invoke(*arguments: str) -> Any:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def state(project: Project, ids: dict[str, str], at: str) -> dict[str, Any]:
    """What the decisions led to: domains, open leads by list, suggestions, marks."""
    lead, match = schema.leads, schema.suggested_matches
    with project.warehouse.read() as connection:
        domains = {
            row.referral_id: row.domain
            for row in connection.execute(
                select(lead.c.referral_id, lead.c.domain).where(lead.c.referral_id.in_(ids.values()))
            )
        }
        companies = connection.execute(
            select(views.leads_ready.c.domain, views.leads_ready.c.open_referrals).where(
                views.leads_ready.c.domain.in_([f"{at}-keten.com.tr", f"{at}keten.com.tr", f"{at}.com.tr"])
            )
        ).all()
        columns = [views.leads_without_company.c[name] for name in ("referral_id", "decision", "decision_until")]
        others = connection.execute(
            select(*columns).where(views.leads_without_company.c.referral_id.in_(ids.values()))
        ).all()
        suggested = connection.execute(
            select(match.c.subject, match.c.domain).where(match.c.subject.in_([*ids.values(), f"{at}-keten.com.tr"]))
        ).all()
        decisions = [
            row_dict(row) for row in connection.execute(select(schema.decisions).order_by(schema.decisions.c.id))
        ]
    return {
        "domains": {name: domains[referral_id] for name, referral_id in ids.items()},
        "companies": sorted(map(tuple, companies)),
        "others": sorted(map(tuple, others)),
        "suggested": sorted(map(tuple, suggested)),
        "decisions": decisions,
    }


def test_decisions_outlive_every_later_sync_rescan_rescore_comparison_replay_and_migration(
    stored: Project, microsoft: Simulator, tmp_path: Path
) -> None:
    place = PLACES[stored.warehouse.is_sqlite]
    at, window = place.lower(), stored.window(20)
    ids = {
        name: str(
            microsoft.world.create(
                window.start + 1, {"customerProfile/name": customer, "customerProfile/team": [{"email": email}]}
            )["id"]
        )
        for name, (customer, email) in customers(place).items()
    }
    assert stored.run(window).success
    until = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    invoke("matches", "accept", f"{at}keten.com.tr", f"{at}-keten.com.tr", "--by", "Ayşe")
    invoke("matches", "reject", ids["nameless"], f"{at}-keten.com.tr")
    invoke("lead", "set-domain", ids["wrong"], f"{at}.com.tr", "--note", "the other is the accountant's")
    invoke("lead", "mark", ids["later"], "snoozed", "--until", until)
    expected = state(stored, ids, at)
    one = f"{at}-keten.com.tr"
    assert expected["domains"] == {"one": one, "two": one, "nameless": None, "wrong": f"{at}.com.tr", "later": None}
    assert expected["companies"] == [(one, 2), (f"{at}.com.tr", 1)]
    assert expected["suggested"] == []
    assert len(expected["decisions"]) == 4

    # New versions of all of them.
    for name, (customer, email) in customers(place).items():
        changes = {"customerProfile/name": customer, "customerProfile/team": [{"email": email, "firstName": "Yeni"}]}
        microsoft.world.change(ids[name], stored.window(21).start + 1, changes)
    assert stored.run(stored.window(21)).success
    assert state(stored, ids, at) == expected
    assert stored.run(window, stored.window(21), force=True).success
    assert state(stored, ids, at) == expected

    with stored.warehouse.write() as connection:
        past = datetime.now(UTC) - timedelta(minutes=1)
        connection.execute(update(schema.domain_signals).values(next_scan_at=past))
    assert (
        stored.definitions.resolve_job_def("partner_center_rescan").execute_in_process(instance=stored.instance).success
    )
    assert state(stored, ids, at) == expected

    invoke("rescore")
    assert state(stored, ids, at) == expected

    # The comparison finds a row that was lost, with its lead; the lead is made anew.
    with stored.warehouse.write() as connection:
        of_two = select(schema.raw_referrals.c.payload).where(schema.raw_referrals.c.referral_id == ids["two"])
        payload = connection.execute(of_two).scalars().all()[-1]
        for table in (schema.raw_referrals, schema.leads):
            connection.execute(delete(table).where(table.c.referral_id.in_([ids["wrong"], ids["two"]])))
    job = stored.definitions.resolve_job_def("partner_center_reconcile")
    assert job.execute_in_process(instance=stored.instance).success
    stored.derive_what_is_pending()
    assert state(stored, ids, at) == expected

    # A row that was in quarantine is taken in.
    with stored.warehouse.write() as connection:
        kept = {**payload, "name": "A deal that was kept aside"}
        now = datetime.now(UTC)
        connection.execute(
            schema.quarantined_referrals.insert(),
            [
                {
                    "fingerprint": "f", "referral_id": ids["two"], "reason": "bad_updated", "path": "updatedDateTime",
                    "payload_text": json.dumps(kept), "window_start": window.start, "first_seen": now,
                    "last_seen": now, "attempts": 1,
                }
            ],
        )  # fmt: skip
    assert "1 taken in" in invoke("quarantine", "replay", "--all")
    stored.derive_what_is_pending()
    assert state(stored, ids, at) == expected

    invoke("migrate")
    assert state(stored, ids, at) == expected
    stored.warehouse.engine.dispose()
    command.upgrade(with_a_later_migration(stored.warehouse, tmp_path, REBUILD), "head")
    with stored.warehouse.read() as connection:
        table = schema.decisions
        assert [row_dict(row) for row in connection.execute(select(table).order_by(table.c.id))] == expected[
            "decisions"
        ]
