"""Time: parsing, windows, and counting instants."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import times

from schedengine.errors import ScheduleError
from schedengine.progress import Moment, Occasions, Progress, Time, Window


def epochs(start: float, stop: float, every: float | None = 1, *, is_end: bool = False) -> Window:
    step = None if every is None else Moment(Fraction(every))
    return Window(Moment(Fraction(start)), Moment(Fraction(stop)), step, is_end)


def steps(start: int, stop: int, every: int) -> Window:
    return Window(Moment(steps=start), Moment(steps=stop), Moment(steps=every))


def active(window: Window, many: int = 12) -> list[int]:
    return [epoch for epoch in range(many) if window.index(Progress(epoch)) is not None]


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [(3, 3, "ep"), (0, 0, "ep"), (2.5, "5/2", "ep"), ("2.5ep", "5/2", "ep"), ("1200st", 1200, "st"), ("10%", 10, "%"),
     (" 3 st ", 3, "st"), (".5ep", "1/2", "ep"), (0.1, "1/10", "ep"), (1e-3, "1/1000", "ep")],
)  # fmt: skip
def test_a_time_is_epochs_steps_or_a_share(written: object, amount: int | str, unit: str) -> None:
    assert Time.parse(written) == Time(Fraction(amount), unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", ["3", "3 steps", "-1ep", "", "1e3st", -1, float("nan"), float("inf"), None, True, [3]]
)
def test_what_is_no_time_is_refused_with_the_three_forms(wrong: object) -> None:
    with pytest.raises(
        ValueError, match='write epochs as 3 or "2.5ep", steps as "1200st", a share of the phase as "10%"'
    ):
        Time.parse(wrong)


def test_half_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="a step is not divisible"):
        Time.parse("2.5st")


@settings(deadline=None)
@given(times())
def test_a_time_reads_back_from_its_plain_form(time: Time) -> None:
    assert Time.parse(time.plain()) == time


def test_a_time_keeps_all_its_digits() -> None:
    assert Time.parse("0.12345678901234567890123ep").plain() == "0.12345678901234567890123ep"


def test_a_share_is_of_the_phase_and_counts_from_its_start() -> None:
    phase = Moment(Fraction(40))
    assert Time.parse("10%").after(Moment(Fraction(60)), phase) == Moment(Fraction(64))
    assert Time.parse("7st").after(Moment(Fraction(60)), phase) == Moment(Fraction(60), 7)


def test_a_moment_reads_as_epochs_and_steps() -> None:
    assert str(Moment(Fraction(5, 2), 3)) == "epoch 2.5 + 3 steps"
    assert str(Moment(steps=3)) == "3 steps"
    assert str(Moment()) == "epoch 0"


def test_half_a_step_of_a_moment_rounds_up() -> None:
    assert Moment(Fraction(1, 2)).step(5) == 3


# --- windows of epochs -----------------------------------------------------------------------------------------------


def test_starting_epoch_is_inclusive_and_ending_epoch_exclusive() -> None:
    assert active(epochs(2, 5)) == [2, 3, 4]


def test_a_frequency_counts_from_the_start_of_the_window() -> None:
    assert active(epochs(1, 10, 3)) == [1, 4, 7]


def test_an_end_before_the_start_leaves_nothing() -> None:
    assert active(epochs(5, 3)) == [] and epochs(5, 3).count() == 0


def test_a_window_of_epochs_ignores_steps() -> None:
    assert epochs(2, 5).index(Progress(2, 0, 10)) is None


def test_a_window_without_a_frequency_is_one_instant() -> None:
    assert active(epochs(4, 4, None)) == [4] and epochs(4, 4, None).count() == 1


def test_an_end_belongs_to_the_epoch_before() -> None:
    end = epochs(4, 4, None, is_end=True)
    assert end.index_at_end(Progress(3)) == 0
    assert end.index_at_end(Progress(4)) is None and end.index(Progress(4)) is None


# --- windows of steps ------------------------------------------------------------------------------------------------


def test_a_window_of_steps_acts_within_epochs() -> None:
    window = steps(3, 12, 4)  # 3, 7, 11
    hits = [
        (epoch, step) for epoch in range(3) for step in range(5) if window.index(Progress(epoch, step, 5)) is not None
    ]
    assert hits == [(0, 3), (1, 2), (2, 1)]


def test_epochs_divided_by_steps_act_on_steps() -> None:
    window = Window(Moment(Fraction(1)), Moment(Fraction(3)), Moment(steps=2))
    assert window.count(3) == 3  # steps 3, 5, 7 of the 6 in [3, 9)
    assert window.index(Progress(1, 2, 3)) == 1


def test_a_window_of_steps_needs_the_steps_per_epoch() -> None:
    with pytest.raises(ScheduleError, match=r"pass steps_per_epoch to bind\(\)"):
        Window(Moment(), Moment(Fraction(3)), Moment(steps=2)).count()


def test_a_window_contains_its_start_and_not_its_stop() -> None:
    window = epochs(2, 4)
    assert [window.contains(Progress(epoch)) for epoch in range(1, 5)] == [False, True, True, False]
    assert window.contains(Progress(3, 9, 10)) and not window.contains(Progress(4, 0, 10))


def test_the_share_of_a_window_grows_with_the_steps() -> None:
    window = epochs(2, 4)
    assert [window.share(Progress(2, 0, 5)), window.share(Progress(3, 0, 5)), window.share(Progress(3, 4, 5))] == [
        0,
        0.5,
        0.9,
    ]


# --- properties ------------------------------------------------------------------------------------------------------

PER_EPOCH = st.integers(1, 12)
lengths = st.builds(Moment, st.fractions(0, 6, max_denominator=4), st.integers(0, 20))
windows = st.builds(Window, lengths, lengths, lengths.filter(lambda every: every != Moment()))


def every_progress(steps_per_epoch: int) -> list[Progress]:
    return [Progress(epoch, step, steps_per_epoch) for epoch in range(40) for step in (None, *range(steps_per_epoch))]


@settings(deadline=None)
@given(windows, PER_EPOCH)
def test_index_agrees_with_the_list_of_moments(window: Window, per_epoch: int) -> None:
    hits = [progress for progress in every_progress(per_epoch) if window.index(progress) is not None]
    assert [window.index(progress) for progress in hits] == list(range(window.count(per_epoch)))
    listed = [moment.step(per_epoch) for moment in window.moments(per_epoch)]
    assert [progress.moment.step(per_epoch) for progress in hits] == listed


@settings(deadline=None)
@given(windows, PER_EPOCH)
def test_reached_counts_the_instants_up_to_now(window: Window, per_epoch: int) -> None:
    seen = 0
    for progress in every_progress(per_epoch):
        seen += window.index(progress) is not None
        if window.is_epochs == (progress.step is None):
            assert window.reached(progress) == seen


# --- many windows ----------------------------------------------------------------------------------------------------


def test_instants_are_counted_through_all_windows() -> None:
    occasions = Occasions.merge([Occasions((epochs(6, 9),)), Occasions((epochs(0, 4, 2),))])
    found = [occasions.at(Progress(epoch)) for epoch in range(10)]
    assert [(one.number, one.count) for one in found if one] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert [epoch for epoch, one in enumerate(found) if one] == [0, 2, 6, 7, 8]
    assert [occasions.reached(Progress(epoch)) for epoch in (0, 1, 2, 5, 6, 20)] == [1, 1, 2, 2, 3, 5]


def test_the_end_of_a_phase_counts_before_the_start_of_the_next() -> None:
    start, end = epochs(5, 5, None), epochs(5, 5, None, is_end=True)
    occasions = Occasions.merge([Occasions((start,)), Occasions((end,))])
    at_end, at_start = occasions.at_end(Progress(4)), occasions.at(Progress(5))
    assert at_end and at_start and (at_end.number, at_start.number) == (1, 2)


def test_the_window_around_an_epoch_is_found() -> None:
    occasions = Occasions((epochs(0, 2), epochs(5, 7)))
    assert occasions.containing(Progress(6)) == epochs(5, 7)
    assert occasions.containing(Progress(3)) is None


def test_a_step_does_not_go_through_all_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    occasions = Occasions.of(epochs(10 * number, 10 * number + 10) for number in range(100))
    assert occasions.at(Progress(505, None, 4)) is not None
    asked: list[Window] = []
    for method in ("index", "count", "contains"):
        original = getattr(Window, method)
        monkeypatch.setattr(Window, method, lambda self, *rest, call=original: asked.append(self) or call(self, *rest))
    for step in range(4):
        occasions.at(Progress(505, step, 4))
        occasions.containing(Progress(505, step, 4))
    assert len(asked) <= 4 * 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_an_occasion_is_the_first_window_that_has_an_instant_there(drawn: list[tuple[int, int, bool, bool]]) -> None:
    windows = [
        steps(3 * start + 1, 3 * start + 4 * length, 2) if in_steps else epochs(start, start, None, is_end=is_end)
        for start, length, in_steps, is_end in drawn
    ]
    occasions = Occasions.of(windows)
    for epoch, step in [(epoch, step) for epoch in range(15) for step in (None, 0, 1, 2)]:
        progress = Progress(epoch, step, 3)
        found = [window for window in occasions.windows if window.index(progress) is not None]
        occasion = occasions.at(progress)
        assert (occasion and occasion.window) == (found[0] if found else None)


def test_the_latest_instant_is_the_last_one_that_has_come() -> None:
    window = Window(Moment(Fraction(1)), Moment(Fraction(3)), Moment(steps=3))  # steps 10, 13, 16, ...
    assert window.latest(Progress(0, 9, 10)) is None
    assert window.latest(Progress(1, 5, 10)) == Progress(1, 3, 10)
    assert window.latest(Progress(9, 0, 10)) == Progress(2, 8, 10)
