"""`deploy/`: checked as far as it can be without a machine of its own. No container engine runs here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner
from dagster import DagsterInstance
from packaging.requirements import Requirement
from sqlalchemy import URL, make_url, select

from partner_center_pipeline.cli import main
from partner_center_pipeline.settings import PROJECT_ROOT, variable_names
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.defs.conftest import microsoft, running_microsoft, signed_in, sync_start
from partner_center_pipeline_tests.install.deploy import (
    DEPLOY,
    UNITS,
    compose,
    filled_in,
    instructions,
    sections,
    unit,
)
from partner_center_pipeline_tests.install.wheel import Installed
from partner_center_pipeline_tests.ui.running import Ui, wait_until
from partner_center_simulator import Simulator

__all__ = ["microsoft", "running_microsoft", "signed_in", "sync_start"]  # fixtures

SERVICES = [file.name for file in UNITS if file.suffix == ".service"]
MOST_EXPOSED = 2.0
"""What `systemd-analyze security` may say at most, of 10; a unit without any protection has 9.6."""
PROGRAM = "/opt/partner-center/bin/partner-center"


def test_every_unit_has_its_sections_and_starts_a_command_that_exists() -> None:
    assert len(UNITS) == 5
    for file in UNITS:
        assert sections(file.name) >= {"Unit", file.suffix[1:].capitalize()}
    for name in SERVICES:
        (command,) = unit(name)["ExecStart"]
        program, *arguments = shlex.split(command)
        assert program == PROGRAM
        assert CliRunner().invoke(main, [*arguments, "--help"]).exit_code == 0
        for variable in unit(name)["Environment"]:
            assert variable.partition("=")[0] in variable_names()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_private_cannot_become_root_and_gets_the_key_as_a_credential(name: str) -> None:
    wanted = {
        "UMask": "0077",
        "User": "partner-center",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
        "LoadCredential": "token_key:/etc/partner-center/token_key",
    }
    found = unit(name)
    assert {key: found[key] for key in wanted} == {key: [value] for key, value in wanted.items()}
    assert "HUNTER_PARTNER_CENTER_TOKEN_KEY_FILE=%d/token_key" in found["Environment"]


@pytest.mark.slow
def test_systemd_takes_every_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    """Skipped where systemd is not on the machine; the tests above check the same files everywhere."""
    analyze = shutil.which("systemd-analyze")
    copies = [tmp_path / file.name for file in UNITS]
    for file, copy in zip(UNITS, copies, strict=True):
        copy.write_text(file.read_text().replace(PROGRAM, "/bin/sh"))
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    done = subprocess.run([analyze, "verify", *copies], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for name in SERVICES:
        command = [analyze, "security", "--offline=true", "--no-pager", str(tmp_path / name)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        level = re.search(r"exposure level for \S+: ([\d.]+)", said)
        assert level, said
        assert float(level[1]) <= MOST_EXPOSED


def test_the_dockerfile_checks_hashes_runs_as_nobody_special_and_looks_after_its_health() -> None:
    found = instructions()
    stages = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    assert len(stages) == 2
    for number in stages:
        assert re.fullmatch(r"python:3\.\d+-slim-\w+( AS build)?", found[number][1])
    runs = [value for name, value in found if name == "RUN"]
    installs = [command for value in runs for command in value.split("&&") if "pip install" in command]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]
    last = dict(found[stages[-1] :])
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == '["partner-center"]'
    assert "partner-center status" in last["HEALTHCHECK"]
    assert "HUNTER_HOME=/data" in last["ENV"]
    copied = {part for name, value in found if name == "COPY" and "--from" not in value for part in value.split()[:-1]}
    for part in copied:
        assert (PROJECT_ROOT / part).exists(), part
        assert f"!{part}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text(), part


def test_compose_hardens_each_container_of_the_program_and_opens_no_port_to_others() -> None:
    services = compose()["services"]
    assert sorted(services) == ["database", "migrate", "pipeline"]
    for name in ("migrate", "pipeline"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert CliRunner().invoke(main, [service["command"][0], "--help"]).exit_code == 0
        for variable in service["environment"]:
            assert variable in (*variable_names(), "DAGSTER_PG_URL")
    assert services["pipeline"]["ports"] == ["127.0.0.1:3000:3000"]
    assert "ports" not in services["database"]


def test_dagsters_configuration_for_compose_differs_in_its_storage_only() -> None:
    shipped, ours = (
        yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8")) for folder in (PROJECT_ROOT, DEPLOY)
    )
    assert ours.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}
    shipped.pop("storage")
    assert ours == shipped


def configured(name: str) -> dict[str, Any]:
    """A file of `deploy/` as YAML."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


