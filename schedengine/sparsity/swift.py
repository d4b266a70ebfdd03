"""Which single weights stay, chosen anew at every step: exactly, and without waiting for the device.

The same order as ``selection.select``: score, then parameter, then position. ``select`` reads its counts on the CPU and
stops early; here every number stays a tensor on the device, so that the host is ahead of a GPU the whole time, and the
number of operations does not depend on the number of parameters. For that the scores are held in one flat buffer.

A threshold of the last step cannot be a start: whether it still lies in the same bucket is known to the device only,
so the full count would have to be launched all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from schedengine.errors import SchedEngineError

_CHUNK = 1 << 16  # weights on a CPU: a few temporaries of a quarter of a megabyte each stay in the cache
_GLOBAL_WIDTH = 16  # bits of a key that one pass tells apart
_LAYER_WIDTH = 12  # of every layer by itself: a table of 65,536 for each would be larger than the network


@dataclass(frozen=True)
class _Scratch:
    """Flat buffers over all parameters, seen in several ways; ``values`` and ``keys`` share their memory."""

    shapes: tuple[torch.Size, ...]
    values: tuple[Tensor, ...]  # by chunks
    keys: tuple[Tensor, ...]
    stay: tuple[Tensor, ...]
    all_keys: Tensor
    layer_values: list[Tensor]  # by parameters, of their shapes
    layer_keys: list[Tensor]
    layer_stay: list[Tensor]


class Swift:
    """Chooses the weights that stay, as often as at every step.

    A float's bit pattern, made an integer in the order of the floats, is counted by its high bits, then the bucket that
    the threshold lies in by the next, until all bits of the threshold are known; ties go by position.

    Args:
        sizes: weights of each parameter, 1 or more.
        device: where scores and masks are; where it computes.
        by_layer: every parameter has a count of its own; else one order over all of them.

    Example:
        >>> swift = Swift([3, 2], "cpu", by_layer=False)
        >>> swift.stays([torch.tensor([0.3, 0.1, 0.9]), torch.tensor([0.2, 0.8])], 3, min_keep=0)
        [tensor([False, False,  True]), tensor([False,  True])]
        >>> swift.check_()
    """

    def __init__(self, sizes: Sequence[int], device: torch.device | str, *, by_layer: bool) -> None:
        self.sizes = tuple(sizes)
        self.device = torch.device(device)
        self.by_layer = by_layer
        self._total = sum(self.sizes)
        self._segments = len(self.sizes) if by_layer else 1
        self._width = _LAYER_WIDTH if by_layer else _GLOBAL_WIDTH
        self._chunk = min(_CHUNK, self._total) if self.device.type == "cpu" else self._total
        self._count_dtype = torch.int32 if self._total < 1 << 31 else torch.int64
        self._scratch: _Scratch | None = None
        self._places: tuple[tuple[Tensor, ...], list[Tensor]] | None = None
        self._spans: list[tuple[slice, Tensor]] = []
        self._asked: tuple[tuple[int, ...], Tensor] | None = None
        self._is_bad = torch.zeros((), dtype=torch.bool, device=self.device)
        self._was_bad = torch.zeros_like(self._is_bad)

    @torch.no_grad()
    def stays(self, scores: Sequence[Tensor], gone: Sequence[int] | int, *, min_keep: int) -> list[Tensor]:
        """Remove the ``gone`` weights that come first.

        Args:
            scores: of each parameter, of any shape with its size, any real floating dtype; low goes first.
            gone: how many go in all; of each parameter, where ``by_layer``. A list that differs from the last call's is
                copied to the device, for which a GPU waits.
            min_keep: 0, or 1: the last weight in the order of each parameter stays; others fill the count instead.

        Returns:
            True where a weight stays, of each score's shape; views of a buffer that the next call overwrites. Where a
            score is not finite, all stay: ``check_`` tells.
        """
        if min_keep not in (0, 1):
            raise ValueError(f"min_keep: got {min_keep}; one weight of each parameter can be kept, or none (0, 1)")
        scratch = self._prepare_(scores)
        self._was_bad |= self._is_bad
        self._is_bad.zero_()
        _write_keys_(scratch, scores)
        protected = len(self.sizes) if min_keep and not self.by_layer else 0
        asked = self._limited(gone, min_keep)
        if protected:
            self._protect_(scratch)
        edge, rest, ties = self._threshold(scratch, asked, protected)
        self._mark_(scratch, edge, rest + ties.cumsum(0) - ties)
        return scratch.layer_stay

    def found_bad_(self) -> bool:
        """Whether some scores were not finite since this was last asked; waits for the device."""
        found = bool(self._is_bad | self._was_bad)
        self._is_bad.zero_()
        self._was_bad.zero_()
        return found

    def check_(self, where: str = "selection of weights") -> None:
        """Whether all scores were finite since the last check; waits for the device: once an epoch, not every step.

        Args:
            where: for the message.

        Raises:
            SchedEngineError: some were not, so that a choice was wrong.
        """
        if self.found_bad_():
            raise SchedEngineError(
                f"{where}: found scores that are not finite in a step since the last check; "
                "look for nan or inf in the weights and their gradients"
            )

    def _prepare_(self, scores: Sequence[Tensor]) -> _Scratch:
        """The buffers for scores of these shapes; made anew where they differ from the last ones."""
        shapes = tuple(score.shape for score in scores)
        if tuple(shape.numel() for shape in shapes) != self.sizes:
            raise ValueError(f"scores of {[tuple(shape) for shape in shapes]}, sizes {list(self.sizes)}")
        # Half precision converts to single without loss.
        dtype = torch.float64 if any(score.dtype == torch.float64 for score in scores) else torch.float32
        if self._scratch is None or self._scratch.shapes != shapes or self._scratch.values[0].dtype != dtype:
            self._scratch, self._places = self._buffers(shapes, dtype), None
            self._spans = _spans(self.sizes, self._chunk, self.device)
        return self._scratch

    def _buffers(self, shapes: tuple[torch.Size, ...], dtype: torch.dtype) -> _Scratch:
        values = torch.empty(self._total, dtype=dtype, device=self.device)
        keys, stay = values.view(_integer(dtype)), torch.empty_like(values, dtype=torch.bool)

        def shaped(flat: Tensor) -> list[Tensor]:
            return [part.view(shape) for part, shape in zip(torch.split(flat, list(self.sizes)), shapes, strict=True)]

        def chunks(flat: Tensor) -> tuple[Tensor, ...]:
            return torch.split(flat, self._chunk)

        layer_keys = list(torch.split(keys, list(self.sizes)))
        return _Scratch(
            shapes, chunks(values), chunks(keys), chunks(stay), keys, shaped(values), layer_keys, shaped(stay)
        )

    def _limited(self, gone: Sequence[int] | int, min_keep: int) -> Tensor:
        """(segments,) int64: how many go of each, as far as ``min_keep`` lets them."""
        if isinstance(gone, int) == self.by_layer:
            wanted = "a count of each parameter" if self.by_layer else "one count"
            raise ValueError(f"gone: got {gone!r}; by_layer {self.by_layer} takes {wanted}")
        if isinstance(gone, int):
            most = self._total - len(self.sizes) * min_keep
            return torch.full((1,), min(gone, most), dtype=torch.int64, device=self.device)
        counts = tuple(min(count, size - min_keep) for count, size in zip(gone, self.sizes, strict=True))
        if self._asked is None or self._asked[0] != counts:
            self._asked = counts, torch.tensor(counts, dtype=torch.int64, device=self.device)
        return self._asked[1]

    def _protect_(self, scratch: _Scratch) -> None:
        """Give the last weight of each parameter the key that comes after all others."""
        if self._places is None:
            flat = torch.empty_like(scratch.all_keys, dtype=self._count_dtype)
            self._places = torch.split(flat, self._chunk), list(torch.split(flat, list(self.sizes)))
        tops = torch.stack(torch._foreach_max(scratch.layer_keys))
        infinity = _infinity(scratch)
        self._is_bad |= ((tops >= infinity) | (tops <= ~infinity)).any()  # these keys are not seen by the count
        chunks, layers = self._places
        start = 0
        for at, (keys, places) in enumerate(zip(scratch.keys, chunks, strict=True)):
            here = torch.arange(start, start + len(keys), dtype=places.dtype, device=self.device)
            torch.mul(keys == self._spread(tops, at), here, out=places)
            start += len(keys)
        last = torch.stack(torch._foreach_max(layers))
        scratch.all_keys.index_fill_(0, last.long(), torch.iinfo(scratch.all_keys.dtype).max)

    def _threshold(self, scratch: _Scratch, asked: Tensor, protected: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where the order is cut.

        Returns:
            Of each segment: the key below which all go, how many with exactly this key go, and how many have it.
        """
        shift, rest = torch.iinfo(scratch.all_keys.dtype).bits, asked[:, None]
        prefix: Tensor | None = None
        while True:
            width = min(self._width, shift)
            shift -= width
            counts = self._count(scratch, prefix, shift, width)
            if prefix is None:
                self._note_(counts, _infinity(scratch) >> shift, protected)
            upto = counts.cumsum(1)
            digit = torch.searchsorted(upto, rest, right=True).clamp_(max=(1 << width) - 1)
            ties = counts.gather(1, digit)
            rest = rest - (upto.gather(1, digit) - ties)
            high = torch.full_like(digit, -1 << (width - 1)) if prefix is None else prefix[:, None].long() << width
            prefix = (high + digit).flatten().to(scratch.all_keys.dtype)
            if not shift:
                return prefix, rest.flatten(), ties.flatten()

    def _count(self, scratch: _Scratch, prefix: Tensor | None, shift: int, width: int) -> Tensor:
        """How many weights, by the ``width`` bits at ``shift`` of those keys that begin with ``prefix``.

        Returns:
            (segments, 2 ** width).
        """
        bins = 1 << width
        counts = torch.zeros(self._segments * bins, dtype=self._count_dtype, device=self.device)
        one = torch.ones((), dtype=self._count_dtype, device=self.device)
        firsts = torch.arange(0, len(counts), bins, dtype=scratch.all_keys.dtype, device=self.device)
        for at, keys in enumerate(scratch.keys):
            digits = keys >> shift
            if prefix is None:
                digits, amounts = digits.add_(bins >> 1), one.expand(len(keys))
            else:
                # Those outside add 0 where their own bits point: one bin for all of them would be a queue on a GPU.
                digits = digits.bitwise_and_(bins - 1)
                amounts = ((keys >> (shift + width)) == self._edge(prefix, at)).to(self._count_dtype)
            counts.index_add_(0, digits.add_(self._edge(firsts, at)) if self.by_layer else digits, amounts)
        return counts.view(self._segments, bins)

    def _note_(self, counts: Tensor, infinity: int, protected: int) -> None:
        """Remember scores that are not finite: the outermost bins, in which only protected weights may be."""
        inner = counts.shape[1] // 2 - infinity
        self._is_bad |= (counts[:, :inner].sum() + counts[:, -inner:].sum()) != protected

    def _mark_(self, scratch: _Scratch, edge: Tensor, limits: Tensor) -> None:
        """Write which stay: keys above the edge, and of those at it, in one row over all, the ones past the limit."""
        limits, seen = limits.to(self._count_dtype), torch.zeros(1, dtype=self._count_dtype, device=self.device)
        for at, (keys, stay) in enumerate(zip(scratch.keys, scratch.stay, strict=True)):
            threshold = self._edge(edge, at)
            tied = keys == threshold
            number = tied.cumsum(0, dtype=self._count_dtype).add_(seen)
            seen = number[-1:]
            torch.gt(keys, threshold, out=stay)
            stay |= tied.logical_and_(number > self._edge(limits, at))
            stay |= self._is_bad

    def _edge(self, values: Tensor, at: int) -> Tensor:
        """A value of each segment, for the weights of a chunk."""
        return self._spread(values, at) if self.by_layer else values

    def _spread(self, values: Tensor, at: int) -> Tensor:
        """A value of each parameter, for the weights of a chunk."""
        span, lengths = self._spans[at]
        assert self._scratch is not None
        return values[span].repeat_interleave(lengths, output_size=len(self._scratch.keys[at]))


