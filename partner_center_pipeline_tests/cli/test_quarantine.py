"""`partner-center quarantine`: a list without personal data, one row with all of it, and taking rows in."""

import getpass
import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from partner_center_pipeline.partner_center.contract import decode, read_referral
from partner_center_pipeline.referral import RejectedRow
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import pending
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import quarantined_referrals, raw_referrals
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.pages import make_page
from partner_center_pipeline_tests.warehouse.test_window_ingest import begin, finish, windows

ROW = '{"id": "%s", "eTag": "v1", "updatedDateTime": "%s", "name": "%s"}'
NUL = ROW % ("r1", "2026-03-01T00:01:00Z", r"Deniz Örnek[/]\u0000\ud83d\u009b")
LATER_GOOD = ROW % ("r2", "2026-03-01", "Ayşe Örnek")
TODAY_GOOD = ROW % ("r2", "2026-03-01T00:01:00Z", "Ayşe Örnek")


@pytest.fixture
def place(home: Path, databases: Databases) -> Home:
    """A home whose warehouse has one window done, and two rows in the quarantine."""
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=databases.emptied())
    warehouse = opened(place)
    rows = [read_referral(item) for item in decode(f"[{NUL}, {LATER_GOOD}]".encode())]
    rejected = [row for row in rows if isinstance(row, RejectedRow)]
    ingest = begin(warehouse, windows(1))
    ingest.write(make_page([], windows(1)[0].end, rejected, last=True))
    finish(warehouse, windows(1))
    warehouse.close()
    return place


def opened(place: Home) -> Warehouse:
    return Warehouse.open(place.variables["HUNTER_DATABASE_URL"])


def rows(place: Home) -> dict[str, str]:
    """Fingerprints by referral."""
    found = json.loads(place.invoke("quarantine", "list", "--json").output)
    return {row["referral_id"]: row["fingerprint"] for row in found}


def let_the_contract_take(place: Home) -> None:
    """What a looser contract would make of the second row: its text is one that today's takes."""
    warehouse = opened(place)
    table = quarantined_referrals
    with warehouse.write() as connection:
        connection.execute(update(table).where(table.c.referral_id == "r2").values(payload_text=TODAY_GOOD))
    warehouse.close()


def test_an_empty_quarantine_says_so(home: Path) -> None:
    shown = Home(home).invoke("quarantine", "list")
    assert shown.exit_code == 0
    assert shown.output.startswith("The quarantine is empty")


def test_the_list_says_what_where_when_and_nothing_of_a_person(place: Home) -> None:
    shown = place.invoke("quarantine", "list")
    assert shown.exit_code == 0
    _, *lines = shown.output.strip().splitlines()
    assert sorted(line.split()[1:-5] for line in lines) == [
        ["r1", "unstorable_text", "2026-03-01-00:00"],
        ["r2", "bad_updated", "updatedDateTime", "2026-03-01-00:00"],
    ]
    assert {line.split()[-1] for line in lines} == {"1"}
    assert "Örnek" not in shown.output + place.invoke("quarantine", "list", "--json").output


def test_show_prints_the_payload_with_plain_letters_and_no_terminal_control(place: Home) -> None:
    shown = place.invoke("quarantine", "show", rows(place)["r1"][:8])
    assert shown.exit_code == 0
    assert r'"name": "Deniz Örnek[/]\u0000\ud83d\u009b"' in shown.output
    assert "reason       unstorable_text" in shown.output
    assert "it may hold personal data" in " ".join(place.invoke("quarantine", "show", "--help").output.split())
    document = json.loads(place.invoke("quarantine", "show", rows(place)["r1"], "--json").output)
    assert json.loads(document["payload_text"])["name"] == "Deniz Örnek[/]\x00\ud83d\x9b"


@pytest.mark.parametrize("name", ["zz", ""])
def test_a_name_that_is_no_row_or_not_one_is_refused(name: str, place: Home) -> None:
    shown = place.invoke("quarantine", "show", name)
    assert shown.exit_code == 1
    assert "`partner-center quarantine list` shows them" in shown.stderr


def test_a_replay_takes_in_what_passes_and_counts_the_rest(place: Home) -> None:
    let_the_contract_take(place)
    shown = place.invoke("quarantine", "replay", "--all", "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.output) == {"loaded": 1, "known_already": 0, "still_refused": 1}
    assert list(rows(place)) == ["r1"]
    warehouse = opened(place)
    with warehouse.read() as connection:
        assert connection.execute(select(raw_referrals.c.referral_id)).scalars().all() == ["r2"]
        assert pending.load(connection, Task.LEADS).items == ["r2"]
    warehouse.close()


def test_a_replay_of_a_named_row_touches_no_other_and_says_the_next_step(place: Home) -> None:
    let_the_contract_take(place)
    name = rows(place)["r2"]
    shown = place.invoke("quarantine", "replay", name[:10], name)
    assert shown.output.strip() == (
        "1 taken in, 0 known already, 0 refused still; `partner-center sync` makes leads of them."
    )
    shown = place.invoke("quarantine", "replay", rows(place)["r1"])
    assert shown.output.strip() == "0 taken in, 0 known already, 1 refused still."


@pytest.mark.parametrize("arguments", [[], ["--all", "abc"]], ids=["nothing", "both"])
def test_a_replay_wants_names_or_all(arguments: list[str], place: Home) -> None:
    shown = place.invoke("quarantine", "replay", *arguments)
    assert shown.exit_code == 2
    assert "name the rows to replay, or take --all" in shown.stderr


def test_a_discarded_row_is_listed_with_who_and_why_and_no_longer_counts(place: Home) -> None:
    name = rows(place)["r1"]
    assert place.invoke("quarantine", "discard", name).exit_code == 2
    assert place.invoke("quarantine", "discard", name, "--reason", "  ").exit_code == 2
    shown = place.invoke("quarantine", "discard", name[:10], "--reason", "a [test] deal")
    assert (shown.exit_code, shown.output.split(".")[0]) == (0, "1 discarded")
    assert list(rows(place)) == ["r2"]
    (gone,) = json.loads(place.invoke("quarantine", "list", "--resolved", "--json").output)
    assert (gone["referral_id"], gone["resolution"], gone["resolved_because"]) == ("r1", "discarded", "a [test] deal")
    assert gone["resolved_by"] == getpass.getuser()
    assert "a [test] deal" in place.invoke("quarantine", "list", "--resolved").output


def test_nothing_has_left_says_so(home: Path) -> None:
    assert Home(home).invoke("quarantine", "list", "--resolved").output.strip() == "No row has left the quarantine."


def test_doctor_says_what_the_quarantine_holds_and_what_to_do(place: Home) -> None:
    found = {finding["subject"]: finding for finding in json.loads(place.invoke("doctor", "--json").stdout)["findings"]}
    assert found["quarantine"]["state"] == "note"
    assert found["quarantine"]["text"].startswith("2 rows of Partner Center in quarantine (1 bad_updated, 1 unstorable")
    assert "quarantine list" in found["quarantine"]["text"]
