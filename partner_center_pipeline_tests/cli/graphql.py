"""Speaks to a running Dagster webserver as its UI does: over GraphQL.

Belongs here: queries, mutations, waiting. Not here: what ought to come back.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "partner_center_pipeline"}
SCHEDULE = "partner_center_sync_schedule"
SENSOR = "partner_center_flag_sensor"

_LISTED = """
query Listed($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository {
      assetNodes { assetKey { path } isPartitioned }
      schedules { name cronSchedule scheduleState { status } }
      sensors { name sensorState { status } }
      jobs { name }
    }
    ... on PythonError { message }
    ... on RepositoryNotFoundError { message }
  }
}"""

_LAUNCH_RUN = """
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PresetNotFoundError { message }
    ... on PipelineNotFoundError { message }
  }
}"""

_LAUNCH_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}"""

_BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs { runId status } }
    ... on PythonError { message }
  }
}"""

_RUNS = """
query Runs($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 500) {
    ... on Runs { results { runId status tags { key value } } }
    ... on PythonError { message }
  }
}"""

_FAILURE = """
query Failure($id: ID!) {
  logsForRun(runId: $id, limit: 1000) {
    ... on EventConnection {
      events { ... on ExecutionStepFailureEvent { stepKey failureMetadata { description } error { message } } }
    }
    ... on PythonError { message }
  }
}"""

_TICKS = """
query Ticks($selector: InstigationSelector!) {
  instigationStateOrError(instigationSelector: $selector) {
    ... on InstigationState { ticks(limit: 30) { status skipReason runIds timestamp error { message } } }
    ... on PythonError { message }
  }
}"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the Runs page lists it."""

    run_id: str
    status: str
    tags: Mapping[str, str]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True, slots=True)
class Tick:
    """One evaluation of the schedule or the sensor; `timestamp` in seconds since 1970."""

    status: str
    skip_reason: str | None
    run_ids: tuple[str, ...]
    timestamp: float
    error: str | None


class DagsterUi:
    """The webserver at `url`."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def ask(self, query: str, **variables: Any) -> Any:
        """The one field that a query or mutation answers."""
        answer = self._http.post("/graphql", json={"query": query, "variables": variables}).raise_for_status().json()
        assert "errors" not in answer, answer["errors"]
        (field,) = answer["data"].values()
        return field

    # Reading

    def is_up(self) -> bool:
        """Whether the webserver answers and has loaded the code location."""
        try:
            return "assetNodes" in self.listed()
        except (httpx.TransportError, AssertionError):
            return False

    def listed(self) -> dict[str, Any]:
        """Assets, schedules, sensors and jobs of the code location."""
        found: dict[str, Any] = self.ask(_LISTED, selector=REPOSITORY)
        return found

    def runs(self, *run_ids: str) -> list[Run]:
        """These runs, or all of them; the newest first."""
        answer = self.ask(_RUNS, filter={"runIds": list(run_ids)} if run_ids else {})
        return [
            Run(run["runId"], run["status"], {tag["key"]: tag["value"] for tag in run["tags"]})
            for run in answer["results"]
        ]

    def failure(self, run_id: str) -> tuple[str, str]:
        """The step that failed in a run, and its message."""
        for event in self.ask(_FAILURE, id=run_id)["events"]:
            if event.get("stepKey"):
                described = (event["failureMetadata"] or {}).get("description")
                return event["stepKey"], described or event["error"]["message"]
        raise AssertionError(f"no step failed in run {run_id}")

    def ticks(self, name: str) -> list[Tick]:
        """The evaluations of the schedule or the sensor of this name, the newest first."""
        answer = self.ask(_TICKS, selector={**REPOSITORY, "name": name})
        return [
            Tick(
                tick["status"],
                tick["skipReason"],
                tuple(tick["runIds"]),
                tick["timestamp"],
                tick["error"] and tick["error"]["message"],
            )
            for tick in answer["ticks"]
        ]

    # Doing

    def materialize(self, assets: Iterable[str], window: str) -> str:
        """Press "Materialize" for one window of some assets; the run's id."""
        answer = self.ask(
            _LAUNCH_RUN,
            executionParams={
                "mode": "default",
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": window}]},
                "runConfigData": "{}",
                "selector": {
                    **REPOSITORY,
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [asset]} for asset in assets],
                    "assetCheckSelection": [],
                },
            },
        )
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def backfill(self, assets: Iterable[str], windows: Iterable[str]) -> str:
        """Launch a backfill of some assets over some windows; its id."""
        answer = self.ask(
            _LAUNCH_BACKFILL,
            backfillParams={
                "assetSelection": [{"path": [asset]} for asset in assets],
                "partitionNames": list(windows),
                "fromFailure": False,
                "tags": [],
            },
        )
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        backfill_id: str = answer["backfillId"]
        return backfill_id

    def backfill_status(self, backfill_id: str) -> str:
        """How a backfill stands, e.g. REQUESTED or COMPLETED_SUCCESS."""
        status: str = self.ask(_BACKFILL, id=backfill_id)["status"]
        return status

    # Waiting

    def ended(self, *run_ids: str) -> list[Run]:
        """These runs, once all have ended."""

        def over() -> list[Run] | None:
            runs = self.runs(*run_ids)
            return runs if len(runs) == len(run_ids) and all(run.is_over for run in runs) else None

        return wait_for(over, f"runs {run_ids} to end")

    def tick(self, name: str, wanted: Callable[[Tick], bool], since: float, what: str) -> Tick:
        """The first evaluation at or after `since` (seconds since 1970) that is wanted."""

        def found() -> Tick | None:
            return next((tick for tick in reversed(self.ticks(name)) if tick.timestamp >= since and wanted(tick)), None)

        return wait_for(found, f"{name}: {what}")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    """What `look` gives once it is neither None nor False. Fails when that takes too long."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
