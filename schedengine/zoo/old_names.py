"""Names that torchvision has given up, so that schedules which were written for them still find their parameters.

Only the names: the layers and their shapes are the same. Weights in old files need nothing, torchvision renames them
when it loads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_RENAMED: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # Feature pyramid, region proposals and masks of the detection models: a convolution of version 0.4 is since 0.13
    # the first of a Sequential, and the heads are Sequentials without names.
    (r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)", r"\1.0.\2"),
    (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2"),
    (r"(mask_head)\.mask_fcn(\d+)\.(weight|bias)", lambda found: f"{found[1]}.{int(found[2]) - 1}.0.{found[3]}"),
)


def present_name(name: str) -> str:
    """What torchvision calls a parameter now; a name that is no old one stays as it is.

    Example:
        >>> present_name("rpn.head.conv.bias"), present_name("fc.weight")
        ('rpn.head.conv.0.0.bias', 'fc.weight')
        >>> present_name("roi_heads.mask_head.mask_fcn1.weight")
        'roi_heads.mask_head.0.0.weight'
    """
    for old, new in _RENAMED:
        name = re.sub(rf"(?:^|(?<=\.)){old}$", new, name)
    return name
