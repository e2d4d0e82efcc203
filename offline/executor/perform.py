"""Calls the work where it runs, and answers with its product or with what went wrong."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable

from contracts.errors import InputError, LongtailError
from offline.executor.messages import answer_bytes, request_from
from offline.executor.ports import Failure, Product, Request

Work = Callable[[Request], Product]


def perform(content: bytes) -> bytes:
    """A request's bytes to its answer's. Never raises an `Exception`: a clip that fails is an
    answer too.
    """
    try:
        function, request = request_from(content)
        product = loaded(function)(request)
        if not isinstance(product, Product):
            raise InputError(f"returned {type(product).__name__}, not a Product", function)
        return answer_bytes(product)
    except Exception as error:  # noqa: BLE001 - one clip's fault, of whatever kind, is its own
        return answer_bytes(failure_of(error))


def loaded(function: str) -> Work:
    """The function that `module:function` names. Raises `InputError` when there is none."""
    module_name, colon, name = function.partition(":")
    if not colon:
        raise InputError(f"{function!r} is no 'module:function'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"cannot be imported here: {error}", function) from error
    work = getattr(module, name, None)
    if not callable(work):
        raise InputError(f"the module has no function {name!r}", function)
    found: Work = work
    return found


def failure_of(error: Exception) -> Failure:
    """Our own errors speak for themselves; of any other the kind is told, too."""
    kind = type(error).__name__
    reason = str(error) if isinstance(error, LongtailError) else f"{kind}: {error}"
    return Failure(kind, reason, "".join(traceback.format_exception(error)))
