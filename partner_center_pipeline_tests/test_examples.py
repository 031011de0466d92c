"""The examples of properties: the same each time, or new ones on request, for every test (suites.md)."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT

TESTS = PROJECT_ROOT / "partner_center_pipeline_tests"

PROPERTY = """
import os, sys
from hypothesis import given, strategies as st
if "OTHER" in os.environ:
    sys.path.append(os.path.dirname(__file__))
    import other
drawn = []
@given(st.lists(st.text() | st.integers()))
def test_draws(values):
    drawn.append(values)
def test_writes():
    with open(__file__ + ".drawn", "w") as file:
        file.write(repr(drawn))
"""


def draw(folder: Path, *options: str, **variables: str) -> str:
    """Run a property in a process of its own, with the profiles of these tests; return its examples."""
    file = folder / "test_property.py"
    file.write_text(PROPERTY)
    (folder / "other.py").write_text('VALUES = ("ornek-sabit", 7654321, "baska-sabit", 1234567)')
    plugins = ["-p", "_hypothesis_pytestplugin", "-p", "partner_center_pipeline_tests.conftest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options, str(file)],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PROJECT_ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(f"{file}.drawn").read_text()


@pytest.mark.slow
def test_examples_are_the_same_each_time_whatever_modules_are_loaded(tmp_path: Path) -> None:
    assert draw(tmp_path, PYTHONHASHSEED="1") == draw(tmp_path, OTHER="imported", PYTHONHASHSEED="2")


@pytest.mark.slow
def test_the_profile_new_draws_other_examples(tmp_path: Path) -> None:
    assert draw(tmp_path, "--hypothesis-profile=new") != draw(tmp_path, "--hypothesis-profile=new")


def test_no_test_goes_its_own_way_about_examples_or_is_strict_with_a_slow_machine() -> None:
    """The profile says what is drawn, and how slow a machine may be."""
    calls = 0
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "settings"):
                continue
            calls += 1
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert not given.keys() & {"derandomize", "database", "deadline"}, (path.name, node.lineno)
            suppressed = given.get("suppress_health_check", "HealthCheck.too_slow")
            assert "too_slow" in suppressed or suppressed == "list(HealthCheck)", (path.name, node.lineno)
    assert calls > 20
