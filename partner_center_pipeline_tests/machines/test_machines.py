"""What the command for several machines calls wrong, and what it reads of a worker's log."""

import pytest

from partner_center_pipeline_tests.machines.course import FULL, SHORT, Outcome
from partner_center_pipeline_tests.machines.record import Asked, at_once, interleaved
from partner_center_pipeline_tests.machines.services import tasks_of, unfinished

ONE, ONE_AGAIN, TWO = ("10.0.0.3", 1), ("10.0.0.3", 2), ("10.0.0.4", 1)
LOG = """[INFO/MainProcess] Task execute_job[aaaa-1] received
[INFO/ForkPoolWorker-1] Task execute_job[aaaa-1] succeeded in 3.2s: 0
[INFO/MainProcess] Task execute_job[bbbb-2] received
"""


@pytest.mark.parametrize(
    ("clients", "found"),
    [
        ([ONE, ONE, TWO, TWO], []),
        ([ONE, ONE_AGAIN, ONE], []),  # one machine opens another connection
        ([ONE, TWO, ONE_AGAIN], []),  # a fetch after a fetch after a fetch
        ([ONE, TWO, ONE], [ONE]),
        ([ONE, TWO, ONE, TWO], [ONE, TWO]),
    ],
)
def test_a_connection_that_asks_again_after_another_machines_fetched_beside_it(
    clients: list[tuple[str, int]], found: list[tuple[str, int]]
) -> None:
    assert interleaved(clients) == found


@pytest.mark.parametrize(
    ("spans", "most"), [([], 0), ([(0, 2), (3, 4)], 1), ([(0, 2), (2, 4)], 1), ([(0, 3), (2, 4)], 2)]
)
def test_requests_that_overlap_are_counted(spans: list[tuple[float, float]], most: int) -> None:
    assert at_once([Asked(ONE, *span) for span in spans]) == most


def test_the_tasks_that_a_worker_took_and_did_not_end_are_read_from_its_log() -> None:
    assert tasks_of(LOG) == {"aaaa-1", "bbbb-2"}
    assert unfinished(LOG) == 1


def test_the_figures_of_an_hour_are_those_of_the_time_that_was_measured() -> None:
    shown = Outcome(windows=1008, referrals=4000, rescanned=20_000, backfill_seconds=1800, rescan_seconds=100).shown()
    assert (shown["windows_an_hour"], shown["referrals_an_hour"], shown["companies_an_hour"]) == (2016, 8000, 720_000)
    assert Outcome(wrong=["a gap"]).shown()["ok"] is False


def test_the_full_course_is_a_week_and_20_000_domains_and_the_short_one_less() -> None:
    assert (FULL.days * 86_400 // FULL.interval, FULL.domains, FULL.workers) == (1008, 20_000, 2)
    assert SHORT.days < FULL.days
    assert SHORT.troubles
