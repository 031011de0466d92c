"""`partner-center export`: the sales team's lists as a file."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.reports.model import About, Format, ListName
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.reports.writing import write_report
from partner_center_pipeline.scoring import ScorePolicy, load_rules
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.warehouse import companies, leads, published, reporting, scores, signals, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import raw_referrals, score_changes
from partner_center_pipeline.windows import render_ticks, ticks_of
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import score, signal

NOW = datetime.now(UTC).replace(microsecond=0)
DOMAINS = {
    "çelik.com.tr": ("Çelik Ltd", "Migration", "P1", 80),
    "cam.com": ("Cam Ltd", "Cold", "P5", 40),
    "öz.com.tr": ("=1+1", "Skip", "P6", 10),
}


def instant(hours: float) -> str:
    return render_ticks(ticks_of(NOW + timedelta(hours=hours)))


def referral(number: int, domain: str | None, name: str, **payload: Any) -> dict[str, Any]:
    contact = {"firstName": "Ayşe", "lastName": "Yılmaz", "email": f"ayse{number}@gmail.com", "phoneNumber": "+90 1"}
    profile = {"name": name, "team": [contact], **({"website": domain} if domain else {})}
    created = {"createdDateTime": instant(-100), "expirationDateTime": instant(24 * number)}
    return lead_row(f"r{number}", number, customerProfile=profile, **{**created, **payload})


class Installation(Home):
    """A home folder whose warehouse holds three companies and two leads without one."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self.warehouse = Warehouse.open(url)
        self.edit_env(HUNTER_DATABASE_URL=url)

    def fill(self) -> None:
        rows = [referral(at, domain, name[0]) for at, (domain, name) in enumerate(DOMAINS.items(), 1)]
        rows += [referral(4, None, "Kimsesiz"), referral(5, None, "Geçmiş", expirationDateTime=instant(-24))]
        stored = [
            {
                "referral_id": row["referral_id"], "version": "v1", "updated_ticks": 1, "updated_text": "",
                "window_start": 0, "late": False, "content_hash": "h", "fetched_at": NOW - timedelta(days=at),
                "payload": {"acceptedDateTime": instant(-90)} if at == 1 else {},
            }
            for at, row in enumerate(rows)
        ]  # fmt: skip
        with self.warehouse.write() as connection:
            connection.execute(raw_referrals.insert(), stored)
            leads.write(connection, rows)
            found = sorted({row["domain"] for row in rows if row["domain"]})
            made = [company_of(domain, of_it) for domain, of_it in leads.of_domains(connection, found).items()]
            companies.write(connection, made)
            signals.write(connection, [signal(domain) for domain in found])
            scores.write(connection, [self._score(row["domain"], row["domain_unicode"]) for row in made])
            connection.execute(
                score_changes.insert(),
                [
                    {
                        "domain": min(found), "changed_at": NOW - timedelta(hours=hours), "cause": "signals",
                        "segment_before": "Cold", "segment_after": "Migration", "score_before": before,
                        "score_after": after, "detail": {},
                    }
                    for hours, before, after in ((2, 40, 60), (1, 60, 80))
                ],
            )  # fmt: skip
            published.publish(connection, load_rules(), ScorePolicy())

    @staticmethod
    def _score(domain: str, unicode: str) -> dict[str, Any]:
        _, segment, category, points = DOMAINS[unicode]
        words = {"label": "High Potential Greenfield", "act": "within 48 hours"} if category == "P1" else {}
        return score(
            domain,
            points,
            segment=segment,
            category=category,
            reasons=[{"code": "no_spf", "points": -10, "evidence": None}],
            scored_at=NOW - timedelta(days=30),
            **words,
        )

    def export(self, *arguments: str) -> dict[str, Any]:
        """What the command says in JSON."""
        done = self.invoke("export", "--json", *arguments)
        assert done.exit_code == 0, done.output
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def rows(self, *arguments: str, language: str = "en") -> list[dict[str, str]]:
        """The rows of a CSV file that the command writes."""
        path = self.path / "rows.csv"
        self.export("--output", str(path), "--language", language, *arguments)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, delimiter=";" if language == "tr" else ","))

    def names(self, name: str, *arguments: str) -> list[str]:
        """The companies of a list, in order."""
        return [row["Company"] for row in self.rows(*arguments) if row["List"] == name]


