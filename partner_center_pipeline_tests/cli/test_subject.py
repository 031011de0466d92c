"""`partner-center subject`: finding, exporting and erasing one person, and what is kept of the act."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from partner_center_pipeline.defs.derivation import apply_decisions
from partner_center_pipeline.partner_center.contract import decode, read_referral
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, erasures, referrals, schema, signals
from partner_center_pipeline.warehouse.copies import FOLDER
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError, open_warehouse
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_results import signal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AYSE = {"firstName": "Ayşe", "lastName": "Yılmaz", "email": "ayse@firma.com.tr", "phoneNumber": "0532 123 45 67"}
NAMESAKE = {"firstName": "Ayşe", "lastName": "Yılmaz", "email": "ay@baska.com.tr", "phoneNumber": "0533 000 00 00"}
ALI = {"firstName": "Ali", "lastName": "Can", "email": "ali@firma.com.tr", "phoneNumber": "0532 123 45 67"}


def referral(referral_id: str, *team: dict[str, str], updated: str = "2026-03-01T00:01:00Z") -> dict[str, Any]:
    """A referral with these contacts, the first of whom is named in the notes."""
    return {
        "id": referral_id, "updatedDateTime": updated, "status": "New",
        "customerProfile": {"name": "Firma A.Ş.", "team": list(team)},
        "details": {"notes": f"{team[0]['firstName']} {team[0]['lastName']}: {team[0]['email']}"},
    }  # fmt: skip


def taken_in(warehouse: Warehouse, *documents: dict[str, Any], now: datetime = NOW) -> None:
    """Store these referrals as a page does, and derive what follows."""
    rows = [read_referral(document) for document in decode(json.dumps(documents).encode())]
    versions = [referrals.Placed(row, 0, late=False) for row in rows if isinstance(row, ReferralVersion)]
    with warehouse.write() as connection:
        referrals.store(connection, versions, now)
        referrals.quarantine(connection, [row for row in rows if isinstance(row, RejectedRow)], 0, now)
    assert apply_decisions(warehouse, Settings.load(), now)


class Held(Home):
    """A home folder whose warehouse holds a person, a namesake and a colleague."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self.edit_env(HUNTER_DATABASE_URL=url)
        self.documents = (
            referral("r1", AYSE, ALI),
            referral("r2", AYSE, updated="on Monday"),
            referral("r3", NAMESAKE),
        )
        with open_warehouse(Settings.load()) as warehouse:
            taken_in(warehouse, *self.documents)

    def says(self, *arguments: str) -> Any:
        """What a command says in JSON."""
        done = self.invoke("subject", *arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def payloads(self) -> str:
        """All that is stored of referrals, with each version's identity."""
        with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
            tables = (schema.raw_referrals, schema.quarantined_referrals, schema.leads)
            return str([tuple(row) for table in tables for row in connection.execute(select(table))])


@pytest.fixture
def held(home: Path, databases: Databases) -> Held:
    """On a database of each kind."""
    return Held(home, databases.emptied())


@pytest.mark.slow
def test_a_person_is_found_exported_and_erased_with_a_log_that_names_nobody(held: Held) -> None:
    whom = ("--email", "AYSE@FİRMA.com.tr", "--phone", "+90 532 1234567", "--name", "ayse yilmaz")
    found = held.says("find", *whom)
    assert found["rows"] == {"raw_referrals": 1, "quarantined_referrals": 1, "leads": 1}
    assert found["referrals"] == ["r1", "r2"]
    assert found["other_people_with_the_same_number_or_name"] >= 2, "the colleague's number and the namesake's name"

    file = held.path / "ayse.json"
    assert held.invoke("subject", "export", *whom, "--output", str(file)).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    exported = json.loads(file.read_text(encoding="utf-8"))
    assert {row["table"] for row in exported["held"]} == {"raw_referrals", "quarantined_referrals", "leads"}
    assert AYSE in [part["value"] for row in exported["held"] for part in row["found"]]
    assert "Ali" not in file.read_text(encoding="utf-8")
    assert "exists already" in held.invoke("subject", "export", *whom, "--output", str(file)).stderr

    before = held.payloads()
    assert held.says("erase", *whom, "--dry-run")["rows"] == found["rows"]
    assert held.payloads() == before, "a dry run changes nothing"
    with open_warehouse(Settings.load()) as warehouse:
        copied_before = (
            warehouse.file and warehouse.file.parent / "before_migration" / f"2026-0001-{warehouse.file.name}"
        )
    if copied_before:
        copied_before.parent.mkdir()
        copied_before.write_bytes(b"ayse@firma.com.tr")
    assert held.says("erase", *whom, "--yes", "--by", "the office")["rows"] == found["rows"]
    assert copied_before is None or not copied_before.exists()
    after = held.payloads()
    assert "ayse@firma" not in after
    assert "'firstName': 'Ali'" in after
    assert "'email': 'ay@baska.com.tr'" in after
    assert held.says("find", *whom)["erased_before"] is True
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        (act,) = connection.execute(select(schema.erasures)).all()
        stones = connection.execute(select(schema.tombstones)).all()
    assert (act.erased_by, act.rows_emptied) == ("the office", found["rows"])
    assert "ayse" not in str((act, stones)).lower()
    copied = (held.path / ".token_cache/erasure.tombstones").read_text(encoding="ascii")
    assert len(copied.splitlines()) == len(stones)


@pytest.mark.slow
def test_files_of_another_warehouse_are_named_since_they_may_hold_the_person(held: Held) -> None:
    """`migrate-warehouse` leaves the SQLite file as it was, and the copies from before its migrations."""
    folder = held.path / ".hunter"
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("no database", encoding="utf-8")
    with closing(sqlite3.connect(folder / "dagster.db")) as connection, connection:
        connection.execute("CREATE TABLE runs (id)")
    Warehouse.open(f"sqlite:///{folder / 'old.db'}").close()
    copied = folder / FOLDER / "20260101T000000Z-0001-old.db"
    copied.parent.mkdir()
    shutil.copyfile(folder / "old.db", copied)
    left = [str(copied), str(folder / "old.db")]

    whom = ("--email", "ayse@firma.com.tr")
    assert held.says("find", *whom)["not_searched"] == left
    done = held.invoke("subject", "erase", *whom, "--yes")
    assert done.exit_code == 0, done.output
    assert "They may name the person; delete them when you need them no longer" in " ".join(done.stderr.split())
    assert all(file in done.stderr.replace("\n", "") for file in left)
    assert held.says("erase", *whom, "--yes")["not_searched"] == left


@pytest.mark.slow
def test_what_was_emptied_is_known_again_whatever_way_it_comes(held: Held) -> None:
    held.says("erase", "--email", "ayse@firma.com.tr", "--yes")
    emptied = held.payloads()
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, *held.documents)
        versions = [read_referral(document) for document in held.documents]
        with warehouse.read() as connection:
            known = [row for row in versions if isinstance(row, ReferralVersion)]
            assert referrals.unknown(connection, known, NOW) == []
            attempts = connection.execute(select(schema.quarantined_referrals.c.attempts)).scalars().all()
        assert attempts == [2], "the same row of the quarantine was met again"
        assert held.payloads().replace(", 2, ", ", 1, ") == emptied.replace(", 2, ", ", 1, ")

        taken_in(warehouse, referral("r4", AYSE), referral("r5", AYSE, updated="on Tuesday"))
        unread = '{"a":' * 2000 + r'"Ay\u015fe Y\u0131lmaz \ud83d\ude00\n\u0000, ayse@firma.com.tr"'
        row = RejectedRow(Breach.TOO_DEEP, "", None, "f" * 64, unread)
        with warehouse.write() as connection:
            referrals.quarantine(connection, [row], 0, NOW)
            companies.write(connection, [company("rua.com")])
            signals.write(connection, [signal("rua.com", signals={"dmarc": ["rua=mailto:Ayse@firma.com.tr"]})])
            assert signals.load(connection, ["rua.com"])["rua.com"]["signals"] == {
                "dmarc": ["rua=mailto:@firma.com.tr"]
            }
    assert "ayse@" not in held.payloads().lower()
    assert r"\ud83d\ude00\n\u0000, @firma.com.tr" in held.payloads().replace("\\\\", "\\")


