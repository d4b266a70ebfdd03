from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from export.networks import Auxiliary, FixedView, Gated, Preactivated, UNet, images, lively, zero_filters
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adafactor, Adam, Optimizer

from schedengine.errors import EffectError
from schedengine.export.apply import apply_, compare, shrink_
from schedengine.export.forward import private_copy, run
from schedengine.export.thin import Thinning, plan, settle_
from schedengine.zoo.models import build_model

SIZES = {"digits_cnn": 8, "squeezenet1_1": 64, "alexnet": 64, "simplenet_mnist": 28}
GREY = ("digits_cnn", "simplenet_mnist")


def zoo(name: str) -> tuple[nn.Module, Tensor]:
    """A network after some training, its classifier at most 64 wide, and images."""
    torch.manual_seed(0)
    model = build_model(name, classes=10, meta=True)
    classifier = getattr(model, "classifier", None)
    for number, layer in enumerate(classifier if isinstance(classifier, nn.Sequential) else []):
        if isinstance(layer, nn.Linear) and layer.out_features > 64:
            classifier[number] = nn.Linear(layer.in_features if layer.in_features != 4096 else 64, 64)
        elif isinstance(layer, nn.Linear) and layer.in_features == 4096:
            classifier[number] = nn.Linear(64, 10)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return lively(model).eval(), images(SIZES.get(name, 32), channels=1 if name in GREY else 3)


def thinned(model: nn.Module, example: Tensor, what: str = "filters") -> tuple[nn.Module, nn.Module, Thinning]:
    """The masked network, settled, the thinned one, and the plan."""
    found = plan(model, example, what=what)  # type: ignore[arg-type]
    masked = copy.deepcopy(model)
    settle_(masked, found)
    apply_(model, found, example)
    return masked, model, found


@pytest.mark.parametrize(
    "name",
    [
        "digits_cnn", "resnet20_cifar", "resnet18", "resnet50", "mobilenet_v2", "densenet121", "efficientnet_b0",
        "vgg16_bn", "alexnet", "squeezenet1_1", "shufflenet_v2_x0_5", "plain20_cifar", "preact_resnet20_cifar",
        "vgg11_cifar", "simplenet_cifar", "simplenet_mnist", "mobilenet_025", "preact_resnet18",
    ],
)  # fmt: skip
def test_a_thinned_network_computes_what_the_masked_one_does(name: str) -> None:
    model, example = zoo(name)
    dense = sum(parameter.numel() for parameter in model.parameters())
    assert zero_filters(model, example) > 20
    found = plan(model, example, what="filters")
    model, example = model.double(), example.double()
    settle_(masked := copy.deepcopy(model), found)
    verified = apply_(model, found, example)
    assert found.parameters == (dense, sum(parameter.numel() for parameter in model.parameters()))
    assert found.parameters[1] < 0.75 * dense and verified.tolerance == 1e-9
    wanted, got = run(masked, example)[0].detach(), run(model, example)[0].detach()
    assert wanted.abs().max() > 1e-3 and float((got - wanted).abs().max()) <= 1e-9 * float(wanted.abs().max())


def chain1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.PReLU(8), nn.Conv1d(8, 4, 3), nn.Flatten(), nn.Linear(48, 2)
    )


def chain3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.SiLU(), nn.ConvTranspose3d(8, 6, 2), nn.Conv3d(6, 2, 1)
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12, bias=False), nn.ReLU(), nn.Linear(12, 3))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (chain1d, (2, 3, 16)),
        (chain3d, (2, 3, 6, 6, 6)),
        (perceptron, (4, 5)),
        (perceptron, (4, 7, 5)),
        (UNet, (1, 3, 8, 8)),
    ],
)
def test_other_dimensions_and_networks(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, example = lively(make()).double().eval(), torch.rand(shape, dtype=torch.float64)
    zero_filters(model, example)
    masked, smaller, found = thinned(model, example, "all")
    assert found.parameters[1] < 0.7 * found.parameters[0]
    assert torch.allclose(run(smaller, example)[0], run(masked, example)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("make", [UNet, Gated, Preactivated])
def test_whatever_is_zero(make: Callable[[], nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    model = lively(make()).double()
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            rows, columns = (torch.rand(size) < 0.15 for size in layer.weight.shape[:2])
            layer.weight.data[rows] = 0
            layer.weight.data[:, columns] = 0
            layer.weight.data[torch.rand(layer.weight.shape[:2]) < 0.2] = 0
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.data[torch.rand(layer.num_features) < 0.2] = 0
    verified = apply_(model, found := plan(model, images().double()), images().double())
    assert verified and not plan(model, images().double()) and found.parameters[1] <= found.parameters[0]


def test_attributes_say_the_new_sizes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1))
    model[0].weight.data[[0, 4]] = 0
    _, smaller, _ = thinned(model, images())
    assert (smaller[0].out_channels, smaller[2].num_features, smaller[3].in_channels) == (4, 4, 4)
    assert (smaller[1].in_channels, smaller[1].out_channels, smaller[1].groups) == (4, 4, 4)
    assert smaller[2].running_var.shape == (4,) and "running_var" in smaller[2].state_dict()


def test_two_thinnings_compose() -> None:
    torch.manual_seed(0)
    model, example = lively(UNet()).double().eval(), images().double()
    for share in (0.3, 0.4):
        zero_filters(model, example, share)
        masked, model, found = thinned(model, example)
        assert found.parameters[1] < found.parameters[0]
        assert torch.allclose(run(model, example)[0], run(masked, example)[0], rtol=0, atol=1e-12)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))