@pytest.fixture
def empty(home: Path, databases: Databases) -> Iterator[Installation]:
    made = Installation(home, databases.emptied())
    yield made
    made.warehouse.close()


@pytest.fixture
def installation(empty: Installation) -> Installation:
    empty.fill()
    return empty


@pytest.mark.parametrize("form", ["xlsx", "csv", "html"])
def test_each_format_is_written_and_the_ending_of_the_file_chooses_it(form: str, installation: Installation) -> None:
    path = installation.path / f"monday.{form}"
    said = installation.export("--output", str(path), "--language", "tr")
    assert (said["file"], said["format"], said["language"]) == (str(path), form, "tr")
    assert said["bytes"] == path.stat().st_size > 0
    assert said["rows"]["leads"] == 3
    assert said["rows"]["without_company"] == 2
    assert [file.name for file in installation.path.iterdir() if file.name.startswith(".monday")] == []
    if form == "xlsx":
        book = load_workbook(path)
        assert book.sheetnames[0] == "Önce bunlar"
        assert "Yüksek Potansiyelli Yeni Müşteri" in [cell.value for cell in book["Potansiyel müşteriler"]["F"]]


def test_the_command_speaks_english_whatever_the_language_of_the_file(installation: Installation) -> None:
    turkish, english = (
        installation.invoke("export", "--output", "a.html", "--language", language) for language in ("tr", "en")
    )
    assert re.sub(r"\d+ kB", "", turkish.stdout) == re.sub(r"\d+ kB", "", english.stdout)
    assert re.search(r"^  Due first +4 rows$", turkish.stdout, re.MULTILINE)
    assert '<html lang="en">' in (installation.path / "a.html").read_text(encoding="utf-8")


def test_the_lists_come_in_their_order_with_their_companies(installation: Installation) -> None:
    assert installation.names("Due first") == ["Çelik Ltd", "Cam Ltd", "'=1+1", "Kimsesiz"]
    assert installation.names("Leads") == ["Çelik Ltd", "Cam Ltd", "'=1+1"]
    assert sorted(installation.names("Without a company")) == ["Geçmiş", "Kimsesiz"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "due", "leads_of"),
    [
        (["--segment", "Migration"], ["Çelik Ltd"], ["Çelik Ltd"]),
        (["--category", "P1", "--category", "P5"], ["Çelik Ltd", "Cam Ltd"], ["Çelik Ltd", "Cam Ltd"]),
        (["--segment", "Cold", "--category", "P1"], [], []),
        (["--due-within", "50h"], ["Çelik Ltd", "Cam Ltd"], ["Çelik Ltd", "Cam Ltd"]),
        (["--due-within", "1d"], ["Çelik Ltd"], ["Çelik Ltd"]),
        (["--source", "co-sell"], [], []),
        (["--source", "unknown", "--segment", "Cold"], ["Cam Ltd"], ["Cam Ltd"]),
    ],
)
def test_only_the_chosen_rows_are_written(
    options: list[str], due: list[str], leads_of: list[str], installation: Installation
) -> None:
    assert installation.names("Due first", *options) == due
    assert installation.names("Leads", *options) == leads_of


@pytest.mark.slow
def test_contacts_are_read_and_written_only_when_asked(installation: Installation) -> None:
    assert "E-mail" not in installation.rows()[0]
    with installation.warehouse.read() as connection:
        (row, *_) = reporting.list_rows(connection, views.due_first, with_contacts=False)
    assert not {*reporting.CONTACTS} & row.keys()
    row = installation.rows("--with-contacts")[0]
    assert (row["E-mail"], row["Telephone"], row["Contacts included"]) == ("ayse1@gmail.com", "'+90 1", "yes")
    done = installation.invoke("export", "--output", "c.xlsx", "--with-contacts")
    assert "personal data" in done.output