@pytest.mark.slow
@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
def test_an_erasure_that_was_killed_is_finished_by_the_same_command(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    whom = ("--email", "ayse@firma.com.tr", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(erasures, "_empty_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert held.invoke("subject", "erase", *whom).exit_code == 1
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, referral("r4", AYSE))
    assert held.says("find", *whom[:2])["referrals"] == ["r1", "r2"], "what comes in is emptied from the beginning"
    held.says("erase", *whom)
    assert held.says("find", *whom[:2])["rows"] == {}


@pytest.mark.slow
def test_a_restored_warehouse_is_emptied_again_and_without_the_key_nothing_is_stored(held: Held) -> None:
    tables = (schema.raw_referrals, schema.quarantined_referrals, schema.leads)
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        backup: dict[Any, list[Any]] = {
            table: [row._asdict() for row in connection.execute(select(table))] for table in tables
        }
    held.says("erase", "--email", "ayse@firma.com.tr", "--yes")
    with open_warehouse(Settings.load()) as warehouse:
        with warehouse.write() as connection:
            for table in (*tables, schema.tombstones, schema.erasure_key, schema.erasures):
                connection.execute(table.delete())
            for table, rows in backup.items():
                connection.execute(table.insert(), rows)
        assert "ayse@firma" in held.payloads()
        emptied = erasures.reapply_erasures(warehouse, NOW)
        assert (emptied["raw_referrals"], emptied["quarantined_referrals"]) == (1, 1)
        assert erasures.reapply_erasures(warehouse, NOW) == {}
        assert "ayse@firma" not in held.payloads()
        taken_in(warehouse, *held.documents)
        assert "ayse@firma" not in held.payloads()

        key = held.path / ".token_cache/erasure.key"
        assert key.stat().st_mode & 0o777 == 0o600
        kept = key.read_text(encoding="ascii").strip()
        held.edit_env(HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH=".hunter/demo/token_cache")
        with open_warehouse(Settings.load()) as with_another_sign_in:
            taken_in(with_another_sign_in, *held.documents)
        held.edit_env(HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH=None)
        key.write_text("0" * 64, encoding="ascii")
        with pytest.raises(WarehouseError, match="is not the one by which this warehouse knows"):
            taken_in(warehouse, referral("r4", AYSE))
        key.chmod(0o644)
        with pytest.raises(WarehouseError, match="chmod 600"):
            taken_in(warehouse, referral("r4", AYSE))
        key.unlink()
        with pytest.raises(WarehouseError, match="Put the key back from a backup"):
            taken_in(warehouse, referral("r4", AYSE))
    assert "r4" not in held.payloads()
    held.edit_env(HUNTER_ERASURE_KEY=kept)
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, referral("r4", AYSE))
    assert "ayse@firma" not in held.payloads()


@pytest.mark.slow
def test_a_backup_older_than_the_erasure_brings_nobody_back_and_a_newer_one_takes_the_key_along(
    held: Held, tmp_path: Path
) -> None:
    older = json.loads(held.invoke("backup", "--to", str(tmp_path / "backups"), "--json").stdout)["backup"]
    held.says("erase", "--email", "ayse@firma.com.tr", "--yes")
    newer = json.loads(held.invoke("backup", "--to", str(tmp_path / "newer"), "--json").stdout)["backup"]
    done = held.invoke("restore", "--from", older, "--overwrite", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows_emptied"]["raw_referrals"] == 1
    assert "ayse@firma" not in held.payloads()

    key, copied = (held.path / ".token_cache" / name for name in ("erasure.key", "erasure.tombstones"))
    before = key.read_text(encoding="ascii"), copied.read_text(encoding="ascii")
    key.write_text("0" * 64, encoding="ascii")
    refused = held.invoke("restore", "--from", newer, "--overwrite")
    assert refused.exit_code == 1
    assert "is not that of the backup" in refused.stderr
    key.unlink()
    copied.unlink()
    assert held.invoke("restore", "--from", newer, "--overwrite").exit_code == 0
    assert (key.read_text(encoding="ascii"), copied.read_text(encoding="ascii")) == before
    assert key.stat().st_mode & 0o777 == copied.stat().st_mode & 0o777 == 0o600
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, *held.documents)
    assert "ayse@firma" not in held.payloads()


@pytest.mark.slow
def test_contacts_of_closed_referrals_are_emptied_once_in_every_version_and_known_again(held: Held) -> None:
    closed = {"status": "Closed", "closedDateTime": "2026-03-02T00:00:00Z", "updatedDateTime": "2026-03-02T00:00:00Z"}
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, held.documents[0] | closed)
    held.edit_env(HUNTER_CLOSED_CONTACTS_DAYS="30")
    with open_warehouse(Settings.load()) as warehouse:
        assert erasures.empty_closed(warehouse, datetime(2026, 4, 1, tzinfo=UTC)) == 0, "it is 30 days old, not older"
        later = datetime(2026, 4, 2, tzinfo=UTC)
        assert erasures.empty_closed(warehouse, later, dry_run=True) == 1
        assert erasures.empty_closed(warehouse, later) == 1
        assert erasures.empty_closed(warehouse, later) == 0
        with warehouse.read() as connection:
            raw = schema.raw_referrals
            payloads = connection.execute(select(raw.c.payload).where(raw.c.referral_id == "r1")).scalars().all()
            received = [read_referral(one) for one in (held.documents[0], held.documents[0] | closed)]
            versions = [row for row in received if isinstance(row, ReferralVersion)]
            assert referrals.unknown(connection, versions, later) == []
        assert len(payloads) == 2
        assert not any(name in str(payloads) for name in ("Ayşe", "Ali", "ayse@", "532"))
        taken_in(warehouse, referral("r9", ALI) | closed, now=later)
    shown = held.payloads()
    assert "'Yılmaz'" in shown, "the contact of an open referral stays"
    assert "'lastName': 'Can'" not in shown.split("r9")[1]


