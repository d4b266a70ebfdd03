"""A language model over words: two layers of LSTM, with the parameter names of PyTorch's example.

Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", 2014, arXiv 1409.2329. ``tied`` makes one
weight of the embedding and of the layer that scores the words, after Press and Wolf, 2016, arXiv 1608.05859.
"""

from __future__ import annotations

from torch import Tensor, nn

from schedengine.errors import ModelError

State = tuple[Tensor, Tensor]
_LAYERS = 2


class WordLanguageModel(nn.Module):
    """Scores of the next word, after each word of a text.

    Args:
        vocabulary: how many words there are.
        embedding: width of a word's vector.
        hidden: width of each LSTM layer.
        dropout: share of the values that is dropped before, between and after the layers, [0, 1).
        tied: whether ``decoder.weight`` is ``encoder.weight``; then ``hidden`` is ``embedding``.

    Raises:
        ModelError: tied weights of two widths.
    """

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, dropout: float = 0.5, *, tied: bool = False
    ) -> None:
        super().__init__()
        if tied and hidden != embedding:
            raise ModelError(f"word_lm: hidden={hidden}, embedding={embedding}: tied weights need the same width")
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocabulary, embedding)
        self.rnn = nn.LSTM(embedding, hidden, _LAYERS, dropout=dropout)
        self.decoder = nn.Linear(hidden, vocabulary)
        if tied:
            self.decoder.weight = self.encoder.weight
        for weight in (self.encoder.weight, self.decoder.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, words: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Follow texts for some words.

        Args:
            words: (length, texts), whole numbers below ``vocabulary``.
            state: what the words before left behind, (2, texts, hidden) twice; None at the beginning of the texts.
                Detach it between batches, unless gradients should reach into the one before.

        Returns:
            The scores, (length, texts, vocabulary), and the state after the last word.
        """
        out, state = self.rnn(self.drop(self.encoder(words)), state)
        return self.decoder(self.drop(out)), state


def word_lm(
    vocabulary: int = 200, embedding: int = 64, hidden: int = 64, dropout: float = 0.5, tied: bool = False
) -> WordLanguageModel:
    """A small language model, to try schedules on: 92,360 parameters.

    PyTorch's example with the sizes of Distiller's schedules has 33,278 words (WikiText-2), 1,500 wide, tied.
    """
    return WordLanguageModel(vocabulary, embedding, hidden, dropout, tied=tied)
