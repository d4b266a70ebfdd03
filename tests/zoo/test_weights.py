"""Files of weights: what is read, what is refused, and that nothing in them runs."""

from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from schedengine.errors import ModelError
from schedengine.zoo import inert_pickle
from schedengine.zoo.weights import load_weights, plain_name, read_state, save_weights

Recipe = collections.namedtuple("Recipe", "modules parameters")


class Foreign(dict[str, object]):  # a class of the program that wrote the file
    """Has state, items and a constructor with arguments."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self.arguments = arguments


class Payload:
    """Runs a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def net(**names: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(collections.OrderedDict(names or {"conv": nn.Conv2d(1, 2, 3), "bn": nn.BatchNorm2d(2)}))


def zeroed(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def distiller_checkpoint(model: nn.Module) -> dict[str, object]:
    foreign = Foreign(1, 2)
    foreign["items"] = {3}
    return {
        "epoch": 3,
        "optimizer_type": torch.optim.SGD,
        "thinning_recipes": [Recipe(modules={"conv": foreign}, parameters={})],
        "state_dict": collections.OrderedDict((f"module.{name}", value) for name, value in model.state_dict().items()),
    }


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_distiller_checkpoint_is_read_past_its_classes(tmp_path: Path, is_zip: bool) -> None:
    model, file = net(), tmp_path / "checkpoint.pth.tar"
    torch.save(distiller_checkpoint(model), file, _use_new_zipfile_serialization=is_zip)
    other = zeroed(net())
    load_weights(other, file)
    assert same(model, other)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_payload_does_not_run(tmp_path: Path, is_zip: bool) -> None:
    proof, file, model = tmp_path / "proof", tmp_path / "evil.pt", net()
    content = {**distiller_checkpoint(model), "evil": Payload(proof)}
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    assert read_state(file).keys() == {f"module.{name}" for name in model.state_dict()}
    assert not proof.exists()


def test_a_bare_pickle_with_a_payload_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof, file = tmp_path / "proof", tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(ModelError, match="neither safetensors nor a state dict"):
        read_state(file)
    assert not proof.exists()
    pickle.loads(file.read_bytes())  # the payload is a live one
    assert proof.exists()


def test_a_pickle_cannot_change_what_rebuilds_tensors() -> None:
    attributes = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\0\0\0evilK\x01sb."  # sets .evil = 1
    with pytest.raises(TypeError, match="invalid partial state"):
        inert_pickle.load(io.BytesIO(attributes))
    assert not hasattr(torch._utils._rebuild_tensor_v2, "evil")


def test_a_state_dict_of_torchs_is_read(tmp_path: Path) -> None:
    model, other = net(), zeroed(net())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    load_weights(other, tmp_path / "weights.pt")
    assert same(model, other)


def test_the_content_tells_the_kind_not_the_suffix(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "a.pt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "b.safetensors")
    assert read_state(tmp_path / "a.pt")["weight"].tolist() == read_state(tmp_path / "b.safetensors")["weight"].tolist()


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"save model.state_dict"):
        read_state(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04rest", b"\x09\0\0\0\0\0\0\0{damaged}"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError, match=r"file: (neither|damaged)"):
        read_state(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.pt: no such file"):
        read_state(tmp_path / "nowhere.pt")


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="entries that are not tensors: epoch"):
        read_state(tmp_path / "a.pt")


def test_wrappers_are_dropped_wherever_they_stand() -> None:
    assert plain_name("module.features.module.0._orig_mod.weight") == "features.0.weight"
    assert plain_name("modules.weight") == "modules.weight"


def test_a_wrapped_model_takes_and_gives_plain_names(tmp_path: Path) -> None:
    model, wrapped = net(), nn.DataParallel(zeroed(net()))
    save_weights(model, tmp_path / "a.safetensors", {})
    load_weights(wrapped, tmp_path / "a.safetensors")
    save_weights(wrapped, tmp_path / "b.safetensors", {})
    assert load_file(tmp_path / "b.safetensors").keys() == model.state_dict().keys()
    assert same(model, wrapped)


def test_names_that_only_wrappers_tell_apart_are_ambiguous(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(1), "module.fc.weight": torch.ones(1)}, tmp_path / "a")
    with pytest.raises(ModelError, match=r"two names read as 'fc.weight'"):
        load_weights(net(), tmp_path / "a")


def test_an_exact_match_comes_before_dropping_wrappers(tmp_path: Path) -> None:
    model = net(weight=nn.Linear(1, 1), module=net(weight=nn.Linear(1, 1)))
    torch.save(model.state_dict(), tmp_path / "a")
    load_weights(model, tmp_path / "a")


def test_differences_are_listed_with_the_nearest_names_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.ones(2, 1, 3, 3), "bn.weight": torch.ones(3), "conv.bias": torch.ones(2)}
    save_file(state, tmp_path / "a")
    model = zeroed(net())
    with pytest.raises(ModelError) as caught:
        load_weights(model, tmp_path / "a")
    text = str(caught.value)
    assert "conv.weight (nearest on the other side: conv1.weight)" in text
    assert "bn.weight: 3 in the file, 2 here" in text
    assert not any(parameter.any() for parameter in model.parameters())


def test_at_most_five_names_are_listed(tmp_path: Path) -> None:
    save_file({f"extra{number}": torch.ones(1) for number in range(9)}, tmp_path / "a")
    with pytest.raises(ModelError, match=r"not in the model:(\n    extra.*){5}\n    and 4 more"):
        load_weights(net(), tmp_path / "a")


def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    model = net()
    state = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "a")
    load_weights(net(), tmp_path / "a")


def test_tied_weights_are_written_once_and_read_by_any_name(tmp_path: Path) -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    model = net(a=one, b=two)
    save_weights(model, tmp_path / "a", {})
    assert load_file(tmp_path / "a").keys() == {"a.weight", "a.bias", "b.bias"}
    save_file({"b.weight": torch.ones(2, 2), "a.bias": torch.ones(2), "b.bias": torch.ones(2)}, tmp_path / "b")
    load_weights(model, tmp_path / "b")
    assert one.weight.tolist() == [[1, 1], [1, 1]]


def test_metadata_stands_in_the_header(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_weights(net(), tmp_path / "new" / "a.safetensors", {"top1": "99.1"})
    with safe_open(tmp_path / "new" / "a.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "top1": "99.1"}


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_weights(net(), file, {})
    before = file.read_bytes()
    with pytest.raises(TypeError):
        save_weights(zeroed(net()), file, {"top1": 99.1})  # type: ignore[dict-item]
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_saved_weights_may_be_read_by_whom_other_files_may(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors", {})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
