"""The user's own modules and factories, found from the working folder or the installed packages.

A factory, ``package.module:factory``, is called with what it asks for: of the arguments on offer, those that its
signature names. A plugin, ``package.module``, is imported for what it registers.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import ModuleType

from schedengine.errors import SchedEngineError, did_you_mean

Factory = Callable[..., object]


def is_reference(name: str) -> bool:
    """Whether a name is written like a factory's (``package.module:factory``) rather than like one of ours."""
    return ":" in name


def import_plugins(names: Iterable[str]) -> None:
    """Import modules of the user's, which register classes of theirs; again is no matter.

    Args:
        names: ``package.module``; the working folder comes first on the import path, as with ``python -m``.

    Raises:
        SchedEngineError: there is no such module, or it cannot be imported.
    """
    for name in names:
        if not _is_dotted(name):
            raise SchedEngineError(f"--plugin {name}: not a module; write package.module")
        _import(name, f"--plugin {name}", SchedEngineError)


def call_factory(
    reference: str, offered: Mapping[str, object], error: type[SchedEngineError], *, asked: Collection[str] = ()
) -> object:
    """What the user's factory returns.

    Args:
        reference: ``package.module:factory``; the working folder comes first on the import path, as with ``python -m``.
        offered: arguments by keyword; None means not known, and is not passed.
        error: the class to raise, which is the caller's (ModelError, DataError).
        asked: those of the arguments that the user gave, which the factory must therefore take.

    Raises:
        SchedEngineError: no such module or attribute, the factory needs an argument that is not on offer, or does not
            take one that was asked for. What the factory itself raises passes through, with its traceback.
    """
    factory = _find(reference, error)
    try:
        signature = inspect.signature(factory)
    except ValueError:  # some built-in callables have none; they can ask for nothing
        signature = inspect.Signature()
    named = {name for name, parameter in signature.parameters.items() if parameter.kind in _BY_KEYWORD}
    for name in asked:
        if name not in named:
            flag = "--" + name.replace("_", "-")
            raise error(
                f"{flag}: {reference} does not take {name}; leave it out, or name it in the factory's signature"
            )
    arguments = {name: value for name, value in offered.items() if name in named and value is not None}
    try:
        signature.bind(**arguments)
    except TypeError as problem:
        raise error(f"{reference}: {problem}; a factory is offered {', '.join(offered)}") from problem
    return factory(**arguments)


_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _find(reference: str, error: type[SchedEngineError]) -> Factory:
    module_name, _, attribute = reference.partition(":")
    if module_name.endswith(".py"):
        raise error(f"{reference!r} names a file; write its module, {module_name[:-3].replace('/', '.')}:{attribute}")
    if not _is_dotted(module_name) or not attribute.isidentifier():
        raise error(f"{reference!r} is not a factory; write package.module:factory")
    module = _import(module_name, reference, error)
    found = getattr(module, attribute, None)
    if callable(found) and not inspect.isclass(found) and hasattr(found, "forward"):
        raise error(f"{reference}: is a network, not a function that makes one; write a function that returns it")
    if not callable(found):
        callables = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise error(f"{reference}: {module_name} has no function {attribute}; {did_you_mean(attribute, callables)}")
    return found  # type: ignore[no-any-return]  # callable() says nothing about the signature


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import(name: str, where: str, error: type[SchedEngineError]) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()  # the module may have been written since the folder was last read
    try:
        return importlib.import_module(name)
    except Exception as problem:  # whatever the user's module raises, the reader needs to know which module
        raise error(f"{where}: cannot import {name}: {type(problem).__name__}: {problem}") from problem
