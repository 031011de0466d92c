"""Promises that no single module can keep: what the README says, what CI runs, who imports what."""

import ast
import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from _pytest.config import get_config

from partner_center_pipeline.cli.base import COMMANDS
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.conftest import leave_out_long_tests

PUBLIC = {"mail": {"classify_provider"}, "scoring": {"determine_segment"}}
"""Names that a package exports for users of the project, though no other package of it imports them."""

TESTS = "partner_center_pipeline_tests"

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
CI = (PROJECT_ROOT / ".ci" / "run").read_text(encoding="utf-8")
PYPROJECT = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _commands() -> list[str]:
    return re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)


def test_the_readme_has_two_commands_each_complete_by_itself() -> None:
    demo, tests = _commands()
    assert demo.endswith(".venv/bin/partner-center demo")
    assert ".venv/bin/pytest" in tests
    for command in (demo, tests):
        assert "pip install -q -c constraints.txt -e" in command


def test_ci_runs_the_test_command_of_the_readme_and_the_long_suites() -> None:
    assert _commands()[1] in CI
    assert "\n.venv/bin/pytest -n auto --dist loadgroup -m long || failed=1\n" in CI


TOOL = """#!/bin/sh
command="$(basename "$0")${*:+ $*}"
echo "$command" >> "$COMMANDS"
if [ "$command" = "$FAILS" ]; then exit 1; fi
if [ "$1 $2" = "-m venv" ]; then
    if [ -d .venv ]; then sleep 0.3; fi
    mkdir -p .venv/bin
    for name in pip uv pytest ruff lint-imports mypy; do cp "$0" ".venv/bin/$name"; done
fi
"""
"""Stands for each program that CI starts: notes its command, fails where it is the one to fail, makes a `.venv`. Making
it again takes a moment, as it does in CI: whatever ran beside it would be seen."""


@pytest.mark.parametrize(
    "fails",
    [
        "no command",
        "pytest -n auto --dist loadgroup",
        "pytest -n auto --dist loadgroup -m long",
        *("ruff check", "ruff format --check", "lint-imports", "mypy"),
    ],
)
def test_whatever_fails_in_ci_fails_ci_after_all_tests_have_run(fails: str, tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text(CI, encoding="utf-8")
    for name in ("python3", "chromium"):
        tool = tmp_path / "programs" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(TOOL, encoding="utf-8")
        tool.chmod(0o755)
    ran = tmp_path / "commands"
    environment = {"PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}", "COMMANDS": str(ran), "FAILS": fails}
    done = subprocess.run(["bash", str(tmp_path / ".ci" / "run")], env=environment, capture_output=True, check=False)
    assert done.returncode == (0 if fails == "no command" else 1)
    commands = ran.read_text(encoding="utf-8").splitlines()
    assert [each for each in commands if each.startswith("pytest")] == [
        "pytest -n auto --dist loadgroup",
        "pytest -n auto --dist loadgroup -m long",
    ]
    assert fails in commands or fails == "no command"
    made = max(at for at, each in enumerate(commands) if "install" in each or "venv" in each)
    checked = [at for at, each in enumerate(commands) if each.startswith(("ruff", "lint-imports", "mypy"))]
    assert min(checked) > made, "a check ran in an environment that was being made"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([], "not long"), (["-m", "slow"], "slow"), (["-k", "breaker"], ""), ([f"{TESTS}/crash"], "")],
    ids=["nothing", "a marker", "a word", "a path"],
)
def test_the_long_suites_are_left_out_where_nothing_is_named(
    given: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    config = get_config(given)
    config.parse(given)
    leave_out_long_tests(config)
    assert config.option.markexpr == wanted


def test_each_long_test_is_slow() -> None:
    """So that `-m 'not slow'` leaves it out."""
    for path in _sources(TESTS):
        text = path.read_text(encoding="utf-8")
        if not re.search(r"^pytestmark = \[?pytest\.mark\.slow\b", text, re.MULTILINE):
            decorated = re.findall(r"((?:^@.*\n)*)^def ", text, re.MULTILINE)
            assert all("mark.slow\n" in each for each in decorated if "mark.long\n" in each), path


def test_the_page_of_commands_names_every_command_and_the_readme_none_that_is_not_there() -> None:
    page = (PROJECT_ROOT / "docs/commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`partner-center {name}" in page
    assert set(re.findall(r"`partner-center ([a-z-]+)", README)) <= set(COMMANDS)


def test_the_command_line_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="partner-center")
    assert script.value == "partner_center_pipeline.cli:main"


def _requirements() -> list[str]:
    project = tomllib.loads(PYPROJECT)["project"]
    return [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]


def test_every_dependency_has_its_reason_beside_it() -> None:
    for requirement in _requirements():
        assert re.search(rf'^\s*"{re.escape(requirement)}",\s*# \S', PYPROJECT, re.MULTILINE), requirement


def test_every_dependency_is_pinned_and_no_address_stands_in_the_pins() -> None:
    pins = (PROJECT_ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    assert " @ " not in pins
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines() if "==" in line}
    for requirement in _requirements():
        name = re.match(r"[A-Za-z0-9_-]+", requirement)
        assert name
        assert name.group().lower().replace("_", "-") in pinned, requirement


def test_all_dagster_packages_are_on_one_patch_level() -> None:
    pins = (PROJECT_ROOT / "constraints.txt").read_text(encoding="utf-8")
    core = set(re.findall(r"^dagster(?:-webserver|-graphql|-shared|-pipes)?==1\.(\d+\.\d+)$", pins, re.MULTILINE))
    libraries = set(re.findall(r"^dagster-postgres==0\.(\d+\.\d+)$", pins, re.MULTILINE))
    assert len(core) == 1
    assert {version.split(".")[1] for version in core} == {version.split(".")[1] for version in libraries}


def _sources(folder: str) -> list[Path]:
    return sorted((PROJECT_ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """The (module, name) pairs that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("package", ["leads", "mail", "partner_center", "scoring"])
def test_a_package_exports_what_others_import_and_its_public_names(package: str) -> None:
    name = f"partner_center_pipeline.{package}"
    others = [
        path
        for path in _sources("partner_center_pipeline")
        if PROJECT_ROOT / name.replace(".", "/") not in path.parents
    ]
    used = {imported for path in others for module, imported in _imports(path) if module == name}
    assert set(import_module(name).__all__) == used | PUBLIC.get(package, set())


def test_private_names_of_dagster_are_imported_in_one_module() -> None:
    importers = {
        path.name for path in _sources("partner_center_pipeline") for module, _ in _imports(path) if "._" in module
    }
    assert importers == {"dagster_private.py"}


def test_the_example_of_the_partner_center_package_runs() -> None:
    failed, tried = doctest.testmod(import_module("partner_center_pipeline.partner_center"))
    assert tried
    assert not failed


def test_imports_go_downwards_only() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    "module", ["partner_center_pipeline", "partner_center_pipeline.cli", "partner_center_pipeline.scoring"]
)
def test_light_modules_do_not_load_heavy_libraries(module: str) -> None:
    """`--help` answers at once: Dagster and pandas take 1.5 s each to import."""
    code = f"import sys, {module}; sys.exit(bool({{'dagster', 'pandas'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0
