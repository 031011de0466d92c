"""`partner-center reconcile`: the weekly job's sweep in the foreground, with an exit code that a cron job sees."""

import json

import pytest
from sqlalchemy import delete, select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import raw_referrals
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home

pytestmark = pytest.mark.slow


def lose_one() -> None:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    table = raw_referrals
    with warehouse.write() as connection:
        lost = connection.execute(select(table.c.referral_id).order_by(table.c.referral_id)).scalars().first()
        connection.execute(delete(table).where(table.c.referral_id == lost))
    warehouse.close()


def test_what_a_complete_window_missed_is_loaded_and_ends_with_exit_code_one(ready: Home) -> None:
    nothing = run(ready.path, "reconcile")
    assert nothing.returncode == 1
    assert "no window is done yet" in nothing.stderr
    assert run(ready.path, "sync").returncode == 0
    lose_one()

    found = run(ready.path, "reconcile", "--json")
    assert found.returncode == 1
    assert "1 versions were missing in windows that had closed as complete" in found.stderr
    outcome = json.loads(found.stdout)
    assert (outcome["missing"], outcome["missed_by_complete_windows"]) == (1, 1)
    assert [(gap["missing"], gap["claimed_complete"]) for gap in outcome["windows"]] == [(1, True)]

    again = run(ready.path, "reconcile")
    assert (again.returncode, again.stdout.endswith(" 0 were missing, 0 in quarantine.\n")) == (0, True), again.stderr


def test_while_the_flag_is_off_it_says_how_to_switch_it_on(ready: Home) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    done = run(ready.path, "reconcile")
    assert done.returncode == 1
    assert "set HUNTER_PARTNER_CENTER_ENABLED=true" in done.stderr
