"""One small schedule for each doubt: the line, and the words that matter."""

from __future__ import annotations

from textwrap import dedent

import pytest
import torch
from torch import nn

from schedengine.analysis.diagnosis import check_schedule


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))


def warned(text: str, model: nn.Module | None = None, **given: int | float) -> list[tuple[int, str]]:
    """Line and message of each warning; no errors."""
    found = check_schedule(dedent(text), model, **given)  # type: ignore[arg-type]
    assert not found.count("error"), str(found)
    problems = [finding.problem for finding in found.findings if finding.severity == "warning"]
    return [(problem.mark.line if problem.mark else 0, problem.message) for problem in problems]


def rates(policies: str, schedules: str = "a: {class: linear, from: 0.1}") -> str:
    return f"version: 2\nlr_schedulers: {{{schedules}}}\npolicies:\n" + "".join(
        f"  - {{{line}}}\n" for line in policies.split("; ")
    )


def cuts(pruner: str, *policies: str) -> str:
    head = f"version: 2\npruners: {{p: {{{pruner}}}}}\nlr_schedulers: {{a: {{class: linear, from: 0.1}}}}\npolicies:\n"
    return head + "".join(f"  - {{{line}}}\n" for line in policies)


# --- windows and the end of the run ----------------------------------------------------------------------------------


def test_a_rate_that_begins_after_the_run_never_acts() -> None:
    text = rates("lr_scheduler: a, during: run, until: 30; lr_scheduler: a, during: run, from: 30, until: 40")
    message = "begins at epoch 30, and the run ends after 30 epochs: it never acts"
    assert warned(text, epochs=30) == [(5, message)]


def test_a_window_that_ends_after_the_run_is_told() -> None:
    text = rates("lr_scheduler: a, during: run, until: 40")
    assert warned(text, epochs=30) == [(4, "its window ends at epoch 40, and the run ends after 30 epochs")]


def test_a_regularizer_is_told_of_likewise() -> None:
    text = """\
        version: 2
        regularizers: {r: {penalty: l1, strength: {ramp: linear, to: 0.1}}}
        policies:
          - {regularizer: r, during: run, until: 12}
        """
    assert warned(text, epochs=10) == [(4, "its window ends at epoch 12, and the run ends after 10 epochs")]


def version_1(stop: int) -> str:
    return f"""\
        version: 1
        lr_schedulers:
          a: {{class: StepLR, step_size: 45, gamma: 0.1}}
        policies:
          - lr_scheduler: {{instance_name: a}}
            starting_epoch: 0
            ending_epoch: {stop}
            frequency: 1
        """


def test_distillers_files_may_end_their_windows_anywhere_after_the_run() -> None:
    assert warned(version_1(30), epochs=30) == []
    assert warned(version_1(300), epochs=30) == []


def test_distillers_cuts_after_the_run_are_told() -> None:
    text = """\
        version: 1
        pruners:
          agp: {class: AutomatedGradualPruner, initial_sparsity: 0.05, final_sparsity: 0.8, weights: [0.weight]}
        policies:
          - pruner: {instance_name: agp}
            starting_epoch: 5
            ending_epoch: 30
            frequency: 1
        """
    assert warned(text, epochs=20) == [(5, "the run ends after 20 epochs, before its last cut")]


# --- learning rates --------------------------------------------------------------------------------------------------


def test_a_rate_that_ends_before_training_does_says_where_it_stays() -> None:
    """A straight line from 0.1 to 0 in four epochs of 5 steps: its last step has 0.1 * 1/20."""
    text = rates("lr_scheduler: a, during: run, until: 4")
    message = "ends at epoch 4, and the run goes on to epoch 10: the learning rate then stays at 0.005"
    assert warned(text, epochs=10, steps_per_epoch=5) == [(4, message)]


def test_a_relative_rate_that_stays_is_told_with_what_it_begins_with() -> None:
    text = rates("lr_scheduler: a, during: run, until: 3", "a: {class: ExponentialLR, gamma: 0.5}")
    ((_, message),) = warned(text, epochs=10)
    assert message.endswith("the learning rate then stays at 0.025, if it begins with 0.1")
    assert warned(text, epochs=10, lr=0.4)[0][1].endswith("stays at 0.1")


def test_a_rate_that_would_not_change_any_more_may_end() -> None:
    assert warned(rates("lr_scheduler: a, during: run, until: 4", "a: {class: constant, from: 0.1}"), epochs=10) == []
    assert warned(version_1(50), epochs=60) == []
    assert warned(version_1(50), epochs=95) != []


def test_a_rate_written_once_after_the_last_schedule_is_meant_to_stay() -> None:
    text = rates(
        "lr_scheduler: a, during: run, until: 4; lr_scheduler: low, at: 4", "a: {class: linear}, low: {class: constant}"
    )
    assert warned(text, epochs=10) == []


