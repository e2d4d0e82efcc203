"""Arrays as compiled kernels meet them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


def read_only(array: NDArray[_T]) -> NDArray[_T]:
    """Contiguous, and of one type for a kernel: one that may be written to is another.

    Kernels are compiled before a drive, whatever the source's arrays are. Copies only what is not
    contiguous.
    """
    seen = np.ascontiguousarray(array)[:]
    seen.flags.writeable = False
    return seen
