"""Phases on the time axis, and the windows of policies on it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import phases

from schedengine.errors import ScheduleError
from schedengine.progress import Time
from schedengine.schedule.document import Phase, Policy, Schedule, Total
from schedengine.schedule.plan import Timeline, check_phases, expand, run_length

EPOCH = Time(Fraction(1))


def spans(*found: Phase) -> list[tuple[str, int, int, int]]:
    return [(span.name, span.repeat, span.start, span.stop) for span in expand(found)]


def timeline(*found: Phase, epochs: int | None = None) -> Timeline:
    return Timeline.of(Schedule(phases=found), epochs)


def moments(line: Timeline, steps_per_epoch: int | None = None, **when: Any) -> list[str]:
    occasions = line.occasions(Policy(pruner="p", **when), EPOCH)
    return [f"{moment}{' (end)' if window.is_end else ''}"
            for window in occasions.windows for moment in window.moments(steps_per_epoch)]  # fmt: skip


DENSE, CYCLE = Phase(name="dense", epochs=6), Phase(name="cycle", epochs=2, repeat=3)


# --- phases ----------------------------------------------------------------------------------------------------------


def test_phases_follow_one_another_and_repeat() -> None:
    assert spans(DENSE, CYCLE) == [("dense", 0, 0, 6), ("cycle", 0, 6, 8), ("cycle", 1, 8, 10), ("cycle", 2, 10, 12)]


def test_a_total_is_shared_and_the_last_repeat_gets_the_rest() -> None:
    lengths = [stop - start for _, _, start, stop in spans(Phase(name="cycle", epochs=Total(total=30), repeat=4))]
    assert lengths == [7, 7, 7, 9]


def test_a_group_repeats_with_all_that_it_holds() -> None:
    group = Phase(name="g", repeat=2, phases=(Phase(name="a", epochs=1), Phase(name="b", epochs=2, repeat=2)))
    assert spans(group) == [
        ("g", 0, 0, 5), ("a", 0, 0, 1), ("b", 0, 1, 3), ("b", 1, 3, 5),
        ("g", 1, 5, 10), ("a", 0, 5, 6), ("b", 0, 6, 8), ("b", 1, 8, 10),
    ]  # fmt: skip


@settings(deadline=None)
@given(phases())
def test_spans_of_the_outermost_phases_cover_the_run_without_gaps(found: tuple[Phase, ...]) -> None:
    outer = [span for span in expand(found) if span.name in {phase.name for phase in found}]
    assert [span.start for span in outer] == [0, *(span.stop for span in outer)][: len(outer)]
    assert run_length(Schedule(phases=found)) == (outer[-1].stop if outer else None)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 10))
def test_shares_of_a_total_add_up_to_it(epochs: int, repeat: int) -> None:
    phase = Phase(name="a", epochs=Total(total=max(epochs, repeat)), repeat=repeat)
    assert run_length(Schedule(phases=(phase,))) == max(epochs, repeat)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "either 'epochs' or 'phases'; 'a' has neither"), ({"epochs": 1, "phases": (DENSE,)}, "'a' has both"),
     ({"epochs": Total(total=2), "repeat": 3}, "2 epochs cannot be shared by 3 repeats"),
     ({"name": "run", "epochs": 1}, "'run' has a meaning of its own"), ({"name": "2nd", "epochs": 1},
     "no digit first")],
)  # fmt: skip
def test_a_phase_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Phase(**{"name": "a", **fields})


def test_two_phases_of_one_name_are_refused() -> None:
    (problem,) = check_phases(Schedule(phases=(DENSE, Phase(name="g", phases=(DENSE,)))))
    assert problem.message == "two phases are called 'dense'; give each its own name"


def test_absurdly_many_repeats_are_refused() -> None:
    (problem,) = check_phases(Schedule(phases=(Phase(name="a", epochs=1, repeat=10**9),)))
    assert "write fewer repeats" in problem.message


def test_the_run_is_as_long_as_its_phases() -> None:
    assert timeline(DENSE, CYCLE).epochs == 12
    assert timeline(epochs=7).epochs == 7
    with pytest.raises(ScheduleError, match="the phases last 12 epochs, and the run is to last 30; change one"):
        timeline(DENSE, CYCLE, epochs=30)


# --- at --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("cycle", ["epoch 6", "epoch 8", "epoch 10"]),
        ({"end": "cycle"}, ["epoch 8 (end)", "epoch 10 (end)", "epoch 12 (end)"]),
        ("start", ["epoch 0"]),
        ("end", ["epoch 12 (end)"]),
        ("25%", ["epoch 3"]),
        (["7st", 5], ["7 steps", "epoch 5"]),
        ([10, 5, 10], ["epoch 5", "epoch 10"]),
        (["dense", "start", 0], ["epoch 0"]),
        ([{"end": "dense"}, "cycle"], ["epoch 6 (end)", "epoch 6", "epoch 8", "epoch 10"]),
    ],
)
def test_instants_are_counted_from_the_start_of_the_run_each_once_in_order(at: Any, found: list[str]) -> None:
    assert moments(timeline(DENSE, CYCLE), at=at) == found


# --- during ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ({"during": "dense", "every": 2}, ["epoch 0", "epoch 2", "epoch 4"]),
        ({"during": "cycle", "from_": 1}, ["epoch 7", "epoch 9", "epoch 11"]),
        ({"during": ["cycle", "dense"], "until": "50%", "every": 2},
         ["epoch 0", "epoch 2", "epoch 6", "epoch 8", "epoch 10"]),
        ({"during": "run", "from_": "50%", "until": 9}, ["epoch 6", "epoch 7", "epoch 8"]),
        ({"during": "cycle", "from_": 1, "every": "3st"},
         ["epoch 7", "31 steps", "epoch 9", "39 steps", "epoch 11", "47 steps"]),
    ],
)  # fmt: skip
def test_a_window_counts_from_the_start_of_its_phase(when: dict[str, Any], found: list[str]) -> None:
    assert moments(timeline(DENSE, CYCLE), 4, **when) == found


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"during": "cycle", "from_": 2}, "the window is empty: it begins at epoch 8 and ends before epoch 8"),
        ({"during": "cycle", "until": 3}, "the window ends at epoch 9, after its phase, which ends at epoch 8"),
        ({"during": "dense", "every": 7}, r"'every' \(7\) is longer than the window, which lasts 6 epochs"),
    ],
)
def test_a_window_that_does_not_fit_its_phase_is_refused(when: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timeline(DENSE, CYCLE).occasions(Policy(pruner="p", **when), EPOCH)


def test_a_window_that_says_its_end_needs_no_length_of_the_run() -> None:
    assert moments(timeline(), during="run", from_=3, until=5) == ["epoch 3", "epoch 4"]


@pytest.mark.parametrize("when", [{"during": "run"}, {"during": "run", "until": "50%"}, {"at": "end"}, {"at": "10%"}])
def test_what_needs_the_length_of_the_run_says_so(when: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="length|end of the run"):
        timeline().occasions(Policy(pruner="p", **when), EPOCH)
