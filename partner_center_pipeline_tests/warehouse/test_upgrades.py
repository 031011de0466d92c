"""What a later migration may rely on: rows survive it, all of it happens or nothing, and one happens at a time."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DatabaseError

from alembic import command
from partner_center_pipeline.leads.decisions import Author, Decision, DecisionKind, Mark
from partner_center_pipeline.leads.suggestions import group_of
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import companies, decisions, pending, signals
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.leads import SOURCE
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, company_scores, leads, raw_referrals
from partner_center_pipeline.warehouse.schema import companies as companies_table
from partner_center_pipeline.windows import parse_ticks
from partner_center_pipeline_tests.conftest import Databases, PostgresServer
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import NOW, lead_row
from partner_center_pipeline_tests.warehouse.test_results import score, signal

REBUILD = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "test", "{head}"

def upgrade():
    for name in ("sync_health", "company_card", "due_first", "leads_without_company", "leads_ready"):
        op.execute(f"DROP VIEW {{name}}")
    with op.batch_alter_table("companies", recreate="auto") as batch:
        batch.alter_column("country", new_column_name="land")

def downgrade():
    with op.batch_alter_table("companies", recreate="auto") as batch:
        batch.alter_column("land", new_column_name="country")
"""

BREAK_OFF = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "test", "{head}"

def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE companies SET country = 'XX'")
    op.execute("this is no SQL")