def step(model: nn.Module, optimizer: Optimizer) -> Tensor:
    loss = model(images()).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, 0.01)])
def test_training_goes_on_as_the_masked_network_would(make: Callable[..., Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters())
    step(model, optimizer)
    for value, entries in optimizer.state.items():
        if value is model[0].weight:
            [entry[:2].zero_() for entry in entries.values() if entry.shape == value.shape]
    model[0].weight.data[:2] = 0
    settle_(model, found := plan(model, images(), what="filters"))
    masked, other = copy.deepcopy((model, optimizer))
    other.param_groups[0]["params"] = list(masked.parameters())
    objects = list(map(id, model.parameters()))
    apply_(model, found, images(), optimizer)
    step(model, optimizer)
    step(masked, other)
    assert list(map(id, model.parameters())) == objects
    assert torch.allclose(model[0].weight, masked[0].weight[2:], atol=1e-6)
    for key, value in optimizer.state[model[3].weight].items():
        wanted = other.state[masked[3].weight][key]
        assert torch.allclose(value, wanted[:, 2:] if wanted.dim() else wanted, atol=1e-6), key


def test_a_loss_that_is_still_alive_does_not_hinder() -> None:
    model = small()
    optimizer = SGD(model.parameters(), 0.1)
    kept = step(model, optimizer)
    model[0].weight.data[:2] = 0
    apply_(model, plan(model, images()), images(), optimizer)
    step(model, optimizer)
    assert kept.grad_fn is not None and model[0].weight.grad.shape == (4, 3, 1, 1)


def test_gradients_are_sliced() -> None:
    model = small()
    step(model, SGD(model.parameters(), 0.1))
    model[0].weight.data[:2] = 0
    before = model[3].weight.grad.clone()
    apply_(model, plan(model, images()), images())
    assert torch.equal(model[3].weight.grad, before[:, 2:])


@pytest.mark.parametrize("make", [lambda p: Adafactor(p), lambda p: LBFGS(p)])
def test_an_optimizer_whose_state_has_other_shapes_is_refused(make: Callable[..., Optimizer]) -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 2))
    optimizer = make(model.parameters())
    loss = model(images()).square().mean()
    loss.backward()
    optimizer.step(lambda: loss.detach())
    model[0].weight.data[:2] = 0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(EffectError, match=f"{type(optimizer).__name__} keeps .* cannot be thinned"):
        apply_(model, plan(model, images()), images(), optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_not_run_leaves_the_model_whole() -> None:
    model = FixedView()
    model.conv.weight.data[1] = 0
    with pytest.raises(EffectError, match="does not run in evaluation mode: shape .* is invalid"):
        apply_(model, plan(model, images()), images())
    assert model.conv.weight.shape[0] == model.conv.out_channels == 8


def test_a_head_that_only_training_uses_must_fit() -> None:
    model = Auxiliary().eval()
    model.conv.weight.data[1] = 0
    with pytest.raises(EffectError, match="does not run in training mode"):
        apply_(model, plan(model, images()), images())


def test_outputs_that_differ_are_an_error_with_the_numbers() -> None:
    model = small()
    model[0].weight.data[:2] = 0
    found = plan(model, images())
    masked, smaller = private_copy(model), private_copy(model)
    shrink_(smaller, found)
    smaller[3].bias.data += 1  # type: ignore[union-attr, operator]
    with pytest.raises(EffectError, match=r"outputs differ by .* and they may by"):
        compare(masked, smaller, images())


def test_settling_is_reported() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.data[1] = 0
    model[0].bias.data[1], model[1].weight.data[0, 1] = 0.5, 3.0
    assert apply_(model, plan(model, torch.rand(3, 2)), torch.rand(3, 2)).settling == pytest.approx(1.5)


def test_a_plan_is_for_the_model_it_was_made_of() -> None:
    model = small()
    model[0].weight.data[:2] = 0
    found = plan(model, images())
    apply_(model, found, images())
    with pytest.raises(EffectError, match=r"0.weight: planned for shape \(6, 3, 1, 1\), found \(4, 3, 1, 1\)"):
        apply_(model, found, images())


def test_modes_and_random_numbers_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.Dropout(), nn.Linear(6, 2)).train()
    model[0].weight.data[:2] = 0
    generator = torch.get_rng_state()
    apply_(model, plan(model, torch.rand(2, 3, generator=torch.Generator())), torch.zeros(2, 3))
    assert model.training and torch.equal(torch.get_rng_state(), generator)
