"""One local Microsoft for the folder, on real sockets, with a clock that stands still."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from partner_center_simulator import Simulator, SimulatorClock

ANCHOR = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
"""Where the world's past ends, and the server's time when a test begins."""

REFERRALS = 300
PATH = "/v1.0/engagements/referrals"


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    clock = SimulatorClock(ANCHOR, frozen=True)
    with Simulator(
        seed=11, anchor=ANCHOR, referrals=REFERRALS, recent_from=ANCHOR - timedelta(hours=9), clock=clock
    ) as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Iterator[Simulator]:
    """The local Microsoft at `ANCHOR`, in good health, without another test's changes."""
    running.faults.clear()
    running.clock.set(ANCHOR)
    yield running
    running.world.reset()
    running.faults.clear()


@pytest.fixture(scope="session")
def http(running: Simulator) -> Iterator[httpx.Client]:
    with client_of(running) as client:
        yield client


def client_of(sim: Simulator) -> httpx.Client:
    """A client that trusts a simulator's authority and no other."""
    return httpx.Client(verify=ssl.create_default_context(cafile=sim.ca_bundle), base_url=sim.base_url)


@dataclass(frozen=True, slots=True)
class Api:
    """A client that is signed in and otherwise does nothing for the caller."""

    sim: Simulator
    http: httpx.Client

    def get(self, path: str = PATH, token: str | None = None, /, **options: str) -> httpx.Response:
        """GET with `options` as $options."""
        return self.http.get(
            path,
            params={f"${name}": value for name, value in options.items()} or None,
            headers={"Authorization": f"Bearer {self.sim.entra.issue() if token is None else token}"},
        )

    def rows(self, **options: str) -> list[dict[str, Any]]:
        """The rows of all pages, following @odata.nextLink as a careful client does."""
        response = self.get(**options)
        rows: list[dict[str, Any]] = []
        while True:
            assert response.status_code == 200, response.text
            body = response.json()
            rows += body["value"]
            link = body.get("@odata.nextLink")
            if link is None:
                return rows
            response = self.get(onward(link))


def onward(link: str) -> str:
    """Where a documented nextLink leads: over https, with /engagements, the query as it is."""
    return link.replace("http://", "https://").replace("/v1.0/referrals?", f"{PATH}?")


@pytest.fixture
def api(sim: Simulator, http: httpx.Client) -> Api:
    return Api(sim, http)
