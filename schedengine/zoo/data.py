"""Names -> data: what ships, torchvision's sets, folders of pictures, and the user's own factories."""

from __future__ import annotations

from pathlib import Path

from schedengine.errors import DataError
from schedengine.zoo.digits import digits, fake
from schedengine.zoo.factory import is_reference
from schedengine.zoo.splits import Data

__all__ = ["Data", "load_data"]

_FOLDER = "imagefolder:"


def load_data(
    name: str = "digits",
    *,
    root: Path | str | None = None,
    download: bool = False,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    cache: Path | str | None = None,
) -> Data:
    """A data set by name.

    Args:
        name: ``digits`` (ships), ``fake`` (noise), a set of torchvision's (``CIFAR10``), ``imagefolder:PATH``, or a
            factory of the user's, ``package.module:factory``, which is called with those of ``root``, ``download``,
            ``validation``, ``seed`` and ``image_size`` that its signature names.
        root: folder of torchvision's sets.
        download: fetch a set of torchvision's that is not there.
        validation: share of train that is held out, in [0, 1), where the set has no validation split of its own;
            0 means no validation split.
        seed: of that choice.
        image_size: pictures are cut to a centred square of so many pixels; needed where sizes differ.
        cache: folder for decoded pictures; by default ``$XDG_CACHE_HOME/schedengine``.

    Raises:
        DataError: no such name, folder, file or split; a share or size out of range.
    """
    if not 0 <= validation < 1:
        raise DataError(f"a validation share of {validation}; it is a fraction of the training images, in [0, 1)")
    if image_size is not None and image_size < 1:
        raise DataError(f"an image size of {image_size}; it is a number of pixels, 1 or more")
    folder, kept = (Path(place).expanduser() if place else None for place in (root, cache))
    if name == "digits":
        _refuse_size(image_size)
        data = digits()
    elif name == "fake":
        data = fake(seed, image_size or 32)
    elif name.startswith(_FOLDER):
        from schedengine.zoo.imagefolder import image_folder

        data = image_folder(name.removeprefix(_FOLDER), size=image_size, cache=kept)
    elif is_reference(name):
        from schedengine.zoo.user_data import user_data

        offered = {"root": root, "download": download, "validation": validation, "seed": seed, "image_size": image_size}
        data = user_data(name, offered)
    else:
        from schedengine.zoo.torchvision_sets import torchvision_set

        data = torchvision_set(name, root=folder, download=download, size=image_size)
    return data.with_validation(validation, seed)


def _refuse_size(image_size: int | None) -> None:
    if image_size not in (None, 8):
        raise DataError(f"an image size of {image_size}; the digits are 8x8 and are not scaled")
