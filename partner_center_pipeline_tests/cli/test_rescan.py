"""`partner-center rescan`: DNS only, whatever the flag says and whoever is signed in."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partner_center_pipeline.warehouse import companies, signals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_results import signal
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.zone import Zone

pytestmark = pytest.mark.slow


def test_what_is_due_is_asked_and_scored_without_a_sign_in(home: Path) -> None:
    warehouse = Warehouse.open(f"sqlite:///{home / 'hunter.db'}")
    longer_ago = datetime.now(UTC) - timedelta(hours=200)
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com.tr", referrals=1)])
        from partner_center_pipeline.mail import MailSignals

        known = MailSignals("a.com.tr", longer_ago).to_row()
        signals.write(connection, [signal("a.com.tr", longer_ago, signals=known)])
    warehouse.close()
    zone = Zone.from_records({"a.com.tr": {"MX": [(1, "smtp.google.com")], "TXT": ["v=spf1 -all"]}})
    with DnsServer(zone) as server:
        variables = {
            "HUNTER_DATABASE_URL": f"sqlite:///{home / 'hunter.db'}",
            "HUNTER_DNS_RESOLVERS": "{}:{}".format(*server.address),
            "HUNTER_PARTNER_CENTER_ENABLED": "false",
        }
        first = run(home, "rescan", "--json", **variables)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout) == {
            "asked": 1,
            "set_ups_new": 0,
            "set_ups_changed": 1,
            "without_an_answer": 0,
            "scores_changed": 1,
            "changes_by_cause": {"first": 1},
        }
        again = run(home, "rescan", **variables)
        assert again.stdout.strip() == "No company's mail set-up is due to be asked again."
