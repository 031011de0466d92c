"""`partner-center metrics`: what `status` finds, as Prometheus text, once or by HTTP on loopback."""

import sys
import time
from collections.abc import Iterable
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

import click

from partner_center_pipeline.cli.base import notes, report_errors, stop

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

HOST: Final = "127.0.0.1"

_KEPT_SECONDS: Final = 10.0
"""For how long a finding is given again: several who ask at once are no load for the databases."""


@click.command()
@click.option("--listen", "port", type=click.IntRange(1, 65_535), help="Answer on this port of 127.0.0.1 until Ctrl-C.")
@report_errors
def metrics(port: int | None) -> None:
    """Print what `status` finds as Prometheus text; with --listen answer Prometheus's own requests.

    The figures are those of `status --json`. Without --listen a timer can write them for the node exporter's textfile
    collector. With --listen each request finds out anew, at most every 10 seconds; only this machine can ask.

    docs/operations.md lists the metrics; deploy/grafana-dashboard.json is a dashboard of them.
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    registry = CollectorRegistry()
    registry.register(_Found())
    if port is None:
        sys.stdout.write(generate_latest(registry).decode())
        return
    try:
        server, _ = start_http_server(port, HOST, registry)
    except OSError as error:
        stop(f"port {port} of {HOST} cannot be used ({error.strerror}); --listen takes another")
    notes.print(f"Metrics at http://{HOST}:{port}/metrics. Ctrl-C ends it.")
    try:
        Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.shutdown()
        server.server_close()


class _Found:
    """Finds out when it is asked. One at a time, as the terminal shows one wait at a time."""

    def __init__(self) -> None:
        self._lock: Final = Lock()
        self._found: list[GaugeMetricFamily] = []
        self._at = -_KEPT_SECONDS

    def describe(self) -> Iterable["GaugeMetricFamily"]:
        """Return nothing, so that registering it finds nothing out."""
        return ()

    def collect(self) -> Iterable["GaugeMetricFamily"]:
        """Return the metrics as they are now."""
        from partner_center_pipeline.cli.metric_families import families
        from partner_center_pipeline.cli.status import findings

        with self._lock:
            if time.monotonic() - self._at >= _KEPT_SECONDS:
                self._found = list(families(findings()))
                self._at = time.monotonic()
            return self._found