@pytest.mark.slow
def test_names_alone_are_shown_and_not_erased_without_a_word(home: Path) -> None:
    place = Held(home, f"sqlite:///{home / 'w.db'}")
    done = place.invoke("subject", "erase", "--name", "Ayşe Yılmaz")
    assert done.exit_code == 1
    assert "raw_referrals                 2 rows" in done.stdout
    assert "Names are not unique" in done.stderr
    assert "add --yes" in done.stderr
    declined = place.invoke("subject", "erase", "--email", "ayse@firma.com.tr", stdin="n\n")
    assert declined.exit_code == 1
    assert "ayse@firma" in place.payloads()
    assert place.invoke("subject", "erase", "--email", "ayse@firma.com.tr", stdin="y\n").exit_code == 0
    assert "ayse@firma" not in place.payloads()

    trader = referral("r6", NAMESAKE | {"email": "ay@tuccar.com.tr"})
    trader["customerProfile"]["name"] = "Ayşe Yılmaz"
    with open_warehouse(Settings.load()) as warehouse:
        taken_in(warehouse, trader)
        erased = place.says("erase", "--name", "AYŞE YILMAZ", "--yes")["rows"]
        assert erased == {"raw_referrals": 2, "leads": 2, "companies": 1}
        with warehouse.read() as connection:
            names = connection.execute(select(schema.companies.c.name)).scalars().all()
    assert "Ayşe Yılmaz" not in names
    assert "Yılmaz" not in place.payloads()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find"], "say whom"),
        (["find", "--email", "ayse"], "takes one e-mail address"),
        (["find", "--phone", "12"], "takes one telephone number"),
        (["find", "--name", "Ayşe"], "takes a full name"),
        (["erase", "--email", "a@b.com", "--json"], "--json asks nothing"),
    ],
)
def test_what_names_nobody_is_a_mistake_of_use(arguments: list[str], said: str, home: Path) -> None:
    done = Home(home).invoke("subject", *arguments)
    assert (done.exit_code, said in done.stderr) == (2, True)
    assert not (home / ".hunter").exists()
