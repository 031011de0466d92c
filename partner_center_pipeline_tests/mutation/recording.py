"""A plugin of pytest that records which test runs which line, and how long each test takes."""

import json
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

from partner_center_pipeline.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "partner_center_pipeline"

_measured = coverage.Coverage(data_file=None, source=[str(PACKAGE)])
_measured.start()  # before any test module is imported
_seconds: dict[str, float] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutation-record", type=Path, help="where to write what each test runs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _measured.switch_context(item.nodeid)
    result = yield
    _measured.switch_context("")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    _measured.stop()
    data = _measured.get_data()
    lines = {str(Path(file).relative_to(PROJECT_ROOT)): data.contexts_by_lineno(file) for file in data.measured_files()}
    session.config.getoption("mutation_record").write_text(json.dumps({"lines": lines, "seconds": _seconds}))