def test_dagsters_configuration_for_several_machines_differs_in_what_they_share_and_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dagster._core.instance.config import dagster_instance_config
    from dagster._core.instance.ref import InstanceRef
    from dagster_celery.launcher import CeleryRunLauncher

    one, several = configured("dagster.yaml"), configured("dagster-celery.yaml")
    assert several.pop("run_launcher")["class"] == CeleryRunLauncher.__name__
    assert several["compute_logs"].pop("config") == {"base_dir": {"env": "DAGSTER_COMPUTE_LOGS"}}
    assert one["compute_logs"].pop("config") == {"base_dir": ".dagster/compute_logs"}
    assert several["concurrency"].pop("runs") == {"max_concurrent_runs": 4}
    assert several["run_monitoring"].pop("start_timeout_seconds") == 120
    assert several.pop("sensors")["use_threads"] is True
    assert several == one

    monkeypatch.setenv("DAGSTER_CELERY_BROKER", "redis://192.0.2.1:6379/0")
    monkeypatch.setenv("DAGSTER_CELERY_BACKEND", "redis://192.0.2.1:6379/1")
    shutil.copyfile(DEPLOY / "dagster-celery.yaml", tmp_path / "dagster.yaml")
    dagster_instance_config(str(tmp_path))  # raises for a key or a type that Dagster does not know
    launcher = InstanceRef.from_dir(str(tmp_path)).run_launcher
    assert isinstance(launcher, CeleryRunLauncher)
    assert (launcher.broker, launcher.backend) == ("redis://192.0.2.1:6379/0", "redis://192.0.2.1:6379/1")


def test_a_worker_of_celery_gets_its_options_and_runs_each_run_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from celery.app.defaults import NAMESPACES
    from dagster_celery.cli import get_validated_config

    monkeypatch.setenv("DAGSTER_CELERY_BROKER", "redis://192.0.2.1:6379/0")
    monkeypatch.setenv("DAGSTER_CELERY_BACKEND", "redis://192.0.2.1:6379/1")
    found = get_validated_config(str(DEPLOY / "celery-worker.yaml"))
    assert (found["broker"], found["backend"]) == ("redis://192.0.2.1:6379/0", "redis://192.0.2.1:6379/1")
    for option in found["config_source"]:
        space, _, name = option.partition("_")
        assert option in NAMESPACES or name in NAMESPACES[space], option
    assert found["config_source"]["worker_max_tasks_per_child"] == 1
    slots = configured("dagster-celery.yaml")["concurrency"]["runs"]["max_concurrent_runs"]
    assert slots == 2 * found["config_source"]["worker_concurrency"]


