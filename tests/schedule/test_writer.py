"""What is written reads back to the same schedule, and is short."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import members, schedules

from schedengine.errors import ScheduleWarning
from schedengine.lr import LR_SCHEDULES
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import dump, load_schedule

SHORT = """\
version: 2
phases:
- {name: dense, epochs: 60}
- name: cycle
  epochs: {total: 30}
  repeat: 4
pruners:
  imp:
    criterion: {magnitude: l2}
    granularity:
      block: [4, 1]
    sparsity: {ramp: cubic, to: 0.9}
  level:
    allocation: {layer1.*: 0.5, '*': 0.25}
    sparsity: constant
  limit:
    threshold: {std: 0.5}
policies:
- {pruner: imp, at: cycle}
- pruner: level
  at: {end: cycle}
- pruner: limit
  at: [start, 3, 10%]
"""


def reload(schedule: Schedule) -> Schedule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)  # of instances that no policy uses
        return load_schedule(dump(schedule))


def test_a_dump_has_what_differs_from_the_defaults_in_the_shortest_form() -> None:
    assert dump(load_schedule(SHORT)) == SHORT


def test_a_schedule_without_policies_is_written_with_an_empty_list() -> None:
    assert dump(Schedule()) == "version: 2\npolicies: []\n"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedules())
def test_every_schedule_survives_its_own_dump(schedule: Schedule) -> None:
    assert reload(schedule) == schedule


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_learning_rate_survives_its_own_dump(name: str, data: st.DataObject) -> None:
    kept = {"a": data.draw(members(LR_SCHEDULES, name))}
    assert reload(Schedule(lr_schedulers=kept)).lr_schedulers == kept
