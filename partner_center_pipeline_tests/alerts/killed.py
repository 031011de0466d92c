"""What processes do that kill themselves while they send: they are forked, with a failpoint in their arguments."""

import sys
from typing import Final

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.alerts.checking import WRONG, checked
from partner_center_pipeline_tests.crash.failpoints import after, at_commit, before

KINDS: Final = {"after": after, "before": before, "at_commit": at_commit}


def send() -> None:
    """Run `partner-center alerts send` until the failpoint."""
    from partner_center_pipeline.cli import main

    _arm()
    main(["alerts", "send"])


def check() -> None:
    """Check with something wrong, and tell operators, until the failpoint."""
    _arm()
    checked(Settings.load(), WRONG)


def _arm() -> None:
    kind, where, nth = sys.argv[1:4]
    KINDS[kind](where, int(nth))()
