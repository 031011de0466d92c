"""What is mutated, which tests are asked about it, and the mutants that no test can notice.

Not here: the changes (`mutants`), running tests (`trials`). Nothing here needs the extra `mutation`.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from partner_center_pipeline.settings import PROJECT_ROOT

_PACKAGE: Final = "partner_center_pipeline"
_TESTS: Final = "partner_center_pipeline_tests"

TESTS: Final = {
    "windows.py": ("test_windows.py", "warehouse/test_moved_windows.py", "warehouse/test_window_ingest.py"),
    "partner_center": ("partner_center", "cli/test_doctor.py", "cli/test_login.py", "cli/test_token.py"),
    "warehouse": (
        "warehouse",
        "alerts",
        "reports",
        "cli/test_backup.py",
        "cli/test_connect_reader.py",
        "cli/test_export.py",
        "cli/test_inspect.py",
        "cli/test_migrate_warehouse.py",
        "cli/test_quarantine.py",
        "cli/test_rescore.py",
        "defs",
    ),
    "defs": ("defs", "cli/test_sync.py", "cli/test_reconcile.py", "cli/test_rescan.py", "cli/test_rescore.py"),
}
"""By module or package the tests that are asked about its mutants: its mirror, and who else attacks it. Of these, only
such are run that run the changed line."""

TESTS_OF_RULES: Final = {
    "leads": ("leads", "defs/test_derivation.py"),
    "mail": ("mail",),
    "scoring": ("scoring", "defs/test_enrichment.py", "test_texts_agree.py"),
}
"""The same for the packages of rules."""


class Scope(StrEnum):
    """Which packages are mutated."""

    SYNC = "sync"
    """windows.py, partner_center, warehouse, defs: nothing is lost, nothing is doubled."""
    RULES = "rules"
    """leads, mail, scoring: the answers are right."""


_TESTS_OF_SCOPE: Final = {Scope.SYNC: TESTS, Scope.RULES: TESTS_OF_RULES}

EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that does the same as the code, or differs in what nobody promises; `why` says so."""

    path: str
    before: str
    after: str
    why: str

    @property
    def name(self) -> tuple[str, str, str]:
        """What identifies the mutant; a line's number changes too often for that."""
        return self.path, self.before, self.after


def equivalents() -> list[Equivalent]:
    """Read the list of mutants that are not counted."""
    return [Equivalent(**one) for one in tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])]


def modules(scope: Scope = Scope.SYNC) -> list[str]:
    """Return the paths of the mutated modules of a scope, from the project's root."""
    found: list[Path] = []
    for name in _TESTS_OF_SCOPE[scope]:
        place = PROJECT_ROOT / _PACKAGE / name
        found += [place] if place.is_file() else sorted(place.rglob("*.py"))
    return [str(path.relative_to(PROJECT_ROOT)) for path in found]


def tests_of(paths: Iterable[str]) -> list[str]:
    """Return the files of tests that are asked about the modules of these paths, each once."""
    tops = {Path(path).parts[1] for path in paths}
    asked = {**TESTS, **TESTS_OF_RULES}
    places = [PROJECT_ROOT / _TESTS / test for top, tests in asked.items() if top in tops for test in tests]
    found = [file for place in places for file in (sorted(place.rglob("test_*.py")) if place.is_dir() else [place])]
    return [str(file.relative_to(PROJECT_ROOT)) for file in dict.fromkeys(found)]
