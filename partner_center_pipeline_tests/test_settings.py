"""Settings: every variable, what wins, and what a person is told about a value that cannot be used."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url

from partner_center_pipeline.settings import (
    EXTRA_ENV_VARIABLE,
    HOME_VARIABLE,
    PROJECT_ROOT,
    Settings,
    SettingsError,
    TokenPlace,
    secret_file_variables,
    variable_names,
)
from partner_center_pipeline.settings import (
    home as home_folder,
)
from partner_center_pipeline.windows import ALLOWED_INTERVALS

PARTNER_CENTER = "HUNTER_PARTNER_CENTER_"


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    return str(caught.value)


@contextmanager
def as_another_user() -> Iterator[None]:
    """Without root's power to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("home")
class TestDefaults:
    def test_a_new_installation_is_off_and_uses_a_sqlite_file_in_its_home(self, home: Path) -> None:
        settings = Settings.load()
        assert settings.partner_center_enabled is False
        assert settings.database_url.get_secret_value() == f"sqlite:///{home}/.hunter/hunter.db"
        assert settings.partner_center_token_cache_path == home / ".token_cache"
        assert settings.sync_start is None

    def test_the_figures_are_those_of_the_documentation(self) -> None:
        settings = Settings.load()
        assert settings.partner_center_poll_interval_seconds == 600
        assert settings.partner_center_page_size == 100
        assert settings.partner_center_overlap_seconds == 900
        assert settings.partner_center_safety_lag_seconds == 120
        assert settings.partner_center_cosell_bonus == 15
        assert settings.partner_center_azure_tenant_score == 55
        assert settings.signals_ttl_hours == 168
        assert settings.tenant_discovery_enabled is False
        assert settings.partner_center_token_store is TokenPlace.FILE
        assert settings.partner_center_base_url == "https://api.partner.microsoft.com"
        assert settings.partner_center_authority == "https://login.microsoftonline.com"
        assert settings.partner_center_scope == "https://api.partner.microsoft.com/.default"
        assert settings.dns_resolvers == ()
        assert len(settings.dkim_selectors) == 10
        assert settings.scoring_rules is None  # those that the product is delivered with


