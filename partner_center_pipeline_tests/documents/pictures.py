"""The pictures of ui-tour.md: which ones the page shows, and how they are taken."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from partner_center_pipeline.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs/pictures"


def shown() -> list[Path]:
    """Return the pictures that the page shows, in their order."""
    text = (PROJECT_ROOT / "docs/ui-tour.md").read_text(encoding="utf-8")
    return [FOLDER / name for name in re.findall(r"^!\[[^\]]+\]\(pictures/(\S+\.png)\)$", text, re.MULTILINE)]


def take() -> list[Path]:
    """Run the tests of the tour, and keep those of their pictures that the page shows; return these."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        command = [sys.executable, "-m", "pytest", "-n", "0", "partner_center_pipeline_tests/ui/test_tour.py"]
        subprocess.run(command, cwd=PROJECT_ROOT, env=os.environ | {"UI_SCREENSHOTS": folder}, check=True)
        FOLDER.mkdir(exist_ok=True)
        for path in shown():
            shutil.copyfile(Path(folder) / path.name, path)
    return shown()
