"""One local Microsoft for the folder, settings that point at it, and a clock that does not wait."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from partner_center_pipeline.partner_center import ReferralsClient, SignIn, build_http
from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.settings import Settings
from partner_center_simulator import Simulator

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""The local Microsoft's time when a test begins."""


class PatientClock:
    """A clock whose pauses take no time; it keeps them in `pauses` (seconds)."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        """Seconds paused so far."""
        return sum(self.pauses)

    def utc(self) -> datetime:
        """`START` and what was paused."""
        return START + timedelta(seconds=self.monotonic())

    def sleep(self, seconds: float) -> None:
        """Pause."""
        self.pauses.append(seconds)


@pytest.fixture(scope="session")
def microsoft() -> Iterator[Simulator]:
    with Simulator(seed=7, anchor=START, referrals=300) as simulator:
        simulator.entra.device_code_interval = 1
        yield simulator


@pytest.fixture
def sim(microsoft: Simulator) -> Iterator[Simulator]:
    """The local Microsoft, at `START`, in good health."""
    microsoft.faults.clear()
    microsoft.clock.set(START)
    yield microsoft
    microsoft.world.reset()
    microsoft.faults.clear()


@pytest.fixture
def settings(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in os.environ:
        if name.startswith("HUNTER_"):
            monkeypatch.delenv(name)
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUNTER_HOME", str(tmp_path))
    return Settings.load()


@pytest.fixture(scope="session")
def http(microsoft: Simulator) -> Iterator[httpx.Client]:
    with build_http(Settings(partner_center_ca_bundle=microsoft.ca_bundle)) as client:
        yield client


@pytest.fixture
def clock() -> PatientClock:
    return PatientClock()


@pytest.fixture
def store(settings: Settings) -> TokenStore:
    return TokenStore(settings.partner_center_token_cache_path)


@pytest.fixture
def sign_in(settings: Settings, http: httpx.Client, store: TokenStore, clock: PatientClock) -> SignIn:
    return SignIn(settings, http, store, clock)


@pytest.fixture
def client(sim: Simulator, http: httpx.Client, clock: PatientClock) -> ReferralsClient:
    """A client with a good token."""

    def token(*, renew: bool = False) -> str:
        return sim.entra.issue()

    return ReferralsClient(http, token, sim.base_url, page_size=100, clock=clock)
