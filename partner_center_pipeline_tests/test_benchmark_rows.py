"""The rule of `benchmarks all`: a goal that is missed, or was not measured, is seen and gives exit code 1."""

import json
import math
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from partner_center_pipeline_tests.benchmarks import rows
from partner_center_pipeline_tests.benchmarks.all_rows import all_rows
from partner_center_pipeline_tests.benchmarks.rows import Goal, Measuring, Row, measures

AT_MOST, AT_LEAST = Goal(1.5), Goal(4, at_least=True)


@pytest.mark.parametrize(
    ("goal", "ratio", "holds"),
    [
        (AT_MOST, 1.5, True),
        (AT_MOST, 1.51, False),
        (AT_LEAST, 4.0, True),
        (AT_LEAST, 3.99, False),
        (AT_MOST, 0.0, False),
        (AT_MOST, -1.0, False),
        (AT_MOST, math.nan, False),
        (AT_LEAST, math.nan, False),
        (AT_LEAST, math.inf, False),
    ],
)
def test_a_goal_holds_within_its_limit_and_never_for_what_measured_nothing(
    goal: Goal, ratio: float, holds: bool
) -> None:
    assert Row("work", "opponent", ratio, goal).holds is holds


def run(
    monkeypatch: pytest.MonkeyPatch, *ratios: float | BaseException, arguments: tuple[str, ...] = ("--small",)
) -> Result:
    """Run the command with a measurement for each ratio; an exception is how one does not come to its end."""
    monkeypatch.setattr(rows, "MEASURES", {})
    for number, ratio in enumerate(ratios):

        @measures(f"row{number}")
        def measure(_run: Measuring, ratio: float | BaseException = ratio) -> Iterator[Row]:
            if isinstance(ratio, BaseException):
                raise ratio
            yield Row("ours", "theirs", ratio, AT_MOST)

    return CliRunner().invoke(all_rows, arguments)


def test_the_last_line_is_the_table_as_json_and_all_goals_met_is_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, 1.23456)
    assert result.exit_code == 0
    last = json.loads(result.stdout.splitlines()[-1])
    (row,) = last["rows"]
    assert row == {
        "work": "ours", "against": "theirs", "ratio": 1.235, "goal": "<= 1.5", "holds": True, "found": "",
    }  # fmt: skip
    assert {"cores", "memory", "python", "dagster", "dlt", "psycopg2-binary"} <= last["machine"].keys()


def test_one_missed_goal_of_several_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, 1.0, 1.6, 1.0)
    assert result.exit_code == 1
    assert [row["holds"] for row in json.loads(result.stdout.splitlines()[-1])["rows"]] == [True, False, True]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            click.ClickException("pip install -e '.[benchmarks]' [/var/log/x]"),
            "pip install -e '.[benchmarks]' [/var/log/x]",
        ),
        (AssertionError("not all"), "AssertionError: not all"),
        (RuntimeError("these tests need a PostgreSQL"), "RuntimeError: these tests need a PostgreSQL"),
    ],
)
def test_a_measurement_that_fails_is_exit_code_1_and_the_others_go_on(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(monkeypatch, error, 1.0)
    assert result.exit_code == 1
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["failures"] == {"row0": said}
    assert len(last["rows"]) == 1
    assert f"row0 was not measured: {said}" in " ".join(result.stdout.split())


def test_ctrl_c_keeps_what_was_measured_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, 1.0, KeyboardInterrupt())
    assert result.exit_code == 130
    last = json.loads(result.stdout.splitlines()[-1])
    assert len(last["rows"]) == 1
    assert last["failures"] == {"what was under way": "interrupted"}


def test_a_median_is_of_three_rounds_at_least_in_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, rounds in ((("--repeat", "1"), 3), (("--repeat", "5"), 5), (("--small", "--repeat", "1"), 1)):
        last = json.loads(run(monkeypatch, 1.0, arguments=arguments).stdout.splitlines()[-1])
        assert last["rounds"] == rounds


def test_nothing_measured_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch).exit_code == 1


def test_the_sides_are_measured_in_turn_and_the_median_of_each_counts() -> None:
    order: list[str] = []
    ours, theirs = iter([1.0, 9.0, 2.0]), iter([5.0, 4.0, 30.0])

    def side(name: str, figures: Iterator[float]) -> float:
        order.append(name)
        return next(figures)

    measuring = Measuring(small=True, repeat=3, notes=Console(quiet=True))
    assert measuring.medians(lambda: side("ours", ours), lambda: side("theirs", theirs)) == [2.0, 5.0]
    assert order == ["ours", "theirs"] * 3


def test_the_version_of_the_server_that_was_measured_is_known() -> None:
    measuring = Measuring(small=True, repeat=1, notes=Console(quiet=True))
    with measuring.stack:
        assert "postgresql" in measuring.postgresql
    assert int(measuring.versions["postgresql"].split(".")[0]) >= 15
