"""How long is waited before a retry."""

import random
from collections.abc import Callable

import pytest

from partner_center_pipeline.partner_center.clock import SystemClock
from partner_center_pipeline.partner_center.errors import Unreachable
from partner_center_pipeline.partner_center.retry import LEAST_BACKOFF, MAX_BACKOFF, retrying


class Unhurried(SystemClock):
    """A clock that passes over each wait."""

    def sleep(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize(("drawn", "bounds"), [(min, [LEAST_BACKOFF] * 9), (max, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])])
def test_a_pause_is_never_nothing_and_grows_to_its_limit(
    drawn: Callable[[float, float], float], bounds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that rounds to nothing is not seen in the figures of a run: it would seem that nothing was retried."""
    monkeypatch.setattr(random, "uniform", drawn)
    waited: list[float] = []
    clock = Unhurried()

    def fail() -> None:
        if len(waited) < len(bounds):
            raise Unreachable("no answer", transient=True)

    retrying(clock, clock.monotonic() + 1000, waited.append)(fail)
    assert waited == bounds
    assert round(min(waited), 3) > 0
    assert max(waited) <= MAX_BACKOFF
