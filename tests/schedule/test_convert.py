"""Distiller's schedules as version 2 text: the same schedule, and every comment where it belongs."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedengine.analysis import plan_schedule
from schedengine.errors import ScheduleError, ScheduleWarning
from schedengine.schedule.convert import convert
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import load_schedule
from schedengine.schedule.source import comments, read, to_flow
from schedengine.zoo.models import build_model

pytestmark = pytest.mark.filterwarnings("ignore::schedengine.errors.ScheduleWarning")

OLD = """\
version: 1
pruners:
  low:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity : 0.05
    final_sparsity: 0.50
    group_type: Filters
    weights: [
      module.layer1.0.conv1.weight,
      module.layer1.1.conv1.weight,
    ]
  fine:
    class: 'SensitivityPruner'
    sensitivities:
      'module.layer2.0.conv1.weight': 0.25
      'module.fc.weight': 0.625

regularizers:
  lasso:
    class: L1Regularizer
    reg_regims: {module.layer3.0.conv1.weight: 0.0001}

lr_schedulers:
   decay:
     class: StepLR
     step_size: 50
     gamma: 0.10

policies:
  - pruner:
      instance_name : low
      args:
        mini_batch_pruning_frequency: 16
    starting_epoch: 0
    ending_epoch: 10
    frequency: 2

  - pruner: {instance_name: fine}
    epochs: [3,
      5]

  - regularizer:
      instance_name: lasso
    starting_epoch: 0
    ending_epoch: 5
    frequency: 1

  - lr_scheduler:
      instance_name: decay
    starting_epoch: 2
    ending_epoch: 20
    frequency: 1
"""
"""In the style of Distiller's examples."""
TAIL = """\
policies:
  - lr_scheduler: {instance_name: lr}
    starting_epoch: 0
    ending_epoch: 9
    frequency: 1
"""
LR = "lr_schedulers:\n  lr: {class: StepLR, step_size: 3}\n"


def lines(text: str, *after: str) -> list[str]:
    """The converted lines, from the one on that begins with the last of ``after`` and comes after the others."""
    found = convert(text).splitlines()
    for start in after:
        found = found[next(number for number, line in enumerate(found) if line.strip().startswith(start)) :]
    return found


def edited(old: str, new: str) -> str:
    assert OLD.count(old) == 1
    return OLD.replace(old, new)


def texts(document: str | Path) -> list[str]:
    return [text for _, text in comments(read(document))]


def same(old: str) -> Schedule:
    """The schedule of both."""
    schedule = load_schedule(old)
    assert load_schedule(convert(old)) == schedule
    return schedule


# --- what is said ----------------------------------------------------------------------------------------------------


def test_the_text_reads_as_the_same_schedule() -> None:
    schedule = same(OLD)
    assert list(schedule.pruners) == ["low", "fine"]


def test_the_plans_of_both_are_equal() -> None:
    model = build_model("resnet20_cifar", meta=True)
    old, new = (plan_schedule(text, model, epochs=22, steps_per_epoch=20) for text in (OLD, convert(OLD)))
    assert old.events.equals(new.events) and old.curves.equals(new.curves) and old.layers.equals(new.layers)
    assert len(old.events.query("kind == 'cut'")) == 7  # epochs 0, 2, 4, 6, 8; 3 and 5


def test_nothing_is_added_above_the_version() -> None:
    assert convert(LR + TAIL).startswith("version: 2\neffects: warn\n\nlr_schedulers:\n")


def test_sections_keep_their_order() -> None:
    assert convert(TAIL + LR).index("policies:") < convert(TAIL + LR).index("lr_schedulers:")


def test_what_fits_on_a_line_stays_on_it() -> None:
    assert "  decay: {class: StepLR, step_size: 50, gamma: 0.1}" in lines(OLD)
    assert "  - {lr_scheduler: decay, clock: run, during: run, from: 3, until: 21, every: 1}" in lines(OLD)


def test_a_long_list_is_wrapped_below_its_bracket() -> None:
    names = ", ".join(f"layer{number}.0.conv1.weight" for number in range(1, 7))
    shown = lines(edited("module.layer1.0.conv1.weight,\n", f"{names},\n"), "parameters:")
    assert shown[0].startswith("    parameters: [layer1.0.conv1.weight, layer2.0") and shown[0].endswith(",")
    assert shown[1].startswith("                 layer") and shown[1].endswith("]")
    assert max(map(len, shown)) <= 110