def test_the_values_for_helm_say_the_same_as_dagsters_configuration(tmp_path: Path) -> None:
    from dagster._core.instance.config import dagster_instance_config
    from dagster._core.instance.ref import InstanceRef
    from dagster._core.run_coordinator import QueuedRunCoordinator

    values, several = configured("helm-values.yaml"), configured("dagster-celery.yaml")
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert values["additionalInstanceConfig"]["concurrency"] == several["concurrency"]
    monitoring, wanted = values["dagsterDaemon"]["runMonitoring"], several["run_monitoring"]
    assert monitoring["maxRuntimeSeconds"] == wanted["max_runtime_seconds"]
    assert values["telemetry"] == several["telemetry"] == {"enabled": False}
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["codeServerArgs"] == ["--module-name", "partner_center_pipeline.definitions"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}

    # What the chart's templates make of them, and whether Dagster takes it.
    coordinator = values["dagsterDaemon"]["runCoordinator"]
    assert coordinator["type"] == "CustomRunCoordinator"
    made = {
        "run_coordinator": coordinator["config"]["customRunCoordinator"],
        "run_monitoring": {"enabled": True, "start_timeout_seconds": monitoring["startTimeoutSeconds"]},
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    dagster_instance_config(str(tmp_path))
    queue = InstanceRef.from_dir(str(tmp_path)).run_coordinator
    assert isinstance(queue, QueuedRunCoordinator)
    assert queue.inst_data is not None
    assert queue.inst_data.config_dict == {"dequeue_interval_seconds": several["run_queue"]["dequeue_interval_seconds"]}
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        limits = instance.get_concurrency_config().run_queue_config
    assert limits is not None
    assert limits.max_concurrent_runs == 4


def test_the_image_for_kubernetes_starts_what_it_is_given() -> None:
    """Dagster's chart gives arguments, which an entry point would take as its own."""
    found = dict(instructions("Dockerfile.kubernetes"))
    assert found["ENTRYPOINT"] == "[]"
    assert found["USER"] == "10001:10001"
    version = re.search(r"dagster-k8s==(\S+)", found["RUN"])
    assert version
    assert version[1] == distribution("dagster-postgres").version, "the libraries of one release"
    (deployment,) = configured("helm-values.yaml")["dagster-user-deployments"]["deployments"]
    assert deployment["image"]["repository"] == "partner-center-kubernetes"


PINS = ("constraints-hashed.txt", "deploy/requirements.txt")


def pinned(name: str) -> dict[str, str]:
    """The versions that a file pins, by the name of the package in one way of writing."""
    text = (PROJECT_ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package.lower()): version for package, version in found}


def needed(requirement: str, found: set[str]) -> set[str]:
    """The packages that a requirement brings on this machine, as their metadata says."""
    parsed = Requirement(requirement)
    name = re.sub(r"[-_.]+", "-", parsed.name.lower())
    for each in distribution(name).requires or []:
        inner = Requirement(each)
        extras = parsed.extras or {""}
        inner_name = re.sub(r"[-_.]+", "-", inner.name.lower())
        wanted = inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras)
        if wanted and (inner_name not in found or inner.extras):
            found.add(inner_name)
            needed(each, found)
    return found | {name}