@pytest.mark.slow
def test_new_and_moved_tells_what_happened_since_then(installation: Installation) -> None:
    def told(*options: str) -> list[tuple[str, str]]:
        rows = [row for row in installation.rows(*options) if row["List"] == "New and moved"]
        return [(row["What happened"], row["Company"]) for row in rows]

    moved = ("Moved up", "Cam Ltd")
    everyone = [("New", name) for name in ("'=1+1", "Cam Ltd", "Çelik Ltd", "Geçmiş", "Kimsesiz")]
    assert told() == [*everyone, moved, ("Deadline passed", "Geçmiş")]
    assert told("--since", "36h") == [*everyone[1:3], moved, ("Deadline passed", "Geçmiş")]
    assert told("--since", "12h") == [everyone[2], moved]
    rows = installation.rows("--since", (NOW - timedelta(hours=3)).isoformat(), language="tr")
    (row,) = [row for row in rows if row["Ne oldu"] == "Yükseldi"]
    assert (row["Önceki puan"], row["Şimdiki puan"], row["Nedeni"]) == ("40", "80", "e-posta yapısı değişti")
    assert (row["Önceki segment"], row["Şimdiki segment"]) == ("Soğuk", "Geçiş")


def test_the_page_counts_weeks_and_answers_and_shows_a_companys_history(installation: Installation) -> None:
    installation.export("--output", "a.html")
    page = (installation.path / "a.html").read_text(encoding="utf-8")
    assert '<th scope="row">within 1 day</th><td class="n">1</td>' in page
    assert '<th scope="row">not yet</th><td class="n">4</td>' in page
    monday = (NOW - timedelta(hours=100)).date()
    monday -= timedelta(days=monday.weekday())
    assert f'<th scope="row">{monday}</th><td class="n">5</td>' in page
    assert "Cold 60 → Migration 80 (the mail set-up changed)" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "missing/a.xlsx"], "does not exist; make it first"),
        (["--output", "."], "is a folder; name a file in it"),
        (["--output", "a.xlsx", "--format", "pdf"], "'pdf' is not one of"),
        (["--output", "a.doc"], "end it with .xlsx, .csv or .html, or give --format"),
        (["--output", "a.csv", "--due-within", "soon"], "write hours or days, e.g. 72h or 3d"),
        (["--output", "a.csv", "--since", "monday"], "write 2026-12-01, 2026-12-01T08:00Z or 7d"),
        (["--output", "a.csv", "--since", "2999-01-01"], "is still to come"),
        (["--output", "a.csv", "--segment", "Warm"], "'Warm' is not one of"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_next_step(
    arguments: list[str], said: str, installation: Installation
) -> None:
    output = [*arguments, "--format", "csv"] if arguments[1] in ("missing/a.xlsx", ".") else arguments
    done = installation.invoke("export", *output)
    assert done.exit_code in (1, 2)
    assert said in done.output.replace("\n", " ")
    assert not list(installation.path.glob("a.*"))


def test_an_empty_warehouse_writes_no_file_and_says_the_next_step(empty: Installation) -> None:
    done = empty.invoke("export", "--output", "a.xlsx")
    assert done.exit_code == 1
    assert "holds no lead yet" in done.output
    assert "partner-center sync" in done.output
    assert not (empty.path / "a.xlsx").exists()


@pytest.mark.parametrize("form", list(Format))
def test_a_file_that_cannot_be_finished_leaves_the_last_one_as_it_was(form: Format, installation: Installation) -> None:
    path = installation.path / "kept"
    path.write_text("the last one", encoding="utf-8")
    about = About(made_at=NOW, since=NOW - timedelta(days=1))

    def stopped(name: ListName, rows: int) -> None:
        raise KeyboardInterrupt

    with installation.warehouse.read() as connection, pytest.raises(KeyboardInterrupt):
        write_report(connection, path, form, about, Words(load_rules(), Language.EN), watch=stopped)
    assert path.read_text(encoding="utf-8") == "the last one"
    assert [file for file in installation.path.iterdir() if file.name.endswith(".part")] == []