def test_the_value_of_a_key_that_stands_twice_is_the_last() -> None:
    text = LR.replace("}", "}\n  lr: {class: StepLR, step_size: 4}") + TAIL
    assert "  lr: {class: StepLR, step_size: 4}" in lines(text)
    with pytest.warns(ScheduleWarning, match="the key stands twice"):
        same(text)


def test_an_instance_that_no_policy_uses_stays_and_is_warned_of() -> None:
    text = LR.replace("}", "}\n  spare: {class: StepLR, step_size: 4}  # for later") + TAIL
    with pytest.warns(ScheduleWarning, match="spare.*no policy uses it"):
        assert "  spare: {class: StepLR, step_size: 4}  # for later" in lines(text)


def test_a_pruner_used_in_two_ways_is_two_side_by_side() -> None:
    again = "policies:\n  - {pruner: {instance_name: low}, starting_epoch: 12, ending_epoch: 14, frequency: 1}\n"
    schedule = same(edited("policies:\n", again))
    assert set(schedule.pruners) == {"low", "low_2", "fine"}
    shown = lines(edited("policies:\n", again))
    assert shown.index("  low:") < shown.index("  low_2:") < shown.index("  fine:")


def test_aliases_are_written_out() -> None:
    text = LR.replace("lr: {", "lr: &it {").replace("}\n", "}\n  other: *it  # again\n", 1) + TAIL
    assert "  other: {class: StepLR, step_size: 3}  # again" in lines(text)
    same(text)


def test_a_version_2_file_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"<text>:1:10: version: is version 2 already; only version 1"):
        convert("version: 2\npolicies: []\n")


def test_a_wrong_file_is_refused_with_all_its_problems() -> None:
    wrong = edited("class: StepLR", "class: StopLR").replace("instance_name: fine", "instance_name: fyne")
    with pytest.raises(ScheduleError) as caught:
        convert(wrong)
    assert [problem.path for problem in caught.value.problems] == [
        "lr_schedulers.decay.class",
        "policies[1].pruner.instance_name",
    ]


# --- comments --------------------------------------------------------------------------------------------------------


def test_the_header_stays_on_top_as_it_was() -> None:
    header = "# What\n#\n#   +--+\n# | a | # 1\n\n  # indented\n"
    assert convert(header + OLD).startswith("# What\n#\n#   +--+\n# | a | # 1\n\n# indented\nversion: 2\n")


def test_a_header_without_a_version_is_above_the_version() -> None:
    assert convert("# one\n\n# two\n" + LR + TAIL).startswith("# one\n\n# two\nversion: 2\n")


def test_a_comment_above_an_instance_stays_there() -> None:
    assert lines(edited("   decay:", "  # slow\n   decay:"), "lr_schedulers")[1:3] == [
        "  # slow",
        "  decay: {class: StepLR, step_size: 50, gamma: 0.1}",
    ]


def test_a_comment_beside_a_key_opens_what_it_stands_in() -> None:
    assert lines(edited("ending_epoch: 20", "ending_epoch: 20  #14"), "- lr_scheduler") == [
        "  - lr_scheduler: decay",
        "    clock: run",
        "    during: run",
        "    from: 3",
        "    until: 21  #14",
        "    every: 1",
    ]


def test_a_comment_beside_a_whole_policy_leaves_it_on_its_line() -> None:
    shown = lines(
        edited("- pruner: {instance_name: fine}", "- pruner: {instance_name: fine} # once"), "- {pruner: fine"
    )
    assert shown[0] == "  - {pruner: fine, at: [3, 5]}  # once"


def test_a_value_keeps_its_comment_where_its_key_has_another_name() -> None:
    shown = lines(edited("final_sparsity: 0.50", "final_sparsity: 0.50 # was 0.6"), "low:", "sparsity:")
    assert "      to: 0.5  # was 0.6" in shown[:5]


def test_a_comment_beside_a_key_that_is_gone_goes_above_its_instance() -> None:
    text = edited("class: 'SensitivityPruner'", "class: 'SensitivityPruner'  # as in the paper")
    shown = lines(text)
    assert shown[shown.index("  fine:") - 1] == "  # as in the paper"


def test_a_comment_above_a_key_that_is_gone_goes_above_the_next() -> None:
    shown = lines(edited("class: 'SensitivityPruner'", "#class: Other\n    class: 'SensitivityPruner'"), "fine:")
    assert shown[1] == "    #class: Other"
    assert shown[2].startswith("    threshold: {std:")


