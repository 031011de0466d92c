"""A company's proxy counts in commands and in Dagster's processes alike, from `.env`, too."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from partner_center_pipeline.partner_center import build_http
from partner_center_pipeline.settings import PROXY_VARIABLES, Settings, SettingsError
from partner_center_pipeline_tests.cli.commands import clean_environment
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.proxy import HOST, Proxy, running_proxy
from partner_center_simulator import Simulator


@pytest.fixture
def proxy(ready: Home, microsoft: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the `.env` of a home folder names, and Microsoft behind it, by a name that only it knows."""
    for name in PROXY_VARIABLES:  # whatever a command sets is taken back after the test
        for each in (name, name.lower()):
            monkeypatch.setenv(each, "")
            monkeypatch.delenv(each)
    with running_proxy(microsoft, tmp_path) as proxy:
        ready.edit_env(**proxy.environment())
        yield proxy


@pytest.mark.slow
def test_a_command_uses_the_proxy_of_env_and_not_that_of_the_environment(
    proxy: Proxy, ready: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: nobody answers
    ready.invoke("doctor", "--json")
    assert proxy.asked
    assert set(proxy.asked) == {f"{HOST}:443"}


def test_what_no_proxy_names_is_asked_directly(proxy: Proxy, ready: Home) -> None:
    for exceptions, asked in ((".example.org,127.0.0.2", []), (".example.org", ["127.0.0.2:9"])):
        ready.edit_env(NO_PROXY=exceptions)
        with build_http(Settings.load()) as http, pytest.raises(httpx.HTTPError):
            http.get("https://127.0.0.2:9/")  # the discard port: nobody answers
        assert proxy.asked == asked


@pytest.mark.parametrize("value", ["ftp://10.0.0.1", "http://user:hush-hush@10.0.0.1:port"])
def test_a_proxy_that_is_no_address_is_refused_and_not_quoted(proxy: Proxy, ready: Home, value: str) -> None:
    ready.edit_env(HTTPS_PROXY=value)
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY: .*like http://proxy") as refused:
        build_http(Settings.load())
    assert "hush" not in str(refused.value)


@pytest.mark.slow
def test_a_run_in_a_process_of_dagster_uses_the_proxy_of_env(proxy: Proxy, ready: Home) -> None:
    window = Settings.load().grid.window(Settings.load().grid.first or 0).key
    command = ["asset", "materialize", "--select", "raw_referrals", "--partition", window]
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *command, "-m", "partner_center_pipeline.definitions"],
        cwd=ready.path,
        env=clean_environment(ready.path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(proxy.asked) == {f"{HOST}:443"}
