"""Names -> data: what ships, torchvision's sets, folders of pictures, and the user's own factories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schedengine.errors import DataError
from schedengine.zoo.digits import digits, fake
from schedengine.zoo.factory import is_reference
from schedengine.zoo.splits import Data

__all__ = ["Data", "load_data"]

_FOLDER = "imagefolder:"
_PURPOSE = {
    "root": "the folder of torchvision's sets",
    "download": "to fetch a set of torchvision's",
    "image_size": "for pictures in files (imagefolder:PATH, torchvision's sets) and for fake",
}
"""Arguments that not all data have a use for."""


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
        image_size: pictures are cut to a centred square of so many pixels; needed where sizes differ. The side of
            ``fake`` images, 32 if not given.
        cache: folder for decoded pictures; by default ``$XDG_CACHE_HOME/schedengine``.

    Raises:
        DataError: no such name, folder, file or split; a share or size out of range; a root, download or image size
            for data that have no use for it.
    """
    if not 0 <= validation < 1:
        raise DataError(f"a validation share of {validation}; it is a fraction of the training images, in [0, 1)")
    if image_size is not None and image_size < 1:
        raise DataError(f"an image size of {image_size}; it is a number of pixels, 1 or more")
    folder, kept = (Path(place).expanduser() if place else None for place in (root, cache))
    given = {"root": root, "download": download, "image_size": image_size}
    asked = [argument for argument, value in given.items() if value]
    if name == "digits":
        _refuse(asked, "the digits ship with the package; they are 8x8 and are not scaled")
        data = digits()
    elif name == "fake":
        _refuse(set(asked) - {"image_size"}, "fake images are made up on the spot")
        data = fake(seed, image_size or 32)
    elif name.startswith(_FOLDER):
        from schedengine.zoo.imagefolder import image_folder

        _refuse(set(asked) - {"image_size"}, f"the pictures are where {_FOLDER}PATH says")
        data = image_folder(name.removeprefix(_FOLDER), size=image_size, cache=kept)
    elif is_reference(name):
        from schedengine.zoo.user_data import user_data

        data = user_data(name, {**given, "validation": validation, "seed": seed}, asked)
    else:
        from schedengine.zoo.torchvision_sets import torchvision_set

        data = torchvision_set(name, root=folder, download=download, size=image_size)
    return data.with_validation(validation, seed)


def _refuse(asked: Iterable[str], reason: str) -> None:
    for argument in sorted(asked):
        flag = "--" + argument.replace("_", "-")
        raise DataError(f"{flag} has no effect: {reason}; leave it out, it is {_PURPOSE[argument]}")