def test_what_is_commented_out_in_a_list_keeps_its_place() -> None:
    shown = lines(edited("module.layer1.1.conv1.weight,", "#module.a.weight,\n      module.b.weight,"), "parameters:")
    assert shown[1:4] == ["      - module.layer1.0.conv1.weight", "      #module.a.weight,", "      - module.b.weight"]


def test_what_is_commented_out_at_the_end_of_a_mapping_stays_in_it() -> None:
    shown = lines(edited("weight': 0.625\n", "weight': 0.625\n      #'c': [1, 2] # odd\n"), "module.fc.weight")
    assert shown[:2] == ["        module.fc.weight: 0.625", "        #'c': [1, 2] # odd"]


def test_a_policy_that_is_commented_out_at_the_end_stays_among_the_policies() -> None:
    out = "\n  # - pruner:\n  #     instance_name: x\n\n# the end\n"
    assert lines(OLD + out, "- {lr_scheduler")[1:] == ["", "  # - pruner:", "  #     instance_name: x", "", "# the end"]


def test_comments_after_a_block_go_by_their_indentation() -> None:
    shown = lines(edited("weight': 0.625\n", "weight': 0.625\n      # one\n  # two\n# three\n"), "module.fc.weight")
    assert shown[1] == "        # one"
    assert shown[shown.index("  # two") :][:4] == ["  # two", "", "# three", ""]


def test_of_two_comments_beside_what_becomes_one_line_the_first_moves_above() -> None:
    old = "- pruner:\n      instance_name : low\n"
    shown = lines(edited(old, "- pruner: # why\n      instance_name : low # which\n"), "# why")
    assert shown[0] == "  # why"
    assert shown[1] == "  - {pruner: low, refresh: 16st, during: run, from: 0, until: 10, every: 2}  # which"


def test_a_comment_that_cannot_stay_in_order_moves_down() -> None:
    text = edited("initial_sparsity : 0.05", "final_sparsity: 0.50 # two").replace(
        "    final_sparsity: 0.50\n", "    initial_sparsity: 0.05 # one\n"
    )
    assert texts(convert(text)) == ["# two", "# one"]
    same(text)


def test_a_section_that_is_gone_leaves_its_comments_to_the_next() -> None:
    text = "pruners: {}  # none\n# rates\n" + LR + TAIL
    assert lines(text, "# none")[:3] == ["# none", "# rates", "lr_schedulers:"]


def test_a_hash_that_is_no_comment_stays_what_it_is() -> None:
    text = edited("module.layer1.1.conv1.weight", "'a # b', c#d, \"e # f\"")
    assert texts(convert(text)) == []
    assert load_schedule(convert(text)).pruners["low"] == load_schedule(text).pruners["low"]


def test_comments_are_found_whatever_ends_a_line() -> None:
    for end in ("\n", "\r\n", "\r"):
        source = read("a: 1 # one\n# two\nb: | # three\n  # text\nc: [1,#four\n 2]".replace("\n", end))
        assert [(mark.line, text) for mark, text in comments(source)] == [
            (1, "# one"),
            (2, "# two"),
            (3, "# three"),
            (5, "#four"),
        ]


def test_a_value_on_one_line_reads_back() -> None:
    value = {"a": ["x, y", "- z", 1e-05, True, "1e3", None, "*.weight", "2:4", "long " * 60], "": "#"}
    assert read(f"k: {to_flow(value)}").root.plain() == {"k": value}


NUMBER_OF_LINES = len(OLD.splitlines())
COMMENT = st.tuples(
    st.integers(0, NUMBER_OF_LINES - 1),
    st.none() | st.integers(0, 12),  # beside, or above with this indentation
    st.text("# :-[]{}'\"*&!|>%@a1é", max_size=12),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(COMMENT, max_size=12))
def test_no_comment_is_lost_wherever_it_stands(placed: list[tuple[int, int | None, str]]) -> None:
    old = []
    for number, line in enumerate(OLD.splitlines()):
        here = [(indent, text) for at, indent, text in placed if at == number]
        old += [" " * indent + "#" + text for indent, text in here if indent is not None]
        beside = next((text for indent, text in here if indent is None), None)
        old.append(line if beside is None else f"{line} #{beside}")
    text = "\n".join(old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        new = convert(text)
        assert texts(new) == texts(text)
        assert load_schedule(new) == load_schedule(text)
