"""An installation from the wheel, for the tests of this folder."""

import pytest

from partner_center_pipeline_tests.install.wheel import Installed, build_wheel, install


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The program, installed from the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    return install(build_wheel(folder), folder)