def test_a_rate_per_step_wins_over_one_per_epoch_wherever_it_stands() -> None:
    text = rates(
        "lr_scheduler: a, during: run, until: 10; lr_scheduler: b, during: run, until: 10",
        "a: {class: linear, from: 0.1}, b: {class: StepLR, step_size: 1}",
    )
    message = "two learning-rate schedules act at one time; 'a', which is written at every step, wins over this one"
    assert (5, message) in warned(text, epochs=10)


def test_of_two_rates_at_one_time_the_last_in_the_file_wins() -> None:
    text = rates("lr_scheduler: a, during: run; lr_scheduler: b, during: run, from: 3", "a: {class: linear}, b: linear")
    message = "two learning-rate schedules act at one time; this one, later in the file, wins over 'a'"
    assert warned(text.replace("b: linear", "b: {class: cosine}"), epochs=10) == [(5, message)]


def test_rates_that_follow_each_other_are_no_doubt() -> None:
    text = rates("lr_scheduler: a, during: run, until: 5; lr_scheduler: a, during: run, from: 5")
    assert warned(text, epochs=10) == []


def test_a_plateau_under_another_schedule_is_written_over() -> None:
    text = rates(
        "lr_scheduler: drop, during: run; lr_scheduler: a, during: run",
        "a: {class: linear}, drop: {class: ReduceLROnPlateau}",
    )
    assert warned(text, epochs=10) == [
        (5, "two learning-rate schedules act at one time; what 'drop' lowers, 'a' writes over")
    ]


# --- pruners ---------------------------------------------------------------------------------------------------------


def test_two_pruners_on_one_parameter_at_one_time_are_told() -> None:
    text = """\
        version: 2
        pruners:
          a: {sparsity: 0.5}
          b: {sparsity: 0.5, parameters: 0.weight, granularity: row}
        policies:
          - {pruner: a, at: [2, 4]}
          - {pruner: b, during: run, from: 4, until: 6}
        """
    message = (
        "prunes 0.weight at the same time as 'a': their masks combine, and more may be gone than either target says"
    )
    assert warned(text, network(), epochs=10) == [(7, message)]
    assert warned(text.replace("from: 4", "from: 5"), network(), epochs=10) == []
    assert warned(text.replace("sparsity: 0.5}", "sparsity: 0.5, parameters: 1.weight}"), network(), epochs=10) == []


def test_no_rate_for_the_epoch_after_a_cut_is_told() -> None:
    """Linear to 0 in 8 of 10 epochs of 1000 steps: the last step leaves 0.1/8000, and two epochs train with that."""
    text = cuts("sparsity: 0.5", "pruner: p, at: 8", "lr_scheduler: a, during: run, until: 8")
    found = dict(warned(text, network(), epochs=10, steps_per_epoch=1000))
    assert found[5] == (
        "cuts at epoch 8, and the learning rate is at most 1.25e-05 for the whole epoch after "
        "(the largest of the run: 0.1)"
    )


def test_a_zero_rate_is_told_and_several_cuts_are_listed() -> None:
    text = cuts("sparsity: {ramp: linear, to: 0.5}", "pruner: p, during: run, from: 2, until: 7")
    text += "  - {lr_scheduler: off, during: run, from: 1}\n  - {lr_scheduler: a, during: run, until: 1}\n"
    text = text.replace("lr_schedulers: {", "lr_schedulers: {off: {class: constant, from: 0.0}, ")
    found = warned(text, network(), epochs=10)
    message = "cuts at epochs 2, 3, 4 and 2 more, and the learning rate is 0 for the whole epoch after"
    assert found == [(5, f"{message} (the largest of the run: 0.1)")]


def test_cuts_that_remove_nothing_more_need_no_rate_and_no_recovery() -> None:
    text = cuts("sparsity: 0.5", "pruner: p, during: run, every: 50st", "lr_scheduler: a, during: run")
    assert warned(text, network(), epochs=10, steps_per_epoch=100) == []


def test_a_rate_that_nobody_said_is_not_compared() -> None:
    text = cuts("sparsity: 0.5", "pruner: p, at: 5", "lr_scheduler: low, during: run, from: 5")
    text = text.replace("a: {class: linear, from: 0.1}", "low: {class: constant, from: 0.0001}")
    assert warned(text, network(), epochs=10) == []
    assert len(warned(text, network(), epochs=10, lr=0.1)) == 1
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
    assert check_schedule(text, network(), epochs=10, optimizer=optimizer).count("warning") == 1


def test_a_last_cut_at_the_end_leaves_no_training() -> None:
    text = cuts("sparsity: 0.5", "pruner: p, at: end", "lr_scheduler: a, during: run")
    assert warned(text, network(), epochs=5) == [(5, "the last cut leaves no training to recover")]


def test_a_last_cut_within_the_last_epoch_leaves_some_steps() -> None:
    text = cuts("sparsity: 0.5", "pruner: p, at: 470st", "lr_scheduler: a, during: run")
    message = "the last cut leaves 30 of the 100 steps of an epoch to recover"
    assert warned(text, network(), epochs=5, steps_per_epoch=100) == [(5, message)]


