"""The failure of a step whose message a person can act on, and how Dagster's run page shows it: one sentence, no stack.

Dagster writes each exception with the stack that it was raised on, and nothing of its own leaves that out. Python does:
`sys.tracebacklimit` is documented to leave out the stack wherever an exception is written.
"""

import logging
import sys
from typing import Any, Final

import dagster as dg

from partner_center_pipeline.telling import ONLY_IN_FILE

_log: Final = logging.getLogger(__name__)


class Failed(dg.Failure):
    """A failure whose message says what happened and what to do."""

    __module__ = "builtins"  # Python names no module then, and the run page begins with "Failed: "

    def __init__(self, message: str, metadata: dict[str, Any], *, allow_retries: bool) -> None:
        """Leave out stacks until `show_stacks`: this failure is raised at once, and Dagster then writes it down.

        Dagster writes it once for the step, and in some runs once more for the run, after the resources are closed. So
        the next step or run shows stacks again.
        """
        super().__init__(message, metadata, allow_retries)
        _log.error("the run fails: %s", message, extra=ONLY_IN_FILE)
        sys.tracebacklimit = 0


def show_stacks() -> None:
    """Let exceptions be written with their stack again: a defect is not a sentence that a person can act on."""
    vars(sys).pop("tracebacklimit", None)
