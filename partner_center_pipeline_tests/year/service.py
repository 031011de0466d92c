"""The process that the course steps, kills and starts again: Dagster's loops, this project's code and its runs.

The course starts it under libfaketime, so that every clock in it shows the time of the course: Python's, SQLite's and
Dagster's. It reads one order a line from stdin and answers each with one line of JSON. Not here: what is ordered
(`course`), what a round does (`loops`).
"""

import json
import os
import sys
import threading
import time
from typing import SupportsIndex

_CLOCK = "FAKETIME"
"""The variable that libfaketime reads at each question for the time: seconds that are added to the real clock."""


def _sleep(seconds: SupportsIndex | float) -> None:
    """Sleep by the monotonic clock, which is real: under libfaketime, Python's own sleep gets an absolute instant."""
    threading.Event().wait(float(seconds))


def main() -> None:
    """Answer orders until stdin ends."""
    time.sleep = _sleep  # before anything is imported that keeps it
    del os.environ["LD_PRELOAD"]  # it is loaded; what Dagster starts beside this process sleeps as usual
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Dagster prints goes to the log
    from partner_center_pipeline_tests.year.loops import running

    with running() as loops:
        print("{}", file=answers)
        for line in sys.stdin:
            order = json.loads(line)
            os.environ[_CLOCK] = f"+{order['offset']:.3f}"
            print(json.dumps(loops.work()), file=answers)


if __name__ == "__main__":
    main()