"""


def with_a_later_migration(warehouse: Warehouse, folder: Path, source: str) -> Config:
    """Alembic's configuration as the warehouse's own, with one more migration behind the newest."""
    from alembic.script import ScriptDirectory

    config: Config = warehouse._alembic()
    head = ScriptDirectory.from_config(config).get_current_head()
    later = folder / "versions"
    later.mkdir()
    (later / "test_later.py").write_text(source.format(head=head))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{PROJECT_ROOT / 'alembic' / 'versions'}\n{later}")
    return config


def test_a_table_may_be_rebuilt_without_emptying_those_that_refer_to_it(databases: Databases, tmp_path: Path) -> None:
    warehouse = Warehouse(databases.migrated())
    with warehouse.write() as connection:
        connection.execute(companies_table.insert(), [company("a.com", country="TR")])
        signals.write(connection, [signal("a.com")])
    config = with_a_later_migration(warehouse, tmp_path, REBUILD)
    command.upgrade(config, "head")
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT land FROM companies")).scalar_one() == "TR"
        assert list(signals.load(connection, ["a.com"])) == ["a.com"]
    command.downgrade(config, "-1")
    with warehouse.read() as connection:
        assert companies.load(connection, ["a.com"])["a.com"]["country"] == "TR"
        assert list(signals.load(connection, ["a.com"])) == ["a.com"]
    with (
        pytest.raises(WarehouseError, match=r"(?i)foreign.?key"),
        warehouse.write() as connection,
    ):  # and references are checked again
        signals.write(connection, [signal("nobody.com")])
    warehouse.close()


def test_a_migration_that_breaks_off_leaves_everything_as_it_was(databases: Databases, tmp_path: Path) -> None:
    warehouse = Warehouse(databases.migrated())
    with warehouse.write() as connection:
        connection.execute(companies_table.insert(), [company("a.com", country="TR")])
    with pytest.raises(DatabaseError):
        command.upgrade(with_a_later_migration(warehouse, tmp_path, BREAK_OFF), "head")
    assert warehouse.is_current()
    with warehouse.read() as connection:
        assert "half" not in inspect(connection).get_table_names()
        assert companies.load(connection, ["a.com"])["a.com"]["country"] == "TR"
    warehouse.close()


def test_a_first_migration_that_breaks_off_leaves_no_table_behind(databases: Databases, tmp_path: Path) -> None:
    """Tables without a version would look like tables of other origin, and be refused for ever."""
    warehouse = Warehouse(databases.empty())
    with pytest.raises(DatabaseError):
        command.upgrade(with_a_later_migration(warehouse, tmp_path, BREAK_OFF), "head")
    with warehouse.read() as connection:
        assert inspect(connection).get_table_names() == []
    warehouse.migrate()
    assert warehouse.is_current()
    warehouse.close()


@pytest.mark.postgres
@pytest.mark.slow
def test_migrations_that_begin_at_once_are_one(postgres: PostgresServer) -> None:
    url = postgres.empty()
    code = (
        "import sys; from partner_center_pipeline.warehouse.database import Warehouse; Warehouse(sys.argv[1]).migrate()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, cwd=PROJECT_ROOT) for _ in range(3)
    ]
    outcomes = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert [code for _, code in outcomes] == [0, 0, 0], outcomes
    warehouse = Warehouse(url)
    assert warehouse.is_current()
    warehouse.close()


def test_a_migration_waits_for_a_writer(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    down = threading.Thread(target=Warehouse(warehouse.url).migrate, args=("base",))
    with warehouse.write() as connection:
        connection.execute(companies_table.insert(), [company("a.com")])
        down.start()
        down.join(0.3)
        assert down.is_alive()
        assert list(companies.load(connection, ["a.com"])) == ["a.com"]
    down.join()
    with warehouse.read() as connection:
        assert set(inspect(connection).get_table_names()) <= {VERSION_TABLE}
    warehouse.close()


def test_a_warehouse_of_earlier_code_keeps_its_versions_and_owes_what_was_not_derived(database_url: str) -> None:
    """Revision 0003: a version was the eTag, and windows said what was to be derived."""
    warehouse = Warehouse(database_url)
    warehouse.migrate("0003")
    digest = "0123456789abcdef" * 4
    with warehouse.write() as connection:
        for number, (referral_id, etag, ticks) in enumerate(
            (("r1", "e1", 1), ("r1", "e2", 2), ("r2", None, 1), ("r3", "e1", 5))
        ):
            row: dict[str, Any] = {
                "referral_id": referral_id,
                "version": etag or f"sha256:{number}{digest[1:]}",
                "etag": etag,
                "updated_ticks": ticks,
                "updated_text": "",
                "window_start": 0,
                "late": False,
                "content_hash": f"{number}{digest[1:]}",
                "payload": {},
                "fetched_at": NOW,
            }
            connection.execute(raw_referrals.insert().values(row))
        created = {"r1": "2026-03-01T12:00:00.5Z", "r2": "yesterday"}
        for referral_id, version, ticks in (("r1", "e1", 1), ("r2", f"sha256:2{digest[1:]}", 1)):
            lead = lead_row(referral_id, ticks, version, createdDateTime=created[referral_id])
            del lead["derived_with"], lead["created_ticks"]
            connection.execute(leads.insert().values(**lead, source=SOURCE, former_domains=[]))
    warehouse.migrate()
    with warehouse.read() as connection:
        raw = {row.version for row in connection.execute(select(raw_referrals.c.version))}
        assert raw == {f"{number}{digest[1:32]}" for number in range(4)}
        made = {row.referral_id: row.version for row in connection.execute(select(leads))}
        assert made == {"r1": f"0{digest[1:32]}", "r2": f"2{digest[1:32]}"}
        ticks_of_creation = {row.referral_id: row.created_ticks for row in connection.execute(select(leads))}
        assert ticks_of_creation == {"r1": parse_ticks(created["r1"]), "r2": None}
        # r1 has a newer version, r3 no lead, and nothing says which code made the lead of r2.
        assert pending.load(connection, Task.LEADS).items == ["r1", "r2", "r3"]
        assert pending.load(connection, Task.COMPANIES).items == []
    command.downgrade(warehouse._alembic(), "0003")
    with warehouse.read() as connection:
        assert set(connection.execute(select(raw_referrals.c.version)).scalars()) == {
            "e1",
            "e2",
            f"sha256:2{digest[1:]}",
        }
    warehouse.close()


def test_stored_scores_lose_the_deadline_that_the_lists_now_add(database_url: str) -> None:
    """Revision 0006: the deadline was the last reason of a score, whether it had passed or not."""
    warehouse = Warehouse(database_url)
    warehouse.migrate("0006")
    kept = {"code": "no_mx", "points": 0, "evidence": None}
    due = {"code": "response_due", "points": 0, "evidence": "2026-03-05T12:00:00Z"}
    english, turkish = "The domain receives no mail", "Alan adı e-posta almıyor"
    told: dict[str, Any] = {
        "explanation_en": f"{english}; Answer the open referral by its response deadline (2026-03-05T12:00:00Z)",
        "explanation_tr": f"{turkish}; Açık yönlendirmeyi son yanıt tarihine kadar yanıtlayın (2026-03-05T12:00:00Z)",
    }
    with warehouse.write() as connection:
        connection.execute(companies_table.insert(), [company("a.com"), company("b.com")])
        stored = [
            score("a.com", reasons=[kept, due], inputs={"no_mx": True, "response_due": due["evidence"]}, **told),
            score("b.com", reasons=[kept], inputs={"no_mx": True}, explanation_en=english, explanation_tr=turkish),
        ]
        for row in stored:
            connection.execute(company_scores.insert().values(**row))
    warehouse.migrate()
    with warehouse.read() as connection:
        for found in connection.execute(select(company_scores)):
            assert (found.reasons, found.inputs) == ([kept], {"no_mx": True}), found.domain
            assert (found.explanation_en, found.explanation_tr) == (english, turkish)
    command.downgrade(warehouse._alembic(), "0006")
    warehouse.migrate()
    assert warehouse.is_current()
    warehouse.close()


@pytest.mark.postgres
def test_text_is_ordered_as_python_orders_it_whatever_language_the_server_sorts_by(postgres: PostgresServer) -> None:
    warehouse = Warehouse(postgres.migrated())
    words = ["B", "I", "a", "i", "z", "İ", "ç", "ı", 'W/"1"', "-", "_"]
    with warehouse.write() as connection:
        for table in ("raw_referrals", "leads"):
            for column in ("referral_id", "version"):
                order = f'ORDER BY word COLLATE "{_collation(warehouse, table, column)}"'
                ordered = connection.execute(
                    text(f"SELECT word FROM unnest(CAST(:words AS text[])) AS given(word) {order}"), {"words": words}
                )
                assert list(ordered.scalars()) == sorted(words)
    warehouse.close()


def _collation(warehouse: Warehouse, table: str, column: str) -> str:
    with warehouse.read() as connection:
        (found,) = [each for each in inspect(connection).get_columns(table) if each["name"] == column]
    return str(getattr(found["type"], "collation", None) or "default")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.db", r"cannot be used .*HUNTER_DATABASE_URL"),
        ("folder", r"cannot be used .*HUNTER_DATABASE_URL"),
        ("no.db/below.db", r"HUNTER_DATABASE_URL names .* there is no folder"),
        ("nowhere/hunter.db", r"HUNTER_DATABASE_URL names .* there is no folder"),
    ],
)
def test_a_file_that_cannot_be_a_database_is_told_in_words(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "no.db").write_text("this is no database, but long enough for a header that says so\n" * 40)
    (tmp_path / "folder").mkdir()
    with pytest.raises(WarehouseError, match=said):
        Warehouse.open(f"sqlite:///{tmp_path / path}")


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes\n" * 400)
    with pytest.raises(WarehouseError, match="file is not a database"):
        Warehouse.open(f"sqlite:///{file}")
    assert file.read_text() == "my notes\n" * 400


def test_the_default_files_folder_is_made_and_its_owners_only(home: Path) -> None:
    warehouse = Warehouse.open(f"sqlite:///{home / '.hunter' / 'hunter.db'}")
    assert (home / ".hunter").stat().st_mode & 0o077 == 0
    warehouse.close()


def test_stored_suggestions_get_the_groups_that_new_ones_have_and_decisions_stay(database_url: str) -> None:
    """Revision 0007: suggestions had no group."""
    warehouse = Warehouse(database_url)
    warehouse.migrate("0007")
    with warehouse.write() as connection:
        made = [company("a.com", name_key="celik"), company("b.com", name_key="celik"), company("c.com")]
        connection.execute(companies_table.insert(), made)
        connection.execute(
            text(
                "INSERT INTO suggested_matches (kind, subject, domain, reason, similarity, suggested_at) VALUES "
                "('company', 'a.com', 'b.com', 'same_name', 100, '2026-03-01 00:00:00'), "
                "('company', 'a.com', 'c.com', 'ascii_key', 100, '2026-03-01 00:00:00'), "
                "('lead', 'r1', 'b.com', 'same_name', 100, '2026-03-01 00:00:00')"
            )
        )
    warehouse.migrate("0008")
    decision = Decision(kind=DecisionKind.MARK, subject="r1", choice=Mark.CONTACTED)
    with warehouse.write() as connection:
        decisions.append(connection, [decision], Author("Ali", NOW))
    warehouse.migrate()
    with warehouse.read() as connection:
        rows = connection.execute(text("SELECT subject, domain, group_id FROM suggested_matches")).all()
        assert [row["choice"] for row in decisions.history(connection, "r1")] == ["contacted"]
    assert {(subject, domain): group for subject, domain, group in rows} == {
        ("a.com", "b.com"): group_of("same_name", "celik", "celik"),
        ("a.com", "c.com"): group_of("ascii_key", "celik", "c.com"),
        ("r1", "b.com"): group_of("same_name", "r1", "celik"),
    }
    warehouse.close()
