"""Every HUNTER_* variable: its type, default, example and description. The only file that reads the environment.

Values come from, first wins: `.env` in the home folder, then the environment. That is the other way round from
pydantic-settings' default, on purpose: Dagster copies `.env` into its processes' environment once, at start, so an
edit of the file would otherwise never count in a running process (and `.env` wins in Dagster too).

The *home* folder holds `.env`, `.hunter/`, `.token_cache/` and `.dagster/`. It is the project's root, or what
HUNTER_HOME names. HUNTER_EXTRA_ENV_FILE names a file that is read ahead of `.env`; `partner-center demo` uses it to
point the same code at the local Microsoft.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.windows import ALLOWED_INTERVALS, WindowGrid

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
"""Where pyproject.toml, dagster.yaml, workspace.yaml and alembic.ini are."""

PREFIX: Final = "HUNTER_"
HOME_VARIABLE: Final = "HUNTER_HOME"
EXTRA_ENV_VARIABLE: Final = "HUNTER_EXTRA_ENV_FILE"
RETIRED_HOST: Final = "api.partnercenter.microsoft.com"

DEFAULT_DATABASE: Final = "sqlite:///.hunter/hunter.db"

DEFAULT_DKIM_SELECTORS: Final = (
    "selector1", "selector2", "google", "default", "s1", "s2", "k1", "mail", "zoho", "zmail",
)  # fmt: skip
"""mail_signals.md, "What to ask for one domain"."""

SHORTEST_PASSWORD: Final = 12
"""Characters of HUNTER_UI_PASSWORD: out of reach for guesses, ten a minute."""

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


class SettingsError(Exception):
    """A variable cannot be used. The message names it, says what is wrong and shows a value that works."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        example = next((field.example for field in documented_settings() if variable in field.names), None)
        super().__init__(f"{variable}: {problem}." + (f" Example: {variable}={example}" if example else ""))


def home() -> Path:
    """Return the home folder, absolute."""
    return Path(os.environ.get(HOME_VARIABLE) or PROJECT_ROOT).expanduser().resolve()


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


def _split_host_port(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:5353` as (host, port); the port is 53 unless given."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or " " in text or parts.path or parts.username or port == 0:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT (an IPv6 address stands in brackets)")
    return parts.hostname, port or 53


def _from_home(path: Path) -> Path:
    try:
        return home() / path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and names no user of this machine") from None


class Settings(BaseSettings):
    """All settings, read anew at each construction. Use `Settings.load()`, which turns errors into SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

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
        description="PostgreSQL: seconds after which a network that acknowledges nothing counts as gone.",
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
        return init_settings, files, env_settings

    @classmethod
    def load(cls) -> Self:
        """Read the settings as they are now.

        Raises SettingsError for the first value that cannot be used, for an unknown HUNTER_ name, and for a file that
        cannot be read. The value itself is not repeated: it may be a secret.
        """
        sources = _names_by_source()
        _refuse_unknown_names(sources)
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise SettingsError(_variable_of(first["loc"], sources), _problem_of(first)) from None

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

    @field_validator("teams_webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        # Not quoted: whoever knows the address can write into the channel.
        try:
            parts = urlsplit(value.get_secret_value().strip())
            has_port = parts.port != 0
        except ValueError:
            raise ValueError("is no address") from None
        if parts.scheme != "https" or not parts.hostname or not has_port or " " in parts.geturl():
            raise ValueError("must be an https:// address: copy it whole from the workflow in Teams")
        if parts.username or parts.fragment:
            raise ValueError("must be an address without user and fragment")
        return SecretStr(parts.geturl())

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
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        text = value.get_secret_value() or DEFAULT_DATABASE
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
        return SecretStr(url.render_as_string(hide_password=False))

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
    return (*names, HOME_VARIABLE, EXTRA_ENV_VARIABLE)


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


def _variable_of(location: tuple[int | str, ...], sources: list[set[str]]) -> str:
    """Return the name under which the value at fault was given: a field may have an old one too."""
    name = str(location[0])
    names = next((names for names in map(_aliases, Settings.model_fields) if name in names), None) or _aliases(name)
    return next((name for source in sources for name in names if name in source), names[0])


def _problem_of(error: Any) -> str:
    message = str(error["msg"])
    return message.removeprefix("Value error, ").rstrip(".")
