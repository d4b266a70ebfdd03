"""The user's own factories: ``package.module:factory``, found from the working folder or the installed packages.

A factory is called with what it asks for: of the arguments on offer, those that its signature names.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping

from schedengine.errors import SchedEngineError, did_you_mean

Factory = Callable[..., object]


def is_reference(name: str) -> bool:
    """Whether a name is written like a factory's (``package.module:factory``) rather than like one of ours."""
    return ":" in name


def call_factory(reference: str, offered: Mapping[str, object], error: type[SchedEngineError]) -> object:
    """What the user's factory returns.

    Args:
        reference: ``package.module:factory``; the working folder comes first on the import path, as with ``python -m``.
        offered: arguments by keyword; None means not known, and is not passed.
        error: the class to raise, which is the caller's (ModelError, DataError).

    Raises:
        SchedEngineError: no such module or attribute, or the factory needs an argument that is not on offer. What the
            factory itself raises passes through, with its traceback.
    """
    factory = _find(reference, error)
    try:
        signature = inspect.signature(factory)
    except ValueError:  # some built-in callables have none; they can ask for nothing
        return factory()
    named = {name for name, parameter in signature.parameters.items() if parameter.kind in _BY_KEYWORD}
    arguments = {name: value for name, value in offered.items() if name in named and value is not None}
    try:
        signature.bind(**arguments)
    except TypeError as problem:
        raise error(f"{reference}: {problem}; a factory is offered {', '.join(offered)}") from problem
    return factory(**arguments)


_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _find(reference: str, error: type[SchedEngineError]) -> Factory:
    module_name, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise error(f"{reference!r} is not a factory; write package.module:factory")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()  # the module may have been written since the folder was last read
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:  # whatever the user's module raises, the reader needs to know which module
        raise error(f"{reference}: cannot import {module_name}: {type(problem).__name__}: {problem}") from problem
    found = getattr(module, attribute, None)
    if not callable(found):
        callables = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise error(f"{reference}: {module_name} has no function {attribute}; {did_you_mean(attribute, callables)}")
    return found  # type: ignore[no-any-return]  # callable() says nothing about the signature
