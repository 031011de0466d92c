"""Ends a process group. As a program it is the watcher of `ui`: it ends the group when `ui` died, also by SIGKILL.

The program waits until its standard input ends, which is a pipe that only `ui` holds. It imports nothing but the
standard library, so that it stands ready at once.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_ENDING: Final = ((0, 8.0), (signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
"""Signals to a process group (0: none), each with the seconds to wait until its processes have ended."""


def end_group(group: int, interrupting: Callable[[], None]) -> None:
    """Wait until no process of the group is left; interrupt runs that do not end in time.

    `cli.serving` ends before its code server, which waits for the runs that it started. An interrupted run records that
    in its log and in the ledger, and its windows are requested again. `interrupting` is called before that.
    """
    for number, seconds in _ENDING:
        if number == signal.SIGTERM:
            interrupting()
        left = _send(group, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = _send(group, 0)
        if not left:
            return


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group (0: none) and say whether it still has processes."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS denies it if only zombies are left
        return False
    return True


def _watch(group: int) -> None:
    sys.stdin.buffer.read()
    with suppress(ProcessLookupError):
        os.kill(group, signal.SIGINT)  # the group's leader is `cli.serving`
    end_group(group, lambda: None)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
