"""Running `partner-center` as a person does: a process of its own, with no other variable in its environment."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT
from typing import IO, TypeAlias

from partner_center_pipeline_tests.cli import forking
from partner_center_pipeline_tests.cli.forking import Process
from partner_center_pipeline_tests.storage import variables_of

COMMAND = (str(Path(sys.executable).parent / "partner-center"),)
_ENDING_SECONDS = 60

Started: TypeAlias = Process | subprocess.Popen[bytes]
"""A command that was started, forked or by its script."""


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment with a path, an empty HOME, the home folder with its databases, and these variables."""
    empty = home.parent / "nobody"
    empty.mkdir(exist_ok=True)
    return {"PATH": os.defpath, "HOME": str(empty), "HUNTER_HOME": str(home), **variables_of(home), **variables}


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a process that has the libraries already (`forking`)."""
    return forking.run([*COMMAND, *arguments], clean_environment(home, **variables), home.parent, timeout=300)


def run_script(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as its script starts it: where Python's own start matters."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=clean_environment(home, **variables),
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


@contextmanager
def running(home: Path, log: IO[str], *arguments: str, is_script: bool = False, **variables: str) -> Iterator[Started]:
    """Start a command that writes to `log`, and end it with Ctrl-C when the block ends.

    `is_script`: as its script starts it, else in a process that has the libraries already.
    """
    command, environment = [*COMMAND, *arguments], clean_environment(home, **variables)
    process: Started
    if is_script:
        process = subprocess.Popen(
            command, env=environment, cwd=home.parent, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    else:
        with Path(os.devnull).open("rb") as nothing:
            descriptors = (nothing.fileno(), log.fileno(), log.fileno())
            process = forking.start(command, environment, home.parent, descriptors, new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(SIGINT)
            try:
                process.wait(_ENDING_SECONDS)
            finally:
                process.kill()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
