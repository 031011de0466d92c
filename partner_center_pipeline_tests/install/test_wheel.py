"""A wheel that works anywhere: built, installed into an environment of its own, and used outside the checkout."""

import subprocess
from pathlib import Path

import pytest

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.install.wheel import Installed

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("wheel")]


def test_the_wheel_holds_each_file_that_stands_beside_the_packages(installed: Installed) -> None:
    code = "from partner_center_pipeline import settings; print(settings.SHIPPED)"
    done = subprocess.run(
        [installed.environment / "bin" / "python", "-c", code],
        cwd=installed.folder,
        env=installed.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    shipped = Path(done.stdout.strip())
    assert installed.environment in shipped.parents
    originals = [*PROJECT_ROOT.glob("alembic/**/*.py"), *PROJECT_ROOT.glob("alembic/*.mako")]
    originals += [PROJECT_ROOT / name for name in ("alembic.ini", "dagster.yaml", "workspace.yaml", ".env.example")]
    for original in originals:
        assert (shipped / original.relative_to(PROJECT_ROOT)).read_bytes() == original.read_bytes()


def test_an_installed_program_makes_a_home_migrates_it_and_says_what_is_missing(installed: Installed) -> None:
    assert "Usage: partner-center" in installed.run("--help").stdout
    made = installed.json("init")
    home = installed.folder / ".local/share/partner-center"
    assert made["home"] == str(home)
    assert sorted(path.name for path in home.iterdir()) == [".env", "dagster.yaml"]
    migrated = installed.run("migrate")
    assert (migrated.returncode, "is up to date now" in migrated.stdout) == (0, True), migrated.stderr
    doctor = installed.run("doctor", "--json")
    assert "HUNTER_PARTNER_CENTER_CLIENT_ID" in doctor.stdout


def test_an_installed_program_runs_the_demo_and_nobody_else_reads_what_it_wrote(
    installed: Installed, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    found = installed.json("demo", HUNTER_HOME=str(home))
    assert found["rows"]["leads"] > 100
    assert found["added"] == found["rows"]
    assert [path for path in [home, *home.rglob("*")] if path.lstat().st_mode & 0o077] == []
    assert (home / "reports/demo.xlsx").exists()
    assert (home / ".dagster/storage").is_dir()
    assert list(PROJECT_ROOT.glob(".logs_queue")) == []