@pytest.mark.parametrize("name", PINS)
def test_the_pins_with_hashes_are_those_without_and_each_has_a_hash(name: str) -> None:
    plain, hashed = pinned("constraints.txt"), pinned(name)
    assert {package: plain[package] for package in hashed} == hashed
    if name == PINS[0]:
        assert hashed.keys() == plain.keys()
    blocks = re.split(r"\n(?=\S)", (PROJECT_ROOT / name).read_text(encoding="utf-8"))
    assert [block for block in blocks if "==" in block and not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


def test_an_installation_has_what_it_needs_pinned_and_no_tool_of_development() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted: set[str] = set()
    for requirement in project["dependencies"]:
        wanted |= needed(requirement, wanted)
    assert set(pinned(PINS[1])) - {"setuptools"} == wanted
    assert not {"dagster-dg-cli", "pytest", "ruff"} & wanted


@pytest.mark.slow
def test_the_list_of_what_is_installed_names_every_pin(tmp_path: Path) -> None:
    rule = re.search(
        r"^\t\$\(BIN\)/(cyclonedx-py .*) -o sbom.json$", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert rule
    program, *arguments = shlex.split(rule[1])
    command = [str(Path(sys.executable).parent / program), *arguments, "-o", str(tmp_path / "sbom.json")]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, timeout=60)
    said = json.loads((tmp_path / "sbom.json").read_text())
    assert said["bomFormat"] == "CycloneDX"
    found = {re.sub(r"[-_.]+", "-", part["name"].lower()): part["version"] for part in said["components"]}
    assert found == pinned(PINS[1])


MOST_CONNECTIONS = 30
"""Of an installation that does a window while nobody looks: operations.md, "Connections to PostgreSQL"."""


@contextmanager
def counted_connections(databases: Mapping[str, URL]) -> Iterator[list[int]]:
    """A list of how many connections to these databases there were, ten times a second while the block runs."""
    over, most = Event(), [0]
    names = [url.database for url in databases.values()]

    def count() -> None:
        host = str(databases["hunter"].query["host"])
        with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
            while not over.wait(0.1):
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY (%s)"
                most.append((connection.execute(query, [names]).fetchone() or (0,))[0])

    counting = Thread(target=count)
    counting.start()
    try:
        yield most
    finally:
        over.set()
        counting.join()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.xdist_group("wheel")
@pytest.mark.long
def test_the_processes_of_compose_side_by_side_do_a_window_against_postgresql(
    installed: Installed, postgres: PostgresServer, microsoft: Simulator, signed_in: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copytree(signed_in, home / ".token_cache")
    shutil.copyfile(DEPLOY / "dagster.yaml", home / "dagster.yaml")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "ui_password").write_text("correct horse battery\n")
    shutil.copyfile(signed_in / "sign_in.key", secrets / "token_key")
    databases = {name: make_url(postgres.empty()) for name in ("hunter", "dagster")}
    drivers = {"hunter": "postgresql+psycopg", "dagster": "postgresql+psycopg2"}
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=25)
    start = start.replace(minute=start.minute // 10 * 10)
    variables = installed.variables(
        **microsoft.environment(),
        HUNTER_HOME=str(home),
        HUNTER_PARTNER_CENTER_ENABLED="true",
        HUNTER_SYNC_START=f"{start:%Y-%m-%dT%H:%M:%SZ}",
    )
    for variable, value in compose()["services"]["pipeline"]["environment"].items():
        text = filled_in(value, {"DATABASE_PASSWORD": "letters"}).replace("/run/secrets", str(secrets))
        name = text.rpartition("/")[2]
        if "@database/" in text:
            assert text == f"{drivers[name]}://hunter:letters@database/{name}"
            text = databases[name].set(drivername=drivers[name]).render_as_string(hide_password=False)
        variables[variable] = text

    migrate = [installed.command, *compose()["services"]["migrate"]["command"]]
    subprocess.run(migrate, env=variables, cwd=installed.folder, timeout=60, check=True, capture_output=True)
    warehouse = Warehouse(databases["hunter"].render_as_string(hide_password=False))
    port = free_port()

    def done() -> bool | None:
        with warehouse.read() as connection:
            scored = select(schema.sync_windows.c.scored_segments_at).where(
                schema.sync_windows.c.scored_segments_at.is_not(None)
            )
            return True if connection.execute(scored).first() else None

    command = [installed.command, *compose()["services"]["pipeline"]["command"], "--port", str(port)]
    with installed.running(command, tmp_path / "log", variables), counted_connections(databases) as most:
        ui = Ui(f"http://127.0.0.1:{port}", home, tmp_path / "log")
        wait_until("the UI", ui.is_loaded, 300)
        wait_until("a window", done, 600)
        health = dict(instructions())["HEALTHCHECK"].partition("CMD ")[2]

        def is_healthy() -> bool | None:
            shell = ["/bin/sh", "-c", health]
            return subprocess.run(shell, env=variables, cwd=installed.folder, timeout=60).returncode == 0 or None

        wait_until("the health check", is_healthy, 300)  # on a busy machine Dagster's storage may not answer in time
    warehouse.close()
    assert 2 <= max(most) <= MOST_CONNECTIONS
    assert [path for path in home.rglob("*") if path.lstat().st_mode & 0o077 and path.name != "dagster.yaml"] == []
    assert os.path.lexists(home / ".dagster/storage") is False
