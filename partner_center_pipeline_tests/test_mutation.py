"""What mutation testing is asked to do fits the project; the command itself needs the extra `mutation` (suites.md)."""

from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline_tests.mutation import scope


def test_each_mutant_that_is_not_counted_is_one_of_todays_code_and_says_why() -> None:
    for known in scope.equivalents():
        source = (PROJECT_ROOT / known.path).read_text(encoding="utf-8")
        assert known.before in " ".join(line.strip() for line in source.splitlines()), known
        assert known.after != known.before
        assert len(known.why) > 20, known


def test_every_module_of_the_four_packages_is_mutated_and_asked_tests_exist() -> None:
    paths = scope.modules()
    assert len(paths) > 60
    assert {path.split("/")[1].removesuffix(".py") for path in paths} == {
        "windows", "partner_center", "warehouse", "defs",
    }  # fmt: skip
    for test in scope.tests_of(paths):
        assert (PROJECT_ROOT / test).exists(), test


def test_every_module_of_the_rules_is_in_a_scope_of_its_own() -> None:
    paths = scope.modules(scope.Scope.RULES)
    assert {path.split("/")[1] for path in paths} == {"leads", "mail", "scoring"}
    assert not {*paths} & {*scope.modules()}
    for test in scope.tests_of(paths):
        assert (PROJECT_ROOT / test).exists(), test
