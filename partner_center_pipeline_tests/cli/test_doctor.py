"""`partner-center doctor`: what is configured, what works, what to do next; never a secret."""

import json
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import demo
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment, free_port
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_simulator import HttpFault, Simulator
from partner_center_simulator.faults import TokenFault
from partner_center_simulator.odata import DateLiteral as Takes


def findings(home: Home) -> dict[str, tuple[str, str]]:
    """State and text of each finding, by subject."""
    shown = json.loads(home.invoke("doctor", "--json").stdout)
    assert shown["ok"] == all(finding["state"] != "wrong" for finding in shown["findings"])
    return {finding["subject"]: (finding["state"], finding["text"]) for finding in shown["findings"]}


def test_when_all_is_well_it_says_so_and_exits_with_0(ready: Home) -> None:
    ready.invoke("migrate")
    shown = ready.invoke("doctor")
    assert shown.exit_code == 0, shown.output
    found = findings(ready)
    assert {subject for subject, (state, _) in found.items() if state != "ok"} == {"sync", "open windows", "daemon"}
    assert found["sync"][1].endswith("run `partner-center sync`, or `partner-center ui`")  # nothing was synced yet
    assert "Next step" not in shown.output
    assert "renews silently" in shown.output
    assert "answers and shows referrals" in shown.output


def test_in_an_empty_home_it_says_what_to_set_first(home: Path) -> None:
    shown = Home(home).invoke("doctor")
    assert shown.exit_code == 1
    assert "Next step: set HUNTER_PARTNER_CENTER_CLIENT_ID in .env" in shown.output
    found = findings(Home(home))
    assert found["HUNTER_PARTNER_CENTER_TENANT_ID"][0] == "wrong"
    assert found["flag"][0] == "note"
    assert "sign-in" not in found  # there is nothing to sign in to yet


def test_nobody_signed_in(unsigned: Home) -> None:
    shown = unsigned.invoke("doctor")
    assert shown.exit_code == 1
    assert "Next step: nobody is signed in; run `partner-center login`" in shown.output
    assert "Referrals API" not in findings(unsigned)


