"""The shape of what users read."""

from __future__ import annotations

from schedengine.errors import Mark, MissingExtraError, Problem, SchedEngineError, ScheduleError, did_you_mean


def test_a_problem_says_where_then_what() -> None:
    problem = Problem("must be less than 1 (got 1.5)", "pruners.fine.sparsity", Mark("bimp.yaml", 7, 15))
    assert str(problem) == "bimp.yaml:7:15: pruners.fine.sparsity: must be less than 1 (got 1.5)"


def test_a_problem_without_a_text_has_its_path_only() -> None:
    assert str(Problem("needs 'sparsity'", "pruners.fine")) == "pruners.fine: needs 'sparsity'"


def test_an_error_has_one_line_for_each_problem() -> None:
    error = ScheduleError([Problem("one", "a"), Problem("two", "b")])
    assert str(error) == "a: one\nb: two"
    assert [problem.path for problem in error.problems] == ["a", "b"]


def test_an_error_can_be_a_plain_sentence() -> None:
    assert ScheduleError("no epochs").problems == (Problem("no epochs"),)


def test_marks_order_by_line_then_column() -> None:
    assert Mark("a", 2, 9) < Mark("a", 10, 1) < Mark("a", 10, 2)


def test_near_names_come_instead_of_all() -> None:
    assert did_you_mean("magnitud", ["magnitude", "random"]) == "did you mean magnitude?"


def test_case_does_not_count() -> None:
    assert did_you_mean("cifar10", ["CIFAR10", "CIFAR100"]) == "did you mean CIFAR10?"
    assert did_you_mean("STEPLR", ["StepLR", "LinearLR"]) == "did you mean StepLR?"
    assert did_you_mean("linear", ["Linear", "LINEAR"]) == "did you mean LINEAR or Linear?"


def test_all_names_come_where_none_is_near() -> None:
    assert did_you_mean("xyz", ["random", "magnitude", "random"]) == "known: magnitude, random"
    assert did_you_mean("xyz", []) == "none is known"


def test_a_long_list_of_names_is_cut() -> None:
    message = did_you_mean("?", [f"n{number:02}" for number in range(30)])
    assert message.endswith("n23, ...") and "n24" not in message


def test_a_missing_library_names_its_extra() -> None:
    error = MissingExtraError("ray", "ray")
    assert str(error) == "ray is not installed; install it with: pip install 'schedengine[ray]'"
    assert isinstance(error, SchedEngineError)
