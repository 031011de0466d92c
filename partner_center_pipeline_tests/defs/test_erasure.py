"""An erased person stays erased through the real chain: sync, change, reconcile, quarantine, forced runs, restore."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from partner_center_pipeline.cli import main
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.windows import render_ticks
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_reconcile import reconcile
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

EMAIL, PHONE, NAME = "sule.ozdurgun@durgunlar.com.tr", "+90 532 987 65 43", "Şule Özdurgun"
SPELLINGS = (
    "sule.ozdurgun", "Sule.OZDURGUN", "Özdurgun", "\\u00d6zdurgun", "ÖZDURGUN", "ozdurgun",
    "5329876543", "532 987 65 43",
)  # fmt: skip
OTHER = {"firstName": "Deniz", "lastName": "Kalır", "phoneNumber": "0212 000 00 00", "email": "deniz@durgunlar.com.tr"}
BY_ADDRESS = ("--email", EMAIL)


def contact(**changes: str) -> dict[str, Any]:
    """The person as a contact."""
    return {
        "firstName": "Şule", "lastName": "Özdurgun", "phoneNumber": PHONE, "email": "Sule.OZDURGUN@durgunlar.com.tr",
        **changes,
    }  # fmt: skip


def referral(referral_id: str, updated: str, **more: Any) -> dict[str, Any]:
    """A referral that names the person in every place."""
    return {
        "id": referral_id, "eTag": f'"{referral_id}"', "createdDateTime": "2026-01-05T09:00:00Z",
        "updatedDateTime": updated, "status": "New", "substatus": "Received", "type": "Independent",
        "qualification": "SalesQualified", "direction": "Incoming", "name": f"{NAME} - Microsoft 365",
        "customerProfile": {"name": "Durgunlar Ltd. Şti.", "address": {"country": "TR"}, "team": [contact(), OTHER]},
        "details": {"notes": f"ŞULE ÖZDURGUN'u arayın: 0532 987 65 43, {EMAIL}. Deniz Kalır da bilir."},
        **more,
    }  # fmt: skip


@pytest.fixture
def erasing(microsoft: Simulator, stored: Project) -> Iterator[Project]:
    """A project on a database of each kind that has synced two referrals of the person, one of them into quarantine."""
    project = stored
    microsoft.world.put(referral("erased-1", "2026-01-05T09:00:00Z"))
    microsoft.world.put(referral("erased-2", "on Monday"))
    assert project.run(project.window(0)).success
    assert reconcile(project)[0].success
    yield project
    for referral_id in ("erased-1", "erased-2"):
        microsoft.world.put({"id": referral_id, "updatedDateTime": "2020-01-01T00:00:00Z"})


def command(*arguments: str) -> Any:
    """What a command says in JSON."""
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def everything(project: Project) -> str:
    """All that is in the tables and views, as text; of SQLite the bytes of its files; and all files of the home."""
    with project.warehouse.read() as connection:
        is_sqlite = project.warehouse.is_sqlite
        query = (
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            if is_sqlite
            else "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace"
        )
        names = connection.execute(text(query)).scalars().all()
        shown = [str(tuple(row)) for name in names for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
    project.warehouse.close()
    files = [path for path in project.home.rglob("*") if path.is_file()]
    if project.warehouse.file is not None:
        files += project.warehouse.file.parent.glob(f"{project.warehouse.file.name}*")
    shown += [path.read_bytes().decode("utf-8", "replace") for path in files]
    return "\n".join(shown)


def assert_nobody(project: Project) -> None:
    shown = everything(project)
    assert [spelling for spelling in SPELLINGS if spelling in shown] == []


def lead(project: Project) -> Any:
    with project.warehouse.read() as connection:
        return connection.execute(select(schema.leads).where(schema.leads.c.referral_id == "erased-1")).one()


def missing(project: Project) -> tuple[int, int]:
    """What a full comparison finds missing, and what it puts into quarantine anew."""
    outcome, shown = reconcile(project)
    assert outcome.success, outcome.failure
    assert not any(spelling in project.event_log(outcome.run_id) for spelling in SPELLINGS)
    return shown["missing"].value, shown["missed_by_complete_windows"].value


def test_a_person_who_was_erased_never_comes_back(erasing: Project, microsoft: Simulator) -> None:
    reports = erasing.home / "reports"
    reports.mkdir()
    made = CliRunner().invoke(main, ["export", "--output", str(reports / "all.xlsx"), "--with-contacts"])
    assert made.exit_code == 0, made.output
    (reports / "other.csv").write_text("nobody\n", encoding="utf-8")
    before = lead(erasing)
    assert (before.domain, before.contact_email) == ("durgunlar.com.tr", "Sule.OZDURGUN@durgunlar.com.tr")
    assert "Özdurgun" in everything(erasing)
    assert (
        CliRunner().invoke(main, ["lead", "mark", "erased-1", "contacted", "--note", f"{NAME} called"]).exit_code == 0
    )

    found = command("subject", "find", *BY_ADDRESS)
    assert (found["referrals"], found["files"]) == (["erased-1", "erased-2"], [str(reports / "all.xlsx")])
    assert found["rows"] == {"raw_referrals": 1, "quarantined_referrals": 1, "leads": 1, "decisions": 1}
    erased = command("subject", "erase", *BY_ADDRESS, "--yes", "--by", "the office")
    assert erased["rows"] == found["rows"] | {"leads": erased["rows"]["leads"]}
    assert not (reports / "all.xlsx").exists()
    assert_nobody(erasing)
    after = lead(erasing)
    assert (after.domain, after.contact_name, after.contact_phone) == (before.domain, "Deniz Kalır", "0212 000 00 00")
    assert command("subject", "find", *BY_ADDRESS)["rows"] == {}

    assert erasing.run(erasing.window(0)).success, "the same window again"
    assert missing(erasing) == (0, 0)
    at = erasing.window(5)
    for changes in (
        {"details/notes": f"{NAME} again, {PHONE}"},
        {"customerProfile/team": [contact(email="new@durgunlar.com.tr", phoneNumber="0533 000 00 01"), OTHER]},
    ):
        microsoft.world.change("erased-1", at.start + 1, changes)
        assert erasing.run(at).success
        at = erasing.window(7)
    assert erasing.run(erasing.window(0), force=True).success
    assert command("quarantine", "replay", "--all")["loaded"] == 0
    microsoft.world.put(referral("erased-2", render_ticks(erasing.window(9).start + 1)))
    assert erasing.run(erasing.window(9)).success
    assert missing(erasing) == (0, 0)
    erasing.derive_what_is_pending()
    assert_nobody(erasing)
    with erasing.warehouse.read() as connection:
        count = select(func.count()).select_from(schema.raw_referrals)
        assert connection.execute(count.where(schema.raw_referrals.c.referral_id == "erased-1")).scalar_one() == 3
        emptied = connection.execute(count.where(schema.raw_referrals.c.erased_at.is_not(None))).scalar_one()
        assert emptied == 4
        (act,) = connection.execute(select(schema.erasures)).all()
    assert (act.erased_by, act.rows_emptied["decisions"]) == ("the office", 1)

    (erasing.home / ".token_cache/erasure.key").unlink()
    failed = erasing.run(erasing.window(0))
    assert not failed.success
    assert "Put the key back from a backup" in str(failed.failure)


@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
def test_contacts_of_referrals_closed_long_ago_are_emptied_and_do_not_come_back(
    erasing: Project, microsoft: Simulator
) -> None:
    closed = {"status": "Closed", "substatus": "Won", "closedDateTime": "2026-01-05T09:00:00Z"}
    microsoft.world.change("erased-1", erasing.window(5).start + 1, closed)
    microsoft.world.put(referral("erased-2", render_ticks(erasing.window(5).start + 2)))
    assert erasing.run(erasing.window(5)).success
    assert command("prune")["closed_referrals_emptied"] == 0
    erasing.edit_env(HUNTER_CLOSED_CONTACTS_DAYS="30")
    most = command("prune", "--dry-run")["closed_referrals_emptied"]
    job = erasing.definitions.resolve_job_def("partner_center_prune")
    assert job.execute_in_process(instance=erasing.instance, raise_on_error=False).success
    assert most > 0
    assert command("prune")["closed_referrals_emptied"] == 0
    with erasing.warehouse.read() as connection:
        raw = schema.raw_referrals
        payloads = connection.execute(select(raw.c.payload).where(raw.c.referral_id == "erased-1")).scalars().all()
        open_one: Any = connection.execute(select(raw.c.payload).where(raw.c.referral_id == "erased-2")).scalar_one()
    assert len(payloads) == 2
    assert not any(name in json.dumps(payloads, ensure_ascii=False) for name in (*SPELLINGS, "Deniz"))
    assert open_one["customerProfile"]["team"][0]["lastName"] == "Özdurgun"
    assert (lead(erasing).contact_name, lead(erasing).domain) == (None, "durgunlar.com.tr")

    assert missing(erasing) == (0, 0)
    microsoft.world.change("erased-1", erasing.window(7).start + 1, {"details/notes": f"{NAME} again"})
    assert erasing.run(erasing.window(7)).success
    erasing.edit_env(HUNTER_CLOSED_CONTACTS_DAYS="")
    assert missing(erasing) == (0, 0), "what was emptied is known after the setting is taken away"
    assert lead(erasing).contact_name is None
    with erasing.warehouse.read() as connection:
        payloads = connection.execute(select(raw.c.payload).where(raw.c.referral_id == "erased-1")).scalars().all()
    assert len(payloads) == 3
    assert "Özdurgun" not in json.dumps(payloads, ensure_ascii=False)
