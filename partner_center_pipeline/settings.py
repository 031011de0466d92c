"""Every HUNTER_* variable: its type, its default, what is wrong with it. The only file that reads the environment.

Values come from, first wins: `.env` in the home folder, then the environment. That is the other way round from
pydantic-settings' default, on purpose: Dagster copies `.env` into its processes' environment once, at start, so an
edit of the file would otherwise never count in a running process (and `.env` wins in Dagster too).

The *home* folder holds `.env`, `.hunter/`, `.token_cache/` and `.dagster/`. It is the project's root, or what
HUNTER_HOME names. HUNTER_EXTRA_ENV_FILE names a file that is read ahead of `.env`; `partner-center demo` uses it to
point the same code at the local Microsoft.
"""

import os
import re
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Self
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

_YEARS: Final = range(1970, 2200)
"""Where a HUNTER_SYNC_START may lie: ticks count from the first, and Dagster's calendar needs room after the last."""

_ENCODING: Final = "utf-8-sig"
"""UTF-8; editors on Windows begin a file with a mark."""

_NAME: Final = re.compile(rf"\s*(?:export\s+)?['\"]?({PREFIX}\w*)", re.IGNORECASE)
"""The name at the beginning of a line of a `.env` file."""

_EXAMPLES: Final = {
    "HUNTER_PARTNER_CENTER_ENABLED": "true",
    "HUNTER_PARTNER_CENTER_CLIENT_ID": "00000000-0000-0000-0000-000000000000",
    "HUNTER_PARTNER_CENTER_TENANT_ID": "contoso.onmicrosoft.com",
    "HUNTER_PARTNER_CENTER_BASE_URL": "https://api.partner.microsoft.com",
    "HUNTER_PARTNER_CENTER_API_URL": "https://api.partner.microsoft.com",
    "HUNTER_PARTNER_CENTER_AUTHORITY": "https://login.microsoftonline.com",
    "HUNTER_PARTNER_CENTER_TOKEN_STORE": "file",
    "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": "600",
    "HUNTER_PARTNER_CENTER_SYNC_INTERVAL": "600",
    "HUNTER_PARTNER_CENTER_PAGE_SIZE": "100",
    "HUNTER_PARTNER_CENTER_OVERLAP_SECONDS": "900",
    "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS": "120",
    "HUNTER_PARTNER_CENTER_COSELL_BONUS": "15",
    "HUNTER_PARTNER_CENTER_AZURE_TENANT_SCORE": "55",
    "HUNTER_SCORING_RULES": "rules.toml",
    "HUNTER_DATABASE_URL": "postgresql+psycopg://hunter:password@localhost/hunter",
    "HUNTER_SYNC_START": "2026-01-01T00:00:00Z",
    "HUNTER_DNS_RESOLVERS": "192.0.2.53,192.0.2.54:5353",
    "HUNTER_DKIM_SELECTORS": "selector1,selector2,google",
    "HUNTER_SIGNALS_TTL_HOURS": "168",
    "HUNTER_TENANT_DISCOVERY_ENABLED": "false",
    "HUNTER_OWN_DOMAINS": "example.com.tr,example.com",
}


class TokenPlace(StrEnum):
    """Where the sign-in is kept."""

    FILE = "file"
    DATABASE = "database"


class SettingsError(Exception):
    """A variable that cannot be used. The message names it, says what is wrong and shows a value that works."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        example = _EXAMPLES.get(variable)
        super().__init__(f"{variable}: {problem}." + (f" Example: {variable}={example}" if example else ""))


def home() -> Path:
    """The home folder, absolute."""
    return Path(os.environ.get(HOME_VARIABLE) or PROJECT_ROOT).expanduser().resolve()


def env_files() -> tuple[Path, ...]:
    """The files that are read ahead of the environment, the strongest last (pydantic-settings' order)."""
    extra = os.environ.get(EXTRA_ENV_VARIABLE)
    return (home() / ".env", *((home() / extra,) if extra else ()))


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

    partner_center_enabled: bool = False
    partner_center_client_id: str | None = None
    partner_center_client_secret: SecretStr | None = None
    partner_center_tenant_id: str | None = None
    partner_center_base_url: str = Field(
        "https://api.partner.microsoft.com",
        validation_alias=AliasChoices("HUNTER_PARTNER_CENTER_BASE_URL", "HUNTER_PARTNER_CENTER_API_URL"),
    )
    partner_center_authority: str = "https://login.microsoftonline.com"
    partner_center_scope: str = "https://api.partner.microsoft.com/.default"
    partner_center_ca_bundle: Path | None = None
    partner_center_token_cache_path: Path = Path(".token_cache")
    partner_center_token_key: SecretStr | None = None
    partner_center_token_store: TokenPlace = TokenPlace.FILE
    partner_center_poll_interval_seconds: int = Field(
        600,
        validation_alias=AliasChoices(
            "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS", "HUNTER_PARTNER_CENTER_SYNC_INTERVAL"
        ),
    )
    partner_center_page_size: int = Field(100, ge=1, le=1000)
    partner_center_overlap_seconds: int = Field(900, ge=0, le=86_400)
    partner_center_safety_lag_seconds: int = Field(120, ge=0, le=3600)
    partner_center_cosell_bonus: int = Field(15, ge=0, le=100)
    partner_center_azure_tenant_score: int = Field(55, ge=0, le=100)
    scoring_rules: Path | None = None
    database_url: SecretStr = SecretStr(DEFAULT_DATABASE)
    sync_start: datetime | None = None
    dns_resolvers: Annotated[tuple[tuple[str, int], ...], NoDecode] = ()
    dkim_selectors: Annotated[tuple[str, ...], NoDecode] = DEFAULT_DKIM_SELECTORS
    signals_ttl_hours: int = Field(168, ge=1, le=24 * 365)
    tenant_discovery_enabled: bool = False
    own_domains: Annotated[tuple[str, ...], NoDecode] = ()

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
        """The settings as they are now.

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


def variable_names() -> tuple[str, ...]:
    """Every HUNTER_ name that means something, old names included."""
    names = [name for field in Settings.model_fields for name in _aliases(field)]
    return (*names, HOME_VARIABLE, EXTRA_ENV_VARIABLE)


def _names_by_source() -> list[set[str]]:
    """The HUNTER_ names that are set, in upper case, for each source that is asked, the strongest first.

    `.env` may be missing, the extra file may not: without it the settings would silently point at something else.
    """
    ordinary, *extra = env_files()
    for file in extra:
        if not os.path.lexists(file):
            raise SettingsError(EXTRA_ENV_VARIABLE, f"there is no file {file}")
    files = [_names_in(file) for file in (*extra, ordinary)]
    return [*files, {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}]


def _names_in(file: Path) -> set[str]:
    """The HUNTER_ names of a `.env` file. Raises SettingsError for a line that pydantic-settings would pass over."""
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
    """The name under which the value at fault was given: a field may have an old one too."""
    name = str(location[0])
    names = next((names for names in map(_aliases, Settings.model_fields) if name in names), None) or _aliases(name)
    return next((name for source in sources for name in names if name in source), names[0])


def _problem_of(error: Any) -> str:
    message = str(error["msg"])
    return message.removeprefix("Value error, ").rstrip(".")
