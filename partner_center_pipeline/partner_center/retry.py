"""How often to retry, and how long to wait before it: one rule for the API and the sign-in service.

Not here: which errors are transient (`errors`, `http`).
"""

import logging
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from partner_center_pipeline.partner_center.clock import Clock
from partner_center_pipeline.partner_center.errors import NotConnected, PartnerCenterError, Unreachable
from partner_center_pipeline.telling import giving_up, shown_seconds

MAX_BACKOFF: Final = 30.0
"""The longest pause (seconds) when Microsoft does not ask for a longer one."""

LEAST_BACKOFF: Final = 0.05
"""The shortest pause (seconds): a server in trouble is not asked again at once, and no retry rounds to no pause."""

_log = logging.getLogger(__name__)


_REPEATING: Final = frozenset({200, 500, 502, 504})
"""Statuses of a server in trouble, or of a row that it cannot send. 200 is an answer that is not JSON."""


def repeats(error: PartnerCenterError) -> bool:
    """Say whether a transient error can be due to what was asked for, so that it may repeat for ever."""
    return isinstance(error, Unreachable) and error.status in _REPEATING and error.retry_after is None


def retrying(
    clock: Clock,
    deadline: float,
    on_wait: Callable[[float], None] | None = None,
    tries: int | None = None,
    connect_deadline: float | None = None,
) -> Retrying:
    """Return a tenacity object that calls a function again while it raises a transient PartnerCenterError.

    A pause is random between `LEAST_BACKOFF` and 0.5 s, 1 s, 2 s ... up to `MAX_BACKOFF` ("full jitter", so that many
    clients do not come back at once), but at least the error's `retry_after`. A pause that would end after `deadline`
    (seconds of `clock.monotonic()`) is not begun: the error is raised, and its message says how often was tried and how
    long was waited. Each pause is told. `on_wait` is called with its seconds. An error that `repeats` is raised after
    `tries`, if given. `connect_deadline` is the deadline, if given, while no connection can be made.
    """
    jitter = wait_random_exponential(multiplier=0.5, max=MAX_BACKOFF, min=LEAST_BACKOFF)

    def pause(state: RetryCallState) -> float:
        return max(jitter(state), _error_of(state).retry_after or 0.0)

    def enough(state: RetryCallState) -> bool:
        return tries is not None and state.attempt_number >= tries and repeats(_error_of(state))

    def ends(error: PartnerCenterError) -> float:
        if connect_deadline is not None and isinstance(error, NotConnected):
            return min(deadline, connect_deadline)
        return deadline

    def is_late(state: RetryCallState) -> bool:
        return clock.monotonic() + state.upcoming_sleep > ends(_error_of(state))

    def before_sleep(state: RetryCallState) -> None:
        error = _error_of(state)
        _log.warning(
            "%s%s, try %d%s, again in %s, %s",
            error.what_happened,
            f" (request id {error.request_id})" if error.request_id else "",
            state.attempt_number,
            f" of {tries}" if tries is not None and repeats(error) else "",
            shown_seconds(state.upcoming_sleep),
            giving_up(clock.utc(), ends(error) - clock.monotonic()),
        )
        if on_wait is not None:
            on_wait(state.upcoming_sleep)

    def give_up(state: RetryCallState) -> None:
        error = _error_of(state)
        if state.attempt_number > 1:
            error.args = (f"{error} (Tried {state.attempt_number} times, waited {state.idle_for:.0f} s.)",)
        raise error

    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, PartnerCenterError) and error.transient),
        wait=pause,
        stop=lambda state: is_late(state) or enough(state),
        sleep=clock.sleep,
        before_sleep=before_sleep,
        retry_error_callback=give_up,
    )


def _error_of(state: RetryCallState) -> PartnerCenterError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, PartnerCenterError)  # noqa: S101  the retry predicate lets nothing else through
    return error
