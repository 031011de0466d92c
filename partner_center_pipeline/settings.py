"""Every HUNTER_* variable: its type, default, example and description. The only file that reads the environment.

Values come from, first wins: `.env` in the home folder, then the environment. That is the other way round from
pydantic-settings' default, on purpose: Dagster copies `.env` into its processes' environment once, at start, so an
edit of the file would otherwise never count in a running process (and `.env` wins in Dagster too).

The *home* folder holds `.env`, `dagster.yaml`, `.hunter/`, `.token_cache/` and `.dagster/`. It is what HUNTER_HOME
names; without it, the checkout that the program runs from, or a folder of the user where it was installed from a wheel.
HUNTER_EXTRA_ENV_FILE names a file that is read ahead of `.env`; `partner-center demo` uses it to point the same code at
the local Microsoft.

A secret may stand in a file of its own: HUNTER_X_FILE names the file of HUNTER_X, for every X that is a secret.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self, TypeAlias, cast, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from partner_center_pipeline.private_files import opening
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.windows import ALLOWED_INTERVALS, WindowGrid

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout, where the program runs from one."""

_IN_WHEEL: Final = Path(__file__).resolve().parent / "shipped"
SHIPPED: Final = _IN_WHEEL if _IN_WHEEL.is_dir() else PROJECT_ROOT
"""Where dagster.yaml, workspace.yaml, alembic.ini, alembic/ and .env.example are: a wheel has copies (setup.py)."""

PREFIX: Final = "HUNTER_"
HOME_VARIABLE: Final = "HUNTER_HOME"
EXTRA_ENV_VARIABLE: Final = "HUNTER_EXTRA_ENV_FILE"
_FOLDER_OF_USER: Final = "~/.local/share/partner-center"
_FILE: Final = "_FILE"
"""After the name of a secret: the name of the variable that says in which file the secret is."""
PROXY_VARIABLES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
RETIRED_HOST: Final = "api.partnercenter.microsoft.com"

DEFAULT_DATABASE: Final = "sqlite:///.hunter/hunter.db"

DEFAULT_DKIM_SELECTORS: Final = (
    "selector1", "selector2", "google", "default", "s1", "s2", "k1", "mail", "zoho", "zmail",
)  # fmt: skip
"""mail_signals.md, "What to ask for one domain"."""

SHORTEST_PASSWORD: Final = 12
"""Characters of HUNTER_UI_PASSWORD: out of reach for guesses, ten a minute."""

SHORTEST_KEY: Final = 32
"""Characters of HUNTER_ERASURE_KEY: a name is found by trying, a key is not."""

_YEARS: Final = range(1970, 2200)
"""Where a HUNTER_SYNC_START may lie: ticks count from the first, and Dagster's calendar needs room after the last."""

_ENCODING: Final = "utf-8-sig"
"""UTF-8; editors on Windows begin a file with a mark."""

_NAME: Final = re.compile(rf"\s*(?:export\s+)?['\"]?({PREFIX}\w*)", re.IGNORECASE)
"""The name at the beginning of a line of a `.env` file."""


class TokenPlace(StrEnum):
    """Where the sign-in is kept."""

    FILE = "file"
    DATABASE = "database"


class LogFormat(StrEnum):
    """How a line of the log file is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Which lines go to the log file."""

    INFO = "info"
    DEBUG = "debug"


class MailSecurity(StrEnum):
    """How the connection to a mail server is made safe."""

    STARTTLS = "starttls"
    TLS = "tls"


