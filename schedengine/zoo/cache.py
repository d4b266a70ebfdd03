"""The folder where data that took time to make or fetch are kept: ``$XDG_CACHE_HOME/schedengine``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from schedengine.zoo.atomic import replacing

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where to keep things, unless the user says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "schedengine"


def remembered(file: Path, key: str, build: Callable[[], Tensor]) -> Tensor:
    """The tensor in ``file`` if it was made for this key, else a new one, kept there for the next time.

    Args:
        file: safetensors; overwritten when the key differs, so that old versions do not pile up.
        key: says what the tensor was made from.
        build: makes it.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            if (opened.metadata() or {}).get("key") == key:
                return opened.get_tensor("images")  # type: ignore[no-any-return]
    except (OSError, SafetensorError):
        pass  # not there yet, or damaged: make it
    tensor = build()
    try:
        with replacing(file) as temporary:
            save_file({"images": tensor}, temporary, {"key": key})
    except OSError as problem:
        log.warning("cannot keep decoded images in %s (%s); they will be decoded again next time", file, problem)
    return tensor
