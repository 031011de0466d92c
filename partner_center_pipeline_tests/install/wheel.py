"""Builds the wheel and installs it into a virtual environment of its own.

The environment takes the libraries from that of the tests, but the program itself from the wheel alone.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from partner_center_pipeline.settings import PROJECT_ROOT

SCRIPTS: Final = ("dagster-daemon",)
"""Programs of libraries that the program starts; pip puts them beside it when it installs the libraries."""


@dataclass(frozen=True)
class Installed:
    """An installation from the wheel; commands run in `folder`, which is outside the checkout."""

    environment: Path
    folder: Path

    @property
    def command(self) -> str:
        """The path of `partner-center`."""
        return str(self.environment / "bin" / "partner-center")

    def variables(self, **variables: str) -> dict[str, str]:
        """A clean environment with the user's folder `folder`."""
        path = f"{self.environment / 'bin'}:{os.defpath}"
        return {"PATH": path, "HOME": str(self.folder), **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.variables(**variables),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def json(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run a command that succeeds, and return what it printed as JSON."""
        done = self.run(*arguments, "--json", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def running(self, command: Sequence[str], log: Path, variables: dict[str, str]) -> Iterator[None]:
        """Start a command that goes on, and end it by SIGTERM after the block; it has to end well."""
        with log.open("w") as output:
            process = subprocess.Popen(
                command, env=variables, cwd=self.folder, stdout=output, stderr=output, start_new_session=True
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(60)
        assert process.returncode == 0, log.read_text()


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a source distribution of a copy of the checkout, where no earlier build left anything."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in ("partner_center_pipeline", "partner_center_simulator", "alembic"):
        shutil.copytree(PROJECT_ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in PROJECT_ROOT.iterdir():
        if file.is_file() and file.name not in {".env", ".git"}:
            shutil.copyfile(file, copy / file.name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installed:
    """Install the wheel into a new virtual environment in `folder`."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    places = {"base": str(environment), "platbase": str(environment)}
    (Path(sysconfig.get_path("purelib", vars=places)) / "libraries.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--ignore-installed"]
    done = subprocess.run([*pip, *options, str(wheel)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SCRIPTS:
        text = (Path(sysconfig.get_path("scripts")) / name).read_text(encoding="utf-8")
        script = environment / "bin" / name
        script.write_text(f"#!{python}\n" + text.partition("\n")[2], encoding="utf-8")
        script.chmod(0o755)
    outside = folder / "outside"
    outside.mkdir()
    return Installed(environment, outside)
