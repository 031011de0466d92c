"""Running tests against mutants: in a copy of the project, in processes forked from one that has the libraries loaded.

The checkout itself is never changed, so nothing can be left behind. Not here: what is changed (`mutants`).
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pytest

from partner_center_pipeline_tests.mutation.mutants import Mutant, lines_of_statement

_NOT_COPIED: Final = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
_LIBRARIES: Final = ("pytest", "hypothesis", "sqlalchemy", "alembic", "psycopg", "httpx", "msal", "pandas", "dagster")
"""What nearly every test imports: loaded once, ahead of the forks."""

BUDGET: Final = 60.0
"""Seconds of tests that are run against a mutant at most, the fastest tests first."""

_UNIMPORTABLE: Final = 77
"""The exit code for a mutant whose module cannot even be imported."""


class Outcome(StrEnum):
    """What became of a mutant. One that cannot be imported says nothing about the tests, and is not counted."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    UNTESTED = "no test runs this line"
    UNIMPORTABLE = "cannot be imported"


@contextmanager
def copy_of(root: Path, folder: Path) -> Iterator[Path]:
    """Copy a project into a folder, and remove the copy at the end."""
    copy = folder / root.name
    shutil.copytree(root, copy, ignore=_NOT_COPIED, symlinks=True)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def environment(copy: Path) -> dict[str, str]:
    """Return the variables under which Python takes the project from its copy, and leaves no bytecode of mutants."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("HUNTER_")}
    return {**kept, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the tests run: by file and line the tests, by file the tests of any of its lines; and each test's seconds.

    A line that runs while modules are imported belongs to no test, so all tests of its file are asked.
    """

    lines: Mapping[str, Mapping[int, Sequence[str]]]
    seconds: Mapping[str, float]

    @classmethod
    def measure(cls, copies: Sequence[Path], files: Sequence[str]) -> "Coverage":
        """Run the tests of these files once, a part of the files in each copy. Raises RuntimeError when one fails."""
        parts = [files[first :: len(copies)] for first in range(len(copies))]
        lines: dict[str, dict[int, list[str]]] = {}
        seconds: dict[str, float] = {}
        with ThreadPoolExecutor(len(copies)) as pool:
            for found in pool.map(_recorded, copies, parts):
                seconds |= found["seconds"]
                for path, by_line in found["lines"].items():
                    known = lines.setdefault(path, {})
                    for line, tests in by_line.items():
                        known.setdefault(int(line), []).extend(tests)
        return cls(lines, seconds)

    def tests_of(self, mutant: Mutant, source: str) -> list[str]:
        """Return the tests that may notice a mutant, those of the fastest files first, BUDGET seconds of them."""
        by_line = self.lines.get(mutant.path, {})
        statement = lines_of_statement(source, mutant.line)
        found = {test for line in statement for test in by_line.get(line, ())}
        if "" in found:  # it runs while the module is imported
            found = {test for tests in by_line.values() for test in tests}
        chosen: list[str] = []
        budget = BUDGET
        for test in sorted(found - {""}, key=lambda test: (self.seconds[test], test)):
            if chosen and (budget := budget - self.seconds[test]) < 0:
                break
            chosen.append(test)
        files: dict[str, float] = {}
        for test in chosen:
            files[test.partition("::")[0]] = files.get(test.partition("::")[0], 0) + self.seconds[test]
        return sorted(chosen, key=lambda test: (files[test.partition("::")[0]], test.partition("::")[0]))

    def patience(self, tests: Sequence[str]) -> float:
        """Return the seconds after which a mutant is taken to hang: far more than these tests took."""
        return 30 + 10 * sum(self.seconds[test] for test in tests)


def _recorded(copy: Path, files: Sequence[str]) -> Any:
    """Run the tests of these files but the long ones, and return what `recording` wrote."""
    written = copy.parent / "recorded.json"
    plugin = ["-p", "partner_center_pipeline_tests.mutation.recording", "--mutation-record", str(written)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not long", *plugin, *files],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the tests fail without any mutant:\n{done.stdout[-4000:]}")
    return json.loads(written.read_text())


class Worker:
    """A process that has the libraries loaded, and forks for each mutant. It works in a copy of its own."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=copy,
            env=environment(copy),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, mutant: Mutant, tests: Sequence[str], patience: float) -> Outcome:
        """Run tests against a mutant for `patience` seconds at most."""
        if not tests:
            return Outcome.UNTESTED
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        file = self.copy / mutant.path
        original = file.read_bytes()
        try:
            file.write_text(mutant.source, encoding="utf-8")
            asked = {"module": mutant.path.removesuffix(".py").replace("/", "."), "tests": tests, "patience": patience}
            print(json.dumps(asked), file=self._process.stdin, flush=True)
            return Outcome(self._process.stdout.readline().strip())
        finally:
            file.write_bytes(original)

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def _serve() -> None:
    """Answer each line of stdin, a mutant's tests, with its outcome, until stdin is closed."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        print(_forked(asked["module"], asked["tests"], asked["patience"]), flush=True)


def _forked(module: str, tests: Sequence[str], patience: float) -> Outcome:
    child = os.fork()
    if child == 0:
        os.setsid()  # so that what the tests start can be ended, too
        os._exit(_test(module, tests))
    deadline = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        return Outcome.TIMEOUT
    code = os.waitstatus_to_exitcode(status)
    if code == _UNIMPORTABLE:
        return Outcome.UNIMPORTABLE
    return Outcome.SURVIVED if code == 0 else Outcome.KILLED


def _test(module: str, tests: Sequence[str]) -> int:
    with open(os.devnull, "r+") as nothing:  # noqa: PTH123
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    try:
        importlib.import_module(module)
    except BaseException:  # noqa: BLE001  whatever the mutant raises
        return _UNIMPORTABLE
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *tests])
    if code == pytest.ExitCode.USAGE_ERROR:  # the mutant changed a test's name: its parameters
        code = pytest.main([*options, *dict.fromkeys(test.partition("::")[0] for test in tests)])
    return int(code)


if __name__ == "__main__":
    _serve()
