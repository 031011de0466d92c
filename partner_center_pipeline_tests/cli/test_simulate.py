"""`partner-center simulate`: the local Microsoft alone."""

from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import dns.message
import dns.query
import pytest

from partner_center_pipeline.partner_center import build_http
from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.cli.commands import free_port, run, running
from partner_center_pipeline_tests.ui.running import wait_until


@pytest.mark.slow
@pytest.mark.parametrize("signal", [SIGINT, SIGTERM])
def test_it_prints_settings_that_work_and_ends_without_a_traceback(signal: Signals, home: Path) -> None:
    log = home.parent / "simulate.log"
    command = ("simulate", "--referrals", "50", "--https-port", "0", "--dns-port", "0")
    with log.open("w") as output, running(home, output, *command) as process:
        wait_until("the settings", lambda: "Ctrl-C ends it" in log.read_text() or None, 60)
        lines = [line for line in log.read_text().splitlines() if line.startswith("HUNTER_")]
        (home / ".env").write_text("\n".join(lines), encoding="utf-8")
        settings = Settings.load()
        assert settings.partner_center_client_id
        with build_http(settings) as http:
            metadata = http.get(f"{settings.authority_url}/v2.0/.well-known/openid-configuration")
            assert metadata.json()["token_endpoint"].startswith(settings.partner_center_authority)
            assert http.get(f"{settings.partner_center_base_url}/v1.0/engagements/referrals").status_code == 401
            assert "Enter code" in http.get(f"{settings.partner_center_base_url}/device").text
        ((host, port),) = settings.dns_resolvers
        question = dns.message.make_query("outlook.com", "MX")
        assert question.is_response(dns.query.udp(question, host, port=port, timeout=30))
        process.send_signal(signal)
        assert process.wait(30) in (0, -SIGTERM)
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_port_that_is_taken_is_said(home: Path) -> None:
    port = str(free_port())
    log = home.parent / "simulate.log"
    with log.open("w") as output, running(home, output, "simulate", "--https-port", port, "--dns-port", "0"):
        wait_until("the first one to run", lambda: "Ctrl-C ends it" in log.read_text() or None, 60)
        second = run(home, "simulate", "--https-port", port, "--dns-port", "0")
    assert second.returncode == 1
    assert "is another one running? --https-port and --dns-port take others" in second.stderr
    assert "Traceback" not in second.stderr
