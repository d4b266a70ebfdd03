"""What goes into a soup, as the command line names it: files of weights, run folders, folders of replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedengine.errors import SchedEngineError

SOUP, ENSEMBLE = "soup", "ensemble"
"""How tables call what is made of the members; no member is called so."""
_WEIGHTS = "model.safetensors"
_PARENT = "parent.safetensors"
_SOUP = "soup.safetensors"
_REPLICAS = "replica-*.safetensors"


@dataclass(frozen=True)
class Member:
    """One network.

    Args:
        name: short, and of no other member.
        path: of its weights.
        settings: of the run that it comes from; None for a file that was named itself.
    """

    name: str
    path: Path
    settings: Mapping[str, Any] | None


@dataclass(frozen=True)
class Members:
    """All of them, in the order given.

    Args:
        members: two or more.
        parent: the weights that all of them began with; None if that is not known.
    """

    members: tuple[Member, ...]
    parent: Path | None

    @property
    def settings(self) -> list[Mapping[str, Any]]:
        """Of the runs that they come from, as far as they do."""
        return [member.settings for member in self.members if member.settings is not None]


def find_members(paths: Sequence[Path]) -> Members:
    """Resolve what a user names.

    Args:
        paths: files of weights; run folders, which stand for their ``model.safetensors``; folders with
            ``replica-*.safetensors``, which belong to the run above them.

    Raises:
        SchedEngineError: something else, a run that is not finished, fewer than two networks, or one of them twice.
    """
    found = [one for path in paths for one in _found(path)]
    files = [path.resolve() for path, _ in found]
    twice = next((path for path in files if files.count(path) > 1), None)
    if twice is not None:
        raise SchedEngineError(f"{twice}: stands twice among the networks; name each once")
    if len(found) < 2:
        got = f"there is only {found[0][0]}" if found else "there is none"
        raise SchedEngineError(f"a soup is made of two networks or more, and {got}; name others, or a folder of them")
    names = _names([path for path, _ in found])
    members = tuple(Member(name, path, settings) for name, (path, settings) in zip(names, found, strict=True))
    return Members(members, _parent(paths, members))


def _found(path: Path) -> Iterator[tuple[Path, Mapping[str, Any] | None]]:
    if path.is_file():
        yield path, None
    elif (path / "run.json").is_file():
        if not (path / _WEIGHTS).is_file():
            raise SchedEngineError(f"{path}: the run is not finished, there is no {_WEIGHTS}; go on with it (--resume)")
        yield path / _WEIGHTS, _settings(path)
    elif replicas := sorted(path.glob(_REPLICAS), key=_number):
        run = next((folder for folder in path.resolve().parents if (folder / "run.json").is_file()), None)
        if run is not None and not (path / _SOUP).is_file():
            what = f"the phase is not finished, there is no {_SOUP}; go on with the run (--resume)"
            raise SchedEngineError(f"{path}: {what}, or name the replicas that there are one by one")
        for replica in replicas:
            yield replica, None if run is None else _settings(run)
    else:
        raise SchedEngineError(f"{path}: {_content(path)}; give weights, a run's folder, or a folder with {_REPLICAS}")


def _number(path: Path) -> tuple[int, str]:
    """Replica 10 comes after replica 9."""
    number = path.stem.removeprefix("replica-")
    return (int(number) if number.isdecimal() else 0, path.stem)


def _content(path: Path) -> str:
    if not path.is_dir():
        return "no such file or folder"
    inside = ", ".join(sorted(one.name for one in path.iterdir())[:5])
    return f"a folder with {inside}" if inside else "an empty folder"


def _settings(run: Path) -> Mapping[str, Any]:
    try:
        settings = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
        return dict(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SchedEngineError(f"{run / 'run.json'}: damaged: {error}") from error


def _parent(paths: Sequence[Path], members: Sequence[Member]) -> Path | None:
    """What lies beside replicas, or what every run says that it began with."""
    beside = {path / _PARENT for path in paths if (path / _PARENT).is_file()}
    if len(paths) == 1 and beside:
        return beside.pop()
    if not all((path / "run.json").is_file() for path in paths):
        return None
    starts = {None if member.settings is None else member.settings.get("weights") for member in members}
    (start,) = starts if len(starts) == 1 else (None,)
    return Path(start) if start is not None and Path(start).is_file() else None


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many as tell them apart and from what is made of them.

    That all end in model.safetensors tells nothing.
    """
    parts = [path.with_suffix("").absolute().parts for path in paths]
    parts = [part[:-1] if part[-1] == "model" else part for part in parts]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [str(Path(*part[-depth:])) for part in parts]
        if len({SOUP, ENSEMBLE, *names}) == len(names) + 2:
            return names
    return [str(path) for path in paths]