class SettingsError(Exception):
    """A variable cannot be used. The message names it, says what is wrong and shows a value that works."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        example = next((field.example for field in documented_settings() if variable in field.names), None)
        super().__init__(f"{variable}: {problem}." + (f" Example: {variable}={example}" if example else ""))


def home() -> Path:
    """Return the home folder, absolute. Raises SettingsError where the user has no folder that it could be in."""
    named = os.environ.get(HOME_VARIABLE)
    if not named and SHIPPED == PROJECT_ROOT:
        return PROJECT_ROOT
    try:
        return Path(named or _FOLDER_OF_USER).expanduser().resolve()
    except RuntimeError:
        problem = (
            "begins with ~ and names no user of this machine" if named else "is not set, and this user has no home"
        )
        raise SettingsError(HOME_VARIABLE, f"{problem}; set it to a folder for the program's data") from None


_IN_ITS_PLACE: Final[ContextVar[Path | None]] = ContextVar("in the place of .env", default=None)


@contextmanager
def reading_settings_of(file: Path) -> Iterator[None]:
    """Read a file in the place of `.env` and of what HUNTER_EXTRA_ENV_FILE names, while the block runs."""
    token = _IN_ITS_PLACE.set(file)
    try:
        yield
    finally:
        _IN_ITS_PLACE.reset(token)


def set_in_the_environment() -> list[str]:
    """Return the HUNTER_ names that the environment sets, but those that say where files are."""
    names = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
    return sorted(names - {HOME_VARIABLE, EXTRA_ENV_VARIABLE})


def env_files() -> tuple[Path, ...]:
    """Return the files that are read before the environment, the strongest last (pydantic-settings' order)."""
    if (instead := _IN_ITS_PLACE.get()) is not None:
        return (instead,)
    extra = os.environ.get(EXTRA_ENV_VARIABLE)
    return (home() / ".env", *((home() / extra,) if extra else ()))


def use_proxy_of_env_files() -> None:
    """Set the proxy variables that `.env` names in the environment, where HTTP clients look for them.

    Dagster does that for its own processes when they start. So a command has the same proxy, and an edit counts.
    """
    for name, value in _values_in_files().items():
        if name in PROXY_VARIABLES:
            os.environ.pop(name.lower(), None)  # it would count more
            os.environ[name] = value


def secret_files() -> dict[str, Path]:
    """Return the files that hold a secret, by the variable that names them. Raises SettingsError as `Settings.load`."""
    return {variable: path for variable, _, path in _secret_files()}


def _secret_files() -> Iterator[tuple[str, str, Path]]:
    """Yield variable, field and file of each secret that is in a file."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    values = {name: value for name, value in (environment | _values_in_files()).items() if value}
    for field in _secret_fields():
        name = f"{PREFIX}{field.upper()}"
        variable = name + _FILE
        if variable not in values:
            continue
        if name in values:
            raise SettingsError(variable, f"is set, and so is {name}; leave one of them out")
        try:
            yield variable, field, _from_home(Path(values[variable]))
        except ValueError as error:
            raise SettingsError(variable, str(error)) from None


def _secret_in(variable: str, file: Path) -> str:
    """Return the one line of a file. Raises SettingsError, which does not quote it."""
    try:
        secret = file.read_text(encoding=_ENCODING).rstrip("\r\n")
    except OSError as error:
        raise SettingsError(variable, f"{file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(variable, f"{file} is not UTF-8 text") from None
    if not secret or "\n" in secret:
        raise SettingsError(variable, f"{file} is empty" if not secret else f"{file} has more than one line")
    return secret


_Read: TypeAlias = tuple[Mapping[str, str], Path, tuple[tuple[Path, bytes | int], ...]]
"""The environment, the home folder, and each file with its content, or why that cannot be read (errno)."""


def _what_is_read(secrets: Iterable[Path]) -> _Read:
    """Return all that settings are made from: they differ only where this does."""
    return dict(os.environ), home(), tuple((file, _content(file)) for file in (*env_files(), *secrets))


def _content(file: Path) -> bytes | int:
    try:
        return file.read_bytes()
    except OSError as error:
        return error.errno or 0


def _values_in_files() -> dict[str, str]:
    """Return the variables of the `.env` files, in upper case; the stronger file counts."""
    found: dict[str, str] = {}
    for file in env_files():
        for name, value in dotenv_values(file, encoding=_ENCODING).items():
            if value:
                found[name.upper()] = value
    return found


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_host_port(text: str, default: int = 53) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:5353` as (host, port); the port is `default` unless given."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or " " in text or parts.path or parts.username or port == 0:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT (an IPv6 address stands in brackets)")
    return parts.hostname, port or default


def _from_home(path: Path) -> Path:
    try:
        return home() / path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and names no user of this machine") from None


def database_address(text: str) -> str:
    """Return the address of a database with its driver and an absolute path. Raises ValueError, which says why not."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    for scheme in ("postgres://", "postgresql://"):
        if text.startswith(scheme):
            text = "postgresql+psycopg://" + text.removeprefix(scheme)
    if not text.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is no address of a database") from None
    if "@" in (url.host or ""):
        raise ValueError("has a password with an @ in it; write %40 for it")
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("names no file")
        url = url.set(database=str(_from_home(Path(url.database))))
    return url.render_as_string(hide_password=False)


class _SecretFiles(PydanticBaseSettingsSource):
    """The secrets that are in files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing for a single field: all are read at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return {field: _secret_in(variable, file) for variable, field, file in _secret_files()}


class _Last(NamedTuple):
    """The settings that were made last, and all that they were made from."""

    settings: "Settings"
    secrets: Mapping[str, Path]
    read: "_Read"


class Settings(BaseSettings):
    """All settings, read anew at each construction. Use `Settings.load()`, which turns errors into SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    _last: ClassVar[_Last | None] = None

    partner_center_enabled: bool = Field(
        False,
        examples=["true"],
        description="The one switch: schedule, sensor and every run ask it. Off: nothing talks to Microsoft.",
    )
    partner_center_client_id: str | None = Field(
        None,
        examples=["00000000-0000-0000-0000-000000000000"],
        description="The app registration's application (client) id (docs/tenant_setup.md).",
    )
    partner_center_client_secret: SecretStr | None = Field(
        None, description="Ignored, kept for old files: device code sign-in is for public clients without a secret."
    )
    partner_center_tenant_id: str | None = Field(
        None, examples=["contoso.onmicrosoft.com"], description="The directory (tenant) id, or its name."
    )
    partner_center_base_url: str = Field(
        "https://api.partner.microsoft.com",
        validation_alias=AliasChoices("HUNTER_PARTNER_CENTER_BASE_URL", "HUNTER_PARTNER_CENTER_API_URL"),
        examples=["https://api.partner.microsoft.com"],
        description="The Referrals API. api.partnercenter.microsoft.com, which older files name, is another API: it "
        "answers 404 for referrals and is refused here.",
    )
    partner_center_authority: str = Field(
        "https://login.microsoftonline.com",
        examples=["https://login.microsoftonline.com"],
        description="Where to sign in.",
    )
    partner_center_scope: str = Field(
        "https://api.partner.microsoft.com/.default", description="For which API to sign in."
    )
    partner_center_ca_bundle: Path | None = Field(
        None,
        description="A PEM file of certificate authorities to trust instead of the usual ones (a proxy that opens TLS, "
        "the simulator).",
    )
    partner_center_token_cache_path: Path = Field(
        Path(".token_cache"), description="The folder of the encrypted sign-in (0700, its files 0600)."
    )
    partner_center_token_key: SecretStr | None = Field(
        None,
        description="The Fernet key of the sign-in: one, or NEW,OLD while `partner-center token rotate-key` changes "
        "it. Without it, a key is made beside the sign-in at the first login.",
    )
    partner_center_token_store: TokenPlace = Field(
        TokenPlace.FILE,
        examples=["file"],
        description="Where the sign-in is kept: file (the folder above), or database: in a PostgreSQL warehouse, so "
        "that several machines share one sign-in. Then each of them needs the same HUNTER_PARTNER_CENTER_TOKEN_KEY.",
    )
    partner_center_poll_interval_seconds: int = Field(
        600,
        validation_alias=AliasChoices(
            "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS", "HUNTER_PARTNER_CENTER_SYNC_INTERVAL"
        ),
        examples=["600"],
        description=f"Width of a sync window: one of {', '.join(map(str, ALLOWED_INTERVALS))} seconds. Counts after a "
        "restart.",
    )
    partner_center_page_size: int = Field(100, ge=1, le=1000, examples=["100"], description="Referrals per page.")
    partner_center_overlap_seconds: int = Field(
        900,
        ge=0,
        le=86_400,
        examples=["900"],
        description="How far before a window to look for referrals that came late, in seconds.",
    )
    lag_windows: int = Field(
        6,
        ge=1,
        le=1000,
        examples=["6"],
        description="How many sync windows the copy may lag before `partner-center status` and `doctor` call it wrong; "
        "from half of them on, `status` warns.",
    )
    partner_center_safety_lag_seconds: int = Field(
        120,
        ge=0,
        le=3600,
        examples=["120"],
        description="How long after a window's end to wait before it is read, in seconds of the server's clock. Counts "
        "after a restart.",
    )
    partner_center_cosell_bonus: int = Field(
        15, ge=0, le=100, examples=["15"], description="Points for an open co-sell referral."
    )
    partner_center_azure_tenant_score: int = Field(
        55, ge=0, le=100, examples=["55"], description="The least readiness of a company with a Microsoft tenant."
    )
    scoring_rules: Path | None = Field(
        None,
        examples=["rules.toml"],
        description="Rules of your own: an edited copy of partner_center_pipeline/scoring/rules.toml, used instead of "
        "that file. See first what it would change (`partner-center rescore --dry-run --rules FILE`), then name it "
        "here and run `partner-center rescore`.",
    )
    report_language: Language = Field(
        Language.EN,
        examples=["tr"],
        description="The language of the report that the asset `lead_report` writes each day, and of the cards in "
        "Teams: en or tr.",
    )
    teams_webhook_url: SecretStr | None = Field(
        None,
        examples=["https://example.invalid/workflows/00000000?sig=secret"],
        description="The address of a Teams Workflows webhook, which is a secret. A card is sent there when a company "
        "enters P1 or P2, and when a good lead has to be answered within 72 hours (docs/alerts.md). Empty: nothing is "
        "sent and nothing is kept for sending.",
    )
    operators_teams_webhook_url: SecretStr | None = Field(
        None,
        examples=["https://example.invalid/workflows/11111111?sig=secret"],
        description="The address of a Teams Workflows webhook, which is a secret, for those who operate the pipeline: "
        "what stops the sync, and when that is over (docs/alerts.md). Empty: not told there; the sales "
        "team's channel never gets these.",
    )
    operators_webhook_url: SecretStr | None = Field(
        None,
        examples=["https://example.invalid/hooks/22222222"],
        description="The same as a POST with JSON to an address of your own, which is a secret.",
    )
    operators_mail_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        examples=["operator@example.com"],
        description="The same by mail: to whom, commas between. It needs the next two settings.",
    )
    operators_mail_from: str | None = Field(
        None, examples=["pipeline@example.com"], description="The sender of these mails."
    )
    smtp_server: Annotated[tuple[str, int] | None, NoDecode] = Field(
        None,
        examples=["smtp.example.com:587"],
        description="The mail server, host or host:port; the port is 587 (465 for tls) unless given.",
    )
    smtp_security: MailSecurity = Field(
        MailSecurity.STARTTLS,
        examples=["starttls"],
        description="starttls, or tls from the first byte. The server's certificate is checked; mail is never sent "
        "without.",
    )
    smtp_user: str | None = Field(
        None, examples=["pipeline@example.com"], description="The user at the mail server; empty: no sign-in there."
    )
    smtp_password: SecretStr | None = Field(None, description="The password of that user.")
    ping_url: SecretStr | None = Field(
        None,
        examples=["https://example.invalid/ping/33333333"],
        description="An address that is asked (GET) after each complete window, which is a secret: a monitor on "
        "another machine, such as healthchecks.io, then notices when none was completed for long (docs/alerts.md).",
    )
    ui_password: SecretStr | None = Field(
        None,
        examples=["at-least-twelve-characters"],
        description="What `partner-center ui` lets browsers and programs in by, beside the links that it prints. "
        "Needed where other machines may reach it (--allow-remote). At least 12 characters. Counts after a restart.",
    )
    database_url: SecretStr = Field(
        SecretStr(DEFAULT_DATABASE),
        examples=["postgresql+psycopg://hunter:password@localhost/hunter"],
        description="The warehouse: a SQLite file, whose folder must exist (only .hunter in the home folder is made), "
        "or PostgreSQL, which needs `partner-center migrate` once per version.",
    )
    database_connect_seconds: int = Field(
        10, ge=1, le=600, examples=["10"], description="PostgreSQL: seconds until a connection must be open."
    )
    database_silence_seconds: int = Field(
        60,
        ge=6,
        le=3600,
        examples=["60"],
        description="PostgreSQL: seconds after which a network that acknowledges nothing counts as gone, here and for "
        "the server, which then frees what the other side held.",
    )
    database_lock_seconds: int = Field(
        240,
        ge=1,
        le=86_400,
        examples=["240"],
        description="PostgreSQL: seconds that a statement waits for a lock of another transaction, such as a rescore.",
    )
    database_statement_seconds: int = Field(
        300,
        ge=1,
        le=86_400,
        examples=["300"],
        description="PostgreSQL: seconds that a statement may take. A server that says nothing for 10 seconds more "
        "counts as gone. Migrations have no such limit.",
    )
    log_file: Path | None = Field(
        None,
        examples=[".hunter/log/partner-center.log"],
        description="A file that gets each line that runs and commands tell, with the run, its windows and the ids of "
        "the latest call to Microsoft (docs/operations.md). Relative to the home folder. Five files of 10 MB at most. "
        "Empty: no file.",
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, examples=["json"], description="How a line of it is written: text, or json for a program."
    )
    log_level: LogLevel = Field(
        LogLevel.INFO, examples=["debug"], description="info, or debug: each call to Microsoft too."
    )
    dagster_runs_kept_days: int = Field(
        14,
        ge=1,
        le=3650,
        examples=["14"],
        description="Days that Dagster keeps a run that succeeded, with its events and logs (docs/dagster.md). The "
        "warehouse does not need them.",
    )
    dagster_failed_runs_kept_days: int = Field(
        90,
        ge=1,
        le=3650,
        examples=["90"],
        description="Days that Dagster keeps a run that failed or was cancelled.",
    )
    erasure_key: SecretStr | None = Field(
        None,
        examples=["the-64-characters-that-secrets.token_hex(32)-gives"],
        description="The key of the digests by which an erased person is known again (docs/personal_data.md). Without "
        "it, a key is made beside the sign-in by the first `partner-center subject erase`. Set it where several "
        "machines share a warehouse, and never change it.",
    )
    closed_contacts_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        examples=["730"],
        description="Days after which the contacts of a closed referral are emptied, by the nightly prune, and do not "
        "come back. Empty: they are kept.",
    )
    sync_start: datetime | None = Field(
        None,
        examples=["2026-01-01T00:00:00Z"],
        description="Where the sync windows begin (UTC). The first window also brings everything older. Written into "
        ".env by the first command that needs it: today 00:00 UTC. Counts after a restart.",
    )
    dns_resolvers: Annotated[tuple[tuple[str, int], ...], NoDecode] = Field(
        (),
        examples=["192.0.2.53,192.0.2.54:5353"],
        description="DNS servers, host or host:port with commas between; the system's when empty.",
    )
    dkim_selectors: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_DKIM_SELECTORS, examples=["selector1,selector2,google"], description="DKIM selectors to ask for."
    )
    attempts_kept_days: int = Field(
        90,
        ge=7,
        le=3650,
        examples=["90"],
        description="Days that each attempt at a window is kept one by one; of older ones the sums of each day stay.",
    )
    closed_versions_kept: int | None = Field(
        None,
        ge=1,
        examples=["3"],
        description="Of a referral that is closed for a month, so many of its newest versions are kept. Empty: all.",
    )
    signals_ttl_hours: int = Field(
        168, ge=1, le=24 * 365, examples=["168"], description="How long an answer of DNS is good, in hours."
    )
    tenant_discovery_enabled: bool = Field(
        False,
        examples=["false"],
        description="Ask Microsoft's public metadata whether a domain has a tenant (one request per domain and TTL).",
    )
    mail_host_addresses_enabled: bool = Field(
        False,
        examples=["false"],
        description="Ask for the addresses of a mail host that the provider table does not know, and for the names of "
        "those (PTR): a hint at its hoster.",
    )
    own_domains: Annotated[tuple[str, ...], NoDecode] = Field(
        (), examples=["example.com.tr,example.com"], description="Your own domains, commas between: never a customer's."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic-settings' own
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = DotEnvSettingsSource(settings_cls, env_file=env_files(), env_file_encoding=_ENCODING)
        return init_settings, files, env_settings, _SecretFiles(settings_cls)

    @classmethod
    def load(cls) -> Self:
        """Read the settings as they are now.

        Raises SettingsError for the first value that cannot be used, for an unknown HUNTER_ name, and for a file that
        cannot be read. The value itself is not repeated: it may be a secret.

        A run asks a dozen times. As long as the environment and the files say the same, they are not parsed again,
        which would take 8 ms each time.
        """
        last = cls._last
        if last is not None and last.read == _what_is_read(last.secrets.values()):
            _refuse_what_all_may_change(last.secrets)
            return cast(Self, last.settings)
        sources = _names_by_source()
        _refuse_unknown_names(sources)
        secrets = secret_files()
        _refuse_what_all_may_change(secrets)
        read = _what_is_read(secrets.values())
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise SettingsError(_variable_of(first["loc"], sources), _problem_of(first)) from None
        cls._last = _Last(settings, secrets, read)
        return settings

    @field_validator("partner_center_poll_interval_seconds")
    @classmethod
    def _interval_fits_a_cron(cls, value: int) -> int:
        if value not in ALLOWED_INTERVALS:
            allowed = ", ".join(str(interval) for interval in ALLOWED_INTERVALS)
            raise ValueError(
                f"{value} s is no width of a sync window; use one of {allowed}: whole minutes that divide an hour, "
                "because a cron has no finer grain"
            )
        return value

    @field_validator("partner_center_base_url", "partner_center_authority")
    @classmethod
    def _https_only(cls, value: str) -> str:
        if RETIRED_HOST in value.lower():
            raise ValueError(
                f"{RETIRED_HOST} is the API of the CSP programme and answers 404 for referrals; "
                "the Referrals API is https://api.partner.microsoft.com"
            )
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or " " in value:
            raise ValueError("must be an https:// address, because a bearer token travels there")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("must be a plain address without user, query or fragment")
        if parts.port == 0:  # urlsplit itself raises for a port that is no number
            raise ValueError("port 0 is no port")
        return value.rstrip("/")

    @field_validator("teams_webhook_url", "operators_teams_webhook_url", "operators_webhook_url", "ping_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        # Not quoted: whoever knows the address can write into the channel.
        try:
            parts = urlsplit(value.get_secret_value().strip())
            has_port = parts.port != 0
        except ValueError:
            raise ValueError("is no address") from None
        if parts.scheme != "https" or not parts.hostname or not has_port or " " in parts.geturl():
            whence = " from the workflow in Teams" if "teams" in (info.field_name or "") else ""
            raise ValueError(f"must be an https:// address: copy it whole{whence}")
        if parts.username or parts.fragment:
            raise ValueError("must be an address without user and fragment")
        return SecretStr(parts.geturl())

    @field_validator("operators_mail_to", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        return _comma_list(value)

    @field_validator("operators_mail_to", "operators_mail_from")
    @classmethod
    def _mail(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        from email_validator import EmailNotValidError, validate_email

        for address in (value,) if isinstance(value, str) else value or ():
            try:
                validate_email(address, check_deliverability=False, allow_smtputf8=False, test_environment=True)
            except EmailNotValidError:
                raise ValueError("has something that is no mail address") from None
        return value

    @field_validator("smtp_server", mode="before")
    @classmethod
    def _server(cls, value: object) -> object:
        return _split_host_port(value, 0) if isinstance(value, str) else value

    @field_validator("erasure_key")
    @classmethod
    def _long_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(
                f"has fewer than {SHORTEST_KEY} characters; make one with "
                "`python -c 'import secrets; print(secrets.token_hex(32))'`"
            )
        return value

    @field_validator("ui_password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_PASSWORD:
            raise ValueError(f"has fewer than {SHORTEST_PASSWORD} characters")  # not quoted: it is a secret
        return value

    @field_validator("sync_start", mode="before")
    @classmethod
    def _instant(cls, value: object) -> object:
        if isinstance(value, str):
            # pydantic would read a bare number as seconds since 1970.
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("is no instant") from None
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("an instant needs a zone; write it in UTC with a Z at the end")
            if value.year not in _YEARS:
                raise ValueError(f"must lie in the years {_YEARS.start} to {_YEARS.stop - 1}")
            return value.astimezone(UTC)
        return value

    @field_validator("dkim_selectors", "own_domains", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return _comma_list(value)

    @field_validator("dns_resolvers", mode="before")
    @classmethod
    def _resolvers(cls, value: object) -> object:
        parts = _comma_list(value)
        if isinstance(parts, tuple):
            return tuple(_split_host_port(part) if isinstance(part, str) else part for part in parts)
        return parts

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        return SecretStr(database_address(value.get_secret_value() or DEFAULT_DATABASE))

    @field_validator("partner_center_ca_bundle", "partner_center_token_cache_path", "scoring_rules")
    @classmethod
    def _path(cls, value: Path | None) -> Path | None:
        return None if value is None else _from_home(value)

    @cached_property
    def grid(self) -> WindowGrid:
        """The grid of sync windows these settings describe."""
        return WindowGrid.of(
            self.sync_start, self.partner_center_poll_interval_seconds, self.partner_center_safety_lag_seconds
        )

    @property
    def partner_center_host(self) -> str:
        """The host of the Referrals API."""
        return urlsplit(self.partner_center_base_url).hostname or ""

    @property
    def authority_url(self) -> str:
        """The authority with its tenant, e.g. `https://login.microsoftonline.com/contoso.onmicrosoft.com`."""
        return f"{self.partner_center_authority}/{self.partner_center_tenant_id or 'organizations'}"


def _aliases(field: str) -> tuple[str, ...]:
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (f"{PREFIX}{field.upper()}",)


class DocumentedSetting(NamedTuple):
    """One setting for people: `names` has the current name first, then old ones; `default` is as `.env` writes it."""

    names: tuple[str, ...]
    description: str
    default: str
    example: str | None


def documented_settings() -> Iterator[DocumentedSetting]:
    """Yield every setting, in the order of the documentation."""
    for name, field in Settings.model_fields.items():
        example = field.examples[0] if field.examples else None
        yield DocumentedSetting(_aliases(name), field.description or "", _as_text(field.default), example)


def _as_text(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case SecretStr():
            return default.get_secret_value()
        case tuple():
            return ",".join(map(str, default))
        case _:
            return str(default)


def variable_names() -> tuple[str, ...]:
    """Return every HUNTER_ name that means something, old names included."""
    names = [name for setting in documented_settings() for name in setting.names]
    return (*names, *secret_file_variables(), HOME_VARIABLE, EXTRA_ENV_VARIABLE)


def secret_file_variables() -> tuple[str, ...]:
    """Return the variables that name the file of a secret."""
    return tuple(f"{PREFIX}{field.upper()}{_FILE}" for field in _secret_fields())


def _secret_fields() -> Iterator[str]:
    for field, info in Settings.model_fields.items():
        if SecretStr in (info.annotation, *get_args(info.annotation)):
            yield field


def _names_by_source() -> list[set[str]]:
    """Return the HUNTER_ names that are set, in upper case, for each source, the strongest first.

    `.env` may be missing, the extra file may not: without it the settings would silently point at something else.
    """
    ordinary, *extra = env_files()
    for file in extra:
        if not os.path.lexists(file):
            raise SettingsError(EXTRA_ENV_VARIABLE, f"there is no file {file}")
    files = [_names_in(file) for file in (*extra, ordinary)]
    return [*files, {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}]


def _names_in(file: Path) -> set[str]:
    """Return the HUNTER_ names of a `.env` file. Raises SettingsError for a line that is not NAME=value."""
    try:
        with file.open(encoding=_ENCODING) as stream:
            lines = list(parse_stream(stream))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise SettingsError(str(file), f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(str(file), "is not UTF-8 text; save it as UTF-8") from None
    names = set()
    for line in lines:
        found = _NAME.match(line.original.string)
        if found and line.value is None:
            number = line.original.line + line.original.string.count("\n", 0, found.start(1))
            raise SettingsError(found[1], f"line {number} of {file} is not NAME=value")
        if found:
            names.add(found[1].upper())
    return names


def _refuse_unknown_names(sources: list[set[str]]) -> None:
    known = variable_names()
    for name in sorted(set().union(*sources) - set(known)):
        close = get_close_matches(name, known, n=1)
        hint = f"; the nearest name is {close[0]}" if close else "; .env.example lists every name"
        raise SettingsError(name, f"no such setting{hint}")


def _refuse_what_all_may_change(secrets: Mapping[str, Path]) -> None:
    """Raise SettingsError for a file of settings or of a secret that everybody on the machine may change."""
    files = [(str(file), file) for file in env_files()]
    for name, file in (*files, *secrets.items()):
        found = opening(file)
        if found is not None and found.by_all:
            raise SettingsError(name, f"whoever uses this machine could change what the program does: {found.text}")


def _variable_of(location: tuple[int | str, ...], sources: list[set[str]]) -> str:
    """Return the name under which the value at fault was given: a field may have an old one too."""
    name = str(location[0])
    names = next((names for names in map(_aliases, Settings.model_fields) if name in names), None) or _aliases(name)
    names = (*names, *(f"{each}{_FILE}" for each in names))
    return next((name for source in sources for name in names if name in source), names[0])


def _problem_of(error: Any) -> str:
    message = str(error["msg"])
    return message.removeprefix("Value error, ").rstrip(".")
