"""Promises that no single module can keep: what the README says, what CI runs, what the peers agree on."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest

from partner_center_pipeline import mail, scoring
from partner_center_pipeline.cli.base import COMMANDS
from partner_center_pipeline.leads import TenantSource as LeadTenantSource
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse.schema import metadata

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


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert _commands()[1] in CI


def test_the_readme_says_what_each_table_holds_in_two_sentences() -> None:
    for table in metadata.tables:
        row = re.search(rf"^\| `{table}` \| (.*) \|$", README, re.MULTILINE)
        assert row, f"README says nothing about {table}"
        assert len(re.findall(r"\.(?:\s|$)", row.group(1))) == 2, f"{table}: two sentences"


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"`partner-center {name}" in README


def test_the_command_line_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="partner-center")
    assert script.value == "partner_center_pipeline.cli:main"


def test_every_dependency_has_its_reason_beside_it() -> None:
    project = tomllib.loads(PYPROJECT)["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        assert re.search(rf'^\s*"{re.escape(requirement)}",\s*# \S', PYPROJECT, re.MULTILINE), requirement


def test_every_dependency_is_pinned_and_no_address_stands_in_the_pins() -> None:
    pins = (PROJECT_ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    assert " @ " not in pins
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines() if "==" in line}
    project = tomllib.loads(PYPROJECT)["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        name = re.match(r"[A-Za-z0-9_-]+", requirement)
        assert name
        assert name.group().lower().replace("_", "-") in pinned, requirement


def test_all_dagster_packages_are_on_one_patch_level() -> None:
    pins = (PROJECT_ROOT / "constraints.txt").read_text(encoding="utf-8")
    core = set(re.findall(r"^dagster(?:-webserver|-graphql|-shared|-pipes)?==1\.(\d+\.\d+)$", pins, re.MULTILINE))
    libraries = set(re.findall(r"^dagster-postgres==0\.(\d+\.\d+)$", pins, re.MULTILINE))
    assert len(core) == 1
    assert {version.split(".")[1] for version in core} == {version.split(".")[1] for version in libraries}


def test_the_peers_use_the_same_names() -> None:
    assert {provider.value for provider in mail.Provider} == {provider.value for provider in scoring.Provider}
    assert {source.value for source in LeadTenantSource} <= {source.value for source in scoring.TenantSource}


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
