"""`partner-center metrics`: Prometheus text from what `status` finds, also by HTTP; and the dashboard of it."""

import http.client
import json
import re
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from partner_center_pipeline import health
from partner_center_pipeline.cli.metric_families import METRICS, PREFIX, families, names
from partner_center_pipeline.health import Arrivals, Comparison, Failure, Grade, Item, Shown, SignInFacts
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.cli.commands import free_port, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.test_health import DAGSTER, GRID, NOW, WELL
from partner_center_pipeline_tests.ui.running import wait_until

DASHBOARD = PROJECT_ROOT / "deploy/grafana-dashboard.json"
BASE_UNITS = ("_seconds", "_bytes")


def samples(text: str) -> dict[str, float]:
    """Each sample by name and label, read by Prometheus's own reader of the format."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def everything() -> list[Item]:
    """Items with a value for each figure."""
    facts = replace(
        WELL,
        oldest_open=GRID.first,
        last_failure=Failure(0, NOW, "x", 1),
        oldest_pending=NOW,
        newest_drift=NOW,
        comparisons=[Comparison(kind, NOW, True, 3, None) for kind in ("full", "recent")],
        shown=Shown(NOW, 90, 2, None),
        arrivals=Arrivals(30, [30, 20, 25, 25]),
    )
    return [
        health.of_flag(True),
        *health.of_sync(facts, GRID, NOW, 6),
        *health.of_warehouse(facts, NOW),
        health.of_schema(True, "0011", is_sqlite=True),
        *health.of_dagster(replace(DAGSTER, oldest_queued=NOW), NOW),
        health.of_sign_in(SignInFacts(True, NOW, 1.5)),
        health.of_disk(10**10, "/srv"),
    ]


def test_each_metric_has_a_value_with_the_name_that_prometheus_recommends() -> None:
    made = {family.name: family for family in families(everything())}
    assert made.keys() == names()
    for name, family in made.items():
        assert re.fullmatch(PREFIX + r"[a-z][a-z_]*[a-z]", name)
        assert family.type == "gauge"
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_days", "_minutes", "_ms", "_milliseconds"))
        assert family.documentation.endswith(".")
        if "timestamp" in name or "remaining" in name or "size" in name or "free" in name:
            assert name.endswith(BASE_UNITS)
        assert all(len(sample.labels) <= 1 for sample in family.samples)


def test_the_values_are_those_of_status() -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(everything())
        for sample in family.samples
    }
    assert found["partner_center_status", "breaker"] == 0
    assert found["partner_center_sign_in_remaining_seconds",] == 88.5 * 86_400
    assert found["partner_center_reconcile_missed_versions", "recent"] == 3
    assert (
        found["partner_center_daemon_heartbeat_timestamp_seconds", "SCHEDULER"]
        == (NOW - timedelta(minutes=4)).timestamp()
    )
    assert found["partner_center_disk_free_bytes", "/srv"] == 10**10


def test_what_is_not_known_is_left_out_and_no_zero() -> None:
    made = {family.name for family in families([Item("warehouse", Grade.WRONG, "no answer")])}
    assert made == {"partner_center_status"}
    unknown = {family.name for family in families(health.of_sync(replace(WELL, newest_end=None), GRID, NOW, 6))}
    assert "partner_center_newest_complete_window_end_timestamp_seconds" not in unknown
    assert "partner_center_missed_windows" in unknown


def test_the_command_prints_what_status_says(ready: Home) -> None:
    assert ready.invoke("migrate").exit_code == 0
    said = {item["subject"]: item for item in json.loads(ready.invoke("status", "--json").stdout)["items"]}
    found = samples(ready.invoke("metrics").stdout)
    grades = {"ok": 0, "warning": 1, "wrong": 2}
    for subject, item in said.items():
        assert found[f"partner_center_status {subject}"] == grades[item["grade"]]
    assert found["partner_center_missed_windows"] == said["sync"]["figures"]["windows_missed"]
    assert found["partner_center_enabled"] == found["partner_center_signed_in"] == 1


@pytest.mark.slow
def test_it_answers_prometheus_on_this_machine_only(ready: Home, tmp_path: Path) -> None:
    ready.invoke("migrate")
    port = free_port()
    with (tmp_path / "log").open("w") as log, running(ready.path, log, "metrics", "--listen", str(port)) as process:
        wait_until("the metrics", lambda: "Ctrl-C ends it" in (tmp_path / "log").read_text() or None, 60)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(2):
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
            assert samples(answer.read().decode())["partner_center_signed_in"] == 1
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), 5)
        taken = ready.invoke("metrics", "--listen", str(port))
        assert (taken.exit_code, f"port {port} of 127.0.0.1 cannot be used" in taken.output) == (1, True)
    assert process.returncode == 0


def test_the_dashboard_asks_for_metrics_that_are_exported_and_leaves_none_out() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(r"\w+", target["expr"])}
    assert {name for name in asked if name.startswith(PREFIX)} == names()
    variables = {one["name"]: one.get("query", "") for one in dashboard["templating"]["list"]}
    assert variables.keys() == {"datasource", "instance"}
    assert f"{PREFIX}status" in variables["instance"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels(target["expr"])


def labels(expression: str) -> set[str | None]:
    known: dict[str, str | None] = {PREFIX + metric.name: metric.label for metric in METRICS}
    known[f"{PREFIX}status"] = "subject"
    return {known[name] for name in re.findall(PREFIX + r"\w+", expression)}


def test_docs_list_each_metric() -> None:
    page = (PROJECT_ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(" + PREFIX + r"\w+)", section)) == names()
