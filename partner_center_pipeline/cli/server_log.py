"""What Dagster's processes print while `ui` runs: warnings and errors, not the dozens of lines of each run.

Dagster has no level for that alone: `python_log_level` in dagster.yaml also decides which lines reach the page of a
run, and a run's own events are printed at DEBUG whatever `--log-level` says.
"""

import re
import threading
from typing import IO, Final

_BELOW_WARNING: Final = re.compile(
    rb"^(?:\x1b\[[\d;]*m)?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}(?:\x1b\[[\d;]*m)?"  # the time, perhaps in colour
    rb" - \S+ - (?:\x1b\[[\d;]*m)?(?:DEBUG|INFO)\b"
)


def is_shown(line: bytes) -> bool:
    """Say whether a line is for a person: all but lines of Dagster's log below WARNING."""
    return _BELOW_WARNING.match(line) is None


def show_warnings(printed: IO[bytes], to: IO[bytes]) -> threading.Thread:
    """Copy what is shown from one stream to another, in a thread that ends with the stream; return the thread.

    It reads on when nothing more can be written, so that no process waits for a reader.
    """

    def copy() -> None:
        is_open = True
        for line in printed:
            if is_open and is_shown(line):
                try:
                    to.write(line)
                    to.flush()
                except (OSError, ValueError):
                    is_open = False

    thread = threading.Thread(target=copy, name="log of the UI", daemon=True)
    thread.start()
    return thread