def test_a_cut_at_the_start_of_the_last_epoch_leaves_an_epoch() -> None:
    assert warned(cuts("sparsity: 0.5", "pruner: p, at: 4", "lr_scheduler: a, during: run"), network(), epochs=5) == []


def test_an_instance_that_no_policy_uses_is_told() -> None:
    text = rates("lr_scheduler: a, during: run", "a: {class: linear}, b: {class: cosine}")
    assert warned(text, epochs=5) == [(2, "the lr_scheduler is defined and no policy uses it")]


# --- retraining and rewinding ----------------------------------------------------------------------------------------


def retrained(rule: str, *others: str, dense: int = 10, cycle: int = 5, rewound: str = "") -> str:
    """A cut after a dense training, and retraining; ``rewound`` comes before the cut."""
    lines = [rewound, "pruner: p, at: cycle", "lr_scheduler: fall, during: dense", f"lr_scheduler: {rule}", *others]
    return (
        f"version: 2\nphases: [{{name: dense, epochs: {dense}}}, {{name: cycle, epochs: {cycle}}}]\n"
        "pruners: {p: {sparsity: 0.5}}\n"
        "lr_schedulers: {fall: {class: linear, from: 0.1}, ft: {class: FT}, llr: {class: LLR}, allr: {class: ALLR},\n"
        "  lrw: {class: LRW}, slr: {class: SLR}, clr: {class: CLR}}\npolicies:\n"
        + "".join(f"  - {{{line}}}\n" for line in lines if line)
    )


def doubted(text: str, steps: int = 200) -> list[str]:
    """Messages, without those about instances that no policy names."""
    return [message for _, message in warned(text, steps_per_epoch=steps) if "no policy" not in message]


@pytest.mark.parametrize("rule", ["llr", "allr", "lrw", "slr", "clr"])
def test_retraining_is_no_doubt(rule: str) -> None:
    assert doubted(retrained(f"{rule}, during: cycle")) == []


def test_fine_tuning_after_a_rate_that_went_to_nothing_is_told_once() -> None:
    """A straight line from 0.1 to 0 in 2,000 steps ends at 0.1 / 2000."""
    (message,) = doubted(retrained("ft, during: cycle"))
    assert message.startswith("trains at 5e-05, the smallest rate of the dense training (its largest: 0.1): next to no")


def test_fine_tuning_after_a_rate_that_did_not_is_no_doubt() -> None:
    assert doubted(retrained("ft, during: cycle").replace("from: 0.1}", "from: 0.1, to: 0.001}")) == []


def test_fine_tuning_that_ends_before_the_run_does_would_stay_the_same() -> None:
    text = retrained("ft, during: cycle, until: 2").replace("from: 0.1}", "from: 0.1, to: 0.001}")
    assert doubted(text) == []


def test_retraining_that_ends_before_the_run_does_stays_at_its_last_rate() -> None:
    """LLR over 2 epochs of 10 steps, 2 of them warm-up: the last of the other 18 has 0.1 / 18."""
    (message,) = doubted(retrained("llr, during: cycle, until: 2"), steps=10)
    assert message == "ends at epoch 12, and the run goes on to epoch 15: the learning rate then stays at 0.00556"
    (message,) = doubted(retrained("allr, during: cycle, until: 2"), steps=10)
    assert message.endswith("the learning rate then stays where it is, at most 0.00556")


BACK = "rewind: {weights: 2, clock: 2}, at: cycle"


def test_weights_that_go_back_before_the_cut_are_ranked_by_it() -> None:
    text = retrained("fall, during: cycle", cycle=8, rewound=BACK)
    (message,) = doubted(text)
    assert message.startswith("weights go back to epoch 2 before 'p' cuts at the same moment")
    assert doubted(retrained("fall, during: cycle", BACK, cycle=8)) == []


def test_weights_that_go_back_at_the_end_of_the_phase_before_the_cut_are_too() -> None:
    text = retrained("fall, during: cycle", "rewind: {weights: 2}, at: {end: dense}")
    assert doubted(text)[0].startswith("weights go back to epoch 2 before 'p' cuts")


def test_a_rewound_curve_that_is_stretched_otherwise_is_told() -> None:
    """At epoch 2 of 10 the line has 0.08; at 2 of 2 + 3 it has 0.06."""
    (message,) = doubted(retrained("fall, during: cycle", BACK, cycle=3))
    assert message == (
        "at epoch 2 the rate was 0.08, and at epoch 10 it goes on with 0.06: its curve had 8 epochs to go, and is "
        "stretched over the 3 that it has now"
    )


def test_a_rewound_clock_alone_is_fine() -> None:
    assert doubted(retrained("fall, during: cycle", "rewind: {clock: 2}, at: cycle", cycle=3)) == []


def test_a_release_after_the_run_never_acts() -> None:
    assert doubted(retrained("llr, during: cycle", "release: p, at: 20")) == [
        "begins at epoch 20, and the run ends after 15 epochs: it never acts"
    ]
