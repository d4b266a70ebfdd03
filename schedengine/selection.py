"""Which parameters: a model's names, normalised, and the selectors of a schedule that pick from them.

Normalised means that ``module`` and ``_orig_mod`` components (DataParallel, DistributedDataParallel, torch.compile)
are dropped wherever they stand, and ``parametrizations.weight.original`` reads as ``weight``. Both the model's names
and the schedule's are normalised, so a file written for one wrapping fits every other.

Parameters are found by module and attribute at each use, never kept as objects: ``model.to()`` may replace them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema
from torch import Tensor, nn

from schedengine.errors import Problem, ScheduleError, did_you_mean
from schedengine.zoo.old_names import present_name

DEFAULT_TYPES = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Linear")
"""Modules whose weight is prunable by default. Biases and normalisation are pruned only when named in full."""

_NORMALISATION = ("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm", "RMSNorm", "LocalResponseNorm")
V = TypeVar("V")
_WRAPPERS = frozenset({"module", "_orig_mod"})


def normalise(name: str) -> str:
    """A parameter's name without what wrappers add.

    Example:
        >>> normalise("module.features.module.0.weight"), normalise("fc.parametrizations.weight.original")
        ('features.0.weight', 'fc.weight')
    """
    name = re.sub(r"(^|\.)parametrizations\.([^.]+)\.original$", r"\1\2", name)
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


@dataclass(frozen=True)
class _Place:
    module: nn.Module
    attribute: str
    owner: nn.Module  # the layer, where `module` is a parametrization of it


class ParameterTable:
    """A model's parameters by normalised name, in the model's order.

    Args:
        model: wrapped or not; shared (tied) parameters appear once, under their first name.

    Attributes:
        names: the normalised name of every parameter; the exact name where normalising would make two the same.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[str, _Place] = {}
        self._owners: dict[str, list[nn.Module]] = {}
        self._aliases: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._ambiguous: dict[str, list[str]] = {}
        exact = dict(model.named_parameters(remove_duplicate=False))
        self._count_ambiguities(exact)
        modules = dict(model.named_modules(remove_duplicate=False))
        first: dict[int, str] = {}
        for full, parameter in exact.items():
            prefix, _, attribute = full.rpartition(".")
            owner = modules[re.sub(r"(^|\.)parametrizations\.[^.]+$", "", prefix)]
            name = first.setdefault(id(parameter), self._short(full))
            self._aliases[full] = self._written[self._short(full)] = name
            self._owners.setdefault(name, []).append(owner)
            self._places.setdefault(name, _Place(modules[prefix], attribute, owner))
        self.names = list(self._places)

    def _count_ambiguities(self, exact: Iterable[str]) -> None:
        by_short: dict[str, list[str]] = {}
        for full in exact:
            by_short.setdefault(normalise(full), []).append(full)
        self._ambiguous = {short: full for short, full in by_short.items() if len(full) > 1}

    def _short(self, full: str) -> str:
        short = normalise(full)
        return full if short in self._ambiguous else short

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> nn.Parameter:
        """The parameter that carries this (normalised) name now."""
        place = self._places[name]
        return place.module._parameters[place.attribute]  # type: ignore[return-value]  # registered, hence not None

    @torch.no_grad()
    def effective(self, name: str) -> Tensor:
        """What the layer computes with: the parameter, or what a parametrization of the same shape makes of it."""
        place = self._places[name]
        parameter = self[name].detach()
        if place.module is place.owner:
            return parameter
        made = getattr(place.owner, name.rpartition(".")[2], None)
        return made.detach() if isinstance(made, Tensor) and made.shape == parameter.shape else parameter

    def layer(self, name: str) -> nn.Module:
        """The layer that a parameter belongs to."""
        return self._places[name].owner

    def find(self, name: str) -> str | None:
        """The normalised name of what a user calls ``name``: exact first, then normalised, tied names included.

        Where nothing fits, a name that torchvision has given up finds what carries another name now.

        Raises:
            ValueError: two parameters normalise to it.
        """
        if name in self._places:
            return name
        if name in self._aliases:
            return self._aliases[name]
        short = normalise(name)
        if short in self._ambiguous:
            raise ValueError(f"{name!r} fits {' and '.join(self._ambiguous[short])}; write one of these in full")
        return self._written.get(short) or self._written.get(present_name(short))

    def is_named_by_patterns(self, name: str) -> bool:
        """Whether globs and patterns may pick it: two dimensions or more, and not of a normalisation layer."""
        return self[name].dim() >= 2 and not self.is_normalisation(name)

    def is_normalisation(self, name: str) -> bool:
        """Whether it belongs to a normalisation layer."""
        return any(kind.startswith(_NORMALISATION) for kind in self.kinds(name))

    def kinds(self, name: str) -> set[str]:
        """Class names, bases included, of the modules that a parameter belongs to: several, where it is tied."""
        return {cls.__name__ for owner in self._owners[name] for cls in type(owner).__mro__}

    def matching(self, matches: Callable[[str], object]) -> list[str]:
        """The parameters of which a (normalised) name, tied names included, satisfies ``matches``."""
        found = {name for written, name in self._written.items() if matches(written)}
        return [name for name in self.names if name in found]

    def of_types(self, types: Iterable[str]) -> list[str]:
        """The weights (not the biases) of all modules of these classes or of classes derived from them.

        A base class of everything picks no normalisation; a normalisation class does.
        """
        wanted = set(types)
        includes_normalisation = any(kind.startswith(_NORMALISATION) for kind in wanted)
        return [
            name
            for name in self.names
            if self._is_weight(name)
            and wanted & self.kinds(name)
            and (includes_normalisation or not self.is_normalisation(name))
        ]

    def _is_weight(self, name: str) -> bool:
        """No bias, no scale of a layer's own, and of weight normalisation the direction, not the magnitude."""
        place = self._places[name]
        if "bias" in place.attribute or name.endswith("bias"):
            return False
        siblings = place.module._parameters
        if place.attribute == "original0" and "original1" in siblings:
            return False
        if place.attribute.endswith("_g") and f"{place.attribute[:-2]}_v" in siblings:
            return False
        return self[name].dim() >= 2 or "weight" in place.attribute or place.attribute.startswith("original")

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by normalised name."""
        return {name: self[name] for name in self.names}


@dataclass(frozen=True)
class Selector:
    """Which parameters a pruner or a regularizer works on.

    A file writes a name, a glob, the words ``first`` and ``last`` (of the weights of convolutions and linear layers), a
    list of these, or a mapping ``{types: [...], names: [...], regex: ..., except: [...]}``. A name picks any
    parameter; a glob, a pattern or a type picks weights only, never a bias, and a normalisation only by its own type.

    Args:
        types: class names of modules; with no names and no regex given, ``DEFAULT_TYPES``.
        names: names, globs, or ``first`` / ``last``.
        regex: patterns that must match the whole normalised name.
        excluded: names, globs, or ``first`` / ``last`` that are left out (``except`` in a file).
    """

    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: object) -> Selector:
        """Read what a file writes.

        Raises:
            ValueError: not a selector; says what one looks like.
        """
        if isinstance(value, Selector):
            return value
        if isinstance(value, Mapping):
            unknown = [str(key) for key in value if key not in ("types", "names", "regex", "except")]
            if unknown:
                raise ValueError(
                    f"unknown key {unknown[0]!r}; {did_you_mean(unknown[0], ['types', 'names', 'regex', 'except'])}"
                )
            parts = {key: _words(entry, key) for key, entry in value.items()}
            for pattern in parts.get("regex", ()):
                _compile(pattern)
            return cls(parts.get("types", ()), parts.get("names", ()), parts.get("regex", ()), parts.get("except", ()))
        return cls(names=_words(value, "names"))

    def plain(self) -> Any:
        """The shortest form that ``parse`` reads back."""
        if self.names and not (self.types or self.regex or self.excluded):
            return self.names[0] if len(self.names) == 1 else list(self.names)
        parts = {"types": self.types, "names": self.names, "regex": self.regex, "except": self.excluded}
        return {key: list(words) for key, words in parts.items() if words}

    def pick(self, table: ParameterTable, path: str = "") -> list[str]:
        """The normalised names it picks, in the order of its own list for plain names, of the model otherwise.

        Args:
            table: the model's.
            path: of the selector in the schedule, for the problems.

        Raises:
            ScheduleError: one problem for each word that matches nothing, with the nearest names.
        """
        problems: list[Problem] = []
        picked: dict[str, None] = {}
        for group in self._groups():
            for found in self._found(table, group):
                if isinstance(found, str):
                    is_written = group != "names" and getattr(self, group)
                    problems.append(Problem(found, f"{path}.{group}" if is_written else path))
                else:
                    picked.update(dict.fromkeys(found))
        left_out = set()
        for word in self.excluded:
            found = _match_word(table, word)
            if isinstance(found, str):
                problems.append(Problem(found, f"{path}.except"))
            else:
                left_out.update(found)
        if problems:
            raise ScheduleError(problems)
        names = [name for name in picked if name not in left_out]
        if not names:
            raise ScheduleError([Problem("picks no parameter: everything it matches is also excepted", path)])
        return names

    def _groups(self) -> tuple[str, ...]:
        return tuple(group for group in ("types", "names", "regex") if getattr(self, group)) or ("types",)

    def _found(self, table: ParameterTable, group: str) -> list[list[str] | str]:
        if group == "names":
            return [_match_word(table, word) for word in self.names]
        if group == "regex":
            return [_match_regex(table, pattern) for pattern in self.regex]
        if not self.types:
            return [table.of_types(DEFAULT_TYPES) or "picks no parameter: the model has no Conv or Linear"]
        return [_match_types(table, self.types)]


def _words(value: object, key: str) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in entries):
        raise ValueError(f'{key}: write a name, a glob like "layer1.*", or a list of them')
    if not entries:
        raise ValueError(f"{key}: the list is empty; leave the key out to select the default")
    return tuple(entries)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


def match_glob(table: ParameterTable, glob: str) -> list[str]:
    """The parameters of which a (normalised) name matches a glob; the glob is normalised too."""
    pattern = normalise(glob)
    return table.matching(lambda name: fnmatch.fnmatchcase(name, pattern))


def lookup(by_name: Mapping[str, V], table: ParameterTable, names: Iterable[str], path: str = "") -> dict[str, V]:
    """The value of each parameter in a mapping of names and globs: its own name first, else the first glob that fits.

    Raises:
        ScheduleError: a key fits none of these parameters, or a parameter fits no key.
    """
    names = list(dict.fromkeys(names))
    exact = {found: value for key, value in by_name.items() if (found := _exact(table, key)) in names}
    globs = {key: match_glob(table, key) for key in by_name if _exact(table, key) not in names}
    problems = [
        Problem(f"fits none of the selected parameters; {did_you_mean(normalise(key), names)}", f"{path}.{key}")
        for key, found in globs.items()
        if not set(found) & set(names)
    ]
    values: dict[str, V] = {}
    for name in names:
        fitting = [by_name[key] for key, found in globs.items() if name in found]
        if name in exact or fitting:
            values[name] = exact[name] if name in exact else fitting[0]
        else:
            message = f"has no value for the selected parameter {name}; add it, or a glob like '*'"
            problems.append(Problem(message, path))
    if problems:
        raise ScheduleError(problems)
    return values


def _exact(table: ParameterTable, key: str) -> str | None:
    try:
        return table.find(key)
    except ValueError:
        return None


def _match_word(table: ParameterTable, word: str) -> list[str] | str:
    """The names a word picks, or what is wrong with it."""
    if word in ("first", "last") and word not in table:
        weights = table.of_types(DEFAULT_TYPES)
        return [weights[0 if word == "first" else -1]] if weights else f"{word!r}: the model has no Conv or Linear"
    if any(sign in word for sign in "*?["):
        every = match_glob(table, word)
        found = [name for name in every if table.is_named_by_patterns(name)]
        return found or _nothing(table, word, every)
    try:
        name = table.find(word)
    except ValueError as error:
        return str(error)
    return [name] if name else f"{word!r} is no parameter of the model; {_nearest(table, normalise(word))}"


def _nearest(table: ParameterTable, word: str) -> str:
    """What would be right: a module's parameters for the name of a module, else the nearest names."""
    inside = [name for name in table.names if name.startswith(f"{word}.")]
    types = {type(table.layer(name)).__name__ for name in table.names}
    if inside:
        return f"it is a module: write {inside[0]}, or the glob {word}.*"
    if word in types:
        return f"it is a type of module: write {{types: [{word}]}}"
    return did_you_mean(word, table.names)