@pytest.mark.usefixtures("home")
class TestValues:
    @pytest.mark.parametrize(
        ("old", "new", "value", "field"),
        [
            ("API_URL", "BASE_URL", "https://localhost:8443", "partner_center_base_url"),
            ("SYNC_INTERVAL", "POLL_INTERVAL_SECONDS", "300", "partner_center_poll_interval_seconds"),
        ],
    )
    def test_old_names_are_accepted_and_new_ones_win(
        self, monkeypatch: pytest.MonkeyPatch, old: str, new: str, value: str, field: str
    ) -> None:
        monkeypatch.setenv(PARTNER_CENTER + old, value)
        assert str(getattr(Settings.load(), field)) == value
        other = "https://localhost:9443" if "URL" in old else "900"
        monkeypatch.setenv(PARTNER_CENTER + new, other)
        assert str(getattr(Settings.load(), field)) == other

    def test_the_sign_in_is_kept_in_a_file_or_in_the_database_and_nowhere_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(PARTNER_CENTER + "TOKEN_STORE", "database")
        assert Settings.load().partner_center_token_store is TokenPlace.DATABASE
        monkeypatch.setenv(PARTNER_CENTER + "TOKEN_STORE", "redis")
        with pytest.raises(SettingsError, match=r"TOKEN_STORE: .*'file' or 'database'.*TOKEN_STORE=file"):
            Settings.load()

    @pytest.mark.parametrize("name", ["OPERATORS_TEAMS_WEBHOOK_URL", "OPERATORS_WEBHOOK_URL", "PING_URL"])
    @pytest.mark.parametrize("value", ["http://example.invalid/hush-hush", "hush-hush", "https://u:hush-hush@a/"])
    def test_an_address_of_operators_is_https_and_is_never_shown(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        said = refusal(monkeypatch, f"HUNTER_{name}", value)
        assert said.startswith(f"HUNTER_{name}: must be an ")
        assert "hush" not in said
        monkeypatch.setenv(f"HUNTER_{name}", "https://example.invalid/hush-hush")
        assert "hush" not in repr(Settings.load())

    def test_mail_addresses_and_the_server_are_read_and_a_wrong_one_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HUNTER_OPERATORS_MAIL_TO", "a@example.com, b@example.com")
        monkeypatch.setenv("HUNTER_SMTP_SERVER", "smtp.example.com:2525")
        settings = Settings.load()
        assert settings.operators_mail_to == ("a@example.com", "b@example.com")
        assert settings.smtp_server == ("smtp.example.com", 2525)
        monkeypatch.setenv("HUNTER_SMTP_SERVER", "smtp.example.com")
        assert Settings.load().smtp_server == ("smtp.example.com", 0)
        assert "no mail address" in refusal(monkeypatch, "HUNTER_OPERATORS_MAIL_TO", "a@example.com,nobody")
        monkeypatch.delenv("HUNTER_OPERATORS_MAIL_TO")
        assert "'starttls' or 'tls'" in refusal(monkeypatch, "HUNTER_SMTP_SECURITY", "none")

    def test_a_short_password_of_the_ui_is_refused_and_never_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = refusal(monkeypatch, "HUNTER_UI_PASSWORD", "hush-hush")
        assert "HUNTER_UI_PASSWORD: has fewer than 12 characters" in said
        assert "hush-hush" not in said
        monkeypatch.setenv("HUNTER_UI_PASSWORD", "correct horse battery")
        assert "correct" not in repr(Settings.load())

    def test_a_short_key_of_erased_persons_is_refused_and_never_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = refusal(monkeypatch, "HUNTER_ERASURE_KEY", "hush-hush")
        assert "HUNTER_ERASURE_KEY: has fewer than 32 characters; make one with" in said
        assert "hush-hush" not in said
        monkeypatch.setenv("HUNTER_ERASURE_KEY", "hush" * 8)
        assert "hush" not in repr(Settings.load())

    def test_contacts_of_closed_referrals_are_kept_unless_days_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Settings.load().closed_contacts_days is None
        assert "HUNTER_CLOSED_CONTACTS_DAYS" in refusal(monkeypatch, "HUNTER_CLOSED_CONTACTS_DAYS", "0")

    @pytest.mark.parametrize("value", ["0", "many"])
    def test_a_lag_that_allows_nothing_is_refused(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        assert "HUNTER_LAG_WINDOWS" in refusal(monkeypatch, "HUNTER_LAG_WINDOWS", value)

    @pytest.mark.parametrize("interval", ALLOWED_INTERVALS)
    def test_every_width_that_fits_a_cron_is_accepted(self, monkeypatch: pytest.MonkeyPatch, interval: int) -> None:
        monkeypatch.setenv(PARTNER_CENTER + "POLL_INTERVAL_SECONDS", str(interval))
        assert Settings.load().grid.interval == interval

    def test_resolvers_may_have_ports_and_may_be_ipv6(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUNTER_DNS_RESOLVERS", "192.0.2.1, 192.0.2.2:5353,[2001:db8::1]:54,")
        assert Settings.load().dns_resolvers == (("192.0.2.1", 53), ("192.0.2.2", 5353), ("2001:db8::1", 54))

    def test_an_instant_of_another_zone_is_kept_in_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUNTER_SYNC_START", "2026-01-01T03:00:00+03:00")
        assert Settings.load().sync_start == datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_postgresql_always_means_the_driver_that_is_installed(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setenv("HUNTER_DATABASE_URL", f"{scheme}://hunter:pw@db/hunter")
        assert Settings.load().database_url.get_secret_value() == "postgresql+psycopg://hunter:pw@db/hunter"

    def test_relative_paths_start_at_the_home_whatever_the_working_directory(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        monkeypatch.setenv("HUNTER_DATABASE_URL", "sqlite:///data/my.db")
        monkeypatch.setenv(PARTNER_CENTER + "TOKEN_CACHE_PATH", "secrets")
        monkeypatch.setenv(PARTNER_CENTER + "CA_BUNDLE", "ca.pem")
        monkeypatch.setenv("HUNTER_SCORING_RULES", "my/rules.toml")
        settings = Settings.load()
        assert settings.database_url.get_secret_value() == f"sqlite:///{home}/data/my.db"
        assert settings.partner_center_token_cache_path == home / "secrets"
        assert settings.partner_center_ca_bundle == home / "ca.pem"
        assert settings.scoring_rules == home / "my/rules.toml"

    def test_absolute_paths_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUNTER_DATABASE_URL", "sqlite:////srv/hunter.db")
        assert Settings.load().database_url.get_secret_value() == "sqlite:////srv/hunter.db"

    def test_the_home_is_the_project_unless_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(HOME_VARIABLE)
        assert home_folder() == PROJECT_ROOT

    @pytest.mark.parametrize("name", ["with space", "50%", "a%20b", "was?", "c#", "şğı", "a&b=c"])
    def test_any_folder_may_be_the_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / name))
        url = make_url(Settings.load().database_url.get_secret_value())
        assert url.database == str(tmp_path / name / ".hunter" / "hunter.db")
        assert not url.query

    def test_a_password_with_any_sign_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUNTER_DATABASE_URL", "postgresql://hunter:p%40%2F%25ss@db/hunter?host=%2Frun%2Fpg")
        url = make_url(Settings.load().database_url.get_secret_value())
        assert (url.password, url.host, url.query["host"]) == ("p@/%ss", "db", "/run/pg")

    def test_an_empty_value_is_no_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUNTER_SYNC_START", "")
        monkeypatch.setenv(PARTNER_CENTER + "PAGE_SIZE", "")
        monkeypatch.setenv("HUNTER_SCORING_RULES", "")
        assert Settings.load().sync_start is None
        assert Settings.load().scoring_rules is None
        assert Settings.load().partner_center_page_size == 100


class TestWhatWins:
    def test_the_file_wins_under_an_old_name_too(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(PARTNER_CENTER + "POLL_INTERVAL_SECONDS", "600")
        (home / ".env").write_text("HUNTER_PARTNER_CENTER_SYNC_INTERVAL=300\n")
        assert Settings.load().partner_center_poll_interval_seconds == 300

    def test_a_file_as_windows_editors_save_it_counts(self, home: Path) -> None:
        text = "HUNTER_PARTNER_CENTER_ENABLED=true\r\nHUNTER_OWN_DOMAINS=çiçek.com.tr\r\n"
        (home / ".env").write_bytes(b"\xef\xbb\xbf" + text.encode())
        settings = Settings.load()
        assert (settings.partner_center_enabled, settings.own_domains) == (True, ("çiçek.com.tr",))

    def test_without_a_file_the_environment_counts(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("hunter_partner_center_enabled", "true")
        assert not (home / ".env").exists()
        assert Settings.load().partner_center_enabled is True

    def test_the_file_wins_over_the_environment_as_it_does_in_dagster(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(PARTNER_CENTER + "ENABLED", "true")
        (home / ".env").write_text("HUNTER_PARTNER_CENTER_ENABLED=false\nDAGSTER_HOME=/srv\n")
        assert Settings.load().partner_center_enabled is False

    def test_an_edit_counts_at_the_next_reading(self, home: Path) -> None:
        for value in (True, False, True):
            (home / ".env").write_text(f"HUNTER_PARTNER_CENTER_ENABLED={str(value).lower()}\n")
            assert Settings.load().partner_center_enabled is value

    def test_what_is_the_same_is_not_parsed_again_and_each_edit_counts(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def edited(set_it: Callable[[], object]) -> Settings:
            before = Settings.load()
            assert Settings.load() is before
            set_it()
            assert Settings.load() is not before
            return Settings.load()

        env = home / ".env"
        env.write_text("HUNTER_SIGNALS_TTL_HOURS=${HOURS}\nHUNTER_UI_PASSWORD_FILE=password\n")
        (home / "password").write_text("twelve letters")
        monkeypatch.setenv("HOURS", "5")
        assert edited(lambda: monkeypatch.setenv("HOURS", "6")).signals_ttl_hours == 6
        assert edited(lambda: monkeypatch.setenv("HUNTER_PARTNER_CENTER_PAGE_SIZE", "7")).partner_center_page_size == 7
        password = edited(lambda: (home / "password").write_text("twelve others!")).ui_password
        assert password is not None
        assert password.get_secret_value() == "twelve others!"
        # Another home folder with the same files is another place for the database.
        shutil.copytree(home, tmp_path / "moved")
        moved = edited(lambda: monkeypatch.setenv("HUNTER_HOME", str(tmp_path / "moved")))
        assert str(tmp_path / "moved") in moved.database_url.get_secret_value()
        (tmp_path / "moved/.env").unlink()
        assert Settings.load().signals_ttl_hours == 168

    def test_the_extra_file_wins_over_both(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(PARTNER_CENTER + "PAGE_SIZE", "1")
        (home / ".env").write_text("HUNTER_PARTNER_CENTER_PAGE_SIZE=2\nHUNTER_SIGNALS_TTL_HOURS=3\n")
        (home / "demo.env").write_text("HUNTER_PARTNER_CENTER_PAGE_SIZE=4\n")
        monkeypatch.setenv(EXTRA_ENV_VARIABLE, "demo.env")
        assert Settings.load().partner_center_page_size == 4
        assert Settings.load().signals_ttl_hours == 3


@pytest.mark.usefixtures("home")
class TestRefusals:
    @pytest.mark.parametrize("name", ["BASE_URL", "API_URL", "AUTHORITY"])
    def test_the_retired_host_is_refused_with_the_right_one(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        message = refusal(monkeypatch, PARTNER_CENTER + name, "https://api.partnercenter.microsoft.com/v1")
        assert "404" in message
        assert "https://api.partner.microsoft.com" in message

    @pytest.mark.parametrize("value", ["30", "0", "-600", "601", "7200", "90"])
    def test_a_width_that_no_cron_has_is_refused_with_the_list_and_the_reason(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        message = refusal(monkeypatch, PARTNER_CENTER + "POLL_INTERVAL_SECONDS", value)
        assert ", ".join(str(interval) for interval in ALLOWED_INTERVALS) in message
        assert "cron has no finer grain" in message

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("HUNTER_PARTNER_CENTER_ENABLED", "perhaps"),
            ("HUNTER_PARTNER_CENTER_BASE_URL", "http://api.partner.microsoft.com"),
            ("HUNTER_PARTNER_CENTER_BASE_URL", "https://user@api.partner.microsoft.com"),
            ("HUNTER_PARTNER_CENTER_BASE_URL", "https://localhost:port"),
            ("HUNTER_PARTNER_CENTER_API_URL", "https://localhost:0"),
            ("HUNTER_PARTNER_CENTER_BASE_URL", "https://api partner"),
            ("HUNTER_PARTNER_CENTER_BASE_URL", "https://localhost/?key=1"),
            ("HUNTER_PARTNER_CENTER_AUTHORITY", "login.microsoftonline.com"),
            ("HUNTER_PARTNER_CENTER_SYNC_INTERVAL", "30"),
            ("HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS", "ten"),
            ("HUNTER_PARTNER_CENTER_PAGE_SIZE", "0"),
            ("HUNTER_PARTNER_CENTER_OVERLAP_SECONDS", "-1"),
            ("HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS", "2h"),
            ("HUNTER_PARTNER_CENTER_COSELL_BONUS", "101"),
            ("HUNTER_PARTNER_CENTER_AZURE_TENANT_SCORE", "-5"),
            ("HUNTER_SYNC_START", "yesterday"),
            ("HUNTER_SYNC_START", "2026-01-01T00:00:00"),
            ("HUNTER_SYNC_START", "2026-01-01"),
            ("HUNTER_SYNC_START", "2026"),  # not the year 1970 and 2026 seconds
            ("HUNTER_SYNC_START", "0001-01-01T00:00:00+03:00"),
            ("HUNTER_SYNC_START", "9999-12-31T23:59:59Z"),
            ("HUNTER_SCORING_RULES", "~nobody-of-this-name/rules.toml"),
            ("HUNTER_DATABASE_URL", "mysql://localhost/hunter"),
            ("HUNTER_DATABASE_URL", "sqlite://"),
            ("HUNTER_DATABASE_URL", "sqlite:///:memory:"),
            ("HUNTER_DATABASE_URL", "sqlite:///~nobody-of-this-name/hunter.db"),
            ("HUNTER_DATABASE_URL", "postgresql://hunter:pw@db:port/hunter"),
            ("HUNTER_DATABASE_URL", "postgresql://hunter:p@ss@db/hunter"),
            ("HUNTER_DNS_RESOLVERS", "https://dns"),
            ("HUNTER_DNS_RESOLVERS", "2001:db8::1"),
            ("HUNTER_DNS_RESOLVERS", "192.0.2.1:0"),
            ("HUNTER_DNS_RESOLVERS", "192.0.2.1 192.0.2.2"),
            ("HUNTER_DNS_RESOLVERS", "192.0.2.1:port"),
            ("HUNTER_REPORT_LANGUAGE", "de"),
            ("HUNTER_SIGNALS_TTL_HOURS", "0"),
            ("HUNTER_DAGSTER_RUNS_KEPT_DAYS", "0"),
            ("HUNTER_DAGSTER_FAILED_RUNS_KEPT_DAYS", "-1"),
            ("HUNTER_TENANT_DISCOVERY_ENABLED", "2"),
        ],
    )
    def test_a_bad_value_is_refused_with_its_name_the_problem_and_an_example(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        message = refusal(monkeypatch, name, value)
        assert message.startswith(f"{name}: ")
        assert re.search(rf"Example: {name}=\S+$", message)

    def test_the_name_that_was_written_is_the_name_in_the_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        message = refusal(monkeypatch, PARTNER_CENTER + "SYNC_INTERVAL", "30")
        assert message.startswith("HUNTER_PARTNER_CENTER_SYNC_INTERVAL: ")

    def test_a_secret_is_never_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for url in (
            "mysql://root:hunter2@db/x",
            "postgresql://root:hunter2@db:p/x",
            "postgresql://root:p@hunter2@db/x",
        ):
            assert "hunter2" not in refusal(monkeypatch, "HUNTER_DATABASE_URL", url)
        monkeypatch.setenv("HUNTER_DATABASE_URL", "postgresql://root:hunter2@localhost/db")
        monkeypatch.setenv(PARTNER_CENTER + "TOKEN_KEY", "hunter2")
        monkeypatch.setenv(PARTNER_CENTER + "CLIENT_SECRET", "hunter2")
        settings = Settings.load()
        assert "hunter2" not in repr(settings) + str(settings)

    @pytest.mark.parametrize("where", ["environment", "file"])
    def test_an_unknown_name_is_refused_with_the_one_that_was_meant(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        if where == "environment":
            monkeypatch.setenv("HUNTER_SYNC_STRAT", "2026-01-01T00:00:00Z")
        else:
            (home / ".env").write_text("HUNTER_SYNC_STRAT=2026-01-01T00:00:00Z\n")
        with pytest.raises(SettingsError, match=r"HUNTER_SYNC_STRAT: .*HUNTER_SYNC_START"):
            Settings.load()

    @pytest.mark.parametrize(
        ("line", "name"),
        [
            ("HUNTER_PARTNER_CENTER_ENABLED true", "HUNTER_PARTNER_CENTER_ENABLED"),
            ("HUNTER_PARTNER_CENTER_ENABLED", "HUNTER_PARTNER_CENTER_ENABLED"),
            ("export HUNTER_PARTNER_CENTER_ENABLED", "HUNTER_PARTNER_CENTER_ENABLED"),
            ("HUNTER_PARTNER_CENTER_TOKEN_KEY: hunter2", "HUNTER_PARTNER_CENTER_TOKEN_KEY"),
            ("HUNTER_PARTNER_CENTER_TOKEN_KEY:hunter2", "HUNTER_PARTNER_CENTER_TOKEN_KEY"),
            ("HUNTER_PARTNER_CENTER_TOKEN_KEY='hunter2", "HUNTER_PARTNER_CENTER_TOKEN_KEY"),
        ],
    )
    def test_a_line_that_sets_nothing_is_refused_instead_of_passed_over(self, home: Path, line: str, name: str) -> None:
        (home / ".env").write_text(f"# one\n\n{line}\nOTHER=1\n")
        with pytest.raises(SettingsError, match=rf"^{name}: line 3 of .*\.env is not NAME=value") as caught:
            Settings.load()
        assert "hunter2" not in str(caught.value)

    def test_lines_of_other_programs_are_their_own_matter(self, home: Path) -> None:
        (home / ".env").write_text("what is this\nDAGSTER_HOME\nHUNTER_PARTNER_CENTER_ENABLED=true\n")
        assert Settings.load().partner_center_enabled is True

    def test_an_extra_file_that_is_gone_is_refused_instead_of_passed_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = refusal(monkeypatch, EXTRA_ENV_VARIABLE, "gone/demo.env")
        assert message.startswith(f"{EXTRA_ENV_VARIABLE}: there is no file ")

    def test_a_file_that_may_not_be_read_is_refused_by_name(self, home: Path) -> None:
        (home / ".env").write_text("HUNTER_PARTNER_CENTER_ENABLED=true\n")
        (home / ".env").chmod(0)
        with as_another_user(), pytest.raises(SettingsError, match=r"\.env: cannot be read \(Permission denied\)"):
            Settings.load()

    def test_a_folder_in_the_files_place_is_refused_by_name(self, home: Path) -> None:
        (home / ".env").mkdir()
        with pytest.raises(SettingsError, match=r"\.env: cannot be read"):
            Settings.load()

    def test_a_retired_host_is_recognized_even_without_its_scheme(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "404" in refusal(monkeypatch, PARTNER_CENTER + "BASE_URL", "API.PartnerCenter.Microsoft.com")

    def test_a_file_that_is_no_text_is_refused_by_name(self, home: Path) -> None:
        (home / ".env").write_bytes(b"HUNTER_OWN_DOMAINS=\xff\xfe\n")
        with pytest.raises(SettingsError, match=r"\.env.*UTF-8"):
            Settings.load()


class TestExampleFile:
    EXAMPLE = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")

    def test_every_setting_stands_there_and_nothing_else(self) -> None:
        named = set(re.findall(r"^#?(HUNTER_\w+)=", self.EXAMPLE, re.MULTILINE))
        old = {PARTNER_CENTER + "API_URL", PARTNER_CENTER + "SYNC_INTERVAL"}
        assert named == set(variable_names()) - old - {HOME_VARIABLE, EXTRA_ENV_VARIABLE, *secret_file_variables()}
        assert all(name in self.EXAMPLE for name in old)

    def test_every_setting_has_a_comment_above_it(self) -> None:
        lines = self.EXAMPLE.splitlines()
        for number, line in enumerate(lines):
            if re.match(r"#?HUNTER_\w+=", line):
                above = lines[number - 1]
                assert above.startswith("# ") or re.match(r"#?HUNTER_\w+=", above), line

    def test_its_values_are_the_defaults(self, home: Path) -> None:
        uncommented = re.sub(r"^#(HUNTER_\w+=)", r"\1", self.EXAMPLE, flags=re.MULTILINE)
        before = Settings.load().model_dump()
        (home / ".env").write_text(uncommented)
        after = Settings.load().model_dump()
        differing = {name for name in after if after[name] != before[name]}
        assert differing == set()


def test_only_one_file_reads_the_environment() -> None:
    """`os.environ` elsewhere may only be handed on to a child process, or set for one."""
    readers = {
        path.relative_to(PROJECT_ROOT).as_posix()
        for path in (PROJECT_ROOT / "partner_center_pipeline").rglob("*.py")
        if re.search(r"os\.(?:environ\.get|getenv)\(|os\.environ\[[^]]+\](?! = )", path.read_text(encoding="utf-8"))
    }
    assert readers - {"partner_center_pipeline/cli/local_microsoft.py"} == {"partner_center_pipeline/settings.py"}


@pytest.mark.usefixtures("home")
class TestSecretsInFiles:
    SECRETS = (
        ("PARTNER_CENTER_TOKEN_KEY", "partner_center_token_key", "a key"),
        ("UI_PASSWORD", "ui_password", "correct horse battery"),
        ("DATABASE_URL", "database_url", "postgresql+psycopg://hunter:hush-hush@db/hunter"),
        ("TEAMS_WEBHOOK_URL", "teams_webhook_url", "https://example.invalid/workflows/0?sig=hush-hush"),
        ("OPERATORS_TEAMS_WEBHOOK_URL", "operators_teams_webhook_url", "https://example.invalid/workflows/1?sig=hush"),
        ("OPERATORS_WEBHOOK_URL", "operators_webhook_url", "https://example.invalid/hook?hush-hush"),
        ("PING_URL", "ping_url", "https://example.invalid/ping/hush-hush"),
        ("SMTP_PASSWORD", "smtp_password", "hush hush"),
        ("ERASURE_KEY", "erasure_key", "hush-hush" * 8),
    )

    @pytest.mark.parametrize(("name", "field", "secret"), SECRETS)
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_each_secret_may_stand_in_a_file(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, field: str, secret: str, end: str
    ) -> None:
        (home / "secret").write_bytes((secret + end).encode())
        monkeypatch.setenv(f"HUNTER_{name}_FILE", str(home / "secret"))
        assert getattr(Settings.load(), field).get_secret_value() == secret

    def test_env_may_name_the_file_from_the_home_folder_and_an_edit_of_it_counts(self, home: Path) -> None:
        (home / ".env").write_text("HUNTER_UI_PASSWORD_FILE=run/password\n")
        (home / "run").mkdir()
        for secret in ("twelve letters", "other letters"):
            (home / "run/password").write_text(secret)
            password = Settings.load().ui_password
            assert password is not None
            assert password.get_secret_value() == secret

    def test_every_secret_has_such_a_variable_and_nothing_else_has(self) -> None:
        names = set(secret_file_variables())
        assert names < set(variable_names())
        assert names == {f"HUNTER_{name}_FILE" for name, _, _ in self.SECRETS} | {
            "HUNTER_PARTNER_CENTER_CLIENT_SECRET_FILE"
        }

    def test_a_secret_that_is_set_twice_is_refused(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / ".env").write_text("HUNTER_UI_PASSWORD=twelve letters\n")
        problem = refusal(monkeypatch, "HUNTER_UI_PASSWORD_FILE", "password")
        assert problem.startswith("HUNTER_UI_PASSWORD_FILE: is set, and so is HUNTER_UI_PASSWORD;")

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (None, "cannot be read (No such file or directory)"),
            (b"", "is empty"),
            (b"one\ntwo\n", "has more than one line"),
            (b"\xff\xfe", "is not UTF-8 text"),
            (b"short", "has fewer than 12 characters"),
        ],
    )
    def test_a_file_without_a_usable_secret_is_refused_by_its_variable_and_not_quoted(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, problem: str
    ) -> None:
        if content is not None:
            (home / "secret").write_bytes(content)
        said = refusal(monkeypatch, "HUNTER_UI_PASSWORD_FILE", "secret")
        assert said.startswith("HUNTER_UI_PASSWORD_FILE: ")
        assert problem in said
        assert not {"one", "two", "short"} & set(re.findall(r"\w+", said.replace("more than one", "")))


def test_a_home_of_nobody_is_refused_by_its_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, HOME_VARIABLE, "~no-such-user/data").startswith("HUNTER_HOME: begins with ~ and names")


def test_an_installed_program_keeps_its_data_in_a_folder_of_the_user(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HOME_VARIABLE)
    assert home_folder() == PROJECT_ROOT
    monkeypatch.setattr("partner_center_pipeline.settings.SHIPPED", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    assert home_folder() == tmp_path / "somebody/.local/share/partner-center"


def test_settings_are_made_again_only_when_a_variable_or_a_file_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = home / "password"
    secret.write_text("one password, long\n")
    secret.chmod(0o600)
    env = home / ".env"
    env.write_text("HUNTER_SIGNALS_TTL_HOURS=3\nHUNTER_UI_PASSWORD_FILE=password\n")
    first = Settings.load()
    assert Settings.load() is first
    written = env.stat()
    env.write_text("HUNTER_SIGNALS_TTL_HOURS=4\nHUNTER_UI_PASSWORD_FILE=password\n")
    os.utime(env, ns=(written.st_atime_ns, written.st_mtime_ns))  # as within the file system's resolution of time
    assert Settings.load().signals_ttl_hours == 4
    secret.write_text("two password, long\n")
    password = Settings.load().ui_password
    assert password is not None
    assert password.get_secret_value() == "two password, long"
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_PAGE_SIZE", "7")
    assert Settings.load().partner_center_page_size == 7
    secret.unlink()
    with pytest.raises(SettingsError, match="HUNTER_UI_PASSWORD_FILE"):
        Settings.load()
