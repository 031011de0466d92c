"""A fixture of jobs that send messages: a receiver that is trusted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_center_pipeline_tests.alerts.receiver import Receiver, running
from partner_center_pipeline_tests.defs.project import Project


@pytest.fixture
def receiver(tmp_path: Path, project: Project) -> Iterator[Receiver]:
    """A receiver that is trusted beside the local Microsoft."""
    with running(tmp_path) as receiver:
        both = tmp_path / "both.pem"
        microsoft = Path(project.variables["HUNTER_PARTNER_CENTER_CA_BUNDLE"])
        both.write_bytes(microsoft.read_bytes() + receiver.ca.read_bytes())
        project.edit_env(HUNTER_PARTNER_CENTER_CA_BUNDLE=str(both))
        yield receiver
