"""`partner-center reconcile`: the weekly job's sweep in the foreground, with an exit code that a cron job sees."""

import json

import pytest
from sqlalchemy import delete, select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import raw_referrals
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_simulator import Simulator

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
    assert again.returncode == 0, again.stderr
    assert " 0 were missing, 0 in quarantine.\n" in again.stdout
    assert again.stdout.endswith(" leads looked for, 0 marked as shown no more, 0 are shown again.\n")


def test_while_the_flag_is_off_it_says_how_to_switch_it_on(ready: Home) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    done = run(ready.path, "reconcile")
    assert done.returncode == 1
    assert "set HUNTER_PARTNER_CENTER_ENABLED=true" in done.stderr


def test_the_last_day_alone_is_compared_on_request_and_in_json(ready: Home) -> None:
    assert run(ready.path, "sync").returncode == 0
    done = run(ready.path, "reconcile", "--recent", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["kind"], outcome["missing"]) == ("recent", 0)
    assert "vanished" not in outcome, "the last day does not tell what vanished"
    both = run(ready.path, "reconcile", "--recent", "--accept-vanished")
    assert (both.returncode, "needs a full comparison" in both.stderr) == (2, True)


def test_many_that_vanish_at_once_end_with_exit_code_one_until_a_person_accepts_it(
    ready: Home, microsoft: Simulator
) -> None:
    assert run(ready.path, "sync").returncode == 0
    microsoft.faults.referral_user = True
    red = run(ready.path, "reconcile", "--json")
    assert red.returncode == 1
    assert "too many at once to be true" in red.stderr
    assert "--accept-vanished" in red.stderr
    outcome = json.loads(red.stdout)
    assert outcome["vanished"] > 50
    assert outcome["marked_as_vanished"] == 0

    accepted = run(ready.path, "reconcile", "--accept-vanished", "--json")
    assert accepted.returncode == 0, accepted.stderr
    outcome = json.loads(accepted.stdout)
    assert outcome["marked_as_vanished"] == outcome["vanished"] > 50

    microsoft.faults.clear()
    back = run(ready.path, "reconcile", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["shown_again"] == outcome["vanished"]


def test_another_account_is_refused_until_it_is_accepted(ready: Home, microsoft: Simulator) -> None:
    nobody = run(ready.path, "accept-account", HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH="empty")
    assert (nobody.returncode, "partner-center login" in nobody.stderr) == (1, True)
    assert run(ready.path, "sync").returncode == 0
    assert "there was no other account" in run(ready.path, "accept-account").stdout
    microsoft.faults.another_account = True
    with connect_sign_in(Settings.load()) as sign_in:
        code = sign_in.begin()
        microsoft.approve(code.user_code)
        sign_in.finish(code)
    refused = run(ready.path, "reconcile")
    assert refused.returncode == 1
    assert "partner-center accept-account" in refused.stderr
    looked = run(ready.path, "doctor")
    assert looked.returncode == 1
    assert "what differs is the account" in looked.stdout

    accepted = run(ready.path, "accept-account")
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stdout == "Accepted: the account that is signed in. Next: partner-center reconcile\n"
    assert run(ready.path, "reconcile").returncode == 0
