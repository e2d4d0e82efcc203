"""Buffers that a thread uses again from sweep to sweep.

A fresh array of a sweep's size costs a page fault for each 4 KiB, which is more time than
the arithmetic that fills it. What is handed out is valid until the same thread asks for the
same name again, so nothing of it may be returned to a caller.
"""

from __future__ import annotations

import threading
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.of_name: dict[str, NDArray[np.uint8]] = {}


_BUFFERS = _Buffers()


def scratch(name: str, dtype: type[_T], count: int) -> NDArray[_T]:
    """An uninitialised array of `count` elements, the thread's own under `name`."""
    wanted = count * np.dtype(dtype).itemsize
    held = _BUFFERS.of_name.get(name)
    if held is None or held.nbytes < wanted:
        held = np.empty(max(wanted + wanted // 8, 64), np.uint8)
        _BUFFERS.of_name[name] = held
    return held[:wanted].view(dtype)
