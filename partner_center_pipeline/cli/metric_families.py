"""What `partner-center status` found, as Prometheus metrics. Pure functions.

Names follow Prometheus's conventions: a prefix, the base unit at the end, times as timestamps. All are gauges, as each
is what is so now. What a subject does not know is left out, and no zero. Source of each: the figures of `status`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily

from partner_center_pipeline.health import EXIT_CODES, Item

PREFIX: Final = "partner_center_"

Samples = Iterable[tuple[str | None, Any]]
"""Values, each with that of the label, None where there is no label."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: `samples` takes the figures of the items with this subject."""

    name: str
    help: str
    subject: str
    samples: Callable[[Mapping[str, Any]], Samples]
    label: str | None = None


def _figure(name: str) -> Callable[[Mapping[str, Any]], Samples]:
    return lambda figures: [(None, figures.get(name))]


def _of_kind(kind: str, name: str) -> Callable[[Mapping[str, Any]], Samples]:
    return lambda figures: [(kind, figures.get(name))]


def _each(name: str) -> Callable[[Mapping[str, Any]], Samples]:
    return lambda figures: list((figures.get(name) or {}).items())


def _remaining(figures: Mapping[str, Any]) -> Samples:
    left = figures.get("days_left")
    return [(None, None if left is None else left * 86_400)]


def _count(name: str) -> Callable[[Mapping[str, Any]], Samples]:
    return lambda figures: [(None, len(figures[name]) if name in figures else None)]


_RECONCILED: Final = "When the last comparison of a kind began."
_MISSED: Final = "Versions that the last comparison of a kind found missing in windows closed as complete."

METRICS: Final = (
    Metric("enabled", "Whether HUNTER_PARTNER_CENTER_ENABLED is on.", "flag", _figure("enabled")),
    Metric(
        "newest_complete_window_end_timestamp_seconds", "End of the newest window that the whole chain has done.",
        "sync", _figure("newest_complete_end"),
    ),
    Metric("missed_windows", "Windows since then that are due and not done.", "sync", _figure("windows_missed")),
    Metric("allowed_missed_windows", "HUNTER_LAG_WINDOWS.", "sync", _figure("windows_allowed")),
    Metric("open_windows", "Windows that are due and not done.", "open windows", _figure("open")),
    Metric(
        "oldest_open_window_due_timestamp_seconds", "Since when the oldest of them is due.", "open windows",
        _figure("since"),
    ),
    Metric(
        "last_failure_timestamp_seconds", "When the last attempt that failed began.", "last failure", _figure("at"),
    ),
    Metric("breaker_tripped", "Whether Partner Center is not asked because it failed too often.", "breaker",
           _figure("tripped")),
    Metric("pending_rows", "Rows that wait to be derived.", "pending", _figure("rows")),
    Metric("oldest_pending_row_timestamp_seconds", "Since when the oldest of them waits.", "pending",
           _figure("oldest")),
    Metric("quarantined_rows", "Rows in quarantine.", "quarantine", _figure("open")),
    Metric("drift_names", "Names and values that no source names.", "drift", _figure("known")),
    Metric("reconcile_timestamp_seconds", _RECONCILED, "reconcile, full", _of_kind("full", "at"), "kind"),
    Metric("reconcile_timestamp_seconds", _RECONCILED, "reconcile, recent", _of_kind("recent", "at"), "kind"),
    Metric("reconcile_missed_versions", _MISSED, "reconcile, full", _of_kind("full", "missed"), "kind"),
    Metric("reconcile_missed_versions", _MISSED, "reconcile, recent", _of_kind("recent", "missed"), "kind"),
    Metric("reconciled_leads", "Leads that the last full comparison looked for.", "referrals shown", _figure("held")),
    Metric("vanished_leads", "Those of them that Partner Center shows no more.", "referrals shown",
           _figure("vanished")),
    Metric("yesterdays_versions", "Versions of referrals that the last whole day brought.", "referrals come",
           _figure("yesterday")),
    Metric("usual_versions", "Versions that the same weekday usually brings.", "referrals come", _figure("usual")),
    Metric("database_size_bytes", "Size of the warehouse.", "database", _figure("bytes")),
    Metric("schema_current", "Whether the warehouse has the version that the program needs.", "schema",
           _figure("is_current")),
    Metric("daemon_heartbeat_timestamp_seconds", "When each of Dagster's daemons gave its last sign of life.",
           "daemon", _each("heartbeats"), "daemon"),
    Metric("stopped_schedules_and_sensors", "Schedules and sensors that were turned off.", "schedules and sensors",
           _count("stopped")),
    Metric("pool_slots", "Slots of each pool that has a limit; one is expected.", "pools", _each("limits"), "pool"),
    Metric("queued_runs", "Runs that wait.", "queue", _figure("runs")),
    Metric("oldest_queued_run_timestamp_seconds", "Since when the oldest of them waits.", "queue", _figure("oldest")),
    Metric("sign_in_remaining_seconds", "Time until Microsoft ends the sign-in, unless it is renewed.", "sign-in",
           _remaining),
    Metric("signed_in", "Whether anybody is signed in.", "sign-in", _figure("signed_in")),
    Metric("disk_free_bytes", "Free bytes where the program writes.", "disk",
           lambda figures: [(figures.get("place"), figures.get("free_bytes"))], "place"),
)  # fmt: skip

GRADE: Final = "status"
"""The metric with each subject's grade."""


def families(items: Iterable[Item]) -> Iterator[GaugeMetricFamily]:
    """Yield the metrics of these findings."""
    found = list(items)
    grades = GaugeMetricFamily(
        PREFIX + GRADE, "What partner-center status says of each subject: 0 ok, 1 warning, 2 wrong.", labels=["subject"]
    )
    for item in found:
        grades.add_metric([item.subject], EXIT_CODES[item.grade])
    yield grades
    made: dict[str, GaugeMetricFamily] = {}
    for metric in METRICS:
        for item in found:
            if item.subject != metric.subject:
                continue
            for label, value in metric.samples(item.figures):
                if (number := _number(value)) is None:
                    continue
                family = made.get(metric.name)
                if family is None:
                    labels = [] if metric.label is None else [metric.label]
                    family = made[metric.name] = GaugeMetricFamily(PREFIX + metric.name, metric.help, labels=labels)
                family.add_metric([] if metric.label is None else [str(label)], number)
    yield from made.values()


def names() -> set[str]:
    """Return the name of each metric."""
    return {PREFIX + GRADE, *(PREFIX + metric.name for metric in METRICS)}


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, bool | int | float):
        return float(value)
    raise TypeError(f"no number: {value!r}")