@pytest.mark.parametrize(
    ("fault", "next_step"),
    [
        (HttpFault.FORBIDDEN, "Referral Admin for the entire company"),
        (HttpFault.UNAUTHORIZED, "partner-center login"),
    ],
)
def test_an_account_that_may_not_read(fault: HttpFault, next_step: str, ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.plan(fault, times=2)
    shown = ready.invoke("doctor")
    assert shown.exit_code == 1
    assert next_step in shown.output.partition("Next step: ")[2]


def test_a_sign_in_that_microsoft_ended(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.mfa_missing = True
    shown = ready.invoke("doctor")
    assert shown.exit_code == 1
    assert "multi-factor authentication" in shown.output.partition("Next step: ")[2]


@pytest.mark.parametrize(
    ("fault", "says"), [(TokenFault.INVALID_GRANT, "partner-center login"), (TokenFault.UNAVAILABLE, "503")]
)
def test_a_sign_in_that_does_not_renew_although_the_stored_token_is_good(
    ready: Home, microsoft: Simulator, fault: TokenFault, says: str
) -> None:
    microsoft.faults.plan_token(fault, times=10_000)
    state, text = findings(ready)["sign-in"]
    assert state == "wrong"
    assert says in text


@pytest.mark.parametrize(
    ("variable", "value", "subject"),
    [
        ("HUNTER_PARTNER_CENTER_PAGE_SIZE", "many", "settings"),
        ("HUNTER_PARTNER_CENTER_CLIENTID", "x", "settings"),
        ("HUNTER_PARTNER_CENTER_BASE_URL", "https://api.partnercenter.microsoft.com", "settings"),
        ("HUNTER_PARTNER_CENTER_CA_BUNDLE", "/nowhere/ca.pem", "sign-in"),
        ("HUNTER_PARTNER_CENTER_TOKEN_KEY", "short", "sign-in"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str, subject: str, ready: Home) -> None:
    ready.edit_env(**{variable: value})
    shown = ready.invoke("doctor")
    assert shown.exit_code == 1
    assert variable in shown.output.partition("Next step: ")[2]
    assert findings(ready)[subject][0] == "wrong"


def test_a_database_that_does_not_answer_is_named_without_its_password(ready: Home) -> None:
    ready.edit_env(HUNTER_DATABASE_URL=f"postgresql+psycopg://hunter:hush-hush@127.0.0.1:{free_port()}/hunter")
    shown = ready.invoke("doctor")
    assert shown.exit_code == 1
    assert "HUNTER_DATABASE_URL" in shown.output.partition("Next step: ")[2]
    assert "hush-hush" not in shown.output


@pytest.mark.slow
@pytest.mark.postgres
def test_a_postgres_schema_is_made_by_migrate(ready: Home, postgres: PostgresServer) -> None:
    ready.edit_env(HUNTER_DATABASE_URL=postgres.empty())
    shown = ready.invoke("doctor")
    assert shown.exit_code == 1
    assert "run `partner-center migrate`" in shown.output.partition("Next step: ")[2]
    assert ready.invoke("migrate").exit_code == 0
    assert ready.invoke("doctor").exit_code == 0


def test_a_client_secret_is_noted_as_ignored_and_not_shown(ready: Home) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_CLIENT_SECRET="hush-hush")
    assert findings(ready)["HUNTER_PARTNER_CENTER_CLIENT_SECRET"][0] == "note"
    shown = ready.invoke("doctor")
    assert shown.exit_code == 0
    assert "hush-hush" not in shown.output


def test_the_flag_that_is_off_is_a_note_not_an_error(ready: Home) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")
    assert findings(ready)["flag"][0] == "note"
    shown = ready.invoke("doctor")
    assert shown.exit_code == 0
    step = "set HUNTER_PARTNER_CENTER_ENABLED=true in .env, then run `partner-center sync`"
    assert shown.output.rstrip().endswith(f"Next step: {step}")
    assert json.loads(ready.invoke("doctor", "--json").stdout)["next_step"] == step


def test_it_makes_no_home_folder_and_says_that_there_is_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_HOME", str(tmp_path / "typo"))
    shown = Home(home).invoke("doctor")
    assert shown.exit_code == 1
    assert f"Next step: there is no folder {tmp_path / 'typo'}; correct HUNTER_HOME" in shown.output
    assert not (tmp_path / "typo").exists()


def test_it_makes_nothing_in_the_home_folder(unsigned: Home) -> None:
    unsigned.invoke("doctor")
    assert [path.name for path in unsigned.path.iterdir()] == [".env"]


@pytest.mark.parametrize("command", ["doctor", "drift", "migrate"])
def test_a_sqlite_file_in_a_folder_that_does_not_exist_is_refused(command: str, ready: Home, tmp_path: Path) -> None:
    ready.edit_env(HUNTER_DATABASE_URL=f"sqlite:///{tmp_path}/nowhere/x/y.db")
    shown = ready.invoke(command)
    assert shown.exit_code == 1
    assert f"there is no folder {tmp_path}/nowhere/x; correct the path, or make the folder" in shown.output
    assert not (tmp_path / "nowhere").exists()


def test_the_demos_data_is_named_and_is_wrong_for_a_real_tenant(ready: Home) -> None:
    with open_warehouse(Settings.load()) as warehouse, warehouse.write() as connection:
        now = datetime.now(UTC)
        demo.found(connection, demo.DemoWorld(1, now, now, 600))
    assert findings(ready)["data"] == ("note", "the demo's 600 invented referrals, no tenant's")
    ready.edit_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.example.invalid", HUNTER_PARTNER_CENTER_CLIENT_ID="x")
    state, text = findings(ready)["data"]
    assert (state, "name a new one in HUNTER_DATABASE_URL" in text) == ("wrong", True)


SILENT_NAME_SERVERS = """
import socket, time
asked = socket.getaddrinfo
def getaddrinfo(host, *more, **options):
    if host == "example.invalid":
        time.sleep(60)  # what the C library does while no name server answers
    return asked(host, *more, **options)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.slow
@pytest.mark.parametrize("authority", ["https://127.0.0.1:{port}", "https://example.invalid"])
def test_when_nothing_answers_it_ends_within_15_s_and_has_printed_line_by_line(
    authority: str, ready: Home, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SILENT_NAME_SERVERS)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        port = silent.getsockname()[1]
        ready.edit_env(
            HUNTER_PARTNER_CENTER_AUTHORITY=authority.format(port=port),
            HUNTER_DATABASE_URL=f"postgresql+psycopg://hunter@127.0.0.1:{port}/hunter",
        )
        started = time.monotonic()
        process = subprocess.Popen(
            [*COMMAND, "doctor"],
            env=clean_environment(ready.path, PYTHONPATH=str(tmp_path)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [(time.monotonic() - started, line) for line in process.stdout]
        assert process.wait(30) == 1
        took = time.monotonic() - started
    waited = took - lines[0][0]  # without the start of Python, which takes long beside other tests
    assert 5 < waited < 13
    text = "".join(line for _, line in lines)
    assert "warehouse  no answer from postgresql+psycopg://hunter@127.0.0.1" in text
    host = authority.removeprefix("https://").partition(":")[0]
    assert f"sign-in  no answer from {host} (HUNTER_PARTNER_CENTER_AUTHORITY) within" in text


def test_a_sign_in_that_is_about_to_end_is_noted_with_its_age(ready: Home) -> None:
    store = TokenStore(Settings.load().partner_center_token_cache_path)
    stored = store.read()
    assert stored is not None
    with store.locked():
        store.write(stored.model_copy(update={"renewed_at": stored.renewed_at - timedelta(days=80)}))
    state, text = findings(ready)["sign-in"]
    assert state == "note"
    assert "last renewed 80 days ago; it ends after 90 days without renewal: run `partner-center login`" in text


def test_it_prints_no_token_no_key_and_nobodys_name(ready: Home, microsoft: Simulator) -> None:
    shown = ready.invoke("doctor").output + ready.invoke("doctor", "--json").output
    stored = TokenStore(Settings.load().partner_center_token_cache_path).read()
    assert stored is not None
    cache = json.loads(stored.msal_cache)
    secrets = [entry["secret"] for kind in ("AccessToken", "RefreshToken") for entry in cache[kind].values()]
    names = [entry["username"] for entry in cache["Account"].values()]
    assert len(secrets) == 2
    for private in (*secrets, *names, microsoft.client_id):
        assert private not in shown


# --probe


def probed(home: Home) -> dict[str, tuple[str, str]]:
    """Verdict and what was found, by question."""
    shown = json.loads(home.invoke("doctor", "--probe", "--json").stdout)
    return {one["subject"]: (one["verdict"], one["found"]) for one in shown["probe"]}


@pytest.mark.slow
def test_the_probe_asks_what_the_documents_leave_open_and_prints_a_table(ready: Home) -> None:
    ready.invoke("migrate")
    shown = ready.invoke("doctor", "--probe")
    assert shown.exit_code == 0, shown.output
    assert "reads a window once" in shown.output
    found = probed(ready)
    assert found["date in a filter"] == ("as documented", "bare and quoted")
    assert found["filter on updatedDateTime"] == ("as documented", "taken, both bounds kept")
    assert found["comparison of instants"] == ("as documented", "exact to 100 ns")
    assert found["order by updatedDateTime asc"][0] == found["order by updatedDateTime desc"][0] == "as documented"
    assert found["$top"] == ("as documented", "is the size of a page")
    assert found["page size"] == ("differs", "100 rows for $top=1000")
    assert found["next link"] == ("as documented", "http, /v1.0/referrals")
    assert found["@odata.count"] == ("as documented", "rows in the page")
    assert found["page behind a next link"] == ("as documented", "leads on")
    assert found["page without a next link"][0] == "as documented"
    assert list(found)[-1] == "argument"
    assert found["argument"] == ("as documented", "keyset scan (arguments 2 to 6)")
    assert found["$skip"] == found["$select"] == ("as documented", "taken")
    assert found["server's clock"][0] == "as documented"
    assert found["MFA claim"] == ("as documented", "there")


def test_without_the_option_nothing_is_probed(ready: Home) -> None:
    assert "probe" not in json.loads(ready.invoke("doctor", "--json").stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switches", "subject", "expected"),
    [
        ({"date_literal": Takes.QUOTED}, "date in a filter", ("differs", "quoted")),
        ({"filter_updated_refused": True}, "filter on updatedDateTime", ("refused", None)),
        ({"orderby_updated_refused": True}, "order by updatedDateTime desc", ("refused", "HTTP 400")),
        ({"top_is_total": True}, "$top", ("differs", "ends the query, no link follows")),
        ({"largest_page": 7}, "page size", ("differs", "7 rows for $top=1000")),
        ({"count_is_total": True}, "@odata.count", ("differs", None)),
        ({"next_link_foreign": True}, "next link", ("differs", "leads to another host")),
        ({"next_link_loop": True}, "page behind a next link", ("does not work", "leads back")),
        ({"next_link_missing": True}, "page without a next link", ("differs", "100 rows, and $skip shows more")),
        ({"next_link_plain": True}, "next link", ("differs", "https, /v1.0/engagements/referrals")),
        ({"date_skew_seconds": 300.0}, "server's clock", ("differs", None)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
def test_the_probe_says_what_differs(
    ready: Home, microsoft: Simulator, switches: dict[str, Any], subject: str, expected: tuple[str, str | None]
) -> None:
    for name, value in switches.items():
        setattr(microsoft.faults, name, value)
    verdict, found = probed(ready)[subject]
    assert verdict == expected[0]
    assert expected[1] in (None, found)


def test_an_api_without_the_filter_is_no_error_and_says_what_is_done_about_it(
    ready: Home, microsoft: Simulator
) -> None:
    microsoft.faults.filter_updated_refused = True
    shown = ready.invoke("doctor", "--probe")
    assert shown.exit_code == 0, shown.output
    assert "reads the list from the newest referral down" in shown.output


def test_where_no_argument_holds_it_is_wrong_and_says_what_to_do(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.filter_updated_refused = True
    microsoft.faults.next_link_loop = True
    shown = ready.invoke("doctor", "--probe")
    assert shown.exit_code == 1
    next_step = " ".join(shown.output.partition("Next step: ")[2].split())
    assert "none can be proven: the filter cannot be used, and neither next links nor $skip lead past a" in next_step
    assert "send this table to Microsoft's support" in next_step


def test_the_probe_prints_no_token_and_nothing_of_a_referral(ready: Home, microsoft: Simulator) -> None:
    shown = ready.invoke("doctor", "--probe", "--json").output
    stored = TokenStore(Settings.load().partner_center_token_cache_path).read()
    assert stored is not None
    cache = json.loads(stored.msal_cache)
    private = [entry["secret"] for kind in ("AccessToken", "RefreshToken") for entry in cache[kind].values()]
    private += [row[field] for row in microsoft.world.all() for field in ("id", "name") if row.get(field)]
    assert not [text for text in private if text in shown]
