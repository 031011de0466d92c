"""Asks the server of `forking` for a command. As a program it is that command, for a shell script.

The program has the namespaces of the shell, and ends as the command does. It imports little, so that it starts at
once:

    python -I -S forked.py SOCKET SCRIPT [ARGUMENT...]
"""

import array
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence

LONGEST_MESSAGE = 1 << 20


def ask(
    address: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    descriptors: Sequence[int],
    **options: str | bool,
) -> socket.socket:
    """Ask for a command. The socket that is returned tells its process's id, then its exit code.

    `descriptors` are its input, output and errors, then those of namespaces to enter.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    message = {"command": list(command), "environment": dict(environment), "folder": folder, **options}
    passed = array.array("i", descriptors)
    connection.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    return connection


def _run(address: str, *command: str) -> int:
    namespaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("user", "mnt")]
    entry = "partner_center_pipeline.cli:main"
    folder = os.getcwd()  # noqa: PTH109  pathlib takes long to load
    connection = ask(address, command, os.environ, folder, [0, 1, 2, *namespaces], entry=entry)
    connection.recv(LONGEST_MESSAGE)
    code = int(connection.recv(LONGEST_MESSAGE))
    return code if code >= 0 else 128 - code  # as a shell tells a signal


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