def _write_keys_(scratch: _Scratch, scores: Sequence[Tensor]) -> None:
    """Integers in the order of the floats, both zeros 0; in the memory of the copied scores."""
    torch._foreach_copy_(scratch.layer_values, list(scores))
    kind = torch.iinfo(scratch.all_keys.dtype)
    for values, keys in zip(scratch.values, scratch.keys, strict=True):
        values.add_(0.0)  # -0.0 becomes 0.0
        keys.bitwise_xor_((keys >> (kind.bits - 1)).bitwise_and_(kind.max))


def _infinity(scratch: _Scratch) -> int:
    """The key of infinity: keys from here on, and from its complement down, are of scores that are not finite."""
    return 0x7FF << 52 if scratch.all_keys.dtype == torch.int64 else 0xFF << 23


def _integer(dtype: torch.dtype) -> torch.dtype:
    return torch.int64 if dtype == torch.float64 else torch.int32


def _spans(sizes: Sequence[int], chunk: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Of each chunk: the parameters that it has weights of, and how many of each."""
    ends = list(itertools.accumulate(sizes))
    spans = []
    for start in range(0, ends[-1], chunk):
        overlaps = [min(end, start + chunk) - max(end - size, start) for end, size in zip(ends, sizes, strict=True)]
        inside = [number for number, overlap in enumerate(overlaps) if overlap > 0]
        span = slice(inside[0], inside[-1] + 1)
        spans.append((span, torch.tensor(overlaps[span], device=device)))
    return spans
