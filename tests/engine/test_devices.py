"""Other devices and dtypes: with fake tensors where there is no GPU, for real where there is one."""

from __future__ import annotations

import pytest
import torch
from loops import one_pruner, small_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from schedengine.masks import Applied, MaskStore
from schedengine.selection import ParameterTable


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["zero", "hidden", "dense", "forward"])
def test_masks_live_where_the_weights_live(mode: str, dtype: torch.dtype) -> None:
    with FakeTensorMode():
        layer = nn.Linear(4, 3, device="cuda", dtype=dtype)
        masks = MaskStore(ParameterTable(layer))
        masks.set_("p", "weight", torch.ones(3, 4, dtype=torch.bool, device="cuda"), Applied(mode))  # type: ignore[arg-type]
        masks.apply_()
        masks.before_forward_()
        layer.weight.grad = torch.ones_like(layer.weight)
        masks.before_update_()
        masks.after_update_()
        forms = [form for groups in (masks._groups or {}).values() for group in groups for form in group.masks]
        assert forms and {(form.device.type, form.dtype) for form in forms} == {("cuda", dtype)}
        assert masks.weight("weight").device.type == "cuda"


def test_loaded_masks_move_to_the_weights() -> None:
    on_cpu = MaskStore(ParameterTable(nn.Linear(4, 3)))
    on_cpu.set_("p", "weight", torch.ones(3, 4, dtype=torch.bool), Applied("dense"))
    state = on_cpu.state_dict()
    with FakeTensorMode(allow_non_fake_inputs=True):
        masks = MaskStore(ParameterTable(nn.Linear(4, 3, device="cuda", dtype=torch.bfloat16)))
        masks.load_state_dict(state)
        mask = masks.mask("weight")
        assert mask is not None and mask.device.type == "cuda" and mask.dtype == torch.bool
        assert masks.weight("weight").dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.parametrize("pruned", ["zero", "hidden", "dense"])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_a_gpu_cuts_and_holds_what_the_cpu_does(pruned: str, criterion: str) -> None:
    def masks(device: str) -> dict[str, Tensor]:
        model = small_model().to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        axes = {"sparsity": 0.7, "pruned": pruned, "criterion": criterion}
        scheduler = one_pruner(axes, {"at": "start"}).bind(model, optimizer, epochs=1)
        scheduler.on_epoch_begin(0)
        for step in range(3):
            scheduler.on_minibatch_begin(0, step, 3)
            loss = scheduler.before_backward_pass(0, step, 3, model(torch.ones(4, 2, 6, 6, device=device)).sum())
            optimizer.zero_grad()
            loss.backward()
            scheduler.before_parameter_optimization(0, step, 3)
            optimizer.step()
            scheduler.on_minibatch_end(0, step, 3)
        scheduler.on_epoch_end(0)
        found = {name: scheduler.masks.mask(name) for name in scheduler.masks.names}
        return {name: mask.cpu() for name, mask in found.items() if mask is not None}

    here, there = masks("cpu"), masks("cuda")
    assert all(here[name].equal(there[name]) for name in here)
