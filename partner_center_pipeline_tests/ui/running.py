"""A running `partner-center ui`, driven by the GraphQL queries and mutations that its pages send."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx

from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.commands import COMMAND

T = TypeVar("T")

LOCATION = "partner_center_pipeline"
REPOSITORY = "__repository__"
START_SECONDS = 120.0
STOP_SECONDS = 60.0

_TICKS = "ticks(limit: 20) { status skipReason runIds timestamp error { message } }"


def wait_until(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """What `look` gives once it gives something; fails after `seconds`, saying what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")


@dataclass(frozen=True)
class Tick:
    """One tick of the schedule or the sensor."""

    status: str
    reason: str
    run_ids: tuple[str, ...]
    at: float


@dataclass(frozen=True)
class Ui:
    """A running UI of the home folder `home`; `log` is what it printed, where that is kept."""

    url: str
    home: Path
    log: Path | None = None

    def link(self) -> str:
        """The link that it printed, or another one where that is not kept."""
        printed = self.log.read_text(errors="replace") if self.log is not None else another_link(self.home)
        found = re.search(rf"{re.escape(self.url)}/\S+", printed)
        assert found, printed
        return found.group()

    @cached_property
    def browser(self) -> httpx.Client:
        """A client that opened the link, as a person's browser does."""
        client = httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=60, trust_env=False)
        client.get(self.link()).raise_for_status()
        return client

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer; an error of the query itself fails the test."""
        answer = self.browser.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def is_loaded(self) -> bool | None:
        """Whether the webserver answers and has loaded the code location."""
        try:
            data = self.ask(
                "query($s: RepositorySelector!) { repositoryOrError(repositorySelector: $s) { __typename } }",
                s={"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION},
            )
        except (httpx.TransportError, ValueError, AssertionError):
            return None
        return True if data["repositoryOrError"]["__typename"] == "Repository" else None

    def repository(self) -> dict[str, Any]:
        """Assets with their checks, schedules and sensors, as the pages list them."""
        data = self.ask(
            "query($s: RepositorySelector!) { repositoryOrError(repositorySelector: $s) { ... on Repository {"
            " assetNodes { assetKey { path } groupName"
            " assetChecksOrError { ... on AssetChecks { checks { name canExecuteIndividually } } } }"
            " schedules { name cronSchedule scheduleState { status } }"
            " sensors { name sensorState { status } } } } }",
            s={"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION},
        )
        found: dict[str, Any] = data["repositoryOrError"]
        return found

    def schedule_ticks(self) -> list[Tick]:
        """The schedule's ticks, the latest first."""
        return self._ticks("schedule", "scheduleOrError", "ScheduleSelector", "partner_center_sync_schedule")

    def sensor_ticks(self) -> list[Tick]:
        """The sensor's ticks, the latest first."""
        return self._ticks("sensor", "sensorOrError", "SensorSelector", "partner_center_flag_sensor")

    def _ticks(self, kind: str, field: str, selector: str, name: str) -> list[Tick]:
        data = self.ask(
            f"query($s: {selector}!) {{ {field}({kind}Selector: $s) {{ ... on {kind.capitalize()} {{"
            f" {kind}State {{ {_TICKS} }} }} }} }}",
            s={"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, f"{kind}Name": name},
        )
        return [
            Tick(tick["status"], tick["skipReason"] or "", tuple(tick["runIds"]), tick["timestamp"])
            for tick in data[field][f"{kind}State"]["ticks"]
        ]

    def materialize(self, assets: Sequence[str], key: str) -> str:
        """Press Materialize for one window, with the assets' checks, as the page does; the id of the run."""
        data = self.ask(
            "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename"
            " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            p={
                "selector": {
                    "repositoryName": REPOSITORY,
                    "repositoryLocationName": LOCATION,
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [asset]} for asset in assets],
                    "assetCheckSelection": self._checks_of(assets),
                },
                "mode": "default",
                "runConfigData": "{}",
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": key}]},
            },
        )["launchPipelineExecution"]
        assert data["__typename"] == "LaunchRunSuccess", data
        run_id: str = data["run"]["runId"]
        return run_id

    def _checks_of(self, assets: Sequence[str]) -> list[dict[str, Any]]:
        data = self.ask(
            "query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) { assetKey { path }"
            " assetChecksOrError { ... on AssetChecks { checks { name } } } } }",
            keys=[{"path": [asset]} for asset in assets],
        )
        return [
            {"assetKey": node["assetKey"], "name": check["name"]}
            for node in data["assetNodes"]
            for check in node["assetChecksOrError"]["checks"]
        ]

    def backfill(self, assets: Sequence[str], keys: Sequence[str]) -> str:
        """Launch a backfill of windows; its id."""
        data = self.ask(
            "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename"
            " ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            p={
                "assetSelection": [{"path": [asset]} for asset in assets],
                "partitionNames": list(keys),
                "tags": [],
            },
        )["launchPartitionBackfill"]
        assert data["__typename"] == "LaunchBackfillSuccess", data
        backfill_id: str = data["backfillId"]
        return backfill_id

    def backfill_status(self, backfill_id: str) -> str:
        """The status of a backfill."""
        data = self.ask(
            "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }",
            id=backfill_id,
        )
        status: str = data["partitionBackfillOrError"]["status"]
        return status

    def run_status(self, run_id: str) -> str:
        """The status of a run."""
        data = self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)
        status: str = data["runOrError"]["status"]
        return status

    def end_of(self, run_id: str, seconds: float = 90.0) -> str:
        """How a run ended."""
        ended = {"SUCCESS", "FAILURE", "CANCELED"}

        def look() -> str | None:
            status = self.run_status(run_id)
            return status if status in ended else None

        return wait_until(f"the end of run {run_id}", look, seconds)

    def failures(self, run_id: str) -> str:
        """The messages of a run's failed steps."""
        data = self.ask(
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {"
            " ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } } } } } }",
            id=run_id,
        )
        return str([event for event in data["logsForRun"]["events"] if event])

    def run_ids(self) -> list[str]:
        """All runs that the Runs page lists."""
        data = self.ask("{ runsOrError { ... on Runs { results { runId } } } }")
        return [run["runId"] for run in data["runsOrError"]["results"]]


def another_link(home: Path) -> str:
    """What `partner-center ui --link` prints for the UI that runs in `home`."""
    done = forking.run([*COMMAND, "ui", "--link"], os.environ | {"HUNTER_HOME": str(home)}, home, START_SECONDS)
    return done.stdout + done.stderr


@contextmanager
def running_ui(home: Path, *arguments: str) -> Iterator[Ui]:
    """`partner-center ui` in `home` for as long as the block runs; it ends by SIGTERM and leaves no process behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = home / f"ui-{port}.log"
    command = [sys.executable, "-m", "partner_center_pipeline.cli", "ui", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, stdout=output, stderr=output, start_new_session=True)
    ui = Ui(f"http://127.0.0.1:{port}", home, log)
    try:
        try:
            wait_until("the UI", lambda: process.poll() is not None or ui.is_loaded(), START_SECONDS)
            assert process.poll() is None
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None
        yield ui
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_SECONDS)
    assert code == 0, log.read_text(errors="replace")[-4000:]
    wait_until("the end of every process", lambda: None if _processes_in(home) else True, 30)


def _processes_in(home: Path) -> list[int]:
    """The processes that work in this folder, this one apart (as Linux lists them)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.readlink() == home and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found
