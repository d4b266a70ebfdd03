"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", help="digits_cnn, resnet20_cifar, ...; a torchvision model; or package.module:factory."),
]
ModelNeeded = Annotated[str, typer.Option("--model", help="As in `train`.")]
Data = Annotated[
    str,
    typer.Option("--data", help="digits, fake, a torchvision set, imagefolder:PATH, or package.module:factory."),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Weights to start from: safetensors, a state dict, or a Distiller checkpoint."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images in a forward pass.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of weights, splits, order, augmentation and dropout.")]
Validation = Annotated[
    float, typer.Option("--validation", min=0, max=0.99, help="Share of the training images held out to choose by.")
]
Root = Annotated[Path | None, typer.Option("--root", help="Folder of torchvision's data sets.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", min=1, help="Cut and scale pictures to this many pixels; not for the digits."),
]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that load data of a factory.")]
Classes = Annotated[
    int | None, typer.Option("--classes", min=1, help="Outputs of the model; default: as the data have.")
]
Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="CxHxW",
        help="Shape of one input, for models whose name does not say it; again for a second one; 128:int for tokens.",
    ),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="package.module that registers classes of your own; may be given again."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