def _match_regex(table: ParameterTable, pattern: str) -> list[str] | str:
    every = table.matching(lambda name: re.fullmatch(pattern, name))
    return [name for name in every if table.is_named_by_patterns(name)] or _nothing(table, pattern, every)


def _match_types(table: ParameterTable, types: tuple[str, ...]) -> list[str] | str:
    """The weights of these modules. A type that the model has not is fine, if it exists and another one is there."""
    present = {kind for name in table.names for kind in table.kinds(name)}
    known = present | {name for name in dir(nn) if isinstance(getattr(nn, name), type)}
    unknown = [kind for kind in types if kind not in known]
    if unknown:
        return f"there is no module type {unknown[0]!r}; {did_you_mean(unknown[0], known)}"
    kinds = ", ".join(sorted({type(table.layer(name)).__name__ for name in table.names}))
    message = f"the model has no weight in a module of type {' or '.join(types)}; it has {kinds}"
    return table.of_types(types) or message


def _nothing(table: ParameterTable, word: str, every: list[str]) -> str:
    if every:
        return (
            f"{word!r} matches only biases, normalisation or other parameters that patterns leave alone "
            f"({', '.join(every[:3])}); name them in full if you mean them"
        )
    return f"{word!r} matches no parameter of the model; {_near(table, normalise(word))}"


def _near(table: ParameterTable, pattern: str) -> str:
    """What would be right: a glob over a module that is spelled almost so, else names."""
    parts = [name.split(".") for name in table.names]
    modules = {".".join([*name[:depth], "*"]) for name in parts for depth in range(1, len(name))}
    found = did_you_mean(pattern, modules)
    return found if found.startswith("did you mean") else did_you_mean(pattern, table.names)


SelectorField = Annotated[
    InstanceOf[Selector],
    BeforeValidator(Selector.parse),
    PlainSerializer(Selector.plain),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        key: {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
                        for key in ("types", "names", "regex", "except")
                    },
                },
            ],
            "description": "which parameters: a name, a glob, `first`, `last`, a list of these, or "
            "{types, names, regex, except}; default: weights of Conv and Linear modules",
        }
    ),
]
"""A field of a registered class that holds a selector."""
