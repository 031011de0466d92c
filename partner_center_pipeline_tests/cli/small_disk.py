"""Commands on a disk of a few megabytes: a tmpfs that exists for them alone, in a namespace of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from partner_center_pipeline_tests.cli import forked, forking
from partner_center_pipeline_tests.cli.commands import COMMAND, clean_environment

_MOUNT: Final = 'mount -t tmpfs -o size={size}k,mode=700 tmpfs "$HUNTER_HOME"\n'


def run_on_small_disk(home: Path, kilobytes: int, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script in which `$HUNTER_HOME` is an empty disk of this size, and `$PC` the command.

    `$PC` is forked (`forking`), in the namespace of the script; `$SCRIPT` is the command as its script starts it.

    Needs the right to make a namespace (`unshare`, as root or with user namespaces), which some containers do not have;
    the test is skipped there. What is on the disk is gone after the script.
    """
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no namespace may be made here (unshare -rm), so there is no small disk to fill")
    return subprocess.run(
        ["unshare", "-rm", "sh", "-euc", _MOUNT.format(size=kilobytes) + script],
        env={
            **clean_environment(home, **variables),
            "PC": f"{sys.executable} -I -S {forked.__file__} {forking.address()} {COMMAND[0]}",
            "SCRIPT": COMMAND[0],
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        },
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
