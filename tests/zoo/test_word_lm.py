"""The language model."""

from __future__ import annotations

import pytest
import torch

from schedengine.errors import ModelError
from schedengine.zoo.models import build_model
from schedengine.zoo.word_lm import word_lm


def test_names_are_those_of_distillers_schedules_and_the_sizes_of_its_replays() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("word_lm").named_parameters()}
    rnn = {f"rnn.weight_{side}_l{layer}": (256, 64) for side in ("ih", "hh") for layer in (0, 1)}
    expected = {"encoder.weight": (200, 64), "decoder.weight": (200, 64), **rnn}
    assert {name: shape for name, shape in shapes.items() if "bias" not in name} == expected
    assert sum(one.numel() for one in build_model("word_lm").parameters()) == 92_360  # 2 x 12,800 + 66,560 + 200


def test_a_model_of_pytorchs_example_has_the_sizes_that_its_schedules_are_for() -> None:
    with torch.device("meta"):
        model = word_lm(vocabulary=33_278, embedding=1500, hidden=1500, dropout=0.65, tied=True)
    # the embedding once, four weights of 6000 x 1500 and four biases of 6000, a bias a word
    assert sum(one.numel() for one in model.parameters()) == 33_278 * 1500 + 4 * 9_000_000 + 4 * 6000 + 33_278
    assert model.decoder.weight is model.encoder.weight


def test_words_that_come_in_two_parts_are_scored_as_in_one() -> None:
    model = build_model("word_lm", classes=11).eval()
    words = torch.randint(11, (7, 3), generator=torch.Generator().manual_seed(0))
    whole, _ = model(words)
    first, state = model(words[:4])
    second, _ = model(words[4:], state)
    assert whole.shape == (7, 3, 11) and torch.allclose(whole, torch.cat([first, second]), atol=1e-6)


def test_a_few_steps_learn_a_text_of_one_word() -> None:
    torch.manual_seed(0)
    model = word_lm(vocabulary=5, embedding=8, hidden=8, dropout=0.0)
    words, optimizer = torch.full((6, 2), 3), torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(words)[0].flatten(0, 1), words.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_tied_weights_need_one_width() -> None:
    with pytest.raises(ModelError, match="hidden=32, embedding=64: tied weights need the same width"):
        word_lm(hidden=32, tied=True)


def test_it_is_not_for_images() -> None:
    with pytest.raises(ModelError, match="word_lm takes words, not images: train.*a loop of your own can train"):
        build_model("word_lm", classes=10, channels=3)
