"""Puts a copy of the files that stand beside the packages into the wheel: pyproject.toml cannot name such files.

In a checkout the program reads the originals (settings.py, `SHIPPED`). All else about the build is in pyproject.toml.
"""

import shutil
from pathlib import Path
from typing import Final

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT: Final = Path(__file__).parent
FILES: Final = ("alembic.ini", "dagster.yaml", "workspace.yaml", ".env.example")
FOLDER: Final = "partner_center_pipeline/shipped"


class WithShippedFiles(build_py):
    """Builds the packages, and the folder `shipped` in one of them; not where the checkout itself is installed."""

    def run(self) -> None:
        """Copy the packages, then the files."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / FOLDER
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / "alembic", target / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copyfile(ROOT / name, target / name)


setup(cmdclass={"build_py": WithShippedFiles})
