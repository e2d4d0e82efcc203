"""How this package compiles its kernels: numba without the GIL, cached, division like C.

No fast-math: the same seed gives the same bytes on any machine, so sums keep their order and
infinities their meaning.

Numba's cache looks at the file of the kernel that is called, not at those of the kernels that
it calls: whoever edits a kernel that others call deletes the `*.nbi` files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def kernel(function: FunctionT) -> FunctionT:
    """Compile `function` on its first call; its types stay those that it is annotated with."""
    return cast(FunctionT, njit(nogil=True, cache=True, error_model="numpy")(function))


def inlined(function: FunctionT) -> FunctionT:
    """As `kernel`, and copied into each caller before LLVM sees it."""
    return cast(FunctionT, njit(nogil=True, error_model="numpy", inline="always")(function))
