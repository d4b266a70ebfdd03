"""Parameters by the stages of their network."""

from __future__ import annotations

from schedengine.reports.stages import common_prefix, short_names, stages


def test_a_stage_too_large_is_split_evenly() -> None:
    names = [f"layer3.{number}.weight" for number in range(19)]
    assert [len(part) for part in stages([*names, "fc.weight"], 12)] == [10, 10]


def test_every_parameter_is_there_once_and_in_order() -> None:
    names = [f"features.{number}.{part}" for number in range(20) for part in ("conv.weight", "pw.weight")]
    parts = stages(names, 12)
    assert [name for part in parts for name in part] == names and max(map(len, parts)) <= 12


def test_a_single_name_is_kept_whole() -> None:
    assert (common_prefix(["a.b.weight"]), short_names(["a.b.weight"])) == ("", ["a.b"])


def test_only_whole_components_are_dropped() -> None:
    assert short_names(["net.conv1.weight", "net.conv2.bias"]) == ["conv1.weight", "conv2.bias"]
