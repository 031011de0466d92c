"""The simulator as a whole: addresses, certificates, starting and stopping."""

import asyncio
import os
import ssl
import stat
import threading
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.simulator.conftest import ANCHOR, PATH, Api, client_of
from partner_center_simulator import Simulator, SimulatorError


def test_its_environment_is_a_working_configuration(
    sim: Simulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.authority_url == f"{sim.base_url}/{sim.tenant_id}"
    assert settings.partner_center_base_url == sim.base_url
    assert settings.partner_center_client_id == sim.client_id
    assert settings.partner_center_scope == "https://api.partner.microsoft.com/.default"
    assert settings.partner_center_ca_bundle == sim.ca_bundle
    assert settings.dns_resolvers == (sim.dns_address,)


def test_its_certificate_is_good_for_both_names_and_only_with_its_authority(sim: Simulator, http: httpx.Client) -> None:
    port = sim.base_url.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1"):
        assert http.get(f"https://{host}:{port}{PATH}").status_code == 401
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(sim.base_url, verify=ssl.create_default_context())


def test_a_restart_in_the_same_folder_keeps_the_authority_and_the_key_private(tmp_path: Path) -> None:
    folder = tmp_path / "simulator"
    with Simulator(anchor=ANCHOR, referrals=5, directory=folder) as sim:
        before = sim.ca_bundle.read_bytes()
        context = ssl.create_default_context(cafile=sim.ca_bundle)
    with (
        Simulator(anchor=ANCHOR, referrals=5, directory=folder) as again,
        httpx.Client(verify=context, base_url=again.base_url) as http,
    ):
        assert again.ca_bundle.read_bytes() == before
        assert http.get(PATH).status_code == 401
    if os.name == "posix":
        for name in ("ca.key", "server.pem"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


@pytest.mark.slow
def test_stopping_ends_every_thread_even_with_a_client_that_stays(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sim = Simulator(anchor=ANCHOR, referrals=5)
    sim.start()
    folder = sim.ca_bundle.parent
    with client_of(sim) as http:
        http.get(PATH)
        assert {thread.name for thread in set(threading.enumerate()) - before} == {"simulator-https", "simulator-dns"}
        waiting = threading.Thread(target=sim.wait)
        waiting.start()
        sim.stop()
        waiting.join()
        with pytest.raises(httpx.TransportError):
            http.get(PATH)
    assert set(threading.enumerate()) <= before
    assert not folder.exists()


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind(sim: Simulator) -> None:
    before = set(threading.enumerate())
    for https_port, dns_port in ((int(sim.base_url.rpartition(":")[2]), 0), (0, sim.dns_address[1])):
        with pytest.raises(SimulatorError, match="cannot listen"):
            Simulator(anchor=ANCHOR, referrals=0, https_port=https_port, dns_port=dns_port).start()
    assert set(threading.enumerate()) <= before


def test_the_app_runs_without_a_socket(sim: Simulator) -> None:
    async def status() -> int:
        transport = httpx.ASGITransport(sim.asgi_app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as http:
            headers = {"Authorization": f"Bearer {sim.entra.issue()}"}
            return (await http.get(PATH, headers=headers)).status_code

    assert asyncio.run(status()) == 200


def test_a_live_simulator_moves_on_between_requests() -> None:
    with Simulator(seed=4, anchor=ANCHOR, referrals=30, live=True) as sim, client_of(sim) as http:
        api = Api(sim, http)
        sim.clock.freeze()
        sim.clock.set(ANCHOR)
        news = "updatedDateTime gt 2026-03-02T09:30:00Z"
        assert api.rows(filter=news) == []
        sim.clock.advance(timedelta(minutes=10))
        assert len(api.rows(filter=news)) > 3
        assert sim.create({"name": "Yeni"})["name"] == "Yeni"
        assert api.rows(filter="name eq 'Yeni'")


def test_a_million_referrals_are_served_at_once() -> None:
    with Simulator(anchor=ANCHOR, referrals=1_000_000) as sim, client_of(sim) as http:
        sim.clock.freeze()
        body = Api(sim, http).get(
            filter="updatedDateTime ge 2025-10-10T00:00:00Z", orderby="updatedDateTime asc", top="100"
        )
        assert [row["updatedDateTime"][:10] for row in body.json()["value"]] == ["2025-10-10"] * 100
