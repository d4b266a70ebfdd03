"""Names that torchvision has given up."""

from __future__ import annotations

import pytest
from torch import nn

from schedengine.selection import ParameterTable, Selector
from schedengine.zoo.models import build_model
from schedengine.zoo.old_names import present_name


@pytest.fixture(scope="module")
def table() -> ParameterTable:
    return ParameterTable(build_model("maskrcnn_resnet50_fpn", meta=True))


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("backbone.fpn.inner_blocks.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
        ("module.backbone.fpn.layer_blocks.3.bias", "backbone.fpn.layer_blocks.3.0.bias"),
        ("module.rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("roi_heads.mask_head.mask_fcn1.weight", "roi_heads.mask_head.0.0.weight"),
        ("roi_heads.mask_head.mask_fcn4.bias", "roi_heads.mask_head.3.0.bias"),
        ("rpn.head.cls_logits.weight", "rpn.head.cls_logits.weight"),
    ],
)
def test_a_parameter_of_mask_rcnn_answers_to_its_old_name(table: ParameterTable, old: str, present: str) -> None:
    assert table.find(old) == present and table.find(present) == present


@pytest.mark.parametrize("name", ["fc.weight", "rpn.head.conv.0.0.weight", "xfpn.inner_blocks.0.weight", "mask_fcn1"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert present_name(name) == name


def test_a_model_that_has_the_old_name_keeps_it() -> None:
    model = nn.ModuleDict({"rpn": nn.ModuleDict({"head": nn.ModuleDict({"conv": nn.Linear(1, 1)})})})
    assert ParameterTable(model).find("rpn.head.conv.weight") == "rpn.head.conv.weight"


def test_a_name_that_never_was_is_still_unknown(table: ParameterTable) -> None:
    assert table.find("roi_heads.mask_head.mask_fcn5.weight") is None


def test_a_schedules_list_may_mix_old_and_present_names(table: ParameterTable) -> None:
    written = ["module.rpn.head.conv.weight", "backbone.body.conv1.weight"]
    assert Selector.parse(written).pick(table) == ["rpn.head.conv.0.0.weight", "backbone.body.conv1.weight"]
