"""Sync windows: ticks are exact, the grid and Dagster agree, and what is due is found whatever happened before."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.windows import (
    ALLOWED_INTERVALS,
    BEGINNING,
    MAX_OVERLAP,
    REFUSALS_BEFORE_HALVING,
    TICKS_PER_SECOND,
    SyncWindow,
    WindowGrid,
    catch_up,
    clocks_differ,
    counts_until,
    cut_refused,
    datetime_of,
    held_back,
    merge,
    newest_first,
    over_by,
    parse_ticks,
    render_ticks,
    ticks_of,
    uncovered,
    until_end,
    widened_overlap,
)

LAST = parse_ticks("9999-12-31T23:59:59.9999999Z")
ticks = st.integers(BEGINNING, LAST)
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600 * TICKS_PER_SECOND
intervals = st.sampled_from(ALLOWED_INTERVALS)
lags = st.integers(0, 3600)
moments = st.integers(0, 365 * 86_400_000_000).map(lambda passed: START + timedelta(microseconds=passed))


class TestTicks:
    @given(ticks)
    def test_what_is_rendered_is_read_back_without_loss(self, at: int) -> None:
        assert parse_ticks(render_ticks(at)) == at

    @given(ticks, st.integers(0, 7))
    def test_trailing_zeros_do_not_matter(self, at: int, digits: int) -> None:
        at -= at % 10 ** (7 - digits)
        text = render_ticks(at).rstrip("Z")
        whole, _, fraction = text.partition(".")
        padded = fraction.ljust(digits, "0")
        assert parse_ticks(f"{whole}.{padded}Z" if padded else f"{whole}Z") == at

    @given(ticks, ticks)
    def test_instants_compare_as_numbers_where_their_texts_do_not(self, one: int, other: int) -> None:
        assert (parse_ticks(render_ticks(one)) < parse_ticks(render_ticks(other))) == (one < other)

    def test_a_fraction_sorts_after_the_whole_second_although_its_text_sorts_before(self) -> None:
        assert "2026-01-01T00:00:00.5Z" < "2026-01-01T00:00:00Z"
        assert parse_ticks("2026-01-01T00:00:00.5Z") > parse_ticks("2026-01-01T00:00:00Z")

    def test_the_seventh_digit_is_kept(self) -> None:
        assert parse_ticks("1970-01-01T00:00:00.0000001Z") == 1

    def test_before_1970_counts_back(self) -> None:
        assert parse_ticks("1969-12-31T23:59:59.9999999Z") == -1
        assert render_ticks(-1) == "1969-12-31T23:59:59.9999999Z"

    @pytest.mark.parametrize(
        "text",
        ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00.12345678Z",
         "2026-01-01T00:00:00+03:00", "2026-01-01T25:00:00Z", "٢٠٢٦-01-01T00:00:00Z", "2026-01-01T00:00:00Z "],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".+"):
            parse_ticks(text)

    @given(st.text())
    def test_no_text_raises_anything_but_value_error(self, text: str) -> None:
        with suppress(ValueError):
            assert isinstance(parse_ticks(text), int)

    @given(moments)
    def test_datetimes_and_ticks_agree_to_the_microsecond(self, moment: datetime) -> None:
        assert datetime_of(ticks_of(moment)) == moment

    def test_a_datetime_without_a_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="names no instant"):
            ticks_of(datetime(2026, 1, 1))  # noqa: DTZ001  the point of the test


class TestGrid:
    @pytest.mark.parametrize(
        ("interval", "lag", "cron"),
        [(600, 120, "2-59/10 * * * *"), (600, 0, "0-59/10 * * * *"), (600, 121, "3-59/10 * * * *"),
         (60, 120, "* * * * *"), (180, 240, "1-59/3 * * * *"), (3600, 120, "2 * * * *"), (3600, 3600, "0 * * * *"),
         (720, 120, "2-59/12 * * * *")],
    )  # fmt: skip
    def test_the_schedule_ticks_the_lag_after_each_end(self, interval: int, lag: int, cron: str) -> None:
        assert WindowGrid.of(START, interval, lag).cron == cron

    @given(moments, intervals, lags, st.integers(0, 5000))
    def test_each_tick_of_the_schedule_is_for_a_window_that_ended_the_lag_before(
        self, start: datetime, interval: int, lag: int, later: int
    ) -> None:
        grid = WindowGrid.of(start, interval, lag)
        assert grid.first is not None
        minutes = interval // 60
        offset = grid.lag_minutes % minutes
        tick = datetime_of(grid.first) + timedelta(minutes=minutes * (later // minutes) + offset)
        window = grid.tick_window(tick)
        if window is not None:
            end = datetime_of(window.end)
            assert end + timedelta(minutes=grid.lag_minutes) <= tick
            assert tick < end + timedelta(minutes=grid.lag_minutes + minutes)

    @given(intervals, lags, moments)
    def test_successive_ticks_are_for_successive_windows(self, interval: int, lag: int, at: datetime) -> None:
        grid = WindowGrid.of(START, interval, lag)
        later = at + timedelta(hours=3)  # by then a window of any width has ended
        first, second = grid.tick_window(later), grid.tick_window(later + timedelta(seconds=interval))
        assert first is not None
        assert second is not None
        assert first.end == second.start

    @given(moments, intervals)
    def test_an_unaligned_start_is_rounded_up(self, start: datetime, interval: int) -> None:
        grid = WindowGrid.of(start, interval, 0)
        assert grid.first is not None
        assert grid.first % grid.width == 0
        assert 0 <= grid.first - ticks_of(start) < grid.width

    @given(intervals, st.integers(0, 20_000))
    def test_a_key_leads_back_to_its_window(self, interval: int, index: int) -> None:
        grid = WindowGrid.of(START, interval, 120)
        window = grid.window(ticks_of(START) + index * grid.width)
        assert grid.window_of_key(window.key) == window

    @pytest.mark.parametrize(
        ("key", "why"),
        [("rubbish", "not a sync window"), ("2026-01-01-00:05", "not the start"),
         ("2025-12-31-23:50", "before the first"),
         ("2026-01-01", "not a sync window"), ("2026-1-1-0:10", "not a sync window"),
         ("２０２６-01-01-00:10", "not a sync window"), ("9999-99-99-99:99", "not a sync window")],
    )  # fmt: skip
    def test_a_key_that_is_no_window_is_refused_with_the_reason(self, key: str, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            WindowGrid.of(START, 600, 120).window_of_key(key)

    def test_without_a_start_there_is_no_window(self) -> None:
        grid = WindowGrid.of(None, 600, 120)
        assert grid.last_due(START) is None
        assert grid.tick_window(START) is None
        assert catch_up(grid, START, [], []) == []
        assert grid.partitions().get_partition_keys() == []
        with pytest.raises(ValueError, match="HUNTER_SYNC_START"):
            grid.window_of_key("2026-01-01-00:00")

    @pytest.mark.parametrize("interval", ALLOWED_INTERVALS)
    def test_dagster_sees_the_same_windows(self, interval: int) -> None:
        start = START + timedelta(minutes=7)
        grid = WindowGrid.of(start, interval, 120)
        assert grid.first is not None
        now = START + timedelta(hours=5, minutes=3)
        partitions = grid.partitions()
        keys = partitions.get_partition_keys(current_time=now)
        ended = ticks_of(now) // grid.width * grid.width
        assert keys == [window.key for window in grid.between(grid.first, ended)]
        for key in (keys[0], keys[-1]):
            window, dagsters = grid.window_of_key(key), partitions.time_window_for_partition_key(key)
            assert (ticks_of(dagsters.start), ticks_of(dagsters.end)) == (window.start, window.end)

    def test_the_genesis_window_has_no_lower_bound(self) -> None:
        window = SyncWindow(10, 20, BEGINNING)
        assert window.is_genesis
        assert "the beginning" in str(window)


spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))), max_size=12
)


class TestIntervals:
    @given(spans)
    def test_merged_intervals_are_disjoint_ascending_and_hold_the_same_points(
        self, given: list[tuple[int, int]]
    ) -> None:
        merged = merge(given)
        assert all(one[1] < other[0] for one, other in pairwise(merged))
        assert {at for low, high in merged for at in range(low, high)} == {
            at for low, high in given for at in range(low, high)
        }

    @given(st.integers(0, 60), st.integers(0, 60), spans)
    def test_what_is_uncovered_is_exactly_what_no_interval_holds(
        self, start: int, end: int, given: list[tuple[int, int]]
    ) -> None:
        held = {at for low, high in given for at in range(low, high)}
        gaps = uncovered(start, end, given)
        assert [at for low, high in gaps for at in range(low, high)] == [
            at for at in range(start, end) if at not in held
        ]


@st.composite
def histories(draw: st.DrawFn) -> tuple[WindowGrid, datetime, list[tuple[int, int]], list[tuple[int, int]]]:
    """A grid, a moment some days in, and what is done and busy: on the grid, or on one of another width."""
    grid = WindowGrid.of(START, draw(intervals), draw(st.integers(0, 600)))
    assert grid.first is not None
    now = START + timedelta(minutes=draw(st.integers(0, 3 * 24 * 60)))
    other = draw(st.sampled_from([grid.width, 60 * TICKS_PER_SECOND, HOUR]))

    def span() -> tuple[int, int]:
        low = draw(st.integers(0, 72 * HOUR // other))
        return ticks_of(START) + low * other, ticks_of(START) + (low + draw(st.integers(1, 40))) * other

    done = [span() for _ in range(draw(st.integers(0, 5)))]
    if draw(st.booleans()):
        done.append((BEGINNING, grid.first + draw(st.integers(0, 30)) * other))
    return grid, now, done, [span() for _ in range(draw(st.integers(0, 3)))]


class TestCatchUp:
    @given(histories())
    def test_what_is_asked_for_is_due_missing_and_free(
        self, history: tuple[WindowGrid, datetime, list[tuple[int, int]], list[tuple[int, int]]]
    ) -> None:
        grid, now, done, busy = history
        asked = catch_up(grid, now, done, busy)
        assert grid.first is not None
        owed = bool(uncovered(BEGINNING, grid.first, done))
        for start, end in asked:
            assert start % grid.width == 0
            assert end % grid.width == 0
            assert grid.first <= start < end <= grid.due_end(now)
            assert end - start <= 24 * HOUR
            assert all(high <= start or end <= low for low, high in busy)
            for window in grid.between(start, end):
                missing = uncovered(window.start, window.end, done)
                assert missing or (owed and window.start == grid.first)
        assert asked == sorted(asked)

    @given(histories())
    def test_nothing_that_is_due_is_forgotten(
        self, history: tuple[WindowGrid, datetime, list[tuple[int, int]], list[tuple[int, int]]]
    ) -> None:
        grid, now, done, busy = history
        assert grid.first is not None
        asked = catch_up(grid, now, done, busy)
        for window in grid.between(grid.first, max(grid.due_end(now), grid.first)):
            held = not uncovered(window.start, window.end, done)
            taken = any(low < window.end and window.start < high for low, high in busy)
            assert held or taken or any(low <= window.start and window.end <= high for low, high in asked)

    def test_a_new_installation_asks_for_a_day_at_a_time_from_the_first_window_on(self) -> None:
        grid = WindowGrid.of(START, 600, 120)
        asked = catch_up(grid, START + timedelta(days=2, hours=1, minutes=2), [], [])
        assert [(end - start) // grid.width for start, end in asked] == [144, 144, 6]
        assert asked[0][0] == grid.first

    def test_genesis_is_owed_until_everything_before_the_first_window_is_covered(self) -> None:
        grid = WindowGrid.of(START, 600, 120)
        assert grid.first is not None
        now = START + timedelta(hours=1, minutes=2)
        without = [(grid.first, grid.due_end(now))]
        assert catch_up(grid, now, without, []) == [(grid.first, grid.first + grid.width)]
        assert catch_up(grid, now, [(BEGINNING, grid.due_end(now))], []) == []

    def test_a_start_moved_forward_over_a_gap_leaves_the_gap_to_its_first_window(self) -> None:
        grid = WindowGrid.of(START + timedelta(days=30), 600, 120)
        assert grid.first is not None
        now = START + timedelta(days=30, hours=1, minutes=2)
        done = [(BEGINNING, ticks_of(START)), (grid.first, grid.due_end(now))]
        assert catch_up(grid, now, done, []) == [(grid.first, grid.first + grid.width)]

    def test_two_gaps_are_two_stretches_the_older_first(self) -> None:
        grid = WindowGrid.of(START, 600, 0)
        assert grid.first is not None
        w = grid.width
        done = [(BEGINNING, grid.first + w), (grid.first + 2 * w, grid.first + 4 * w)]
        assert catch_up(grid, START + timedelta(hours=1), done, []) == [
            (grid.first + w, grid.first + 2 * w),
            (grid.first + 4 * w, grid.first + 6 * w),
        ]


class TestOverlap:
    @pytest.mark.parametrize(
        ("configured", "latest", "used"),
        [
            (900, None, 900),
            (900, 0.0, 900),
            (900, 450.0, 900),
            (900, 450.5, 1800),
            (900, 900.0, 1800),
            (900, 900.1, 3600),
            (900, 14_000.0, MAX_OVERLAP),
            (0, 10.0, 0),
            (86_400, 86_000.0, 86_400),
        ],
    )
    def test_it_doubles_while_the_latest_late_version_lies_in_its_farther_half(
        self, configured: int, latest: float | None, used: int
    ) -> None:
        assert widened_overlap(configured, latest) == used

    @given(st.integers(0, 86_400), st.none() | st.floats(0, 200_000))
    def test_it_is_never_narrower_than_configured_nor_wider_than_its_bound(
        self, configured: int, latest: float | None
    ) -> None:
        used = widened_overlap(configured, latest)
        assert configured <= used <= max(configured, MAX_OVERLAP)
        if latest is None:
            assert used == configured
        elif configured and used < MAX_OVERLAP:
            assert latest <= used / 2
            assert used == configured or latest > used / 4, "it is not wider than it has to be"

    @given(st.integers(0, 86_400), st.floats(0, 200_000), st.floats(0, 200_000))
    def test_a_later_version_never_makes_it_narrower(self, configured: int, one: float, other: float) -> None:
        assert widened_overlap(configured, min(one, other)) <= widened_overlap(configured, max(one, other))


class TestClocks:
    @given(st.integers(0, 12), st.integers(-5, 5), lags)
    def test_a_window_is_over_from_its_end_plus_the_lag_on(self, done: int, seconds: int, lag: int) -> None:
        grid = WindowGrid.of(START, 600, lag)
        windows = list(grid.between(grid.first or 0, (grid.first or 0) + 10 * grid.width))
        server = (grid.first or 0) + done * grid.width + (lag + seconds) * TICKS_PER_SECOND
        assert over_by(windows, server, lag) == min(max(done - (seconds < 0), 0), 10)

    def test_windows_are_held_back_only_while_the_servers_clock_is_behind(self) -> None:
        assert held_back(START, -300.0) == START - timedelta(seconds=300)
        assert held_back(START, 300.0) == held_back(START, None) == START

    @pytest.mark.parametrize(("skew", "word"), [(-300.0, "300 s ahead of"), (300.0, "300 s behind")])
    def test_clocks_that_differ_are_told_with_the_direction(self, skew: float, word: str) -> None:
        assert f"This machine's clock is {word} Partner Center's." in clocks_differ(skew)
        assert clocks_differ(skew / 11) == clocks_differ(None) == ""

    def test_what_ends_later_than_it_can_last_is_void(self) -> None:
        minute = timedelta(minutes=1)
        ends = [timedelta(0), timedelta(seconds=1), minute, minute + timedelta(microseconds=1)]
        assert [counts_until(START + end, START, minute) for end in ends] == [False, True, True, False]

    def test_intervals_are_cut_at_an_end(self) -> None:
        assert until_end([(0, 10), (10, 20), (30, 40)], 15) == [(0, 10), (10, 15)]


# Stretches that fail again and again


W = 600 * TICKS_PER_SECOND
_windows = st.integers(1, 40)


@given(
    lengths=st.lists(_windows, min_size=1, max_size=4),
    refused=st.lists(st.tuples(st.integers(0, 200), _windows), max_size=30),
)
def test_halves_hold_each_window_once_and_in_order(lengths: list[int], refused: list[tuple[int, int]]) -> None:
    stretches, at = [], 0
    for length in lengths:
        stretches.append((at * W, (at + length) * W))
        at += length + 1
    cut = cut_refused(stretches, [(low * W, (low + length) * W) for low, length in refused], W)
    windows = [start for low, high in cut for start in range(low, high, W)]
    assert windows == [start for low, high in stretches for start in range(low, high, W)]
    assert all(any(low <= start and end <= high for low, high in stretches) for start, end in cut)


@given(count=st.integers(1, 144), bad=st.sets(st.integers(0, 143), max_size=4))
def test_in_the_end_only_windows_that_are_refused_alone_are_left(count: int, bad: set[int]) -> None:
    """Runs that store nothing when they fail, as the worst case: each healthy window is done by halving."""
    left, refused = set(range(count)), list[tuple[int, int]]()
    for _ in range(40):
        runs = cut_refused(merge((n * W, (n + 1) * W) for n in left), refused, W)
        for low, high in runs:
            inside = set(range(low // W, high // W))
            if inside & bad:
                refused.append((low, high))
            else:
                left -= inside
    assert left == bad & set(range(count))


def test_a_stretch_is_cut_only_after_it_was_refused_several_times() -> None:
    day = (0, 144 * W)
    halves = [(0, 72 * W), (72 * W, 144 * W)]
    assert cut_refused([day], [day] * (REFUSALS_BEFORE_HALVING - 1), W) == [day]
    assert cut_refused([day], [day] * REFUSALS_BEFORE_HALVING, W) == halves
    assert cut_refused([halves[1]], [day] * REFUSALS_BEFORE_HALVING, W) == [halves[1]], "it was not tried as a whole"
    assert cut_refused([(0, W)], [(0, W)] * 9, W) == [(0, W)]


def test_the_newest_window_comes_before_a_backlog_and_no_window_twice() -> None:
    newest = SyncWindow(299 * W, 300 * W, 299 * W)
    days = [(0, 144 * W), (144 * W, 288 * W), (288 * W, 300 * W)]
    assert newest_first(days, newest) == [(299 * W, 300 * W), *days[:2], (288 * W, 299 * W)]
    assert newest_first(days[2:], newest) == days[2:]
    assert newest_first(days[:2], newest) == days[:2]
    assert newest_first([days[0], (299 * W, 300 * W)], newest) == [(299 * W, 300 * W), days[0]]
