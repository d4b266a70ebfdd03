"""Which GPU a process is given."""

from __future__ import annotations

from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_devices(asked: str | None, count: int) -> list[str]:
    """The GPUs that a process sees, as ``CUDA_VISIBLE_DEVICES`` names them: by index, UUID, or MIG name.

    Args:
        asked: the variable in its environment; None where it is not set.
        count: how many it sees; fewer than are named, if a name does not exist.

    Example:
        >>> visible_devices(None, 2), visible_devices("3,GPU-8932f937", 2), visible_devices("1,7", 1)
        (['0', '1'], ['3', 'GPU-8932f937'], ['1'])
    """
    names = [str(index) for index in range(count)] if asked is None else [name.strip() for name in asked.split(",")]
    return names[:count]


def least_used(devices: Sequence[str], used: Sequence[str | None]) -> str | None:
    """The GPU that the next process gets, the first of several; None where there are none.

    Args:
        devices: that there are.
        used: one for each process that runs.

    Example:
        >>> least_used(["0", "1"], []), least_used(["0", "1"], ["0"]), least_used(["0", "1"], ["1", "0"])
        ('0', '1', '0')
    """
    return min(devices, key=used.count, default=None)


def count_devices() -> int:
    """That this process sees."""
    import torch

    return torch.cuda.device_count()
